"""Fits how probabilities become labels on the *calibrate* rows: a temperature, and the prices of mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.rule import scale
from bakeoff.schema.artifact import Rule
from bakeoff.schema.spec import Spec
from bakeoff.tasks.base import cost_matrix

_RANGE = (0.05, 20.0)
_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2
_TINY = 1e-12


def fit_rule(
    probabilities: NDArray[np.floating] | None, labels: NDArray[np.int64] | None, spec: Spec, classes: Sequence[str]
) -> Rule:
    """Return the rule of a built artefact.

    Args:
        probabilities: raw (n, k) on calibrate rows, None for a probe: then nothing is fitted.
        labels: class indices (n,).
        spec: names what mistakes cost.
        classes: in the order of the columns.

    """
    temperature = 1.0 if probabilities is None or labels is None else fit_temperature(probabilities, labels)
    return Rule(temperature=temperature, costs=cost_matrix(spec.value, classes))


def fit_temperature(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the temperature of least mean log loss on n rows (Guo et al. 2017), found by golden section.

    The logarithm of the temperature has a standard normal prior that weighs as much as one row, so that a handful of rows, all
    predicted right, does not call for certainty.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    if len(rows) == 0:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = scale(rows, float(np.exp(log_temperature)))
        right = scaled[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(right, _TINY)).sum() + 0.5 * log_temperature**2)

    return round(float(np.exp(_golden_section(loss, *np.log(_RANGE)))), 6)


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return (low + high) / 2
