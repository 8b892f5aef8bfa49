"""The numbers behind the findings, against scipy, statsmodels and scikit-learn, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from bakeoff.risk import calibration, membership_inference, seed_stability, subgroups
from bakeoff.schema.base import Words

NAME = Words(zh="组", en="group")


@given(st.integers(1, 500), st.data())
def test_wilson_equals_statsmodels(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    assert subgroups.wilson(successes, n, 0.95) == pytest.approx(
        proportion_confint(successes, n, 0.05, "wilson"), abs=1e-9
    )


@settings(max_examples=10, deadline=None)  # statsmodels takes a tenth of a second each
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_statsmodels(values: list[float]) -> None:
    assert subgroups.holm(values) == pytest.approx(multipletests(values, method="holm")[1], abs=1e-12)


@settings(max_examples=50)
@given(st.integers(5, 80), st.integers(5, 80), st.data())
def test_the_gap_equals_statsmodels(n: int, m: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    right = np.array([True] * a + [False] * (n - a) + [True] * b + [False] * (m - b))
    inside = np.arange(n + m) < n
    found = subgroups.gap(NAME, right, inside, 0.95)
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff", alpha=0.05)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.low <= found.value <= found.high
    if 0 < a + b < n + m:
        assert found.p == pytest.approx(proportions_ztest([a, b], [n, m])[1], abs=1e-9)


def test_the_worst_of_many_equal_groups_is_rarely_called_a_gap() -> None:
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        right = random.random(400) < 0.85
        groups = random.integers(0, 8, 400)
        ps = subgroups.holm([subgroups.gap(NAME, right, groups == g, 0.95).p for g in range(8)])
        alarms += min(ps) < 0.05
    assert alarms / 300 < 0.08


@settings(max_examples=50)
@given(st.lists(st.integers(0, 20), min_size=5, max_size=60), st.lists(st.integers(0, 20), min_size=5, max_size=60))
def test_the_attack_equals_scikit_learn(members: list[int], others: list[int]) -> None:
    scores = np.array(members + others, dtype=float)
    truth = np.array([1] * len(members) + [0] * len(others))
    area, advantage, hits = membership_inference.attack(scores[: len(members)], scores[len(members) :])
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert area == pytest.approx(roc_auc_score(truth, scores))
    assert advantage == pytest.approx((true - false).max())
    assert hits == pytest.approx(true[false <= 0.05].max())


def test_the_interval_of_the_area_covers() -> None:
    random = np.random.default_rng(1)
    shift = 0.5
    truth = stats.norm.cdf(shift / np.sqrt(2))
    covered = 0
    for _ in range(500):
        _, low, high = membership_inference.area_interval(random.normal(shift, 1, 120), random.normal(0, 1, 150), 0.95)
        covered += low <= truth <= high
    assert 0.92 <= covered / 500 <= 0.98


def test_the_spread_interval_equals_the_chi_squared_law() -> None:
    scores = np.array([0.9, 0.91, 0.93, 0.905])
    value, low, high = seed_stability.spread(scores, 0.95)
    exact = value * np.sqrt(3 / stats.chi2.ppf([0.975, 0.025], 3))
    assert value == pytest.approx(scores.std(ddof=1))
    assert (low, high) == pytest.approx(tuple(exact), rel=0.03)


def test_calibration_error_by_hand() -> None:
    confidence, right = np.array([0.6, 0.6, 0.9, 0.9]), np.array([1.0, 0.0, 1.0, 1.0])
    assert calibration.expected_error(confidence, right, bins=2) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert calibration.expected_error(confidence, right, bins=1) == pytest.approx(abs(0.75 - 0.75))


@given(st.integers(20, 200), st.integers(1, 12))
def test_equal_weights_change_nothing(n: int, bins: int) -> None:
    random = np.random.default_rng(n)
    confidence, right = random.random(n), (random.random(n) < 0.5).astype(float)
    weighted = calibration.expected_error(confidence, right, np.full((1, n), 1 / n), bins)
    assert np.asarray(weighted)[0] == pytest.approx(calibration.expected_error(confidence, right, bins=bins))


def test_a_calibrated_model_stays_below_what_chance_allows() -> None:
    random = np.random.default_rng(2)
    beyond = 0
    for _ in range(200):
        confidence = random.uniform(0.5, 1.0, 300)
        right = (random.random(300) < confidence).astype(float)
        limit = np.quantile(calibration.by_chance(confidence, random, 200), 0.95)
        beyond += calibration.expected_error(confidence, right) > limit
    assert beyond / 200 < 0.1
