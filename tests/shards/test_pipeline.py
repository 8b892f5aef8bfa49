"""Stages in real processes, killed, stopped and fed what they cannot compute."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from bakeoff.delivery.shards import Split
from bakeoff.runtimes.loading import load_predictor, read_artifact
from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.local import Processes
from bakeoff.runtimes.shards.pipeline import Pipeline
from bakeoff.runtimes.shards.plan import Stage
from bakeoff.runtimes.shards.predictor import ShardedPredictor, open_local
from bakeoff.runtimes.shards.stage import Run, serve
from bakeoff.schema import StepError
from tests.shards import making
from tests.shards.making import ROWS


@pytest.fixture(scope="module")
def sharded(split: Split) -> Iterator[ShardedPredictor]:
    with closing(open_local(split.artifact, split.directory, 1)) as predictor:
        yield predictor


def _pids(predictor: ShardedPredictor) -> list[int]:
    placement = predictor.pipeline._placement
    assert isinstance(placement, Processes)
    return placement.pids


def test_answers_are_those_of_the_whole(sharded: ShardedPredictor, whole: Path) -> None:
    expected, found = making.answers(whole), sharded.predict_proba(ROWS)
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(found - expected).max() <= 1e-5
    assert sharded.predict_proba([]).shape == (0, 2)


def test_each_process_has_opened_its_own_files_only(sharded: ShardedPredictor) -> None:
    for number, pid in enumerate(_pids(sharded)):
        mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        assert f"shards/{number}/model.onnx.data" in mapped, "it uses its weights where they lie"
        assert f"shards/{1 - number}/" not in mapped
        assert not any(f"shards/{1 - number}/" in file.path for file in psutil.Process(pid).open_files())


def test_many_callers_at_once_get_their_own_answers(sharded: ShardedPredictor, whole: Path) -> None:
    expected = making.answers(whole)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: sharded.predict_proba(ROWS[at : at + 5]), range(60)))
    for at, one in enumerate(found):
        np.testing.assert_allclose(one, expected[at : at + 5], atol=1e-5)


@pytest.mark.parametrize("number", [0, 1])
def test_a_stage_that_is_killed_comes_back_and_loses_nothing(
    sharded: ShardedPredictor, whole: Path, number: int
) -> None:
    expected, before = making.answers(whole), _pids(sharded)
    repairs = sharded.pipeline.repairs
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(sharded.predict_proba, ROWS) for _ in range(12)]
        os.kill(before[number], signal.SIGKILL)
        for one in work:
            np.testing.assert_allclose(one.result(60), expected, atol=1e-5)
    sharded.predict_proba(ROWS)  # were the work done before the kill was noticed, this one meets it
    after = _pids(sharded)
    assert sharded.pipeline.repairs > repairs
    assert after[number] != before[number]
    assert after[1 - number] == before[1 - number], "the other stage keeps what it has loaded"


def test_rows_that_cannot_be_computed_fail_alone(sharded: ShardedPredictor) -> None:
    """An id that is not in the word table is an error of the library, not the end of a stage."""
    before, repairs = _pids(sharded), sharded.pipeline.repairs
    good = {"input_ids": np.array([[5, 6]]), "attention_mask": np.ones((1, 2), np.int64)}
    bad = {**good, "input_ids": np.array([[5, 10**6]])}
    futures = [sharded.pipeline.submit(feeds) for feeds in (good, bad, good)]
    assert futures[0].result(30)["probabilities"].shape == (1, 2)
    with pytest.raises(StepError, match="cannot compute these rows"):
        futures[1].result(30)
    assert futures[2].result(30)["probabilities"].shape == (1, 2)
    assert (_pids(sharded), sharded.pipeline.repairs) == (before, repairs)


def test_a_stage_that_hangs_is_started_again(split: Split, whole: Path) -> None:
    placement = Processes(split.plan.stages, split.directory, 1)
    with closing(Pipeline(placement, 2, patience=0.5)) as pipeline:
        feeds = {"input_ids": np.array([[5, 6]]), "attention_mask": np.ones((1, 2), np.int64)}
        expected = pipeline.submit(feeds).result(30)["probabilities"]
        os.kill(placement.pids[1], signal.SIGSTOP)
        np.testing.assert_array_equal(pipeline.submit(feeds).result(60)["probabilities"], expected)
        assert pipeline.repairs >= 1


def test_closing_ends_every_process_and_may_be_done_twice(split: Split) -> None:
    predictor = open_local(split.artifact, split.directory, 1)
    pids = _pids(predictor)
    predictor.close()
    predictor.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(StepError, match="closed"):
        predictor.predict_proba(ROWS[:1])


def test_stages_are_bound_to_the_cores_they_are_given(split: Split) -> None:
    cores = sorted(os.sched_getaffinity(0))
    chosen = [[cores[0]], [cores[-1]]]
    with closing(open_local(split.artifact, split.directory, 1, cores=chosen)) as predictor:
        assert [sorted(os.sched_getaffinity(pid)) for pid in _pids(predictor)] == chosen


@pytest.mark.parametrize("name", ["shards/0/model.onnx", "shards/1/model.onnx.data"])
def test_an_altered_file_is_refused_by_its_stage(split: Split, tmp_path: Path, name: str) -> None:
    shutil.copytree(split.directory, tmp_path / "copy")
    path = tmp_path / "copy" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StepError, match=r"stage \d does not start: a file of this stage was altered") as caught:
        load_predictor(split.artifact, tmp_path / "copy", "sharded", 1)
    assert caught.value.code == "unsafe"


@pytest.mark.parametrize("path", ["../onnx/model.onnx", "/etc/passwd"])
def test_a_plan_that_leads_outside_is_refused(split: Split, tmp_path: Path, path: str) -> None:
    shutil.copytree(split.directory, tmp_path / "copy")
    text = (tmp_path / "copy" / "shards.json").read_text(encoding="utf-8")
    (tmp_path / "copy" / "shards.json").write_text(text.replace("shards/0/model.onnx.data", path), encoding="utf-8")
    with pytest.raises(StepError) as caught:
        load_predictor(split.artifact, tmp_path / "copy", "sharded", 1)
    assert caught.value.code == "unsafe"


@pytest.mark.parametrize("harm", ["missing", "no JSON", "no stages"])
def test_a_damaged_plan_is_refused(split: Split, tmp_path: Path, harm: str) -> None:
    shutil.copytree(split.directory, tmp_path / "copy")
    path = tmp_path / "copy" / "shards.json"
    path.unlink()
    if harm != "missing":
        path.write_text("{" if harm == "no JSON" else '{"stages": []}', encoding="utf-8")
    with pytest.raises(StepError, match=r"shards\.json"):
        load_predictor(split.artifact, tmp_path / "copy", "sharded", 1)


def test_an_unsplit_artefact_is_not_for_this_runtime(whole: Path) -> None:
    with pytest.raises(StepError) as caught:
        open_local(read_artifact(whole), whole, 1)
    assert caught.value.code == "unsupported"


class Threads:
    """Stages as threads of the test, so that what they do can be watched and held up."""

    def __init__(self, runs: list[Run]) -> None:
        self.secret, self.host = b"x" * 32, "127.0.0.1"
        self._listeners = [wire.listen(self.host) for _ in runs]
        for listener, run in zip(self._listeners, runs, strict=True):
            threading.Thread(target=serve, args=(listener, self.secret, run), daemon=True).start()

    def addresses(self) -> list[wire.Address]:
        return [listener.getsockname()[:2] for listener in self._listeners]

    def kill(self) -> None:
        pass

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _numbers(value: int) -> dict[str, np.ndarray]:
    return {"a": np.array([value])}


def test_the_window_holds_callers_back_and_order_is_kept() -> None:
    gate, seen = threading.Event(), list[int]()

    def slow(tensors: wire.Tensors) -> dict[str, np.ndarray]:
        gate.wait(30)
        seen.append(int(tensors["a"][0]))
        return {"a": tensors["a"] * 2}

    with closing(Pipeline(Threads([slow, lambda tensors: {"a": tensors["a"] + 1}]), 2, window=3)) as pipeline:
        submitted: list[int] = []
        futures = []

        def push() -> None:
            for value in range(10):
                futures.append(pipeline.submit(_numbers(value)))
                submitted.append(value)

        caller = threading.Thread(target=push)
        caller.start()
        _until(lambda: len(submitted) == 3)
        time.sleep(0.2)
        assert len(submitted) == 3, "the fourth waits until one is answered"
        gate.set()
        caller.join(30)
        assert [int(future.result(30)["a"][0]) for future in futures] == [2 * value + 1 for value in range(10)]
    assert seen == list(range(10))


def test_the_stages_work_at_the_same_time() -> None:
    """The second stage is at work on one micro-batch while the first is at work on the next: each waits for the other."""
    meeting = threading.Barrier(2, timeout=30)

    def met(tensors: wire.Tensors) -> dict[str, np.ndarray]:
        if 1 <= int(tensors["a"][0]) <= 8:
            meeting.wait()
        return {"a": tensors["a"]}

    def later(tensors: wire.Tensors) -> dict[str, np.ndarray]:
        if 0 <= int(tensors["a"][0]) <= 7:
            meeting.wait()
        return {"a": tensors["a"]}

    with closing(Pipeline(Threads([met, later]), 2)) as pipeline:
        futures = [pipeline.submit(_numbers(value)) for value in range(9)]
        assert [int(future.result(60)["a"][0]) for future in futures] == list(range(9))


class Dying(Threads):
    """Stages of which the last is gone as soon as something reaches it."""

    alive = False

    def __init__(self) -> None:
        super().__init__([dict])
        self._last = wire.listen(self.host)
        threading.Thread(target=self._die, daemon=True).start()

    def addresses(self) -> list[wire.Address]:
        return [*super().addresses(), self._last.getsockname()[:2]]

    def _die(self) -> None:
        while True:
            try:
                with wire.accept(self._last, self.secret) as link:
                    head, _ = wire.receive(link)
                    with wire.connect(tuple(head["route"][0]), self.secret) as onward:
                        wire.send(onward, {"route": []}, {})
                        while True:
                            head, tensors = wire.receive(link)
                            if not self.alive:
                                break
                            wire.send(onward, head, tensors)
            except wire.WireError:
                continue
            except OSError:
                return

    def close(self) -> None:
        super().close()
        self._last.shutdown(socket.SHUT_RDWR)
        self._last.close()


def test_what_kills_its_stage_every_time_is_given_up() -> None:
    """A stage that dies over some rows dies over their retry too; the retries end, and others go on."""
    placement = Dying()
    with closing(Pipeline(placement, 2)) as pipeline:
        with pytest.raises(StepError, match="died 3 times") as caught:
            pipeline.submit(_numbers(1)).result(30)
        assert caught.value.code == "crash"
        assert pipeline.repairs == 3
        placement.alive = True
        assert int(pipeline.submit(_numbers(2)).result(30)["a"][0]) == 2


def _until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_stage_describes_what_it_sends(split: Split) -> None:
    """What the second stage reads is what the first one sends, no more and no less."""
    first, second = split.plan.stages
    assert isinstance(first, Stage)
    assert set(second.inputs) == set(first.sends)
    assert second.sends == ("probabilities",)
