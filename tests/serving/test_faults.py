"""What must not bring the server down: dying processes, spares that do not start, a clock that stumbles, clients that hang up."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from bakeoff.data.transforms.tabular import Table, TableFeeder
from bakeoff.schema.errors import BundleError
from bakeoff.serving import batching, engine, server, workers
from bakeoff.serving.access import Access
from bakeoff.serving.app import App
from bakeoff.serving.computing import AbsentError, Compute, LostError
from bakeoff.serving.curve import Tuner
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import open_bundle
from bakeoff.serving.pressure import Pressure
from bakeoff.serving.problems import Problem
from tests.serving.running import certificate_of, running
from tests.serving.test_batching import CANARY, Asking, Echo, Row, due, join, run
from tests.serving.test_load import SCRIPT


class Mortal:
    """Dies of rows that are 9, and is another process from then on; with ``alone`` there is no other."""

    def __init__(self, *, alone: bool = False) -> None:
        self.alone, self.deaths, self.calls = alone, 0, 0

    def predict(self, rows: Sequence[Any]) -> tuple[Any, Any]:
        """Return labels (n,) and probabilities (n, 2)."""
        self.calls += 1
        if 9 in rows or (self.deaths and self.alone):
            self.deaths += 1
            what = "gone"
            raise AbsentError(what) if self.alone else LostError(what)
        return np.asarray(rows), np.full((len(rows), 2), 0.5)


@pytest.mark.parametrize("deadly", [[0], [63], [17, 40]])
def test_a_row_that_kills_costs_three_loads_at_most_and_each_further_one_a_single_load(deadly: list[int]) -> None:
    model = Mortal()
    rows = [9 if at in deadly else at % 2 for at in range(64)]
    outcome = Compute(model, 2, [1]).run(rows)
    assert set(outcome.bad) == set(deadly)
    assert [label for at, label in enumerate(outcome.labels) if at not in deadly] == [row for row in rows if row != 9]
    assert model.deaths == 2 + len(deadly)


class Failing(Mortal):
    """Answers ``answers`` times after the deadly row and never again."""

    answers = 1

    def predict(self, rows: Sequence[Any]) -> tuple[Any, Any]:
        """Return labels (n,) and probabilities (n, 2), or end."""
        if self.deaths == 3:
            self.answers -= 1
        if self.answers < 0:
            what = "gone for good"
            raise LostError(what)
        return super().predict(rows)


def test_a_row_is_blamed_only_if_something_is_answered_after_it() -> None:
    """The last row fails alone, and so would any other from there on: nothing shows that it is to blame."""
    with pytest.raises(LostError):
        Compute(Failing(), 2, [1]).run([0, 9, 1, 0])


def test_no_row_is_blamed_and_nothing_tried_where_no_process_is_left() -> None:
    model = Mortal(alone=True)
    with pytest.raises(AbsentError):
        Compute(model, 2, [1]).run([1, 9, 0])
    assert model.calls == 1


class Spare:
    """Stands for a process; ``faults`` are what the next ones do when they start: raise at once, or while they load."""

    faults: list[BaseException | None] = []  # noqa: RUF012 - of the test that fills it

    def __init__(self, *_: Any) -> None:
        self.fault = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
        self.process = SimpleNamespace(pid=0, returncode=-9, poll=lambda: None, kill=lambda: None)
        if isinstance(self.fault, OSError):
            raise self.fault

    def ready(self, _: float) -> None:
        """Load, or not."""
        if self.fault is not None:
            raise self.fault

    def kill(self) -> None:
        """End."""

    def leave(self) -> None:
        """End."""

    def end(self, _: float) -> None:
        """End."""


def pool(
    monkeypatch: pytest.MonkeyPatch, faults: list[BaseException | None], seconds: float, replicas: int = 1
) -> workers.Pool:
    """Return a pool whose processes after the first have faults."""
    monkeypatch.setattr(workers, "Worker", Spare)
    monkeypatch.setattr(workers, "_PAUSE", 0.01)
    Spare.faults = [None, *faults]
    opened: Any = None
    return workers.Pool(opened, engine.Computing(replicas=replicas), seconds)


def test_a_spare_that_does_not_start_is_tried_again_whatever_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pool(monkeypatch, [OSError("no memory"), ValueError("not a frame"), BundleError("altered"), None], 10.0)
    try:
        assert made.replacement() is not made.predictors()[0].worker
        assert made.restarts == 1
    finally:
        made.close()


def test_waiting_for_a_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pool(monkeypatch, [OSError("no memory")], 0.1)
    try:
        with pytest.raises(AbsentError, match="no other process came up"):
            made.replacement()
    finally:
        made.close()


@pytest.mark.parametrize(("others", "waits"), [(0, True), (1, False)])
def test_rows_a_dead_process_never_had_wait_for_its_spare_only_where_no_other_computes(
    monkeypatch: pytest.MonkeyPatch, others: int, waits: bool
) -> None:
    made = pool(monkeypatch, [*[None] * others, OSError("no memory")], 10.0, replicas=1 + others)
    asked: list[bool] = []
    replacement = made.replacement
    try:
        remote = made.predictors()[0]
        remote.worker.predict = broken  # type: ignore[method-assign]
        remote.worker.process.poll = lambda: -9  # type: ignore[method-assign]
        made.replacement = lambda *, wait=True: asked.append(wait) or replacement(wait=False)  # type: ignore[method-assign, func-returns-value]
        for _ in range(2):
            with pytest.raises(AbsentError):
                remote.predict([])
        assert asked == [waits, True]
    finally:
        made.close()


def broken(_: object) -> Any:
    """Find that nobody is at the other end."""
    raise BrokenPipeError


def test_rows_that_a_process_died_with_are_not_said_to_be_unseen() -> None:
    """Another process might die of them too."""
    model = Mortal()
    predict, model.predict = model.predict, lambda rows: absent() if model.deaths else predict(rows)  # type: ignore[method-assign]
    with pytest.raises(LostError, match="none left"):
        Compute(model, 2, [1]).run([1, 9, 0])


def absent() -> Any:
    """Find that there is no process."""
    what = "none left"
    raise AbsentError(what)


class Sick(Echo):
    """Raises ``fault`` while it has one."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault: Exception | None = fault
        self.asked: list[list[int]] = []

    def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
        """Return labels (n,) and probabilities (n, 3), or fail."""
        self.asked.append([row["x"] for row in rows])
        if self.fault is not None:
            raise self.fault
        return super().predict(rows)


