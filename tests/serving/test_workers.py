"""Worker processes: what travels, what is left when they die, and when none comes up."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from bakeoff.data.transforms.tabular import Table
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes.keys import DECRYPT
from bakeoff.schema.errors import BundleError
from bakeoff.serving import engine, frames
from bakeoff.serving.model import open_bundle
from bakeoff.serving.workers import Pool, Worker
from tests.delivery import making
from tests.serving.running import Running, running
from tests.serving.test_load import SCRIPT, ask


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


MORTAL = """
import sys
from bakeoff.serving import __main__ as program
MADE, WORKER = program.Computing, (
    "import os, sys; os.path.exists(os.environ['GONE']) and sys.exit(3); from bakeoff.serving import worker; worker.main(sys.argv[1:])"
)
program.Computing = lambda **given: MADE(**given, worker=(sys.executable, "-c", WORKER))
sys.exit(program.main(sys.argv[1:]))
"""
"""A server whose workers do not start while the file that ``GONE`` names is there."""


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(process: psutil.Process) -> bool:
    """Say whether a process is no more, collected or not."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_server_without_a_worker_is_not_ready_says_so_and_recovers(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setenv("GONE", str(gone))
    with running(text_bundle, tmp_path, "--compute", "processes", script=MORTAL) as server:
        settled(server, 2)
        assert server.client.get("/readyz").status_code == 200
        gone.touch()
        for one in workers(server):
            one.kill()
        until(lambda: server.client.get("/readyz").status_code == 503)
        answer = ask(server, "很好", timeout=60)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
        assert server.metric("bakeoff_ready") == 0
        gone.unlink()
        until(lambda: server.client.get("/readyz").status_code == 200)
        assert ask(server, "很好").status_code == 200


def test_a_worker_that_nothing_replaces_leaves_every_request_to_the_other(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setenv("GONE", str(gone))
    flags = ("--compute", "processes", "--replicas", "2", "--batch", "2")
    with running(text_bundle, tmp_path, *flags, script=MORTAL) as server, ThreadPoolExecutor(16) as pool:
        first, _, spare = settled(server, 3)
        gone.touch()
        for one in (spare, first):
            one.kill()
        until(lambda: ended(first) and ended(spare))
        texts = ["很好 满意", "糟糕 失望"] * 100
        answers = list(pool.map(lambda text: ask(server, text, timeout=60), texts))
        assert [found.json()["predictions"][0]["label"] for found in answers] == ["good", "bad"] * 100
        assert server.client.get("/readyz").status_code == 200
        before = server.metric("bakeoff_worker_restarts")
        gone.unlink()
        until(lambda: server.metric("bakeoff_worker_restarts") > before)
        until(lambda: len(workers(server)) == 3)
