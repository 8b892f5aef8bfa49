"""One joint posterior over every candidate: quality, mistakes, latency, memory, size and cost, draw by draw.

Draw d of every array belongs to the same imagined world: the same weights of rows, the same resampled rounds, the same prices.
So differences between candidates carry only what really differs.

Training-seed variance. The stack is chosen, not one lucky training, so every arm's quality gets a normal term whose variance is that
of its scores over training seeds on the same rows, shrunk to a prior worth ``PRIOR_SEEDS`` seeds: standard deviation
``PRIOR_DEVIATION`` for networks trained by gradient descent (a few tenths of a point between seeds is what fine-tuning shows;
Dodge et al. 2020 report more on tiny data sets), none for deterministic fits. Candidates of one arm share one training, so they
share the term.

Candidates judged on *select* only are carried over to the finalists' scale by their paired difference to finalists on the same select
rows at the same share of training rows (a difference estimator; Cochran 1977, ch. 7). Arms gain differently from more rows, and learning curves
cross: they get a normal term whose deviation is that of the finalists' own gains, shrunk to the share ``PRIOR_CROSSING`` of the mean gain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, RowSums, Unseen, finished, generator, plain
from bakeoff.decision.view import Outcomes, View
from bakeoff.tasks.cells import Cells, cells, over_cells
from bakeoff.tasks.scoring import Statistic, score, statistic

PRIOR_SEEDS = 3.0
PRIOR_DEVIATION = 0.003
PRIOR_CROSSING = 0.5
PRIOR_GAINS = 2.0
_REFERENCES = 3
_FEW = 3
"""Classes up to which the cells of a confusion table are fewer than the columns of the metrics."""


@dataclass(frozen=True)
class Judging:
    """How answers are judged: metric, positive class index, priced mistakes as (actual, predicted) class indices."""

    metric: str
    positive: int
    mistakes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Quality:
    """Draws of one candidate: metric (D,), share of right answers (D,), rate of each priced mistake (m, D); point values beside.

    ``sampling`` (D,) is the metric without the training-seed term; ``carried`` says it was moved from select to confirm.
    """

    draws: Draws
    sampling: Draws
    accuracy: Draws
    mistakes: Draws
    value: float
    right: float
    rates: NDArray[np.float64]
    seed_deviation: float
    seeds: int
    carried: bool


@dataclass
class _Judged:
    """Outcomes with the tickets of their statistics in the sums of their split.

    With few classes the statistics are over the cells of the confusion table: tickets are those of the cells off the diagonal and of
    the actual classes, which all candidates share, so that there is less to draw.
    """

    outcomes: Outcomes
    arm: str
    statistics: list[Statistic]
    table: Cells | None
    tickets: list[list[int]] = field(default_factory=list)
    drawn: Draws | None = None

    @property
    def split(self) -> str:
        return self.outcomes.fidelity.split

    def points(self) -> NDArray[np.float64]:
        if self.table is None:
            return np.array([plain(found) for found in self.statistics])
        return np.array([float(found.finish(self.table.counts @ found.columns)) for found in self.statistics])

    def enter(self, sums: RowSums) -> None:
        rows, table = self.outcomes.indices, self.table
        if table is None:
            self.tickets = [sums.add(found, rows) for found in self.statistics]
            return
        off = np.flatnonzero(table.actual != table.predicted)
        shown = table.of_row[:, None] == off
        truth = self.outcomes.actual[:, None] == np.unique(table.actual)
        self.tickets = [sums.take(shown.astype(np.float32), rows), sums.take(truth.astype(np.float32), rows)]

    def sums(self, found: RowSums) -> list[Draws]:
        """Return the sums (c, D) of every statistic's columns."""
        table = self.table
        if table is None:
            return [found.sums(tickets) for tickets in self.tickets]
        wrong, truth = (found.sums(tickets) for tickets in self.tickets)
        classes, off = np.unique(table.actual), table.actual != table.predicted
        weights = np.empty((table.actual.size, truth.shape[1]))
        weights[off] = wrong
        for cell in np.flatnonzero(~off):
            label = table.actual[cell]
            weights[cell] = truth[np.searchsorted(classes, label)] - wrong[table.actual[off] == label].sum(axis=0)
        return [statistic.columns.T @ weights for statistic in self.statistics]