async def until(true: Callable[[], bool]) -> None:
    """Wait, half a minute at most."""
    end = due(30.0)
    while not true():
        assert time.perf_counter() < end
        await asyncio.sleep(1e-3)


@pytest.mark.parametrize(("fault", "status"), [(AbsentError("none"), 0), (LostError("gone"), 503), (ValueError(), 500)])
def test_what_cannot_compute_takes_no_batch_while_another_can_and_is_taken_back(
    fault: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_AGAIN", 0.01)
    sick, well = Sick(fault), Echo()

    async def main() -> None:
        batcher = Asking([Compute(well, 3, [CANARY]), Compute(sick, 3, [CANARY])], join, size=2, queue=1000)
        batcher.start()
        refused = []
        try:
            while not sick.asked:  # until it was the sick one's turn
                asked = [batcher.ask([{"x": 1}, {"x": number}], due()) for number in range(20)]
                refused += [
                    found.status
                    for found in await asyncio.gather(*asked, return_exceptions=True)
                    if isinstance(found, Problem)
                ]
            assert refused == [status] * bool(status), "only a batch that was given to the model can be lost with it"
            for number in range(100):
                await batcher.ask([{"x": number}], due())
                assert not batcher.failing
            assert (batcher.computing, batcher.waiting, batcher.inflight) == (0, 0, 0)
            assert [-1] in sick.asked
            sick.fault = None
            await until(lambda: [-1] in sick.calls)
            well.gate.clear()
            asked = [batcher.ask([{"x": 1}], due()) for _ in range(5)]
            await until(lambda: [1, 1] in sick.calls)
            well.gate.set()
            await asyncio.gather(*asked)
        finally:
            well.gate.set()
            batcher.stop()

    asyncio.run(main())


def test_nothing_computes_when_the_last_one_fails_and_any_that_answers_again_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "_AGAIN", 0.01)
    pair = [Sick(AbsentError("none")), Sick(AbsentError("none"))]

    async def main() -> None:
        batcher = Asking([Compute(one, 3, [CANARY]) for one in pair], join, size=2, queue=100)
        batcher.start()
        try:
            with pytest.raises(Problem, match="nothing to compute with"):
                await batcher.ask([{"x": 1}], due())
            assert batcher.failing
            for one in pair:
                one.fault = None
                while batcher.failing:
                    batcher.look_again(CANARY, due())
                    await asyncio.sleep(1e-3)
                assert (await batcher.ask([{"x": 2}], due()))[0].tolist() == [2]
                one.fault = AbsentError("none")
                if one is pair[0]:
                    with pytest.raises(Problem, match="nothing to compute with"):
                        await batcher.ask([{"x": 1}], due())
        finally:
            batcher.stop()

    asyncio.run(main())


