"""Timing on a clock that moves only when told: what is said of a quiet machine, of a busy one, and of too few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff import testing
from bakeoff.evaluation import noise, timing
from bakeoff.evaluation.noise import Busyness
from bakeoff.evaluation.timing import Protocol, Timed, measure_latency, protocol, time_requests, warm_up
from bakeoff.schema import Measurement, Spec, Trial
from bakeoff.testing import ScriptedClock


class World:
    """A clock, a candidate that takes CPU time, and neighbours that make it wait."""

    def __init__(self) -> None:
        self.wall = ScriptedClock()
        self.cpu = 0.0
        self.waited = 0.0
        self.service: Iterator[float] = iter(())
        self.waits: Iterator[float] = iter(())
        self.requests = 0
        self.quiet = True

    def predict(self, rows: Sequence[Any]) -> None:
        """Serve one request."""
        assert len(rows) == 1
        self.requests += 1
        service, wait = next(self.service), next(self.waits, 0.0)
        self.wall.advance(service + wait)
        self.cpu += service
        self.waited += wait

    def time(self) -> Any:
        """What stands in for the time module."""
        world = self

        class Time:
            perf_counter = staticmethod(world.wall.perf_counter)
            process_time = staticmethod(lambda: world.cpu)
            thread_time = staticmethod(lambda: world.cpu)

        return Time


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    class Waiting:
        known = True

        def read(self) -> float:
            return made.waited

        def refresh(self) -> None: ...

        def close(self) -> None: ...

    def beat(self: noise.Watch) -> None:
        self._walls.append(1e-3 if made.quiet else 2e-3)
        self._cpus.append(1e-3)

    monkeypatch.setattr(timing, "time", made.time())
    monkeypatch.setattr(noise, "time", made.time())
    monkeypatch.setattr(timing, "Waiting", Waiting)
    monkeypatch.setattr(noise.Watch, "beat", beat)
    monkeypatch.setattr(noise, "_machine_cpu", lambda: None)
    return made


def forever(value: float) -> Iterator[float]:
    while True:
        yield value


def plan(**changes: Any) -> Protocol:
    plain: dict[str, Any] = {"requests": 100, "fewest": 30, "seconds": 12.0, "repeats": 2, "limits": {"p95": 0.05}}
    return Protocol(**{**plain, **changes})


def measured(world: World, protocol: Protocol) -> tuple[Timed, dict[str, Measurement]]:
    timed = time_requests(world, [{"text": "a"}], protocol, 1)  # type: ignore[arg-type]
    return timed, {found.name: found for found in measure_latency(timed, protocol, 0.95)}


def test_a_quiet_machine_gives_valid_percentiles_of_wall_time(world: World) -> None:
    world.service = iter(np.linspace(0.01, 0.02, 100))
    timed, found = measured(world, plan())
    assert len(timed.latency) == 100
    assert found["latency_p95"].value == pytest.approx(0.0195, abs=1e-3)
    assert found["latency_p95"].validity == "valid"
    assert found["latency_p95"].n == 100
    assert found["latency_p50"].value == pytest.approx(0.015, abs=1e-3)
    assert "latency_p99" not in found


def test_time_spent_waiting_for_a_core_is_taken_off(world: World) -> None:
    world.service, world.waits = forever(0.02), iter([0.1, 0.0] * 50)
    timed, found = measured(world, plan())
    assert float(timed.latency.max()) == pytest.approx(0.02, rel=1e-3)
    assert float(timed.wait.sum()) == pytest.approx(5.0)
    assert not timed.busyness.quiet
    assert found["latency_p95"].validity == "valid"  # the limit is kept in spite of the neighbours
    assert found["latency_p95"].high is not None
    assert found["latency_p95"].high < 0.05


def test_a_pass_on_a_busy_machine_is_a_pass(world: World) -> None:
    world.quiet, world.service = False, forever(0.01)
    _, found = measured(world, plan())
    assert found["latency_p95"].validity == "valid"
    assert world.requests == 100  # and nothing is repeated


def test_a_fail_on_a_busy_machine_is_refused_after_repeating(world: World) -> None:
    world.quiet = False
    world.service = forever(0.03)
    # time that is neither ours nor seen as waiting: a stolen core, which only the calibration loop shows
    predict = world.predict

    def slowed(rows: Sequence[Any]) -> None:
        predict(rows)
        world.wall.advance(0.04)

    world.predict = slowed  # type: ignore[method-assign]
    _, found = measured(world, plan(seconds=100.0))
    assert found["latency_p95"].validity == "noisy"
    assert found["latency_p95"].low == pytest.approx(0.03 / noise.SLOWED, rel=1e-3)  # what CPU time alone proves
    assert found["latency_p95"].high == pytest.approx(0.07, rel=1e-3)
    assert "busy" in found["latency_p95"].remark
    assert "测量时机器正忙" in found["latency_p95"].remark_zh
    assert world.requests > 5


def test_a_fail_counts_on_a_busy_machine_when_cpu_time_alone_breaks_the_limit(world: World) -> None:
    world.quiet, world.service = False, forever(0.08 * noise.SLOWED)
    timed, found = measured(world, plan(repeats=0))
    assert found["latency_p95"].low is not None
    assert found["latency_p95"].low > 0.05
    assert found["latency_p95"].validity != "noisy"
    assert len(timed.latency) == 5  # no need for more


def test_a_round_is_repeated_until_it_is_quiet(world: World) -> None:
    world.service = forever(0.03)
    world.waits = iter([0.04] * 100 + [0.0] * 100)
    timed, found = measured(world, plan(limits={"p95": 0.025}, requests=100, fewest=100))
    assert found["latency_p95"].low is not None
    assert found["latency_p95"].low > 0.025
    assert timed.busyness.quiet or found["latency_p95"].validity != "noisy"


def test_too_few_requests_refuse_the_percentile_and_say_how_many_are_missing(world: World) -> None:
    world.service = forever(0.4)
    _, found = measured(world, plan(limits={"p95": 1.0}, seconds=10.0))
    assert found["latency_p95"].validity == "refused"
    assert found["latency_p95"].value is None
    assert "90 requests, 30 were timed: 60 are missing" in found["latency_p95"].remark
    assert found["latency_p95"].remark_zh == "p95 至少需要 90 次请求，只测了 30 次，还差 60 次"
    assert found["latency_p50"].value == pytest.approx(0.4, rel=1e-3)


def test_p99_is_asked_for_only_when_limited_and_then_refused_below_459(world: World) -> None:
    world.service = forever(0.01)
    _, found = measured(world, plan(limits={"p99": 0.05}))
    assert "459" in found["latency_p99"].remark
    world.service = forever(0.01)
    _, found = measured(world, plan(limits={"p99": 0.05}, requests=459))
    assert found["latency_p99"].value == pytest.approx(0.01, rel=1e-3)


def test_a_probe_stops_as_soon_as_the_limit_is_proven_broken(world: World) -> None:
    world.service = forever(0.3)
    timed, found = measured(world, plan(probe=True, requests=90, fewest=5))
    assert len(timed.latency) == 5
    assert found["latency_p95"].low is not None
    assert found["latency_p95"].low > 0.05
    assert "already breaks the limit" in found["latency_p95"].remark


def test_a_probe_stops_as_soon_as_the_limit_is_proven_kept(world: World) -> None:
    world.service = forever(0.001)
    timed, _ = measured(world, plan(probe=True, requests=2000, fewest=5))
    assert len(timed.latency) == 90


def test_waiting_of_a_remote_model_is_its_own(world: World) -> None:
    world.service, world.waits = forever(0.001), forever(0.1)
    timed, _ = measured(world, plan(remote=True))
    assert float(timed.latency.min()) == pytest.approx(0.101, rel=1e-3)
    assert timed.busyness.waiting is None


def test_warming_up_ends_by_number_or_by_time(world: World) -> None:
    world.service = forever(0.001)
    warm_up(world, [{}])  # type: ignore[arg-type]
    assert world.requests == 20
    world.requests, world.service = 0, forever(0.9)
    warm_up(world, [{}])  # type: ignore[arg-type]
    assert world.requests == 3


@pytest.mark.parametrize(
    ("waiting", "ratio", "spread", "quiet"),
    [
        (0.0, 1.0, 1.0, True),
        (None, 1.02, 1.1, True),
        (0.2, 1.0, 1.0, False),
        (None, 1.5, 1.0, False),
        (0.0, 1.0, 2.0, False),
    ],
)
def test_what_counts_as_quiet(waiting: float | None, ratio: float, spread: float, quiet: bool) -> None:
    state = Busyness(waiting, ratio, spread, 10.0, 0.5)
    assert state.quiet is quiet
    assert ("waiting for a core" in state.remark().en) is (waiting is not None)
    assert ("等待 CPU 核心" in state.remark().zh) is (waiting is not None)


def test_the_kernel_counts_how_long_we_wait() -> None:
    waiting = noise.Waiting()
    if not waiting.known:
        pytest.skip("this system does not count it")
    first = waiting.read()
    assert waiting.read() >= first >= 0.0
    waiting.refresh()
    waiting.close()
    assert waiting.read() == 0.0


def test_a_model_that_fails_while_it_is_timed_leaves_no_file_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        waiting = noise.Waiting()
        with pytest.raises(ZeroDivisionError):
            timing.one_request(Failing(), {"text": "a"}, waiting)  # type: ignore[arg-type]
        del waiting
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20


class Failing:
    """A model that cannot answer."""

    def predict(self, rows: object) -> None:
        """Fail."""
        raise ZeroDivisionError


class TestProtocol:
    """How many requests, by purpose and preset."""

    def test_a_probe_needs_what_its_limits_need(
        self, make_spec: Callable[..., Spec], trial: Callable[..., Trial]
    ) -> None:
        candidate = testing.candidate()
        assert protocol(make_spec(), trial(candidate, "probe")).requests == 90
        assert protocol(make_spec(requirements={"latency": {"p99": "1s"}}), trial(candidate, "probe")).requests == 459
        unlimited = protocol(make_spec(requirements={}), trial(candidate, "probe"))
        assert unlimited.limits == {}
        assert unlimited.requests < 90

    @pytest.mark.parametrize(
        ("preset", "rounds", "least"), [("quick", 3, 100), ("standard", 4, 400), ("rigorous", 8, 1000)]
    )
    def test_rounds_together_carry_the_percentiles(
        self, make_spec: Callable[..., Spec], trial: Callable[..., Trial], preset: str, rounds: int, least: int
    ) -> None:
        found = protocol(
            make_spec(preset=preset, requirements={"latency": {"p95": "50ms", "p99": "90ms"}}),
            trial(testing.candidate(), "final"),
        )
        assert found.requests * rounds >= max(459, least)
        assert found.fewest * rounds >= 459

    def test_the_specification_may_ask_for_more(
        self, make_spec: Callable[..., Spec], trial: Callable[..., Trial]
    ) -> None:
        found = protocol(make_spec(measuring={"requests": 5000, "rounds": 10}), trial(testing.candidate(), "final"))
        assert found.requests == 500

    def test_load_is_tested_in_the_first_round_only(
        self, make_spec: Callable[..., Spec], trial: Callable[..., Trial]
    ) -> None:
        assert protocol(make_spec(), trial(testing.candidate(), "final", round=0)).load_seconds > 0
        assert protocol(make_spec(), trial(testing.candidate(), "final", round=1)).load_seconds == 0
