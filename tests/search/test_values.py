"""A metric as values per row: their mean is the metric, their spread is the metric's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bakeoff.schema.errors import UserError
from bakeoff.search.values import EXACT, row_values
from bakeoff.tasks.scoring import METRICS, score

RANDOM = np.random.default_rng


def answers(rows: int, classes: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """True classes, predictions right about three times in four, and probabilities that agree with them more or less."""
    random = RANDOM(seed)
    actual = random.integers(classes, size=rows)
    probabilities = random.random((rows, classes))
    probabilities[np.arange(rows), actual] += 0.6
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return actual, probabilities.argmax(axis=1), probabilities


@pytest.mark.parametrize("metric", METRICS)
@given(rows=st.integers(2, 60), classes=st.integers(2, 4), seed=st.integers(0, 10_000))
def test_mean_of_the_values_is_the_metric(metric: str, rows: int, classes: int, seed: int) -> None:
    """Exactly, whatever the rows: also with classes that never occur."""
    actual, predicted, probabilities = answers(rows, classes, seed)
    values = row_values(metric, actual, predicted, probabilities)
    assert values.shape == (rows,)
    assert values.mean() == pytest.approx(score(metric, actual, predicted, probabilities), abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_spread_of_the_values_is_the_spread_of_the_metric(metric: str) -> None:
    """Standard error from the values against the metric's spread over 600 samples of 500 rows."""
    spread, claimed = [], []
    for seed in range(600):
        actual, predicted, probabilities = answers(500, 2, seed)
        values = row_values(metric, actual, predicted, probabilities)
        spread.append(score(metric, actual, predicted, probabilities))
        claimed.append(values.std(ddof=1) / np.sqrt(values.size))
    assert np.mean(claimed) == pytest.approx(np.std(spread, ddof=1), rel=0.1)


def test_accuracy_is_right_or_wrong_and_a_payoff_is_looked_up() -> None:
    """The two exact metrics: nothing is estimated, values stay in 0..1."""
    actual, predicted = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
    payoff = np.array([[1.0, 0.4], [0.0, 0.9]])
    assert row_values("accuracy", actual, predicted) == pytest.approx([1.0, 0.0, 1.0, 0.0])
    assert row_values("macro_f1", actual, predicted, payoff=payoff) == pytest.approx([1.0, 0.0, 0.9, 0.4])
    assert {"accuracy", "payoff"} == EXACT


def test_an_unknown_metric_is_refused() -> None:
    """With the allowed ones in the message."""
    with pytest.raises(UserError, match="macro_f1"):
        row_values("f3", [0], [0])
