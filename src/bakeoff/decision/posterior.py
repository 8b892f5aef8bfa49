"""One joint posterior over every candidate: quality, mistakes, latency, memory, size and cost, draw by draw.

Draw d of every array belongs to the same imagined world: the same weights of rows, the same resampled rounds, the same prices.
So differences between candidates carry only what really differs.

Training-seed variance. The stack is chosen, not one lucky training, so every arm's quality gets a normal term whose variance is that
of its scores over training seeds on the same rows, shrunk to a prior worth ``PRIOR_SEEDS`` seeds: standard deviation
``PRIOR_DEVIATION`` for networks trained by gradient descent (a few tenths of a point between seeds is what fine-tuning shows;
Dodge et al. 2020 report more on tiny data sets), none for deterministic fits. Candidates of one arm share one training, so they
share the term.

Candidates judged on *select* only are carried over to the finalists' scale by their paired difference to finalists on the same select
rows at the same share of training rows (a difference estimator; Cochran 1977, ch. 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, RowSums, generator, plain
from bakeoff.decision.view import Outcomes, View
from bakeoff.tasks.scoring import Statistic, score, statistic

PRIOR_SEEDS = 3.0
PRIOR_DEVIATION = 0.003
_REFERENCES = 3


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
    """Outcomes with the tickets of their statistics in the sums of their split."""

    outcomes: Outcomes
    statistics: list[Statistic]
    tickets: list[list[int]]
    split: str

    def points(self) -> NDArray[np.float64]:
        return np.array([plain(found) for found in self.statistics])


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

    def quality(self) -> dict[str, Quality]:
        """Return the draws of every candidate that has outcomes, by id."""
        plan = {view.id: self._plan(view) for view in self.views}
        self._open(
            [judged for own, pairs in plan.values() for judged in [own, *[item for pair in pairs for item in pair]]]
        )
        seeds = _seed_terms(self.views, self.judging, self.main)
        return {view.id: self._one(view, *plan[view.id], *seeds[view.candidate.arm]) for view in self.views}

    def _plan(self, view: View) -> tuple[_Judged, list[tuple[_Judged, _Judged]]]:
        assert view.judged is not None  # noqa: S101 - filtered in the constructor
        own = self._wrap(view.judged)
        return own, [] if view.final else [(self._wrap(a), self._wrap(b)) for a, b in self._references(view)]

    def _references(self, view: View) -> list[tuple[Outcomes, Outcomes]]:
        """Pairs (final outcomes, select outcomes on our rows) of finalists that can carry this candidate to the final's scale."""
        assert view.judged is not None  # noqa: S101 - filtered in the constructor
        found, rows = [], view.judged.indices
        for other in self.views:
            if not other.final or other.judged is None:
                continue
            fraction = (
                view.judged.fidelity.fraction if view.candidate.variant.trains else other.judged.fidelity.fraction
            )
            same = [
                seen.on(rows) for seen in other.selects
                if seen.fidelity.seed == self.main and abs(seen.fidelity.fraction - fraction) < 1e-9
            ]  # fmt: skip
            covering = [seen for seen in same if seen.n == rows.size]
            if covering:
                found.append((other.judged, covering[0]))
        return found[:_REFERENCES]

    def _wrap(self, outcomes: Outcomes) -> _Judged:
        judging, actual, predicted = self.judging, outcomes.actual, outcomes.predicted
        metric = judging.metric
        ones = np.ones(actual.size)
        made = [
            statistic(metric, actual, predicted, outcomes.probabilities, judging.positive),
            statistic("accuracy", actual, predicted),
            *[
                Statistic("rate", np.stack([(actual == i) & (predicted == j), ones], axis=1).astype(np.float32))
                for i, j in judging.mistakes
            ],
        ]
        return _Judged(outcomes, made, [], outcomes.fidelity.split)

    def _open(self, judged: list[_Judged]) -> None:
        for split in sorted({item.split for item in judged}):
            mine = [item for item in judged if item.split == split]
            rows = np.unique(np.concatenate([item.outcomes.indices for item in mine]))
            sums = self._sums[split] = RowSums(rows)
            for item in mine:
                item.tickets = [sums.add(found, item.outcomes.indices) for found in item.statistics]
            sums.draw(self.count, generator(self.seed, "rows", split))

    def _drawn(self, item: _Judged) -> Draws:
        sums = self._sums[item.split]
        return np.stack(
            [sums.scores(found, tickets) for found, tickets in zip(item.statistics, item.tickets, strict=True)]
        )

    def _one(
        self, view: View, own: _Judged, pairs: list[tuple[_Judged, _Judged]], deviation: float, seeds: int
    ) -> Quality:
        draws, points = self._drawn(own), own.points()
        if pairs:
            draws = draws + np.mean([self._drawn(final) - self._drawn(select) for final, select in pairs], axis=0)
            points = points + np.mean([final.points() - select.points() for final, select in pairs], axis=0)
            draws, points = np.clip(draws, 0.0, 1.0), np.clip(points, 0.0, 1.0)
        shift = deviation * generator(self.seed, "training", view.candidate.arm).standard_normal(self.count)
        accuracy, mistakes = _shifted(draws[1], draws[2:], shift)
        return Quality(
            draws=np.clip(draws[0] + shift, 0.0, 1.0), sampling=draws[0], accuracy=accuracy, mistakes=mistakes,
            value=float(points[0]), right=float(points[1]), rates=points[2:], seed_deviation=deviation, seeds=seeds,
            carried=bool(pairs),
        )  # fmt: skip


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