class QualityPosterior:
    """Draws every candidate's quality jointly.

    Args:
        views: candidates, sorted by id; those without outcomes are passed over.
        judging: how answers are judged.
        draws: number of joint draws.
        seed: of the draws.
        main: training seed of the judged outcomes.

    """

    def __init__(self, views: list[View], judging: Judging, draws: int, seed: int, main: int) -> None:
        self.views = [view for view in views if view.judged is not None and view.judged.n]
        self.judging, self.count, self.seed, self.main = judging, draws, seed, main
        self._sums: dict[str, RowSums] = {}
        self._wrapped: dict[tuple[str, str, bytes], _Judged] = {}
        labels = [np.unique(view.judged.actual) for view in self.views if view.judged is not None]
        self._classes = max([2, *(found.size for found in labels)])
        self._few = judging.metric != "roc_auc" and self._classes <= _FEW

    def quality(self) -> dict[str, Quality]:
        """Return the draws of every candidate that has outcomes, by id."""
        plan = {view.id: self._plan(view) for view in self.views}
        self._open(list(self._wrapped.values()))
        seeds = _seed_terms(self.views, self.judging, self.main)
        return {view.id: self._one(view, *plan[view.id], *seeds[view.candidate.arm]) for view in self.views}

    def _plan(self, view: View) -> tuple[_Judged, list[tuple[_Judged, _Judged]]]:
        assert view.judged is not None  # noqa: S101 - filtered in the constructor
        own = self._wrap(view, view.judged)
        return own, [] if view.final else self._references(view)

    def _references(self, view: View) -> list[tuple[_Judged, _Judged]]:
        """Pairs (final outcomes, select outcomes on our rows) of finalists that can carry this candidate to the final's scale."""
        assert view.judged is not None  # noqa: S101 - filtered in the constructor
        found: list[tuple[_Judged, _Judged]] = []
        rows = view.judged.indices
        for other in self.views:
            if len(found) == _REFERENCES:
                break
            if not other.final or other.judged is None:
                continue
            fraction = (
                view.judged.fidelity.fraction if view.candidate.variant.trains else other.judged.fidelity.fraction
            )
            covering = next((
                seen for seen in other.selects
                if seen.fidelity.seed == self.main and abs(seen.fidelity.fraction - fraction) < 1e-9 and _covers(seen, rows)
            ), None)  # fmt: skip
            if covering is not None:
                found.append((self._wrap(other, other.judged), self._wrap(other, covering, rows)))
        return found

    def _wrap(self, view: View, outcomes: Outcomes, rows: NDArray[np.int64] | None = None) -> _Judged:
        """Wrap outcomes, on ``rows`` only if given; the same ones once."""
        key = (view.id, outcomes.fidelity.model_dump_json(), b"" if rows is None else rows.tobytes())
        if key not in self._wrapped:
            kept = outcomes if rows is None or rows.size == outcomes.n else outcomes.on(rows)
            table = cells(kept.actual, kept.predicted) if self._few else None
            self._wrapped[key] = _Judged(kept, view.candidate.arm, _statistics(kept, table, self.judging), table)
        return self._wrapped[key]

    def _open(self, judged: list[_Judged]) -> None:
        for split in sorted({item.split for item in judged}):
            mine = [item for item in judged if item.split == split]
            rows = np.unique(np.concatenate([item.outcomes.indices for item in mine]))
            sums = self._sums[split] = RowSums(rows)
            for item in mine:
                item.enter(sums)
            sums.draw(self.count, generator(self.seed, "rows", split))

    def _drawn(self, item: _Judged) -> Draws:
        if item.drawn is None:
            sums, unseen = self._sums[item.split], Unseen.of_arm(item.arm, self.count, self.seed, self._classes)
            pairs = zip(item.statistics, item.sums(sums), strict=True)
            item.drawn = np.stack([finished(found, each, unseen) for found, each in pairs])
        return item.drawn

    def _one(
        self, view: View, own: _Judged, pairs: list[tuple[_Judged, _Judged]], deviation: float, seeds: int
    ) -> Quality:
        draws, points = self._drawn(own), own.points()
        if pairs:
            draws = draws + np.mean([self._drawn(final) - self._drawn(select) for final, select in pairs], axis=0)
            gains = np.array([final.points() - select.points() for final, select in pairs])
            points = np.clip(points + gains.mean(axis=0), 0.0, 1.0)
            draws = self._crossed(np.clip(draws, 0.0, 1.0), gains[:, 0], view.candidate.arm)
        moved, accuracy, mistakes = draws[0], draws[1], draws[2:]
        if deviation > 0.0:
            shift = deviation * generator(self.seed, "training", view.candidate.arm).standard_normal(self.count)
            moved = np.clip(moved + shift, 0.0, 1.0)
            accuracy, mistakes = _shifted(accuracy, mistakes, shift)
        return Quality(
            draws=moved, sampling=draws[0], accuracy=accuracy, mistakes=mistakes,
            value=float(points[0]), right=float(points[1]), rates=points[2:], seed_deviation=deviation, seeds=seeds,
            carried=bool(pairs),
        )  # fmt: skip

    def _crossed(self, draws: Draws, gains: NDArray[np.float64], arm: str) -> Draws:
        """Add what is not known of this arm's own gain from more rows; ``gains`` (r,) are those of finalists."""
        spread = float(((gains - gains.mean()) ** 2).sum())
        prior = PRIOR_GAINS * (PRIOR_CROSSING * float(gains.mean())) ** 2
        deviation = np.sqrt((prior + spread) / (PRIOR_GAINS + gains.size - 1))
        shift = deviation * generator(self.seed, "crossing", arm).standard_normal(self.count)
        accuracy, mistakes = _shifted(draws[1], draws[2:], shift)
        return np.concatenate([np.clip(draws[:1] + shift, 0.0, 1.0), accuracy[None], mistakes])


