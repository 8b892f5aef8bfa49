"""Quality metrics of classifiers, on rows and on weighted rows.

Every metric is a smooth function of a few weighted sums over rows, so one description serves both the plain score (equal
weights) and thousands of bootstrap draws (one matrix product): ``statistic`` gives the columns to sum and how to finish.

Does: accuracy, macro F1, balanced accuracy, F1 of one class, area under the ROC curve; larger is always better.
Does not know: files, candidates, thresholds; a prediction is a class index.

Definitions follow scikit-learn's: macro F1 averages over classes that occur in ``actual`` or ``predicted``, balanced
accuracy over classes that occur in ``actual``, a class never predicted and never right scores 0. The area under the curve
counts ties half (Mann and Whitney 1947); with one class only nothing can be ranked and it is 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakeoff.schema.errors import UserError

METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "f1", "roc_auc")
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Statistic:
    """A metric as weighted sums over rows.

    ``columns`` float32 (n, c); ``finish`` maps their sums (…, c) under any row weights (not necessarily normalised) to scores (…).
    """

    metric: str
    columns: NDArray[np.float32]
    offset: float = 0.0

    def finish(self, sums: Floats) -> NDArray[np.float64]:
        """Return the scores (…) of weighted column sums (…, c); pairs of columns are numerator and denominator."""
        top, bottom = sums[..., 0::2], sums[..., 1::2]
        ratios = np.divide(top, bottom, out=np.zeros(top.shape, dtype=np.float64), where=bottom > 0)
        scores: NDArray[np.float64] = (
            ratios.sum(axis=-1) + self.offset if self.metric == "roc_auc" else ratios.mean(axis=-1)
        )
        return scores


def score(
    metric: str,
    actual: ArrayLike,
    predicted: ArrayLike,
    probabilities: Floats | None = None,
    positive: int | None = None,
) -> float:
    """Return the metric of ``predicted`` (n,) class indices against ``actual`` (n,).

    Args:
        metric: one of ``METRICS``.
        actual: true class indices (n,).
        predicted: predicted class indices (n,).
        probabilities: (n, k), read by roc_auc only.
        positive: index of the positive class; None means 1 for two classes, and for roc_auc of more the mean over one-versus-rest.

    Raises:
        UserError: unknown metric, no rows, or roc_auc without probabilities.

    """
    found = statistic(metric, actual, predicted, probabilities, positive)
    return float(found.finish(found.columns.sum(axis=0, dtype=np.float64)))


def score_draws(
    metric: str,
    actual: ArrayLike,
    predicted: ArrayLike,
    probabilities: Floats | None,
    positive: int | None,
    weights: Floats,
) -> NDArray[np.float64]:
    """Return the metric (D,) under each of the row ``weights`` (D, n), which need not sum to one; ties in roc_auc are exact."""
    truth = np.asarray(actual)
    if metric == "roc_auc":
        scores = _scores(probabilities, truth, positive)
        areas = np.stack([_weighted_auc(truth == index, column, weights) for index, column in scores])
        mean: NDArray[np.float64] = areas.mean(axis=0)
        return mean
    found = statistic(metric, truth, predicted, probabilities, positive)
    return found.finish(weights @ found.columns.astype(weights.dtype, copy=False))


def statistic(
    metric: str,
    actual: ArrayLike,
    predicted: ArrayLike,
    probabilities: Floats | None = None,
    positive: int | None = None,
) -> Statistic:
    """Return ``metric`` as weighted sums over the n rows (see ``score`` for the arguments).

    For roc_auc the sums hold its first-order (Hoeffding) expansion in the weights, made of DeLong's placement values
    (DeLong, DeLong and Clarke-Pearson 1988): exact for equal weights, off by O(1/n) for others. ``score_draws`` is exact.
    """
    truth, guess = np.asarray(actual), np.asarray(predicted)
    if metric not in METRICS:
        what = "no such metric"
        raise UserError(what, got=metric, allowed=METRICS)
    if truth.size == 0 or truth.shape != guess.shape:
        what = "a score needs at least one row and one prediction for each"
        raise UserError(what, got=f"{truth.size} rows, {guess.size} predictions")
    if metric == "accuracy":
        return Statistic(metric, _pairs([(guess == truth, np.ones(truth.shape))]))
    if metric == "roc_auc":
        return _auc_statistic(truth, _scores(probabilities, truth, positive))
    if metric == "balanced_accuracy":
        return Statistic(metric, _pairs([((guess == c) & (truth == c), truth == c) for c in np.unique(truth)]))
    classes = [1 if positive is None else positive] if metric == "f1" else np.union1d(truth, guess)
    return Statistic(metric, _pairs([_f1_pair(truth == c, guess == c) for c in classes]))


def mistakes(actual: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Return the confusion rates (k, k): share of all rows with actual class i and predicted class j; they sum to one."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.asarray(actual), np.asarray(predicted)), 1.0)
    rates: NDArray[np.float64] = counts / max(counts.sum(), 1.0)
    return rates


def _f1_pair(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    return 2.0 * (truth & guess), truth.astype(np.float64) + guess


def _pairs(pairs: list[tuple[ArrayLike, ArrayLike]]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.stack([part for pair in pairs for part in pair], axis=1), dtype=np.float32)


def _scores(probabilities: Floats | None, truth: NDArray[np.integer], positive: int | None) -> list[tuple[int, Floats]]:
    if probabilities is None:
        what = "roc_auc needs probabilities"
        raise UserError(what)
    table = np.asarray(probabilities, dtype=np.float64)
    every = [1] if table.shape[1] <= 2 else [int(c) for c in np.unique(truth)]
    wanted = every if positive is None else [positive]
    return [(index, table[:, index]) for index in wanted]


def _auc_statistic(truth: NDArray[np.integer], scores: list[tuple[int, Floats]]) -> Statistic:
    pairs: list[tuple[ArrayLike, ArrayLike]] = []
    offset = 0.0
    for index, column in scores:
        hit = truth == index
        if hit.all() or not hit.any():
            offset += 0.5
            continue
        below, level = (
            _placements(column[hit], np.sort(column[~hit])),
            _placements(-column[~hit], np.sort(-column[hit])),
        )
        ours, theirs = np.zeros(truth.shape), np.zeros(truth.shape)
        ours[hit], theirs[~hit] = below / len(scores), level / len(scores)
        pairs += [(ours, hit), (theirs, ~hit)]
        offset -= float(below.mean())
    if not pairs:
        pairs = [(np.zeros(truth.shape), np.ones(truth.shape))]
    return Statistic("roc_auc", _pairs(pairs), offset / len(scores))


def _placements(values: Floats, others: Floats) -> Floats:
    """Return for each value the share of sorted ``others`` it exceeds, ties counted half."""
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2.0 * others.size)


def _weighted_auc(hit: NDArray[np.bool_], column: Floats, weights: Floats) -> NDArray[np.float64]:
    """Return the weighted area under the curve (D,): P(score of a hit > score of a miss) + P(equal)/2."""
    if hit.all() or not hit.any():
        return np.full(weights.shape[0], 0.5)
    order = np.argsort(column, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(column[order]) != 0])
    ordered = weights[:, order].astype(np.float64)
    hits = np.add.reduceat(ordered * hit[order], starts, axis=1)
    misses = np.add.reduceat(ordered * ~hit[order], starts, axis=1)
    below = np.cumsum(misses, axis=1) - 0.5 * misses
    area: NDArray[np.float64] = (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))
    return area
