"""The batcher alone: what is computed together, in which order, and what a failing batch does to its members."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.schema.errors import BakeoffError
from bakeoff.serving.batching import Batcher, Job
from bakeoff.serving.computing import AbsentError, Compute, LostError
from bakeoff.serving.curve import Tuner
from bakeoff.serving.pressure import Pressure
from bakeoff.serving.problems import Problem

Row = dict[str, Any]
CANARY: Row = {"x": -1}


class Echo:
    """Answers class ``x`` modulo 3; fails on a negative ``x`` other than the canary's; can be held."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.dead = False

    def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
        """Return labels (n,) and probabilities (n, 3)."""
        self.gate.wait(10)
        values = [row["x"] for row in rows]
        self.calls.append(values)
        if self.dead or any(value < -1 for value in values):
            raise ValueError(values)
        labels = np.asarray(values) % 3
        return labels, np.eye(3)[labels]


def join(pieces: list[Sequence[Row]]) -> list[Row]:
    """Return the rows of all pieces."""
    return [row for piece in pieces for row in piece]


class Asking(Batcher):
    """A batcher whose answers can be awaited."""

    def ask(self, rows: list[Row], due: float) -> asyncio.Future[Any]:
        """Return a future of labels and probabilities."""
        future = asyncio.get_running_loop().create_future()

        def done(job: Job, problem: Problem | None) -> None:
            if future.done():
                return
            if problem is None:
                future.set_result((np.asarray(job.labels), np.asarray(job.probabilities)))
            else:
                future.set_exception(problem)

        self.submit(rows, due, done)
        return future


def run(
    body: Callable[[Asking, Echo], Any], *, threads: int = 1, pressure: Pressure | None = None, **settings_: Any
) -> tuple[Any, Echo]:
    """Run ``body`` with a started batcher."""
    echo = Echo()

    async def main() -> Any:
        computes = [Compute(echo, 3, [CANARY]) for _ in range(threads)]
        batcher = Asking(computes, join, pressure=pressure, **{"size": 8, "queue": 100, **settings_})
        batcher.start()
        try:
            return await body(batcher, echo)
        finally:
            echo.gate.set()
            batcher.stop()

    return asyncio.run(main()), echo


def due(seconds: float = 60.0) -> float:
    """Return a time from now."""
    return time.perf_counter() + seconds


async def held(batcher: Asking, echo: Echo) -> asyncio.Future[Any]:
    """Occupy the compute thread with one row until the gate opens."""
    echo.gate.clear()
    first = batcher.ask([{"x": 0}], due())
    while batcher.waiting:  # noqa: ASYNC110 - the batcher owes nobody an event
        await asyncio.sleep(0.001)
    return first


