"""A metric as one value per row whose mean is the metric, so that two candidates can be compared row by row.

Does: exact values for accuracy and payoff; influence functions for metrics that are ratios of sums. Does not: judge anything.

Linearised values (``tasks.influence``) have the metric as their mean and its standard error as theirs; with few rows of a class the
neglected terms matter, which is why sequences over them promise less (see ``sequences.beaten_asymptotically``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakeoff.tasks.influence import influence
from bakeoff.tasks.scoring import Floats, statistic

EXACT = frozenset({"accuracy", "payoff"})
"""Metrics whose row values depend on the row alone and lie in 0..1: bounded, independent, fit for ``sequences.beaten``."""


def row_values(
    metric: str,
    actual: ArrayLike,
    predicted: ArrayLike,
    probabilities: Floats | None = None,
    positive: int | None = None,
    payoff: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return values (n,) whose mean is the metric, larger is better.

    Args:
        metric: one of ``scoring.METRICS``; not read when there is a payoff.
        actual: true class indices (n,).
        predicted: predicted class indices (n,).
        probabilities: (n, k), read by roc_auc only.
        positive: index of the positive class, as in ``scoring.score``.
        payoff: worth of an answer, ``payoff[actual, predicted]`` scaled to 0..1, when answers are compared by worth.

    Raises:
        UserError: unknown metric, no rows, or roc_auc without probabilities.

    """
    if payoff is not None:
        worth: NDArray[np.float64] = np.asarray(payoff, dtype=np.float64)[np.asarray(actual), np.asarray(predicted)]
        return worth
    return influence(statistic(metric, actual, predicted, probabilities, positive))
