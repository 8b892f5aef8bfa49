"""The batcher alone: what is computed together, in which order, and what a failing batch does to its members."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.serving.batching import Batcher
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


def run(body: Callable[[Batcher, Echo], Any], **settings_: int) -> tuple[Any, Echo]:
    """Run ``body`` with a started batcher."""
    echo = Echo()

    async def main() -> Any:
        batcher = Batcher(echo, 3, **{"size": 8, "queue": 100, **settings_}, canary=CANARY)
        batcher.start()
        try:
            return await body(batcher, echo)
        finally:
            echo.gate.set()
            batcher.stop()

    return asyncio.run(main()), echo


def due(seconds: float = 60.0) -> float:
    """Return a loop time from now."""
    return asyncio.get_running_loop().time() + seconds


async def held(batcher: Batcher, echo: Echo) -> asyncio.Future[Any]:
    """Occupy the compute thread with one row until the gate opens."""
    echo.gate.clear()
    first = batcher.submit([{"x": 0}], due())
    while batcher.waiting:  # noqa: ASYNC110 - the batcher owes nobody an event
        await asyncio.sleep(0.001)
    return first


def test_what_queues_while_a_batch_runs_is_the_next_batch() -> None:
    async def body(batcher: Batcher, echo: Echo) -> Any:
        first = await held(batcher, echo)
        jobs = [batcher.submit([{"x": number}], due()) for number in range(1, 7)]
        assert batcher.waiting == 6
        echo.gate.set()
        return await asyncio.gather(first, *jobs)

    answers, echo = run(body)
    assert echo.calls == [[0], [1, 2, 3, 4, 5, 6]]
    assert [int(labels[0]) for labels, _ in answers] == [0, 1, 2, 0, 1, 2, 0]


def test_a_batch_has_at_most_its_size_and_large_requests_take_turns() -> None:
    async def body(batcher: Batcher, echo: Echo) -> Any:
        first = await held(batcher, echo)
        large = batcher.submit([{"x": number} for number in range(10, 20)], due())
        small = batcher.submit([{"x": 1}], due())
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
    async def body(batcher: Batcher, echo: Echo) -> Any:
        first = await held(batcher, echo)
        jobs = [batcher.submit([{"x": value} for value in values], due()) for values in requests]
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
    async def body(batcher: Batcher, echo: Echo) -> Any:
        echo.dead = True
        return await asyncio.gather(batcher.submit([{"x": 1}], due()), return_exceptions=True)

    (answer,), echo = run(body)
    assert isinstance(answer, Problem)
    assert answer.status == 500
    assert echo.calls[-1] == [CANARY["x"]]


def test_the_queue_sheds_but_never_refuses_into_an_empty_queue() -> None:
    async def body(batcher: Batcher, echo: Echo) -> Any:
        first = await held(batcher, echo)
        large = batcher.submit([{"x": 1}] * 20, due())
        with pytest.raises(Problem) as caught:
            batcher.submit([{"x": 1}], due())
        echo.gate.set()
        await asyncio.gather(first, large)
        return caught.value

    problem, _ = run(body, queue=10)
    assert problem.status == 503
    assert problem.headers == ((b"retry-after", b"1"),)


def test_overdue_requests_are_given_up_and_leave_the_queue() -> None:
    async def body(batcher: Batcher, echo: Echo) -> Any:
        first = await held(batcher, echo)
        late = batcher.submit([{"x": 5}], due(0.0))
        fine = batcher.submit([{"x": 1}], due())
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
    async def body(batcher: Batcher, echo: Echo) -> Any:
        first = await held(batcher, echo)
        gone = batcher.submit([{"x": 4}], due())
        gone.cancel()
        echo.gate.set()
        await first
        return await batcher.submit([{"x": 2}], due())

    (labels, _), _ = run(body)
    assert labels.tolist() == [2]


@pytest.mark.parametrize("shape", [(1, 2), (2, 3), (3,)])
def test_answers_of_the_wrong_shape_are_not_passed_on(shape: tuple[int, ...]) -> None:
    class Wrong:
        def predict(self, rows: Sequence[Row]) -> tuple[Any, Any]:
            return np.zeros(len(rows), np.int64), np.zeros(shape)

    async def main() -> Any:
        batcher = Batcher(Wrong(), 3, size=4, queue=4, canary=CANARY)
        batcher.start()
        try:
            return await batcher.submit([{"x": 1}], due())
        finally:
            batcher.stop()

    with pytest.raises(Problem) as caught:
        asyncio.run(main())
    assert caught.value.status == 500
