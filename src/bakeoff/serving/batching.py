"""Dynamic batching without a waiting window: while one batch runs, what arrives becomes the next one.

One queue. Who computes is either the event loop itself (*inline*, for models cheaper than a thread hand-off) or N compute
threads. A request of many rows is taken in pieces and goes to the back of the queue between them, so that a small one never
waits for all of it. A request that cannot be answered in time any more is shed before it costs anything. Answers travel by
callback: a future per request would cost more than a small model.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter, sleep, thread_time
from typing import Any

from bakeoff.serving.computing import AbsentError, Compute, LostError, Outcome, Row, Standing
from bakeoff.serving.curve import Tuner
from bakeoff.serving.parsing import refused
from bakeoff.serving.pressure import Pressure
from bakeoff.serving.problems import Problem, later, too_late

Done = Callable[["Job", Problem | None], None]
Join = Callable[[list[Sequence[Any]]], Sequence[Row]]
Piece = tuple["Job", int, int]

_FAR = float("inf")
_BLOCKED = 0.05
"""Seconds an inline batch may hold the event loop; a model that takes longer gets a thread from then on."""
_AGAIN = 1.0
"""Seconds between looks at a predictor that failed."""


class Job:
    """One request: its rows, and its answer as it fills.

    ``bad`` holds the indices of rows that could not be computed, ``booked`` says how many rows of its next piece were counted as
    being ahead of others: the size of batches may change before they are taken. ``expected`` is how long it was expected to take [s];
    0 when nothing was waiting, and for more rows than a batch has.
    """

    __slots__ = (
        "asked", "bad", "booked", "done", "due", "expected", "labels", "left", "probabilities", "rows", "started", "taken",
    )  # fmt: skip

    def __init__(self, rows: Sequence[Any], due: float, done: Done, asked: float) -> None:
        self.rows, self.due, self.done, self.asked = rows, due, done, asked
        self.taken, self.booked, self.left, self.started = 0, 0, len(rows), asked
        self.expected = 0.0
        self.labels: list[int] = []
        self.probabilities: list[list[float]] = []
        self.bad: list[int] = []


class Batcher:
    """Greedy batches from one queue. All methods are for the event loop's thread.

    Args:
        computes: one per compute thread; with ``inline`` the first one runs on the event loop.
        join: makes one sequence of rows of the rows of several requests.
        size: rows of a batch at most.
        queue: rows that may wait before requests are shed.
        pressure: knows how long a row takes and how long one may wait.
        inline: compute on the event loop.
        on_batch: called on the event loop with the rows of each finished batch and the seconds it took.
        on_fault: called on the event loop with an exception of the model (never with row content).

    Attributes:
        tuner: learns from the batches how large they should be, if set.
        clock: of what a batch costs, read in the thread that computes it.
    """

    def __init__(
        self, computes: Sequence[Compute], join: Join, *, size: int, queue: int, pressure: Pressure | None = None,
        inline: bool = False, on_batch: Callable[[int, float], None] | None = None,
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:  # fmt: skip
        self._computes, self._join, self.size, self._limit = list(computes), join, size, queue
        self.pressure = pressure or Pressure(len(self._computes), _FAR)
        self.inline = inline
        self.tuner: Tuner | None = None
        self.clock: Callable[[], float] = thread_time
        self._on_batch, self._on_fault = on_batch or _nothing, on_fault or _nothing
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._bells: list[Any] = []
        self._open: set[Job] = set()
        self._returned: deque[list[Piece]] = deque()
        self._standing = Standing(self._computes)
        self._canary: Job | None = None
        self._stopped = self._scheduled = False
        self.waiting = self.computing = self._ahead = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def failing(self) -> bool:
        """Whether nothing computes: every predictor is absent, or does not answer the canary either."""
        return self._standing.failing

    @property
    def inflight(self) -> int:
        """Requests not answered yet."""
        return len(self._open)

    @property
    def chosen(self) -> int:
        """Rows of a batch at most; ``size`` may be another one that is being tried."""
        return self.tuner.size if self.tuner is not None else self.size

    @property
    def delay(self) -> float:
        """Seconds a row that comes now is expected to wait before it is computed."""
        return self.pressure.delay(self.ahead)

    @property
    def ahead(self) -> int:
        """Rows that are computed before those of a request that comes now: of a large request only its next piece is."""
        return self._ahead + self.computing

    def start(self) -> None:
        """Start computing; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        if not self.inline:
            self._start_threads()

    def _start_threads(self) -> None:
        for number, compute in enumerate(self._computes):
            name = f"bakeoff-compute-{number}"
            threading.Thread(target=self._work, args=(compute,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Let the compute threads end after what is queued."""
        with self._lock:
            self._stopped = True
        self._ring(len(self._bells))

    def refusal(self, count: int = 1) -> Problem | None:
        """Return why ``count`` more rows cannot be taken now, if so; an empty queue takes anything."""
        return self._refusal(count, self._expected(count)) if self.waiting else None

    def _expected(self, count: int) -> float:
        """Return the seconds to an answer: whoever comes after it may still fill its batch, and it is answered with that batch."""
        return self.pressure.answer(self.ahead + min(count, self.size) - 1, self.size)

    def _refusal(self, count: int, expected: float) -> Problem | None:
        if self.waiting + count <= self._limit and self.pressure.bearable(expected):
            return None
        return later("too many requests are waiting", self.pressure.retry_after(self.ahead))

    def submit(self, rows: Sequence[Any], due: float, done: Done) -> Job:
        """Queue a request.

        Args:
            rows: validated rows, at least one, in the form ``join`` takes.
            due: ``time.perf_counter`` after which the answer is of no use; ``expire`` gives the request up.
            done: called once on the event loop with the job, and with a problem unless its answer is complete.

        Raises:
            Problem: 503 with Retry-After when too much is waiting.

        """
        expected = self._expected(len(rows)) if self.waiting else 0.0
        if self.waiting and (refusal := self._refusal(len(rows), expected)) is not None:
            raise refusal
        job = Job(rows, due, done, perf_counter())
        job.expected = expected if len(rows) <= self.size else 0.0
        self._open.add(job)
        with self._lock:
            self.waiting += len(rows)
            self._append(job, len(rows))
        if not self._scheduled and (self.inline or self._bells):
            # at the end of this turn of the event loop, so that requests that arrived together are computed together
            self._scheduled = True
            assert self._loop is not None  # noqa: S101 - start() comes first
            self._loop.call_soon(self._wake)
        return job

    def look_again(self, row: Any, due: float) -> None:  # noqa: ANN401 - as ``join`` takes it
        """Compute a row that the model can answer, if nothing computes and nobody waits: a server that is not ready is not asked."""
        if self.failing and not self._open:
            self._canary = self.submit([row], due, _nothing)

    def expire(self, now: float) -> None:
        """Answer requests that are overdue with 504; rows of theirs that still wait are dropped."""
        for job in [job for job in self._open if job.due < now]:
            self.withdraw(job, too_late())

    def withdraw(self, job: Job, problem: Problem) -> None:
        """Give a job up, if it is not answered yet: rows of it that still wait are not computed."""
        if job not in self._open:
            return
        with self._lock:
            if job.taken < len(job.rows):
                self._jobs.remove(job)
                self._unbook(job)
                job.taken = len(job.rows)
        self._close(job, problem)

    def _append(self, job: Job, left: int) -> None:
        """Queue a job, or what is left of one; called with the lock held, as is ``_unbook``.

        What is left of a large one lets others go first. Who came after a small one has counted all of its rows.
        """
        job.booked = min(left, self.size)
        self._ahead += job.booked
        if left < len(job.rows) <= self.size:
            self._jobs.appendleft(job)
        else:
            self._jobs.append(job)

    def _unbook(self, job: Job) -> None:
        """Take a job's rows off the books."""
        self.waiting -= len(job.rows) - job.taken
        self._ahead -= job.booked

    # ------------------------------------------------------------------------------------------------------- computing

    def _wake(self) -> None:
        self._scheduled = False
        if self.inline:
            self._run_inline()
        else:
            self._ring(-(-self.waiting // max(1, self.size)))

    def _ring(self, count: int) -> None:
        """Wake up to ``count`` idle compute threads."""
        with self._lock:
            bells = [self._bells.pop() for _ in range(min(count, len(self._bells)))]
        for bell in bells:
            bell.release()

    def _run_inline(self) -> None:
        pieces, late = self._take()
        begin, spent = perf_counter(), self.clock()
        outcome = self._run(self._computes[0], pieces) if pieces else None
        seconds = perf_counter() - begin
        self._finish(pieces, late, outcome, seconds, self.clock() - spent)
        if seconds > _BLOCKED:
            self.inline = False
            self._start_threads()
        elif self._jobs and not self._scheduled:
            self._scheduled = True
            assert self._loop is not None  # noqa: S101
            self._loop.call_soon(self._wake)

    def _work(self, compute: Compute) -> None:
        bell = threading.Lock()
        bell.acquire()
        while True:
            if self._standing.dispensable(compute) and not self._answers_again(compute):
                return
            with self._lock:
                idle = not (self._jobs or self._returned)
                if idle:
                    if self._stopped:
                        return
                    self._bells.append(bell)
            if idle:
                bell.acquire()
                continue
            pieces, late = self._take()
            if not pieces and not late:
                continue
            begin, spent = perf_counter(), self.clock()
            outcome = self._run(compute, pieces) if pieces else None
            seconds, spent = perf_counter() - begin, self.clock() - spent
            if isinstance(outcome, AbsentError) and self._give_back(compute, pieces):
                outcome = None
            try:
                assert self._loop is not None  # noqa: S101
                self._loop.call_soon_threadsafe(self._finish, pieces, late, outcome, seconds, spent)
            except RuntimeError:
                return  # the loop was closed: the process is going down and nobody waits for the answer any more

    def _answers_again(self, compute: Compute) -> bool:
        """Wait until a predictor that failed answers, or no other does; others compute meanwhile. Say whether to go on."""
        while not self._stopped and self._standing.dispensable(compute):
            self._ring(1)  # for what this thread was woken for, or gave back
            if compute.answers():
                self._standing.note(compute, failed=False)
            else:
                sleep(_AGAIN)
        return not self._stopped

    def _give_back(self, compute: Compute, pieces: list[Piece]) -> bool:
        """Leave a batch that nothing has computed to another predictor, if there is one; its rows are on the books still."""
        with self._lock:
            given = not self._stopped and self._standing.dispensable(compute)
            if given:
                self._returned.append(pieces)
        return given

    def _take(self) -> tuple[list[Piece], list[Job]]:
        """Take up to a batch of rows, oldest request first, and set aside what cannot be answered in time."""
        pieces: list[Piece] = []
        late: list[Job] = []
        now = perf_counter()
        with self._lock:
            if self._returned:
                return self._returned.popleft(), late
            room = size = self.size
            jobs = self._jobs
            while jobs and room:
                job = jobs.popleft()
                count = len(job.rows)
                self._unbook(job)
                if self.pressure.hopeless(job.asked, job.due, now):
                    job.taken = count
                    late.append(job)
                    continue
                if not job.taken:
                    job.started = now
                stop = min(job.taken + room, count)
                pieces.append((job, job.taken, stop))
                room -= stop - job.taken
                job.taken = stop
                if stop < count:
                    self.waiting += count - stop
                    self._append(job, count - stop)
            self.computing += size - room
        return pieces, late

    def _run(self, compute: Compute, pieces: list[Piece]) -> Outcome | BaseException:
        try:
            parts = [job.rows if stop - start == len(job.rows) else job.rows[start:stop] for job, start, stop in pieces]
            outcome = compute.run(self._join(parts))
        except Exception as error:  # noqa: BLE001 - whatever a model raises is an answer to give, not the end of the server
            self._standing.note(compute, failed=True)
            return error
        if self._standing.failed:
            self._standing.note(compute, failed=False)
        return outcome

    # ------------------------------------------------------------------------------------------------------- answering

    def _finish(
        self, pieces: list[Piece], late: list[Job], outcome: Outcome | BaseException | None,
        seconds: float, spent: float,
    ) -> None:  # fmt: skip
        for job in late:
            self._close(job, too_late())
        if outcome is None:
            return
        rows = sum(stop - start for _, start, stop in pieces)
        with self._lock:
            self.computing -= rows
        self._on_batch(rows, seconds)
        if isinstance(outcome, BaseException):
            if pieces[-1][0] is not self._canary:  # nobody asked, and the fault it looks after is counted
                self._on_fault(outcome)
            gone = isinstance(outcome, AbsentError | LostError)
            absent = later("there is nothing to compute with at the moment")
            for job, _, _ in pieces:
                self._close(job, absent if gone else Problem(500, "the model failed"))
            return
        if not outcome.bad:  # the search for those took time that no other batch will
            self._learn(pieces[0], rows, seconds, spent)
        offset = 0
        for job, start, stop in pieces:
            end = offset + stop - start
            self._fill(job, start, outcome, offset, end)
            offset = end

    def _learn(self, first: Piece, rows: int, seconds: float, spent: float) -> None:
        self.pressure.learn(rows, seconds)
        job, _, stop = first
        if job.expected and stop == len(job.rows):
            self.pressure.compare(job.expected, perf_counter() - job.asked)
        if self.tuner is not None:
            size = self.tuner.learn(rows, spent)
            with self._lock:
                self.size = size

    def _fill(self, job: Job, start: int, outcome: Outcome, offset: int, end: int) -> None:
        if end - offset == len(job.rows):
            job.labels, job.probabilities = outcome.labels[offset:end], outcome.probabilities[offset:end]
        else:  # one of several pieces, which may come back in any order
            if not job.labels:
                job.labels, job.probabilities = [0] * len(job.rows), [[]] * len(job.rows)
            job.labels[start : start + end - offset] = outcome.labels[offset:end]
            job.probabilities[start : start + end - offset] = outcome.probabilities[offset:end]
        if outcome.bad:
            job.bad += [start + index - offset for index in sorted(outcome.bad) if offset <= index < end]
        job.left -= end - offset
        if not job.left:
            self._close(job)

    def _close(self, job: Job, problem: Problem | None = None) -> None:
        if job not in self._open:
            return
        self._open.discard(job)
        if problem is None and job.bad:
            problem = refused(job.rows, job.bad)
        job.done(job, problem)


def _nothing(*_: object) -> None:
    """Do nothing."""