class FirstLast(Echo):
    """Answers the batch that begins with 0 when the one that begins with 4 was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.last = threading.Event()

    def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
        if rows[0]["x"] == 0:
            self.last.wait(10)
            time.sleep(0.1)  # until the other one is filled in, too
        found = super().predict(rows)
        if rows[0]["x"] == 4:
            self.last.set()
        return found


def test_pieces_of_a_request_may_come_back_in_any_order() -> None:
    late = FirstLast()

    async def main() -> Any:
        batcher = Asking([Compute(late, 3, [CANARY]) for _ in range(2)], join, size=2, queue=100)
        batcher.start()
        try:
            return await batcher.ask([{"x": number} for number in range(5)], due())
        finally:
            batcher.stop()

    labels, probabilities = asyncio.run(main())
    assert late.calls[-1] == [0, 1], "the first piece came last"
    np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(probabilities, np.eye(3)[[0, 1, 2, 0, 1]])


def test_what_queues_while_a_batch_runs_is_the_next_batch() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        jobs = [batcher.ask([{"x": number}], due()) for number in range(1, 7)]
        assert batcher.waiting == 6
        echo.gate.set()
        return await asyncio.gather(first, *jobs)

    answers, echo = run(body)
    assert echo.calls == [[0], [1, 2, 3, 4, 5, 6]]
    assert [int(labels[0]) for labels, _ in answers] == [0, 1, 2, 0, 1, 2, 0]


def test_a_batch_has_at_most_its_size_and_large_requests_take_turns() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        large = batcher.ask([{"x": number} for number in range(10, 20)], due())
        small = batcher.ask([{"x": 1}], due())
        echo.gate.set()
        await asyncio.gather(first, large, small)
        return large.result()

    (labels, probabilities), echo = run(body, size=4)
    assert echo.calls == [[0], [10, 11, 12, 13], [1, 14, 15, 16], [17, 18, 19]]
    np.testing.assert_array_equal(labels, np.arange(10, 20) % 3)
    np.testing.assert_array_equal(probabilities, np.eye(3)[labels])


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(
        st.lists(st.integers(-2, 30).filter(lambda x: x != -1), min_size=1, max_size=7), min_size=1, max_size=12
    ),
    size=st.integers(1, 9),
)
def test_every_innocent_request_is_answered_whatever_its_neighbours(requests: list[list[int]], size: int) -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        jobs = [batcher.ask([{"x": value} for value in values], due()) for values in requests]
        echo.gate.set()
        await first
        return await asyncio.gather(*jobs, return_exceptions=True)

    answers, _ = run(body, size=size, queue=1000)
    for values, answer in zip(requests, answers, strict=True):
        if min(values) < -1:
            assert isinstance(answer, Problem)
            assert answer.status == 422
            assert answer.where == ", ".join(f"row {index}" for index, value in enumerate(values) if value < -1)
        else:
            np.testing.assert_array_equal(answer[0], np.asarray(values) % 3)


def test_a_model_that_fails_on_the_canary_is_broken() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        echo.dead = True
        return await asyncio.gather(batcher.ask([{"x": 1}], due()), return_exceptions=True)

    (answer,), echo = run(body)
    assert isinstance(answer, Problem)
    assert answer.status == 500
    assert echo.calls[-1] == [CANARY["x"]]


def test_what_failed_altogether_is_looked_at_again_until_it_answers_and_counts_once() -> None:
    faults: list[BaseException] = []

    async def again(batcher: Asking) -> bool:
        batcher.look_again(CANARY, due())
        while batcher.inflight:  # noqa: ASYNC110 - nobody awaits it
            await asyncio.sleep(1e-3)
        return batcher.failing

    async def body(batcher: Asking, echo: Echo) -> Any:
        assert not await again(batcher)
        assert not echo.calls, "there is nothing to find out"
        echo.dead = True
        with pytest.raises(Problem, match="the model failed"):
            await batcher.ask([{"x": 1}], due())
        found = [await again(batcher), await again(batcher)]
        echo.dead = False
        return [*found, await again(batcher)]

    found, echo = run(body, on_fault=faults.append)
    assert found == [True, True, False]
    assert echo.calls[-1] == [-1]
    assert len(faults) == 1


@pytest.mark.parametrize("error", [AbsentError, LostError])
def test_who_asks_while_nothing_computes_is_told_to_come_again(error: type[BakeoffError]) -> None:
    class Gone:
        def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
            what = "nothing is there"
            raise error(what)

    async def main() -> Any:
        batcher = Asking([Compute(Gone(), 3, [CANARY])], join, size=8, queue=100)
        batcher.start()
        try:
            await batcher.ask([{"x": 1}], due())
        except Problem as problem:
            return problem, batcher.failing
        finally:
            batcher.stop()

    problem, failing = asyncio.run(main())
    assert (problem.status, problem.headers) == (503, ((b"retry-after", b"1"),))
    assert failing


def test_the_queue_sheds_but_never_refuses_into_an_empty_queue() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        large = batcher.ask([{"x": 1}] * 20, due())
        with pytest.raises(Problem) as caught:
            batcher.ask([{"x": 1}], due())
        echo.gate.set()
        await asyncio.gather(first, large)
        return caught.value

    problem, _ = run(body, queue=10)
    assert problem.status == 503
    assert problem.headers == ((b"retry-after", b"1"),)


class Recorder(Pressure):
    """Keeps what is compared."""

    def __init__(self, servers: int = 1) -> None:
        super().__init__(servers, 1000.0, 1.0, 1)
        self.compared: list[float] = []

    def compare(self, expected: float, took: float) -> None:
        """Keep what was expected."""
        assert 0.0 < took < 60.0
        self.compared.append(expected)


def test_what_was_expected_is_compared_for_requests_that_fit_a_batch_and_waited() -> None:
    async def body(batcher: Asking, echo: Echo) -> None:
        asked = [await held(batcher, echo), batcher.ask([{"x": 1}], due()), batcher.ask([{"x": 2}, {"x": 3}], due())]
        asked += [batcher.ask([{"x": number} for number in range(10)], due()), batcher.ask([{"x": 4}] * 4, due())]
        echo.gate.set()
        await asyncio.gather(*asked)

    pressure = Recorder()
    _, echo = run(body, pressure=pressure, size=4)
    assert [len(call) for call in echo.calls] == [1, 4, 4, 4, 4, 1]
    # the first two found nobody waiting; of 2, 10 and 4 rows, the 4 are first in their batch and fit one
    assert pressure.compared == [1.0 + 1 + 2 + 4 + 3 + 4]


def test_what_is_left_of_a_request_that_fits_a_batch_is_computed_next() -> None:
    async def body(batcher: Asking, echo: Echo) -> None:
        asked = [await held(batcher, echo)]
        asked += [batcher.ask([{"x": number}] * 3, due()) for number in (1, 2, 3)]
        echo.gate.set()
        await asyncio.gather(*asked)

    _, echo = run(body, size=4)
    assert echo.calls == [[0], [1, 1, 1, 2], [2, 2, 3, 3], [3]]


@pytest.mark.parametrize("servers", [1, 4])
def test_rows_ahead_are_shared_among_threads_and_the_last_batch_is_not(servers: int) -> None:
    async def body(batcher: Asking, echo: Echo) -> list[float]:
        first = await held(batcher, echo)
        asked = [batcher.ask([{"x": 1}], due())]
        found = [batcher._expected(count) for count in (1, 3, 9)]
        echo.gate.set()
        await asyncio.gather(first, *asked)
        return found

    found, _ = run(body, pressure=Recorder(servers), size=4)
    assert found == [2 / servers + 4, 4 / servers + 4, 5 / servers + 4]


def test_what_is_accepted_has_time_for_a_full_batch_of_its_own() -> None:
    """One row takes 1 s; 1 is computed, 1 waits: the next would be third, but answered only with all 8 of its batch."""

    async def body(batcher: Asking, echo: Echo) -> int:
        asked = [await held(batcher, echo), batcher.ask([{"x": 1}], due())]
        while True:
            try:
                asked.append(batcher.ask([{"x": 1}], due()))
            except Problem:
                break
        echo.gate.set()
        await asyncio.gather(*asked)
        return len(asked)

    for longest, accepted in ((9.5, 2), (10.5, 3), (12.5, 5)):
        assert run(body, pressure=Pressure(1, longest, 1.0, 8))[0] == accepted


def test_overdue_requests_are_given_up_and_leave_the_queue() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        late = batcher.ask([{"x": 5}], due(0.0))
        fine = batcher.ask([{"x": 1}], due())
        batcher.expire(due(1.0))
        assert batcher.waiting == 1
        echo.gate.set()
        return await asyncio.gather(first, late, fine, return_exceptions=True), batcher.inflight

    (answers, inflight), echo = run(body)
    assert isinstance(answers[1], Problem)
    assert answers[1].status == 504
    assert int(answers[2][0][0]) == 1
    assert inflight == 0
    assert [5] not in echo.calls


def test_an_abandoned_future_does_not_stop_the_batcher() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        gone = batcher.ask([{"x": 4}], due())
        gone.cancel()
        echo.gate.set()
        await first
        return await batcher.ask([{"x": 2}], due())

    (labels, _), _ = run(body)
    assert labels.tolist() == [2]


@pytest.mark.parametrize("shape", [(1, 2), (2, 3), (3,)])
def test_answers_of_the_wrong_shape_are_not_passed_on(shape: tuple[int, ...]) -> None:
    class Wrong:
        def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
            return np.zeros(len(rows), np.int64), np.zeros(shape)

    async def main() -> Any:
        batcher = Asking([Compute(Wrong(), 3, [CANARY])], join, size=4, queue=4)
        batcher.start()
        try:
            return await batcher.ask([{"x": 1}], due())
        finally:
            batcher.stop()

    with pytest.raises(Problem) as caught:
        asyncio.run(main())
    assert caught.value.status == 500


@pytest.mark.parametrize(("size", "shrinks"), [(4, False), (32, True)])
@pytest.mark.parametrize("inline", [False, True])
def test_the_books_are_even_whatever_sizes_were_tried(size: int, shrinks: bool, inline: bool) -> None:
    async def body(batcher: Asking, _: Echo) -> Any:
        tuner = batcher.tuner = Tuner(size, 64, 10.0)
        learn = tuner.learn
        tuner.learn = lambda rows, _: learn(rows, rows * rows if shrinks else 1.0)  # type: ignore[method-assign]
        jobs = [batcher.ask([{"x": 1}] * 200, due()) for _ in range(90)]
        await asyncio.sleep(0)
        batcher.expire(due(-61.0))
        gone = [batcher.submit([{"x": 1}] * 200, due(), lambda *_: None) for _ in range(5)]
        for job in gone:
            batcher.withdraw(job, Problem(499, "gone"))
        await asyncio.gather(*jobs)
        while batcher.computing:  # noqa: ASYNC110 - what was withdrawn half way is still being computed
            await asyncio.sleep(0.001)
        return batcher.chosen, batcher.waiting, batcher.ahead, batcher.inflight

    (final, *books), _ = run(body, size=size, queue=10**6, inline=inline)
    assert final == (32 if shrinks else 64)
    assert books == [0, 0, 0]


def test_who_says_to_be_in_a_hurry_does_not_overtake() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first = await held(batcher, echo)
        jobs = [batcher.ask([{"x": number}], due(60.0 / number)) for number in range(1, 5)]
        echo.gate.set()
        return await asyncio.gather(first, *jobs)

    _, echo = run(body, size=2)
    assert echo.calls == [[0], [1, 2], [3, 4]]


def test_rows_nobody_waits_for_any_more_are_not_computed() -> None:
    async def body(batcher: Asking, echo: Echo) -> Any:
        first, told = await held(batcher, echo), []
        gone = batcher.submit([{"x": 4}] * 3, due(), lambda _, problem: told.append(problem.status))
        stays = batcher.ask([{"x": 5}], due())
        batcher.withdraw(gone, Problem(499, "gone"))
        batcher.withdraw(gone, Problem(499, "gone"))
        assert (batcher.waiting, batcher.inflight) == (1, 2)
        echo.gate.set()
        await asyncio.gather(first, stays)
        return told

    told, echo = run(body)
    assert told == [499]
    assert echo.calls == [[0], [5]]
