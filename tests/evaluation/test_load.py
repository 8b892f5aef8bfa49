"""Queueing against a simulation by hand and the textbook, and open-loop runs on a clock that moves only when told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.evaluation import load, noise, timing
from bakeoff.evaluation.load import (
    closed_loop,
    cpu_per_row,
    measure_throughput,
    predicted_rate,
    queueing,
    run_open_loop,
)
from bakeoff.evaluation.noise import Busyness
from bakeoff.evaluation.timing import Protocol, Timed
from bakeoff.testing import ScriptedClock

QUIET = Busyness(0.0, 1.0, 1.0, 0.0, 0.1)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.001, 3.0)), min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_queueing_is_what_a_server_does_one_by_one(requests: list[tuple[float, float]]) -> None:
    arrivals = np.cumsum([gap for gap, _ in requests])
    service = np.array([duration for _, duration in requests])
    free, expected = 0.0, []
    for arrival, duration in zip(arrivals, service, strict=True):
        free = max(free, arrival) + duration
        expected.append(free - arrival)
    np.testing.assert_allclose(queueing(arrivals, service), expected, atol=1e-9)


def test_the_mean_wait_is_pollaczek_and_khinchines() -> None:
    rng = np.random.default_rng(0)
    rate, service = 0.7, np.ones(400_000)  # M/D/1 at utilisation 0.7
    arrivals = np.cumsum(rng.exponential(1 / rate, len(service)))
    waits = queueing(arrivals, service) - service
    assert waits.mean() == pytest.approx(rate / (2 * (1 - rate)), rel=0.05)


def test_the_predicted_rate_stays_below_capacity_and_grows_with_the_limit() -> None:
    service = np.full(100, 0.01)
    rates = [predicted_rate(service, {"p95": limit}) for limit in (0.009, 0.0101, 0.02, 0.05, 0.5)]
    assert rates[0] == 0.0
    assert rates == sorted(rates)
    assert 80 < rates[-1] < 100
    assert predicted_rate(np.zeros(0), {"p95": 1.0}) == 0.0


class Server:
    """A candidate on a scripted clock."""

    def __init__(self, clock: ScriptedClock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def predict(self, rows: Sequence[Any]) -> None:
        self.clock.advance(self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ScriptedClock:
    made = ScriptedClock()
    for module in (load, timing, noise):
        monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(noise, "_machine_cpu", lambda: None)
    monkeypatch.setattr(noise.Watch, "beat", lambda self: (self._walls.append(1e-3), self._cpus.append(1e-3)))

    class Waiting:
        known = True

        def read(self) -> float:
            return 0.0

        def close(self) -> None: ...

    monkeypatch.setattr(load, "Waiting", Waiting)
    return made


def timed(seconds: float, n: int = 100) -> Timed:
    rng = np.random.default_rng(0)
    latency = seconds * rng.uniform(0.99, 1.01, n)
    return Timed(latency, latency, np.zeros(n), QUIET, 1)


def plan(**changes: Any) -> Protocol:
    plain: dict[str, Any] = {
        "requests": 100,
        "fewest": 30,
        "seconds": 12.0,
        "repeats": 2,
        "limits": {"p95": 0.05},
        "load_seconds": 3.0,
    }
    return Protocol(**{**plain, **changes})


def test_requests_leave_at_their_intended_time_or_when_the_server_is_free(clock: ScriptedClock) -> None:
    run = run_open_loop(Server(clock, 0.01), [{}], rate=50.0, seconds=2.0, seed=3)  # type: ignore[arg-type]
    assert len(run.latency) == 100
    assert (run.sent >= run.intended - 1e-9).all()
    np.testing.assert_allclose(run.latency, queueing(run.intended, np.full(100, 0.01)), atol=2e-3)
    assert run.sustained()


def test_an_overload_shows_as_a_backlog_even_in_a_short_run(clock: ScriptedClock) -> None:
    run = run_open_loop(Server(clock, 0.01), [{}], rate=1000.0, seconds=1.0, seed=0)  # type: ignore[arg-type]
    assert not run.sustained()
    assert run.achieved == pytest.approx(100.0, rel=0.02)
    assert float(run.latency[-1]) > 5.0


def test_the_highest_rate_is_verified_by_a_real_run(clock: ScriptedClock) -> None:
    found, run = measure_throughput(Server(clock, 0.01), [{}], timed(0.01), plan(), 0.95)  # type: ignore[arg-type]
    assert run is not None
    assert found.provenance == "measured"
    assert found.value is not None
    assert 60 < found.value < 100
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert "open loop" in found.remark
    assert f"发出 {found.n} 次请求" in found.remark_zh


def test_a_server_slower_under_load_than_alone_is_backed_off(clock: ScriptedClock) -> None:
    found, run = measure_throughput(Server(clock, 0.02), [{}], timed(0.01), plan(), 0.95)  # type: ignore[arg-type]
    assert run is not None
    assert found.value is not None
    assert found.value < 50


def test_a_required_rate_that_a_real_run_kept_is_proven(clock: ScriptedClock) -> None:
    found, _ = measure_throughput(Server(clock, 0.01), [{}], timed(0.01), plan(least_rate=40.0), 0.95)  # type: ignore[arg-type]
    assert found.low is not None
    assert found.low >= 40.0


def test_a_latency_limit_that_one_request_breaks_leaves_no_rate(clock: ScriptedClock) -> None:
    found, run = measure_throughput(Server(clock, 0.1), [{}], timed(0.1), plan(), 0.95)  # type: ignore[arg-type]
    assert (found.value, found.high, run) == (0.0, 0.0, None)


def test_without_a_load_run_the_rate_is_labelled_predicted(clock: ScriptedClock) -> None:
    found, run = measure_throughput(Server(clock, 0.01), [{}], timed(0.01), plan(load_seconds=0.0), 0.95)  # type: ignore[arg-type]
    assert run is None
    assert found.provenance == "predicted"


def test_without_a_limit_capacity_is_the_closed_loop() -> None:
    found = closed_loop(timed(0.01), 0.95)
    assert found.value == pytest.approx(100.0, rel=0.01)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    busy = Timed(np.full(10, 0.01), np.full(10, 0.01), np.zeros(10), Busyness(0.5, 1.0, 1.0, 0.0, 2.0), 1)
    assert closed_loop(busy, 0.95).validity == "noisy"


def test_cpu_seconds_per_row_is_the_mean_with_its_interval() -> None:
    found = cpu_per_row(timed(0.02), 0.95)
    assert found.value == pytest.approx(0.02, rel=0.01)
    assert found.unit == "s"
    single = cpu_per_row(Timed(np.array([0.1]), np.array([0.1]), np.zeros(1), QUIET, 1), 0.95)
    assert single.low == 0.0