def test_nothing_is_learned_from_a_batch_with_rows_that_had_to_be_searched_for() -> None:
    async def body(batcher: Asking, _: Echo) -> tuple[float, float, list[int]]:
        learned: list[int] = []
        batcher.tuner = Tuner(8, 8, 1.0)
        batcher.tuner.learn = lambda rows, _: learned.append(rows) or 8  # type: ignore[method-assign, func-returns-value]
        with pytest.raises(Problem, match="cannot process"):
            await batcher.ask([{"x": 1}, {"x": -5}], due())
        before = batcher.pressure.row
        await batcher.ask([{"x": 1}], due())
        return before, batcher.pressure.row, learned

    (before, after, learned), _ = run(body, pressure=Pressure(1, 1000.0, 1.0, 4))
    assert before == 1.0 > after
    assert learned == [1]


@pytest.mark.parametrize("bad", [{0, 7, 8, 63}, set(range(64))])
def test_numbers_that_no_model_can_be_given_take_two_calls_whatever_their_number(bad: set[int]) -> None:
    feed, calls = TableFeeder({"columns": [{"name": "x", "kind": "number"}]}), []

    class Numbers:
        def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
            calls.append(len(rows))
            labels = feed.matrix(rows)[:, 0].astype(np.int64) % 3
            return labels, np.eye(3)[labels]

    values = np.array([[1e300 if at in bad else float(at)] for at in range(64)])
    outcome = Compute(Numbers(), 3, Table(("x",), np.zeros((1, 1)))).run(Table(("x",), values))
    assert set(outcome.bad) == bad
    assert all(outcome.labels[at] == at % 3 for at in range(64) if at not in bad)
    assert calls == [64, 64 - len(bad) or 1]


def test_the_clock_goes_on_when_one_look_fails(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[float] = []
    app: Any = SimpleNamespace(limits=Limits(), batcher=SimpleNamespace(expire=seen.append), probes=frozenset())

    async def main() -> None:
        with socket.socket() as listening:
            made = server.Server(app, listening)
            made._spare.close()
            made._hub.tick = lambda _: 1 / 0  # type: ignore[assignment, return-value]
            clock = asyncio.ensure_future(made._tick())
            while len(seen) < 2 and not clock.done():  # noqa: ASYNC110 - the clock owes nobody an event
                await asyncio.sleep(0.01)
            clock.cancel()

    asyncio.run(main())
    assert len(seen) == 2
    assert "a look at the deadlines failed" in caplog.text


def test_draining_a_tls_server_loses_nobody_because_of_those_who_do_not_speak_it(
    text_bundle: Path, tmp_path: Path
) -> None:
    certificate, key = certificate_of(tmp_path)
    limits = Limits(stop_seconds=10.0, header_seconds=1.0)
    built = engine.build(open_bundle(text_bundle), limits, engine.Computing())
    app = App(built.service.served, limits, built)
    context = Access(tls_certificate=certificate, tls_key=key).context()

    def ask(address: tuple[str, int]) -> bytes:
        trust = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(address) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            return client.recv(65536)

    async def main() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        listening = server._listen("127.0.0.1", 0)
        listening.listen(10)
        made = server.Server(app, listening, context)
        address = listening.getsockname()
        rude, silent = socket.create_connection(address), socket.create_connection(address)
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
        asked = loop.run_in_executor(None, ask, address)
        await asyncio.sleep(0.3)  # it is in the queue, behind the others
        app.start()
        begin = loop.time()
        await made._drain(listening)  # type: ignore[arg-type] - closes it, as the server would
        spent = loop.time() - begin
        rude.close()
        silent.close()
        app.stop()
        return await asked, spent

    with asyncio.Runner(loop_factory=server._loop_factory()) as runner:
        answer, spent = runner.run(main())
    built.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert spent < 8, "who does not finish the handshake is cut long before the drain must end"


def test_a_client_that_leaves_is_not_computed_for(text_bundle: Path, tmp_path: Path) -> None:
    flags = ("--compute", "threads", "--batch", "1")
    with running(text_bundle, tmp_path, *flags, script=SCRIPT) as one, ThreadPoolExecutor(1) as threads:
        blocker = threads.submit(httpx.post, f"{one.url}/v1/predict", json={"texts": ["SLEEP 2"]}, trust_env=False)
        time.sleep(0.3)
        body = b'{"texts": ["SLEEP 0.5", "SLEEP 0.5", "SLEEP 0.5"]}'
        with socket.create_connection(("127.0.0.1", one.port)) as client:
            client.sendall(
                b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            while one.metric("bakeoff_queue_rows") < 3:
                time.sleep(0.01)
        end = time.monotonic() + 5
        while one.metric("bakeoff_inflight_requests") > 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert not blocker.done()
        assert one.metric("bakeoff_queue_rows") == 0
        assert blocker.result().status_code == 200
        assert one.metric("bakeoff_batch_rows_sum") == 1
