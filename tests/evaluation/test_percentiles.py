"""Percentiles against scipy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bakeoff.evaluation.percentiles import Exceedance, binomial_cdf, percentile, ranks, required


@pytest.mark.parametrize(
    ("q", "assurance", "n"),
    [(0.5, 0.99, 7), (0.9, 0.99, 44), (0.95, 0.99, 90), (0.99, 0.99, 459), (0.999, 0.99, 4603), (0.95, 0.95, 59)],
)
def test_the_smallest_sample_that_carries_a_percentile(q: float, assurance: float, n: int) -> None:
    assert required(q, assurance) == n
    assert 1 - q**n >= assurance > 1 - q ** (n - 1)


@given(st.integers(1, 2000), st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_binomial_distribution_is_scipys(n: int, p: float) -> None:
    np.testing.assert_allclose(binomial_cdf(n, p), stats.binom.cdf(np.arange(n + 1), n, p), atol=1e-9)


@given(st.integers(1, 1500), st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.sampled_from([0.9, 0.95, 0.99]))
@settings(max_examples=200, deadline=None)
def test_ranks_are_the_tightest_that_keep_their_promise(n: int, q: float, confidence: float) -> None:
    tail = (1 - confidence) / 2
    lower, upper = ranks(n, q, confidence)
    if lower:  # P(X[lower] ≤ quantile) = P(at least `lower` draws lie below it)
        assert stats.binom.sf(lower - 1, n, q) >= 1 - tail - 1e-9
    assert stats.binom.sf(lower, n, q) < 1 - tail + 1e-9
    if upper:  # P(X[upper] ≥ quantile) = P(fewer than `upper` draws lie below it)
        assert stats.binom.cdf(upper - 1, n, q) >= 1 - tail - 1e-9
        assert stats.binom.cdf(upper - 2, n, q) < 1 - tail + 1e-9
    else:
        assert stats.binom.cdf(n - 1, n, q) < 1 - tail + 1e-9


@pytest.mark.parametrize(("n", "q"), [(100, 0.5), (120, 0.95), (600, 0.99)])
def test_intervals_cover_as_often_as_they_say(n: int, q: float) -> None:
    rng = np.random.default_rng(1)
    true, trials, hits = -np.log(1 - q), 3000, 0
    for _ in range(trials):
        found = percentile(rng.exponential(size=n), q, 0.95)
        assert found.low is not None
        hits += found.low <= true and (found.high is None or true <= found.high)
    assert hits / trials >= 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


def test_a_percentile_is_refused_with_what_is_missing_but_bounded_below() -> None:
    found = percentile(np.arange(1, 81) / 1000, 0.95)
    assert (found.value, found.n, found.missing) == (None, 80, 10)
    assert found.low is not None
    assert found.low > 0.06
    assert percentile([], 0.95).missing == 90
    assert percentile(np.arange(90.0), 0.95).missing == 0


def test_the_value_is_the_nearest_rank() -> None:
    assert percentile(np.arange(1.0, 101.0), 0.95).value == 95.0
    assert percentile(np.arange(1.0, 101.0), 0.5).value == 50.0
    assert percentile(np.ones(200), 0.95).value == 1.0


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_a_kept_limit_is_seldom_called_broken_however_often_one_looks(q: float) -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(2000):
        test = Exceedance(1.0, q)
        for above in rng.random(300) > q:  # exactly the share that is allowed
            test.add(2.0 if above else 0.5)
            if test.proves():
                alarms += 1
                break
    assert alarms / 2000 <= 0.01 + 3 * (0.01 * 0.99 / 2000) ** 0.5


@pytest.mark.parametrize(("q", "most"), [(0.5, 16), (0.95, 3), (0.99, 2)])
def test_a_broken_limit_is_proven_within_a_few_requests(q: float, most: int) -> None:
    test = Exceedance(1.0, q)
    needed = 0
    while not test.proves():
        test.add(2.0)
        needed += 1
    assert needed <= most
