"""What is measured at start-up, what is chosen from it, and worker processes that die."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.runtimes import cores
from bakeoff.schema.errors import BundleError
from bakeoff.serving import curve, engine
from bakeoff.serving.__main__ import parser
from bakeoff.serving.computing import Outcome
from bakeoff.serving.curve import Curve, Point
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import Opened, open_bundle
from bakeoff.serving.on_ray import RayEngine
from bakeoff.serving.pressure import Pressure
from bakeoff.serving.service import Service
from benchmarks import _tampering as tampering
from tests.serving.running import Running


def curved(*each: float) -> Curve:
    """Return a curve whose rows cost ``each`` seconds in batches of 1, 2, 4, …"""
    return Curve(tuple(Point(2**at, cost * 2**at, cost * 2**at) for at, cost in enumerate(each)), "made-up")


@pytest.mark.parametrize(
    ("found", "batch"),
    [
        (curved(1.0, 1.0, 1.0), 1), (curved(1.0, 0.99, 0.985), 1), (curved(1.0, 0.6, 0.5, 0.3), 8), (curved(1.0, 0.6, 0.59, 0.7), 2),
    ],
)  # fmt: skip
def test_the_smallest_batch_that_is_as_cheap_as_any_is_chosen(found: Curve, batch: int) -> None:
    assert found.batch() == batch


def test_a_batch_leaves_time_for_the_one_before_it() -> None:
    found = curved(1.0, 0.6, 0.5, 0.3)
    assert [found.batch(longest) for longest in (2.4, 2.0, 1.2, 0.1)] == [8, 4, 2, 1]


def test_cheap_batches_are_computed_on_the_event_loop() -> None:
    assert curved(1e-5, 1e-5).inline(2, 2)
    assert not curved(1e-3, 1e-3).inline(2, 2)
    assert curved(1e-3, 1e-3).inline(1, 1)


def test_a_batch_too_long_for_the_event_loop_is_cut_where_that_costs_little_and_not_where_it_costs_much() -> None:
    nearly, much = curved(7e-4, 4e-4, 2.5e-4, 2.4e-4), curved(7e-4, 4e-4, 2.5e-4, 1.3e-4)
    assert (nearly.batch(curve.INLINE), nearly.batch()) == (4, 8)
    assert nearly.inline(4, 8)
    assert not much.inline(4, 8)


def test_what_takes_a_core_as_long_as_it_takes_the_event_loop_is_shared_among_cores() -> None:
    assert curved(5e-5).inline(1, 1, threads=8)
    assert not curved(5e-4).inline(1, 1, threads=8)
    assert curved(5e-4).inline(1, 1, threads=1)


class Slow:
    """Takes a fixed time per batch and some per row."""

    def __init__(self, batch: float, row: float) -> None:
        self.batch, self.row = batch, row
        self.sizes: list[int] = []

    def predict(self, rows: Sequence[Any]) -> tuple[Any, Any]:
        """Burn CPU time."""
        self.sizes.append(len(rows))
        end = time.process_time() + self.batch + self.row * len(rows)
        while time.process_time() < end:
            pass
        return np.zeros(len(rows), np.int64), np.full((len(rows), 2), 0.5)


def test_the_curve_finds_out_whether_batching_pays(text_bundle: Path) -> None:
    opened = open_bundle(text_bundle)
    reader = engine.build(opened, Limits(), engine.Computing()).service.reader
    memory_bound, compute_bound = Slow(2e-3, 1e-5), Slow(0.0, 1e-3)
    assert curve.measure(memory_bound, reader, opened, most=64, seconds=1.0).batch() >= 16
    assert curve.measure(compute_bound, reader, opened, most=64, seconds=1.0).batch() <= 2
    assert max(compute_bound.sizes) <= 8, "larger batches are not tried once they stop paying"


def test_contract_rows_are_measured_on_where_there_are_any(text_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_bundle(text_bundle)
    built = engine.build(opened, Limits(), engine.Computing())
    assert built.measured is not None
    assert built.measured.source == "contract"
    monkeypatch.setattr(Opened, "path", lambda *_: None)
    built = engine.build(opened, Limits(), engine.Computing())
    assert built.measured is not None
    assert built.measured.source == "made-up"


class Spread:
    """A model of several stages or replicas, which compute elsewhere."""

    concurrency = 3

    def predict_proba(self, rows: Sequence[Any]) -> Any:
        """Answer."""
        return np.full((len(rows), 2), 0.5)

    def close(self) -> None:
        """There is nothing to close."""


def waiting(cost: float, wall: float) -> Curve:
    """Return a curve of a model that this process waits for."""
    return Curve(tuple(Point(rows, wall * rows, cost * rows) for rows in (1, 2)), "made-up")


@pytest.mark.parametrize(
    ("found", "how", "clock"),
    [
        (curved(2e-3, 2e-3), engine.Computing(), time.thread_time),
        (curved(2e-3, 2e-3), engine.Computing(threads=2), time.perf_counter),
        (waiting(1e-5, 2e-3), engine.Computing(), time.perf_counter),
        (curved(2e-3, 2e-3), engine.Computing(loader=lambda *_: Spread()), time.perf_counter),
    ],
)
def test_what_others_compute_costs_the_time_that_is_waited_for_them(
    found: Curve, how: engine.Computing, clock: object, text_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "measure", lambda *_, **__: found)
    built = engine.build(open_bundle(text_bundle), Limits(), how)
    assert built.batcher(lambda *_: None, lambda *_: None).clock is clock
    built.close()


def test_an_engine_of_which_nothing_else_is_said_computes_elsewhere(text_bundle: Path) -> None:
    service = engine.build(open_bundle(text_bundle), Limits(), engine.Computing()).service
    batcher = RayEngine(service, [Slow(0, 0)], size=1).batcher(lambda *_: None, lambda *_: None)
    assert batcher.clock is time.perf_counter


class Far:
    """Takes 2 ms a row, somewhere else."""

    predictor = None

    def run(self, rows: Sequence[Any]) -> Outcome:
        """Wait."""
        time.sleep(2e-3 * len(rows))
        return Outcome([0] * len(rows), [[1.0]] * len(rows))


def test_a_batch_computed_elsewhere_takes_no_longer_than_it_may(text_bundle: Path) -> None:
    service = engine.build(open_bundle(text_bundle), Limits(queue_seconds=0.05), engine.Computing()).service
    built = RayEngine(service, [Slow(0, 0)], size=1, measured=curved(2e-3))

    async def main() -> int:
        batcher = built.batcher(lambda *_: None, lambda *_: None)
        batcher._computes = [Far()]  # type: ignore[list-item]
        batcher.pressure = Pressure(1, 1e9)
        batcher.start()
        assert batcher.tuner is not None
        while not batcher.tuner.done:
            while batcher.waiting < 2 * curve.MOST:
                batcher.submit([{"text": "a"}], time.perf_counter() + 60, lambda *_: None)
            await asyncio.sleep(1e-3)
        batcher.stop()
        return batcher.chosen

    assert 2e-3 * asyncio.run(main()) <= engine.longest_batch(service)


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b garbage",
        b"no gzip",
        gzip.compress(b'{"row": {"text": "a"}}\n' * 9)[:-20],
        gzip.compress(b"[1]\n" * 3),
        gzip.compress(b'{"row": 1}\n' * 3),
        gzip.compress(b"{\n" * 3),
        gzip.compress(b"{}\n" * 3),
    ],
    ids=["damaged", "not gzip", "cut off", "not a row", "not columns", "not JSON", "empty"],
)
def test_damaged_contract_rows_are_an_error_of_the_bundle(text_bundle: Path, tmp_path: Path, content: bytes) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(text_bundle, copy)
    (copy / curve.ROWS).write_bytes(content)
    tampering.relist(copy)
    with pytest.raises(BundleError, match="is damaged"):
        engine.build(open_bundle(copy), Limits(), engine.Computing())


@pytest.mark.parametrize(("found", "mode"), [(curved(5e-5, 5e-5), "inline"), (curved(2e-3, 2e-3), "threads")])
def test_who_computes_follows_from_the_curve_unless_it_is_said(
    found: Curve, mode: str, text_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "measure", lambda *_, **__: found)
    opened = open_bundle(text_bundle)
    assert engine.build(opened, Limits(), engine.Computing()).mode == mode
    assert engine.build(opened, Limits(), engine.Computing(mode="threads", replicas=2)).mode == "threads"


@pytest.mark.parametrize(("threads", "replicas"), [(None, 6), (4, 1), (12, 1)])
def test_a_model_that_threads_share_uses_every_core(
    threads: int | None, replicas: int, numbers_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "usable", lambda: 6)
    built = engine.build(open_bundle(numbers_bundle), Limits(), engine.Computing(threads=threads, mode="threads"))
    assert len(built.predictors) == replicas
    built.close()


def test_a_model_that_each_thread_would_load_is_loaded_once(text_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: 6)
    assert len(engine.build(open_bundle(text_bundle), Limits(), engine.Computing(mode="threads")).predictors) == 1


@pytest.mark.parametrize("flags", [("--replicas", "0"), ("--replicas", "-3"), ("--threads", "0"), ("--threads", "two")])
def test_no_replicas_and_no_threads_are_refused(flags: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["bundle", *flags])
    assert caught.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_waits_are_told_from_recent_batches_and_refused_beyond_the_limit() -> None:
    pressure = Pressure(2, 0.1, row=0.001, rows=32)
    assert pressure.delay(100) == pytest.approx(0.05)
    assert pressure.answer(100, 20) == pytest.approx(0.07), "one thread computes the whole of its batch"
    assert pressure.bearable(pressure.answer(160, 20))
    assert not pressure.bearable(pressure.answer(200, 20))
    for _ in range(40):
        pressure.learn(10, 0.1)
    assert pressure.delay(100) == pytest.approx(0.5, rel=0.05)
    assert pressure.retry_after(1000) == 5


@pytest.mark.parametrize("servers", [1, 2, 4])
def test_a_machine_that_stood_still_for_once_is_not_taken_for_slow(servers: int) -> None:
    pressure = Pressure(servers, 1.0, row=0.01, rows=8)
    for _ in range(20):
        pressure.learn(8, 0.08)
    for _ in range(servers):  # whatever was being computed then ends late
        pressure.learn(8, 60.0)
    assert pressure.row < 0.08
    assert pressure.bearable(pressure.delay(12 * servers))
    for _ in range(2 * servers + 2):
        pressure.learn(8, 8.0)
    assert pressure.row > 0.3, "one that has become slow is soon known to be"


def test_what_takes_long_twice_in_a_row_is_slow() -> None:
    pressure = Pressure(1, 0.3, row=0.0001, rows=8)
    pressure.learn(1, 0.1)
    assert pressure.bearable(pressure.delay(24))
    pressure.learn(1, 0.1)
    assert pressure.row > 0.01
    pressure.learn(1, 0.1)
    assert not pressure.bearable(pressure.delay(24))


@pytest.mark.parametrize("uneven", [0.15, 0.3])
def test_hardly_any_of_the_accepted_is_later_than_the_limit_on_an_uneven_machine(uneven: float) -> None:
    pressure, draw = Pressure(1, 0.3, row=0.005, rows=4), np.random.default_rng(0)
    late, margins = [], []
    for _ in range(20_000):
        rows = next(rows for rows in range(60, 0, -1) if pressure.bearable(pressure.delay(rows)))
        expected = pressure.delay(rows)
        took = expected * float(draw.lognormal(0.0, uneven))
        pressure.compare(expected, took)
        late.append(took > 0.3)
        margins.append(pressure.margin)
    assert np.mean(late[:8]) > 0.1, "until it knows"
    assert 0.001 < np.mean(late[256:]) < 0.015
    assert min(margins[256:]) > 1.2, "what is accepted because of the margin does not speak against it"


def test_a_margin_goes_with_the_load_and_leaves_some_batches_waiting() -> None:
    pressure = Pressure(1, 0.3, row=0.01, rows=8)
    for _ in range(100):
        pressure.compare(0.1, 0.25)
    assert pressure.margin == 1.0, "far from the limit it is kept anyhow"
    for _ in range(8):
        pressure.compare(0.2, 9.0)
    assert pressure.margin == 2.0
    assert not pressure.bearable(0.25)
    assert pressure.bearable(3 * pressure.batch)
    for _ in range(256 + 8):
        pressure.compare(0.1, 0.1)
    assert pressure.margin == 1.0
    for _ in range(8):
        pressure.compare(0.2, 9.0)
    for _ in range(100):
        pressure.learn(8, 0.14)
    assert pressure.bearable(0.3), "as long as two batches: half the limit would leave a thread without work"
    assert not pressure.bearable(0.31)


def test_a_request_is_hopeless_only_after_half_its_time() -> None:
    pressure = Pressure(1, 1.0)
    pressure.learn(1, 60.0)
    assert not pressure.hopeless(0.0, 10.0, 1.0), "a wrong estimate must not refuse for ever"
    assert pressure.hopeless(0.0, 10.0, 6.0)
    assert pressure.hopeless(0.0, 10.0, 11.0)


def test_the_service_answers_without_http(text_bundle: Path) -> None:
    service: Service = engine.build(open_bundle(text_bundle), Limits(), engine.Computing()).service
    found = service.predict({"texts": ["很好 满意", "糟糕 失望"]})
    assert [one["label"] for one in found["predictions"]] == ["good", "bad"]


def test_the_status_page_shows_curve_and_choice(texts: Running) -> None:
    status = texts.client.get("/v1/status").json()
    assert status["compute"]["mode"] in {"inline", "threads"}
    assert status["compute"]["batch"] in [point["rows"] for point in status["curve"]["points"]]
    assert status["curve"]["rows_from"] == "contract"
    assert status["queue"]["expected_seconds"] >= 0
    assert 1.0 <= status["queue"]["margin"] <= 2.0
    assert texts.metric("bakeoff_batch_size") == status["compute"]["batch"]


def tuned(costs: dict[int, float], size: int, most: int = 64, drift: float = 1.0) -> int:
    """Return the size a tuner ends with when rows cost ``costs[size]`` seconds in full batches, ``drift`` times more each time."""
    tuner, following = curve.Tuner(size, most, longest=1.0), size
    for number in range(100):
        following = tuner.learn(following, costs[following] * following * drift**number)
        assert tuner.learn(3, 1.0) == following, "what is not full says nothing"
    assert tuner.done
    assert following == tuner.size
    return tuner.size


def test_larger_batches_are_tried_under_load_and_kept_where_they_are_cheaper() -> None:
    assert tuned({4: 1e-3, 8: 8e-4, 16: 7e-4, 32: 7e-4}, 4) == 16
    assert tuned({4: 1e-3, 8: 1e-3}, 4) == 4
    assert tuned({32: 1e-3, 64: 5e-4}, 32) == 64
    assert tuned({4: 2e-1, 8: 1e-2}, 4) == 4, "a batch takes no longer than it may"


def test_a_machine_that_slows_down_meanwhile_does_not_choose() -> None:
    assert tuned({4: 1e-3, 8: 8e-4, 16: 8e-4}, 4, drift=1.02) == 8
    assert tuned({4: 1e-3, 8: 1e-3}, 4, drift=0.98) == 4
