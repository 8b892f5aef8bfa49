"""Capacity: processes on a machine, requests over a horizon, machines under growth, queueing at the latency limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from bakeoff.economics import default_book
from bakeoff.economics.capacity import YEAR, machine_hours, processes, requests, sustained_rate

CLOUD = default_book().machine("cloud-4c")


def test_processes_are_bounded_by_cores_and_memory() -> None:
    assert processes(CLOUD, 1, None) == 4
    assert processes(CLOUD, 2, None) == 2
    assert processes(CLOUD, 1, 5e9) == 2
    assert processes(CLOUD, 8, None) == 0
    assert processes(CLOUD, 1, 50e9) == 0


@given(st.floats(0.01, 100), st.floats(-0.5, 2.0), st.floats(0.1, 5.0))
def test_requests_are_the_integral_of_a_growing_volume(volume: float, growth: float, years: float) -> None:
    expected = quad(lambda t: volume * (1 + growth) ** t * YEAR, 0, years)[0]
    assert requests(volume, growth, years * YEAR) == pytest.approx(expected, rel=1e-9)


def test_no_growth_is_volume_times_time() -> None:
    assert requests(2.0, 0.0, 100.0) == pytest.approx(200.0)


def test_whole_machines_and_at_least_one() -> None:
    hours = machine_hours(40.0, 0.0, 3600.0 * 10, np.array([60.0, 40.0, 39.9, 10.0, np.inf]))
    assert hours == pytest.approx([10, 10, 20, 40, 10])


def test_growth_buys_machines_when_they_are_needed() -> None:
    flat = machine_hours(30.0, 0.0, YEAR, 40.0)
    doubled = machine_hours(30.0, 1.0, YEAR, 40.0)  # 30 → 60 a second: the second machine from 33 % growth on
    share = np.log2(40 / 30)
    assert float(doubled) / float(flat) == pytest.approx(1 + (1 - share), abs=0.05)


@given(st.floats(0.1, 500), st.floats(0, 1), st.floats(1, 100))
def test_more_capacity_never_needs_more_machines(peak: float, growth: float, capacity: float) -> None:
    less, more = machine_hours(peak, growth, YEAR, np.array([capacity, 1.3 * capacity]))
    assert more <= less


def test_sustained_rate_agrees_with_queueing_theory() -> None:
    """M/M/1: the p95 response time is ln(20)/(μ-λ) (Kleinrock 1975)."""
    service = np.random.default_rng(3).exponential(0.01, 20_000)
    limit = 0.06
    expected = 1 / service.mean() - np.log(20) / limit
    found = sustained_rate(service, {0.95: limit}, seed=5)
    assert found.value == pytest.approx(expected, rel=0.15)
    assert found.provenance == "predicted"


def test_looser_limits_sustain_more_and_impossible_ones_nothing() -> None:
    service = np.full(100, 0.01)
    rates = [sustained_rate(service, {0.95: limit}).value for limit in (0.012, 0.02, 0.05, 1.0)]
    assert rates == sorted(rates)
    assert sustained_rate(service, {0.95: 0.009}).value == 0.0
    assert sustained_rate(service, {}).value == pytest.approx(80.0)


def test_nothing_measured_is_refused() -> None:
    found = sustained_rate([], {})
    assert found.value is None
    assert found.validity == "refused"
