"""Percentiles: exact Bayesian bootstrap of a quantile, blocks of rounds, and when a percentile is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from bakeoff.decision.latency import least, percentiles, quantile_draws
from bakeoff.decision.view import views
from tests.decision.binomial import upper_bound
from tests.decision.worlds import CHAR, make_world


def test_smallest_samples_are_the_binomial_ones() -> None:
    assert [least(quantile) for quantile in (0.5, 0.9, 0.95, 0.99, 0.999)] == [7, 44, 90, 459, 4603]


def test_quantile_draws_are_those_of_dirichlet_weights() -> None:
    sample = np.sort(np.random.default_rng(1).lognormal(size=60))
    fast = quantile_draws([sample], [0.9], 6000, 0)[0]
    weights = np.random.default_rng(2).dirichlet(np.ones(60), 6000).cumsum(axis=1)
    slow = sample[(weights < 0.9).sum(axis=1).clip(max=59)]
    assert stats.ks_2samp(fast, slow).pvalue > 0.01


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_interval_of_a_percentile_covers(quantile: float) -> None:
    random, truth = np.random.default_rng(3), float(np.exp(stats.norm.ppf(quantile)))
    hits = []
    for number in range(400):
        drawn = quantile_draws([random.lognormal(size=400)], [quantile], 500, number)[0]
        low, high = np.quantile(drawn, (0.025, 0.975))
        hits.append(low <= truth <= high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)


def test_drift_between_rounds_widens_the_interval() -> None:
    random = np.random.default_rng(4)
    steady = [random.normal(10, 1, 150) for _ in range(5)]
    drifting = [part + shift for part, shift in zip(steady, (-2, -1, 0, 1, 2), strict=True)]
    widths = [
        np.ptp(np.quantile(quantile_draws(rounds, [0.5], 2000, 0)[0], (0.025, 0.975))) for rounds in (steady, drifting)
    ]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(("rounds", "shift"), [(3, 0.0), (4, 0.08), (8, 0.08)])
def test_interval_over_rounds_covers_what_the_machine_does_between_them(rounds: int, shift: float) -> None:
    """The state of the machine differs from round to round; the truth is the p95 over all its states (bench-decide: 2,000 studies)."""
    random, hits = np.random.default_rng(6), 0
    truth = float(np.exp(stats.norm.ppf(0.95) * np.hypot(0.25, shift)))
    for number in range(300):
        timed = [np.exp(0.25 * random.standard_normal(120) + shift * random.standard_normal()) for _ in range(rounds)]
        low, high = np.quantile(quantile_draws(timed, [0.95], 500, number % 4)[0], (0.025, 0.975))
        hits += low <= truth <= high
    assert upper_bound(300 - hits, 300, 0.05) <= 0.05 + 0.02
    assert upper_bound(300 - hits, 300, 0.999) >= 0.01


def test_two_rounds_that_differ_widely_stay_finite() -> None:
    drawn = quantile_draws([np.full(50, 0.001), np.full(50, 0.1)], [0.5, 0.95], 1000, 0)
    assert all(np.isfinite(found).all() and (found > 0).all() for found in drawn)


def test_a_percentile_is_refused_until_the_sample_supports_it() -> None:
    seen = views(make_world([dataclasses.replace(CHAR, rounds=2, requests=40)]))[0]
    found = percentiles(seen, 200, 0, 1)
    assert found["latency_p50"].missing == 0
    assert found["latency_p95"].missing == 10
    assert found["latency_p99"].missing == 379


def test_noise_excuses_waiting_but_not_the_processor() -> None:
    busy = dataclasses.replace(CHAR, latency=0.02, noisy=True, cpu_share=0.25)
    idle_cpu = percentiles(views(make_world([busy]))[0], 500, 0, 1)["latency_p95"]
    assert idle_cpu.noisy
    assert np.median(idle_cpu.floor) == pytest.approx(np.median(idle_cpu.draws) / 4, rel=0.02)
    hard = dataclasses.replace(busy, cpu_share=1.0)
    used_cpu = percentiles(views(make_world([hard]))[0], 500, 0, 1)["latency_p95"]
    assert np.median(used_cpu.floor) == pytest.approx(np.median(used_cpu.draws), rel=0.02)


def test_never_timed_has_no_percentiles() -> None:
    assert percentiles(views(make_world([dataclasses.replace(CHAR, timed=False)]))[0], 100, 0, 1) == {}
