"""Scores of a prediction with intervals, every metric the task knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.errors import StepError
from bakeoff.schema.measurement import Measurement
from bakeoff.tasks.scoring import METRICS, score, score_draws

_DRAWS = 200
_SEED = 20_240_601
_TOLERANCE = 1e-3


def measure_quality(
    actual: NDArray[np.integer],
    predicted: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    positive: int,
    confidence: float,
) -> tuple[Measurement, ...]:
    """Return every quality metric on n rows, with a Bayesian-bootstrap interval (Rubin 1981) of a fixed seed.

    ``decision`` draws its own, paired between candidates; these are for people reading one candidate.
    """
    n = len(actual)
    if n == 0:
        return ()
    weights = np.random.default_rng(_SEED).standard_exponential((_DRAWS, n), dtype=np.float32)
    tail = 50.0 * (1.0 - confidence)
    found = []
    for metric in METRICS:
        value = score(metric, actual, predicted, probabilities, positive)
        draws = score_draws(metric, actual, predicted, probabilities, positive, weights)
        low, high = np.percentile(draws, [tail, 100.0 - tail])
        found.append(
            Measurement(
                name=metric,
                value=value,
                low=min(float(low), value),
                high=max(float(high), value),
                confidence=confidence,
                n=n,
                unit="share",
            )
        )
    return tuple(found)


def check_probabilities(probabilities: NDArray[np.floating], rows: int, classes: int) -> NDArray[np.float64]:
    """Return the probabilities as float64 (rows, classes) when they are what a predictor owes.

    Raises:
        StepError: code 'non_finite' for NaN, infinity, a wrong shape, or rows that do not add up to one.

    """
    table = np.asarray(probabilities, dtype=np.float64)
    if table.shape != (rows, classes):
        what = f"wrong shape of probabilities: {table.shape} for {rows} rows and {classes} classes"
        raise StepError("non_finite", what, zh=f"概率表的形状不对：{rows} 行 {classes} 类，得到 {table.shape}")
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).any(axis=1).sum())
        what = f"{bad} of {rows} rows got a probability that is not a finite number"
        raise StepError("non_finite", what, zh=f"{rows} 行中有 {bad} 行的概率不是有限数")
    if rows and ((table < -_TOLERANCE).any() or (np.abs(table.sum(axis=1) - 1.0) > _TOLERANCE).any()):
        what = "probabilities of a row are negative or do not add up to one"
        raise StepError("non_finite", what, zh="有的行概率为负，或加起来不等于 1")
    return table
