"""What is measured at start-up, what is chosen from it, and worker processes that die."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from bakeoff.data.transforms.tabular import Table
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes import cores
from bakeoff.runtimes.keys import DECRYPT
from bakeoff.schema.errors import BundleError
from bakeoff.serving import curve, engine, frames
from bakeoff.serving.__main__ import parser
from bakeoff.serving.curve import Curve, Point
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import open_bundle
from bakeoff.serving.pressure import Pressure
from bakeoff.serving.service import Service
from bakeoff.serving.workers import Pool, Worker
from tests.delivery import making
from tests.serving.running import Running, running
from tests.serving.test_load import SCRIPT, ask


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


def test_contract_rows_are_measured_on_where_there_are_any(text_bundle: Path, mixed_bundle: Path) -> None:
    opened = open_bundle(text_bundle)
    built = engine.build(opened, Limits(), engine.Computing())
    assert built.measured is not None
    assert built.measured.source == "contract"


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


def test_frames_carry_what_was_sent() -> None:
    import socket

    ours, theirs = socket.socketpair()
    table = Table(("a", "b"), np.array([[1.0, np.nan], [3.0, 4.0]]))
    with ours, theirs:
        frames.send_rows(ours, table)
        kind, body, rows, columns = frames.receive(theirs)
        assert kind == frames.TABLE
        np.testing.assert_array_equal(frames.table(body, rows, columns, ("a", "b")).values, table.values)
        frames.send_answer(theirs, np.array([1, 0]), np.array([[0.25, 0.75], [1.0, 0.0]]))
        _, body, rows, columns = frames.receive(ours)
        labels, shares = frames.answer(body, rows, columns)
        assert labels.tolist() == [1, 0]
        assert shares.tolist() == [[0.25, 0.75], [1.0, 0.0]]
        theirs.close()
        with pytest.raises(EOFError):
            frames.receive(ours)


def workers(server: Running) -> list[psutil.Process]:
    """Return the server's child processes, oldest first."""
    return sorted(psutil.Process(server.process.pid).children(), key=lambda one: one.pid)


def settled(server: Running, count: int) -> list[psutil.Process]:
    """Wait until ``count`` processes compute or wait as spares."""
    end = time.monotonic() + 20
    while len(found := workers(server)) < count and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_a_killed_worker_costs_no_answer(text_bundle: Path, tmp_path: Path) -> None:
    with running(text_bundle, tmp_path, "--compute", "processes", "--replicas", "1") as server:
        family = settled(server, 2)
        texts = ["很好 满意", "糟糕 失望"] * 150
        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask, server, text) for text in texts]
            time.sleep(0.2)
            os.kill(family[0].pid, signal.SIGKILL)
            labels = [found.result().json()["predictions"][0]["label"] for found in answers]
        assert labels == ["good", "bad"] * 150
        assert server.metric("bakeoff_worker_restarts") == 1
        assert server.client.get("/v1/status").json()["compute"]["mode"] == "processes"
        left = settled(server, 2)
    assert not any(psutil.pid_exists(one.pid) for one in left), "no worker outlives its server"


def test_a_worker_takes_the_bundle_its_server_opened_or_none(
    text_bundle: Path, mixed_bundle: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(text_bundle, bundle)
    opened = open_bundle(bundle)
    pool = Pool(opened, engine.Computing(threads=1), 10.0)
    try:
        rows = [{"text": "很好 满意"}]
        expected = pool.predictors()[0].predict(rows)[1]
        shutil.rmtree(bundle)
        shutil.copytree(mixed_bundle, bundle)
        late = Worker((sys.executable, "-m", "bakeoff.serving.worker"), opened, 1)
        with pytest.raises(BundleError, match="another bundle than the one that was opened first"):
            late.ready(10.0)
        assert late.process.returncode == 1
        np.testing.assert_array_equal(pool.predictors()[0].predict(rows)[1], expected)
    finally:
        pool.close()


def links(pids: set[int]) -> set[int]:
    """Return those of the processes whose folder of links to decrypted files is there."""
    found = [place for root in ("/dev/shm", tempfile.gettempdir()) for place in Path(root).glob("bakeoff-memory-*")]
    return pids & {int(place.name.split("-")[2]) for place in found}


def test_workers_of_an_encrypted_bundle_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DECRYPT, "ab" * 32)
    making.bundle(tmp_path, seal=Seal(secret=bytes.fromhex("ab" * 32)))
    with running(tmp_path / "bundle", tmp_path, "--compute", "processes", "--replicas", "2") as server:
        first = {one.pid for one in settled(server, 3)}
        assert len(links(first)) >= 2, "those that compute; the spare may still load"
        os.kill(min(first), signal.SIGKILL)
        labels = [ask(server, text).json()["predictions"][0]["label"] for text in ["很好 满意", "糟糕 失望"] * 4]
        assert labels == ["good", "bad"] * 4
        everybody = {server.process.pid, *first, *(one.pid for one in settled(server, 3))}
    assert links(everybody) == set()


def test_a_row_that_kills_its_process_is_refused_alone(text_bundle: Path, tmp_path: Path) -> None:
    flags = ("--compute", "processes", "--batch", "4")
    with running(text_bundle, tmp_path, *flags, script=SCRIPT) as server, ThreadPoolExecutor(4) as pool:
        settled(server, 2)
        texts = ["很好", "KILL", "失望", "great"]
        answers: list[httpx.Response] = list(pool.map(lambda text: ask(server, text, timeout=60), texts))
        assert [answer.status_code for answer in answers] == [200, 422, 200, 200]
        assert "KILL" not in server.log()


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
