"""The metrics agree with scikit-learn's, plainly and under weights."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bakeoff.schema.errors import UserError
from bakeoff.tasks.scoring import METRICS, mistakes, score, score_draws, statistic


def _answers(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.dirichlet(np.ones(k), n), 2)  # rounding makes ties
    return rng.integers(0, k, n), probabilities.argmax(axis=1), probabilities


def _sklearn(metric: str, actual, predicted, probabilities, positive, weights=None) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if metric == "accuracy":
            return oracle.accuracy_score(actual, predicted, sample_weight=weights)
        if metric == "macro_f1":
            return oracle.f1_score(actual, predicted, average="macro", sample_weight=weights, zero_division=0)
        if metric == "balanced_accuracy":
            return oracle.balanced_accuracy_score(actual, predicted, sample_weight=weights)
        if metric == "f1":
            return oracle.f1_score(actual == positive, predicted == positive, sample_weight=weights, zero_division=0)
        return oracle.roc_auc_score(actual == positive, probabilities[:, positive], sample_weight=weights)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(12, 80), k=st.integers(2, 4))
def test_agrees_with_scikit_learn(metric: str, seed: int, n: int, k: int) -> None:
    actual, predicted, probabilities = _answers(seed, n, k)
    actual[:k] = np.arange(k)
    expected = _sklearn(metric, actual, predicted, probabilities, k - 1)
    assert score(metric, actual, predicted, probabilities, k - 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [2, 3])
def test_draws_agree_with_scikit_learn_weights(metric: str, k: int) -> None:
    actual, predicted, probabilities = _answers(3, 60, k)
    weights = np.random.default_rng(1).exponential(size=(8, 60))
    got = score_draws(metric, actual, predicted, probabilities, k - 1, weights)
    expected = [_sklearn(metric, actual, predicted, probabilities, k - 1, w) for w in weights]
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_weights_give_the_plain_score(metric: str) -> None:
    actual, predicted, probabilities = _answers(5, 50, 3)
    plain = score(metric, actual, predicted, probabilities, 1)
    assert score_draws(metric, actual, predicted, probabilities, 1, np.full((2, 50), 3.0)) == pytest.approx([plain] * 2)


def test_multiclass_area_without_a_positive_class_is_the_mean_over_one_versus_rest() -> None:
    actual, predicted, probabilities = _answers(8, 200, 3)
    probabilities = probabilities + 1e-3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = oracle.roc_auc_score(actual, probabilities, multi_class="ovr")
    assert score("roc_auc", actual, predicted, probabilities, None) == pytest.approx(expected, abs=1e-6)


def test_expanded_area_is_close_to_the_exact_one() -> None:
    rng = np.random.default_rng(2)
    actual = rng.integers(0, 2, 1000)
    column = np.round(actual + rng.normal(0, 1.5, 1000), 1)
    probabilities = np.stack([-column, column], axis=1)
    weights = rng.exponential(size=(300, 1000))
    exact = score_draws("roc_auc", actual, actual, probabilities, 1, weights)
    sums = statistic("roc_auc", actual, actual, probabilities, 1)
    approximate = sums.finish(weights @ sums.columns)
    assert np.abs(approximate - exact).max() < 0.15 * exact.std()
    assert approximate.std() == pytest.approx(exact.std(), rel=0.03)


def test_one_class_only_cannot_be_ranked() -> None:
    same = np.zeros(5, dtype=int)
    probabilities = np.full((5, 2), 0.5)
    assert score("roc_auc", same, same, probabilities, 1) == 0.5
    assert score_draws("roc_auc", same, same, probabilities, 1, np.ones((2, 5))).tolist() == [0.5, 0.5]


def test_class_never_predicted_scores_zero() -> None:
    assert score("macro_f1", [0, 0, 1, 1], [0, 0, 0, 0]) == pytest.approx((2 * 2 / 6 + 0) / 2)
    assert score("f1", [0, 0, 1, 1], [0, 0, 0, 0], None, 1) == 0.0


def test_mistakes_are_shares_of_all_rows() -> None:
    table = mistakes([0, 0, 1, 1], [0, 1, 1, 1], 3)
    assert table.sum() == pytest.approx(1.0)
    assert table[0, 1] == 0.25
    assert table[1, 1] == 0.5


@pytest.mark.parametrize(
    ("metric", "actual", "words"), [("kappa", [0, 1], "no such metric"), ("accuracy", [], "at least one")]
)
def test_wrong_use_is_said(metric: str, actual: list[int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        score(metric, actual, actual)


def test_area_without_probabilities_is_refused() -> None:
    with pytest.raises(UserError, match="needs probabilities"):
        score("roc_auc", [0, 1], [0, 1])


def test_two_hundred_candidates_share_one_matrix_product() -> None:
    """The columns of many candidates stack into one product whose slices are the single results."""
    rng = np.random.default_rng(4)
    actual = rng.integers(0, 2, 300)
    guesses = [np.where(rng.random(300) < 0.8, actual, 1 - actual) for _ in range(20)]
    found = [statistic("macro_f1", actual, guess) for guess in guesses]
    weights = rng.exponential(size=(50, 300)).astype(np.float32)
    together = weights @ np.concatenate([item.columns for item in found], axis=1)
    width = found[0].columns.shape[1]
    for number, (item, guess) in enumerate(zip(found, guesses, strict=True)):
        part = item.finish(together[:, number * width : (number + 1) * width])
        assert part == pytest.approx(score_draws("macro_f1", actual, guess, None, 1, weights), abs=1e-5)
