"""Rows that prove a floor, against scipy and by simulation; the sizes of the splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bakeoff.data.sizing import USEFUL, binomial_tail, rows_to_prove, shares


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.999))
def test_the_binomial_tail_is_scipys(successes: int, n: int, p: float) -> None:
    assert binomial_tail(successes, n, p) == pytest.approx(stats.binom.sf(successes - 1, n, p), rel=1e-8, abs=1e-12)


def test_the_edges_of_the_binomial_tail() -> None:
    assert binomial_tail(0, 10, 0.3) == 1.0
    assert binomial_tail(1, 10, 0.0) == 0.0
    assert binomial_tail(10, 10, 0.5) == pytest.approx(2**-10)
    assert binomial_tail(11, 10, 0.5) == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize("floor", [0.5, 0.82, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_accuracy_needs_the_rows_at_which_the_exact_bound_clears_the_floor(floor: float, confidence: float) -> None:
    n = rows_to_prove(floor, confidence, "accuracy", [0.5, 0.5])
    assert n is not None
    true = min(floor + 0.02, (1 + floor) / 2)

    def bound(rows: int) -> float:
        right = int(np.floor(rows * true + 1e-9))
        return float(stats.beta.ppf(1 - confidence, right, rows - right + 1))

    assert bound(n) >= floor
    assert bound(int(0.8 * n)) < floor


def test_half_of_the_studies_of_that_size_succeed() -> None:
    n = rows_to_prove(0.82, 0.95, "accuracy", [0.5, 0.5])
    assert n is not None
    right = np.random.default_rng(0).binomial(n, 0.84, 4000)
    proven = stats.beta.ppf(0.05, right, n - right + 1) >= 0.82
    assert 0.42 < proven.mean() < 0.62


def test_macro_averages_pay_for_rare_classes() -> None:
    even = rows_to_prove(0.82, 0.95, "macro_f1", [0.5, 0.5])
    skewed = rows_to_prove(0.82, 0.95, "macro_f1", [0.95, 0.05])
    assert even is not None
    assert skewed is not None
    assert even == pytest.approx(rows_to_prove(0.82, 0.95, "accuracy", [0.5, 0.5]) or 0, rel=0.2)
    assert skewed > 4 * even


def test_balanced_accuracy_is_proven_by_about_half_of_simulated_studies() -> None:
    n = rows_to_prove(0.8, 0.95, "balanced_accuracy", [0.9, 0.1])
    assert n is not None
    random = np.random.default_rng(1)
    common, rare = round(0.9 * n), round(0.1 * n)
    a, b = random.binomial(common, 0.82, 4000) / common, random.binomial(rare, 0.82, 4000) / rare
    error = np.sqrt(a * (1 - a) / common + b * (1 - b) / rare) / 2
    assert 0.42 < ((a + b) / 2 - 1.645 * error >= 0.8).mean() < 0.58


def test_auc_is_proven_by_about_half_of_simulated_studies() -> None:
    n = rows_to_prove(0.75, 0.95, "roc_auc", [0.8, 0.2])
    assert n is not None
    random = np.random.default_rng(2)
    positives = round(0.2 * n)
    shift = stats.norm.ppf(0.77) * np.sqrt(2)
    scores = []
    for _ in range(200):
        ranks = stats.rankdata(np.concatenate([random.normal(shift, 1, positives), random.normal(0, 1, n - positives)]))
        scores.append((ranks[:positives].sum() - positives * (positives + 1) / 2) / (positives * (n - positives)))
    assert 0.35 < np.mean(np.asarray(scores) - 1.645 * np.std(scores) >= 0.75) < 0.65


def test_f1_counts_the_positives() -> None:
    rare, common = (rows_to_prove(0.7, 0.95, "f1", [0.9, 0.1], positive) for positive in (0.1, 0.9))
    assert rare is not None
    assert common is not None
    assert rare > 8 * common


def test_what_no_study_can_prove_is_none() -> None:
    assert rows_to_prove(1.0, 0.95, "accuracy", [0.5, 0.5]) is None
    assert rows_to_prove(0.999999, 0.95, "macro_f1", [0.5, 0.5]) is None
    assert rows_to_prove(0.5, 0.95, "f1", [0.9999999, 1e-7]) is None


@given(st.integers(16, 200_000), st.none() | st.integers(1, 1_000_000))
def test_shares_are_a_partition_within_bounds(rows: int, needed: int | None) -> None:
    found = shares(rows, needed).as_tuple()
    assert sum(found) == pytest.approx(1.0)
    assert all(share > 0 for share in found)
    assert found[0] >= 0.4 - 1e-9
    assert found[3] * rows <= max(USEFUL, 0.3 * rows) + 1e-6
    assert found[3] <= 0.3 + 1e-9


def test_small_and_large_data_are_shared_out_differently() -> None:
    assert shares(300, None).as_tuple() == pytest.approx((0.4, 0.1, 0.2, 0.3))
    assert shares(17_361, None).as_tuple() == pytest.approx((0.6, 0.1, 0.15, 0.15))
    assert shares(100_000, None).confirm * 100_000 == pytest.approx(4_000)
    assert shares(5_000, 1_200).confirm * 5_000 == pytest.approx(1_200)