def _covers(seen: Outcomes, rows: NDArray[np.int64]) -> bool:
    """Whether the outcomes hold every one of the sorted ``rows``."""
    if seen.n == rows.size:
        return bool(np.array_equal(seen.indices, rows))
    return seen.n > rows.size and bool(np.isin(rows, seen.indices).all())


def _statistics(outcomes: Outcomes, table: Cells | None, judging: Judging) -> list[Statistic]:
    """Return the metric, the share of right answers and the rate of every priced mistake, as sums over rows or over cells."""
    if table is not None:
        found = [over_cells(name, table, judging.positive) for name in (judging.metric, "accuracy")]
        return found + [_rate(table.actual, table.predicted, pair) for pair in judging.mistakes]
    actual, predicted = outcomes.actual, outcomes.predicted
    return [
        statistic(judging.metric, actual, predicted, outcomes.probabilities, judging.positive),
        statistic("accuracy", actual, predicted),
        *[_rate(actual, predicted, pair) for pair in judging.mistakes],
    ]


def _rate(actual: NDArray[np.int64], predicted: NDArray[np.int64], pair: tuple[int, int]) -> Statistic:
    columns = np.stack([(actual == pair[0]) & (predicted == pair[1]), np.ones(actual.size)], axis=1)
    return Statistic("rate", columns.astype(np.float32))


def _shifted(accuracy: Draws, mistakes: Draws, shift: Draws) -> tuple[Draws, Draws]:
    """Move the share of right answers by ``shift``; every mistake becomes rarer or commoner in proportion."""
    moved = np.clip(accuracy + shift, 0.0, 1.0)
    wrong = np.maximum(1.0 - accuracy, 1e-9)
    return moved, mistakes * ((1.0 - moved) / wrong)


def _seed_terms(views: list[View], judging: Judging, main: int) -> dict[str, tuple[float, int]]:
    """Return per arm the standard deviation of a training (shrunk) and the number of seeds seen."""
    terms: dict[str, tuple[float, int]] = {}
    by_arm: dict[str, list[View]] = {}
    for view in views:
        by_arm.setdefault(view.candidate.arm, []).append(view)
    for arm, members in by_arm.items():
        scores = max((_seed_scores(view, judging, main) for view in members), key=len)
        variant = members[0].candidate.variant
        prior = PRIOR_DEVIATION if variant.trains and variant.strategy is not None else 0.0
        spread = float(np.sum((np.array(scores) - np.mean(scores)) ** 2)) if scores else 0.0
        freedom = PRIOR_SEEDS + max(0, len(scores) - 1)
        terms[arm] = (
            float(np.sqrt((PRIOR_SEEDS * prior**2 + spread) / freedom)) if variant.trains else 0.0,
            max(1, len(scores)),
        )
    return terms


def _seed_scores(view: View, judging: Judging, main: int) -> list[float]:
    """Scores of trainings with different seeds at the judged share of training rows, on the same select rows."""
    if view.judged is None:
        return []
    fraction = view.judged.fidelity.fraction
    seen = {
        o.fidelity.seed: o
        for o in sorted(view.selects, key=lambda o: o.n)
        if abs(o.fidelity.fraction - fraction) < 1e-9
    }
    if main not in seen or len(seen) < 2:
        return []
    rows = seen[main].indices
    for other in seen.values():
        rows = np.intersect1d(rows, other.indices)
    if rows.size == 0:
        return []
    shared = [seen[number].on(rows) for number in sorted(seen)]
    return [score(judging.metric, o.actual, o.predicted, o.probabilities, judging.positive) for o in shared]
