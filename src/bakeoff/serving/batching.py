"""Dynamic batching without a waiting window: while one batch runs, what arrives becomes the next one.

One queue, one compute thread. A request of many rows is taken in pieces and goes to the back of the queue between
them, so that a small one never waits for all of it. A batch that fails is halved until the rows to blame are alone:
the other requests in it are answered as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.serving.problems import Problem

Row = dict[str, Any]


class Predictor(Protocol):
    """What computes: ``data.transforms.rule.Classifier`` in production."""

    def predict(self, rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return class indices (n,) and probabilities (n, k)."""


@dataclass(eq=False)
class Job:
    """One request: its rows, and its answer as it fills. ``bad`` holds the indices of rows that could not be computed."""

    rows: list[Row]
    future: asyncio.Future[Answer]
    due: float
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    taken: int = 0
    left: int = 0
    bad: list[int] = field(default_factory=list)


Answer = tuple[NDArray[np.int64], NDArray[np.float64]]
Piece = tuple[Job, int, int]


class Batcher:
    """Greedy batches in one worker thread.

    Args:
        predictor: computes labels and probabilities; used from the worker thread only.
        classes: number of classes.
        size: rows of a batch at most.
        queue: rows that may wait before requests are shed.
        canary: a row the model handles; tells a bad row from a broken model.
        on_batch: called on the event loop with the rows of each finished batch.
        on_fault: called on the event loop with an exception of the model (never with row content).

    """

    def __init__(
        self, predictor: Predictor, classes: int, *, size: int, queue: int, canary: Row,
        on_batch: Callable[[int], None] | None = None, on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:  # fmt: skip
        self._predictor, self._classes, self._size, self._limit, self._canary = predictor, classes, size, queue, canary
        self._on_batch, self._on_fault = on_batch or _nothing, on_fault or _nothing
        self._jobs: deque[Job] = deque()
        self._ready = threading.Condition()
        self._waiting = 0
        self._open: set[Job] = set()
        self._stopped = False
        self._healthy = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="bakeoff-compute", daemon=True)

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._waiting

    @property
    def inflight(self) -> int:
        """Requests not answered yet."""
        return len(self._open)

    def start(self) -> None:
        """Start the compute thread; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Let the compute thread end after its current batch."""
        with self._ready:
            self._stopped = True
            self._ready.notify()

    def submit(self, rows: list[Row], due: float) -> asyncio.Future[Answer]:
        """Queue a request; the future holds labels (n,) and probabilities (n, k), or raises ``Problem``.

        Args:
            rows: validated rows, at least one.
            due: event-loop time after which ``expire`` gives the request up.

        Raises:
            Problem: 503 with Retry-After when too much is waiting.

        """
        assert self._loop is not None  # noqa: S101 - start() comes first
        count = len(rows)
        if self._waiting and self._waiting + count > self._limit:
            what = "too many requests are waiting; try again"
            raise Problem(503, what, headers=((b"retry-after", b"1"),))
        job = Job(
            rows,
            self._loop.create_future(),
            due,
            np.empty(count, np.int64),
            np.empty((count, self._classes)),
            left=count,
        )
        self._open.add(job)
        with self._ready:
            self._waiting += count
            self._jobs.append(job)
            self._ready.notify()
        return job.future

    def expire(self, now: float) -> None:
        """Answer requests that are overdue with 504; rows of theirs that still wait are dropped."""
        for job in [job for job in self._open if job.due < now]:
            with self._ready:
                if job in self._jobs:
                    self._jobs.remove(job)
                    self._waiting -= len(job.rows) - job.taken
            what = "the model did not answer in time"
            self._close(job, Problem(504, what))

    def _take(self) -> list[Piece]:
        """Take up to a batch of rows, oldest request first; called with the lock held."""
        pieces: list[Piece] = []
        room = self._size
        while self._jobs and room:
            job = self._jobs.popleft()
            stop = min(job.taken + room, len(job.rows))
            pieces.append((job, job.taken, stop))
            room -= stop - job.taken
            self._waiting -= stop - job.taken
            job.taken = stop
            if stop < len(job.rows):
                self._jobs.append(job)
        return pieces

    def _work(self) -> None:
        while True:
            with self._ready:
                while not self._jobs and not self._stopped:
                    self._ready.wait()
                if not self._jobs:
                    return
                pieces = self._take()
            rows = [row for job, start, stop in pieces for row in job.rows[start:stop]]
            outcome: Answer | BaseException
            bad: set[int] = set()
            self._healthy = False
            try:
                outcome = self._compute(rows, bad)
            except Exception as error:  # noqa: BLE001 - whatever a model raises is an answer to give, not the end of the server
                outcome = error
            self._tell(pieces, outcome, bad)

    def _tell(self, pieces: list[Piece], outcome: Answer | BaseException, bad: set[int]) -> None:
        assert self._loop is not None  # noqa: S101
        try:
            self._loop.call_soon_threadsafe(self._finish, pieces, outcome, bad)
        except RuntimeError:
            # The loop was closed: the process is going down and nobody waits for the answer any more.
            self._stopped = True

    def _compute(self, rows: list[Row], bad: set[int]) -> Answer:
        try:
            return self._checked(rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; the rows to blame are found below
            if len(rows) == 1:
                self._blame(error)
                bad.add(0)
                return np.zeros(1, np.int64), np.zeros((1, self._classes))
        half = len(rows) // 2
        right: set[int] = set()
        first, second = self._compute(rows[:half], bad), self._compute(rows[half:], right)
        bad.update(index + half for index in right)
        return np.concatenate((first[0], second[0])), np.concatenate((first[1], second[1]))

    def _checked(self, rows: list[Row]) -> Answer:
        labels, probabilities = self._predictor.predict(rows)
        if probabilities.shape != (len(rows), self._classes) or labels.shape != (len(rows),):
            message = "the model returned the wrong shape"
            raise ValueError(message)
        if not np.isfinite(probabilities).all():
            message = "the model returned a number that is not finite"
            raise ValueError(message)
        return labels, probabilities

    def _blame(self, error: Exception) -> None:
        """Raise ``error`` again when the model fails on a row it is known to handle: then the row is not to blame."""
        if self._healthy:
            return
        try:
            self._checked([self._canary])
        except Exception:  # noqa: BLE001 - any failure of the canary means the model is broken
            raise error from None
        self._healthy = True

    def _finish(self, pieces: list[Piece], outcome: Answer | BaseException, bad: set[int]) -> None:
        self._on_batch(sum(stop - start for _, start, stop in pieces))
        if isinstance(outcome, BaseException):
            self._on_fault(outcome)
            for job, _, _ in pieces:
                self._close(job, Problem(500, "the model failed"))
            return
        labels, probabilities = outcome
        offset = 0
        for job, start, stop in pieces:
            end = offset + stop - start
            job.labels[start:stop] = labels[offset:end]
            job.probabilities[start:stop] = probabilities[offset:end]
            if bad:
                job.bad += [start + index - offset for index in sorted(bad) if offset <= index < end]
            job.left -= stop - start
            offset = end
            if not job.left:
                self._close(job)

    def _close(self, job: Job, problem: Problem | None = None) -> None:
        self._open.discard(job)
        if job.future.done():
            return
        if problem is None and job.bad:
            where = ", ".join(f"row {index}" for index in sorted(job.bad)[:8])
            problem = Problem(422, "the model cannot process this row", where=where)
        if problem is not None:
            job.future.set_exception(problem)
        else:
            job.future.set_result((job.labels, job.probabilities))


def _nothing(_: object) -> None:
    """Do nothing."""
