"""One router in front of replicas of different speed: each piece of work goes where it is expected to be done first.

There is one queue. A replica that is free takes the next piece unless another one, busy or not, is expected to be done with all
that waits before this one would be done with the piece. So work is shared in proportion to what each replica can do, a slow one
never holds up the last piece, and nothing is assigned that a replica might not live to compute. Speeds are measured at the start and
followed by an exponential mean of what each piece took.

An accelerator computes many rows in the time of few: each replica measures up to how many it pays, and takes more pieces at once, as
long as no other would be done with the next one sooner.

A replica that fails on rows that it has answered before is taken out; what it held goes to the others, and it is opened again until
it answers. One that fails on some rows only is healthy: the error belongs to the rows, to which of them is found out piece by piece.

Does: share, measure, take out, bring back. Does not know: what a replica is (see ``replicas``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.tabular import Table
from bakeoff.runtimes.base import Predictor
from bakeoff.schema.errors import BakeoffError, StepError
from bakeoff.serving.speed import Speed, measured

logger = logging.getLogger("bakeoff.router")

Row = Mapping[str, Any]
Scores = NDArray[np.float64]

_LOOK = 0.02
"""Seconds after which a free replica that left a piece to a faster one looks again: the faster one may be late."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


@dataclass(frozen=True)
class Backend:
    """A replica that can be opened: its name, and what loads it."""

    name: str
    open: Callable[[], Predictor]


@dataclass(eq=False)
class _Piece:
    rows: Sequence[Row]
    future: Future[Scores] = field(default_factory=Future)
    losses: int = 0
    alone: bool = False
    """Not to be computed with others: it, or another one beside it, made them fail."""


def _alike(first: _Piece, second: _Piece) -> bool:
    """Whether two pieces may be computed at once: a table of numbers only with one of the same columns."""
    tables = [piece.rows.names if isinstance(piece.rows, Table) else None for piece in (first, second)]
    return tables[0] == tables[1] and not first.alone and not second.alone


def _rows_of(pieces: Sequence[_Piece]) -> Sequence[Row]:
    first = pieces[0].rows
    if len(pieces) == 1:
        return first
    if isinstance(first, Table):
        return Table(first.names, np.concatenate([cast("Table", piece.rows).values for piece in pieces]))
    return [row for piece in pieces for row in piece.rows]


def _turn_away(pieces: Sequence[_Piece]) -> None:
    what = "the router was closed"
    for piece in pieces:
        piece.future.set_exception(StepError("error", what))


def _check_size(found: Scores, rows: int) -> None:
    if len(found) != rows:
        what = "the model answered with another number of rows"
        raise StepError("error", what, got=len(found), allowed=str(rows))


class _Replica:
    """A backend with its thread's state; the router's lock guards all of it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.predictor: Predictor | None = None
        self.speed = Speed({1: 1.0}, 0.0)
        self.batch = 1
        self.running = 0
        """Rows it is computing."""
        self.since = 0.0
        self.rows = 0
        self.losses = 0


class Router:
    """A predictor that is several replicas; it may be called from several threads.

    Args:
        backends: at least one.
        canary: rows that every replica can answer; they measure it, and tell a broken replica from bad rows.
        piece: rows that are never shared between replicas.
        optional: leave out backends that do not open at the start, as long as one does.
        patience: seconds that a piece may wait when every replica is out.

    Raises:
        BakeoffError: a backend does not open at the start; with ``optional``, none does ('unavailable').

    """

    def __init__(
        self,
        backends: Sequence[Backend],
        canary: Sequence[Row],
        *,
        piece: int = 16,
        patience: float = 30.0,
        optional: bool = False,
    ) -> None:
        self._canary, self._piece, self._patience = list(canary), piece, patience
        self._changed = threading.Condition()
        self._queue: deque[_Piece] = deque()
        self._closed = False
        self._classes = 0
        self._replicas = [_Replica(backend) for backend in backends]
        try:
            self._open_all(optional=optional)
        except BaseException:
            self.close()
            raise
        self.concurrency = len(self._replicas) + 1
        self._threads = [
            threading.Thread(
                target=self._work, args=(replica,), name=f"bakeoff-replica-{replica.backend.name}", daemon=True
            )
            for replica in self._replicas
        ]
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------------------------------------------------- for callers

    def predict_proba(self, rows: Sequence[Row]) -> Scores:
        """Return (n, k) probabilities.

        Raises:
            StepError: every replica is out ('crash'), or the router was closed ('error').
            Exception: what the model raised over these rows.

        """
        if not rows:
            return np.zeros((0, self._classes))
        pieces = [_Piece(rows[at : at + self._piece]) for at in range(0, len(rows), self._piece)]
        with self._changed:
            if self._closed:
                _turn_away(pieces)
            else:
                self._queue.extend(pieces)
            self._changed.notify_all()
        return np.concatenate([self._answer(piece) for piece in pieces])

    def _answer(self, piece: _Piece) -> Scores:
        while True:
            try:
                return piece.future.result(self._patience)
            except TimeoutError:
                if piece.future.done():
                    raise  # the model's own
                with self._changed:
                    if piece not in self._queue or any(replica.predictor for replica in self._replicas):
                        continue  # it is being computed, or will be
                    self._queue.remove(piece)
                what = "every replica is out"
                raise StepError("crash", what) from None

    def status(self) -> list[dict[str, Any]]:
        """Return name, health, measured rows a second, rows at once, share of the rows answered and losses of each replica."""
        with self._changed:
            total = sum(replica.rows for replica in self._replicas) or 1
            return [
                {
                    "name": replica.backend.name, "alive": replica.predictor is not None, "rows_per_second": replica.speed.best,
                    "batch": replica.batch, "share": replica.rows / total, "losses": replica.losses,
                }
                for replica in self._replicas
            ]  # fmt: skip

    @property
    def healthy(self) -> bool:
        """Whether any replica answers."""
        return any(replica.predictor is not None for replica in self._replicas)

    def describe(self) -> dict[str, Any]:
        """Return ``status`` as the server's status shows it."""
        return {"router": self.status()}

    def close(self) -> None:
        """Let every replica finish its piece, then release it."""
        with self._changed:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        _turn_away(left)
        for thread in getattr(self, "_threads", []):
            thread.join(self._patience)
        for replica in self._replicas:
            self._release(replica)

    # ------------------------------------------------------------------------------------------------------- for threads

    def _work(self, replica: _Replica) -> None:
        while True:
            if replica.predictor is None and not self._revive(replica):
                return
            pieces = self._take(replica)
            if not pieces:
                return
            self._compute(replica, pieces)

    def _take(self, replica: _Replica) -> list[_Piece]:
        """Wait for pieces that this replica should compute; none when the router was closed."""
        with self._changed:
            while not self._closed:
                if self._queue and self._is_first(replica):
                    pieces = self._joined(replica)
                    replica.running, replica.since = sum(len(piece.rows) for piece in pieces), time.monotonic()
                    if self._queue:
                        self._changed.notify_all()  # who left these to a replica that was free looks again
                    return pieces
                self._changed.wait(_LOOK if self._queue else None)
        return []

    def _is_first(self, replica: _Replica) -> bool:
        """Whether no other replica is expected to be done with all that waits before this one is done with the next piece."""
        mine, waiting = self._expected(replica, len(self._queue[0].rows)), sum(len(piece.rows) for piece in self._queue)
        return all(mine <= self._left(other) + self._expected(other, waiting) for other in self._others(replica))

    def _joined(self, replica: _Replica) -> list[_Piece]:
        """Take the next piece, and those after it that nobody else would be done with sooner."""
        pieces = [self._queue.popleft()]
        rows = len(pieces[0].rows)
        while self._queue and _alike(pieces[0], self._queue[0]):
            more = len(self._queue[0].rows)
            mine = self._expected(replica, rows + more)
            if rows + more > replica.batch or any(
                self._left(other) + self._expected(other, more) < mine for other in self._others(replica)
            ):
                break
            pieces.append(self._queue.popleft())
            rows += more
        return pieces

    def _others(self, replica: _Replica) -> list[_Replica]:
        return [other for other in self._replicas if other is not replica and other.predictor is not None]

    def _usual(self) -> float:
        heights = [replica.speed.height for replica in self._replicas if replica.predictor is not None]
        return sum(heights) / len(heights) if heights else 0.0

    def _expected(self, replica: _Replica, rows: int) -> float:
        """Return the seconds that so many rows are expected to take, in batches of what the replica takes at once."""
        now, usual = time.monotonic(), self._usual()
        full, rest = divmod(rows, replica.batch)
        seconds = full * replica.speed.of(replica.batch, now, usual) if full else 0.0
        return seconds + (replica.speed.of(rest, now, usual) if rest else 0.0)

    def _left(self, replica: _Replica) -> float:
        """Return the seconds until a replica is free; what is late is expected to take as long again."""
        if not replica.running:
            return 0.0
        passed, expected = time.monotonic() - replica.since, self._expected(replica, replica.running)
        return expected - passed if passed < expected else passed

    def _compute(self, replica: _Replica, pieces: list[_Piece]) -> None:
        predictor = replica.predictor
        assert predictor is not None  # noqa: S101 - a dead replica takes nothing
        try:
            rows = _rows_of(pieces)
            found = predictor.predict_proba(rows)
            _check_size(found, len(rows))
        except Exception as error:  # noqa: BLE001 - a model may raise anything; who is to blame is found out
            self._failed(replica, pieces, error)
            return
        with self._changed:
            now = time.monotonic()
            replica.speed.learn(len(rows), now - replica.since, now, self._usual())
            replica.rows += len(rows)
            replica.running = 0
            self._changed.notify_all()
        begin = 0
        for piece in pieces:
            piece.future.set_result(found[begin : begin + len(piece.rows)])
            begin += len(piece.rows)

    def _failed(self, replica: _Replica, pieces: list[_Piece], error: Exception) -> None:
        """Blame the rows if the replica still answers the canary, else take the replica out and put the rows back in front.

        Pieces that failed together are put back, too, each to be computed alone.
        """
        healthy = self._answers(replica)
        with self._changed:
            replica.running = 0
            replica.losses += not healthy
            for piece in pieces:
                piece.alone = True
                piece.losses += not healthy
            most = len(self._replicas)
            blamed = [piece for piece in pieces if piece.losses > most or (healthy and len(pieces) == 1)]
            back = [piece for piece in pieces if piece not in blamed]
            lost = back if self._closed else []  # nobody would take them
            if not lost:
                self._queue.extendleft(reversed(back))
            self._changed.notify_all()
        for piece in blamed:
            piece.future.set_exception(error)
        _turn_away(lost)
        if not healthy:
            logger.warning("replica %s is taken out: %s", replica.backend.name, type(error).__name__)
            self._release(replica)

    def _answers(self, replica: _Replica) -> bool:
        assert replica.predictor is not None  # noqa: S101 - it has just failed
        try:
            found = replica.predictor.predict_proba(self._canary[:1])
        except Exception:  # noqa: BLE001 - whatever it raises, it does not answer
            return False
        return bool(np.isfinite(found).all())

    def _revive(self, replica: _Replica) -> bool:
        """Open the replica again, more and more patiently; return False when the router was closed meanwhile."""
        pause = _FIRST_PAUSE
        while not self._closed:
            try:
                self._open(replica)
            except Exception as error:  # noqa: BLE001 - it is tried again whatever the reason
                logger.info("replica %s does not come back yet: %s", replica.backend.name, error)
            else:
                logger.warning("replica %s is back", replica.backend.name)
                return True
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return False

    def _open_all(self, *, optional: bool) -> None:
        for replica in list(self._replicas):
            try:
                self._open(replica)
            except Exception as error:  # a provider may raise anything
                if not optional:
                    raise
                logger.warning("replica %s is left out: %s", replica.backend.name, error)
                self._replicas.remove(replica)
        if not self._replicas:
            what = "no replica starts here"
            raise StepError("unavailable", what)

    def _open(self, replica: _Replica) -> None:
        """Open a replica and measure it."""
        predictor = replica.backend.open()
        try:
            found = predictor.predict_proba(self._canary[:1])
            self._classes = found.shape[1]
            spent, batch = measured(predictor, self._canary, self._piece)
        except BaseException:
            predictor.close()
            raise
        with self._changed:
            replica.predictor, replica.speed, replica.batch = predictor, Speed(spent, time.monotonic()), batch
            self._changed.notify_all()

    def _release(self, replica: _Replica) -> None:
        with self._changed:
            predictor, replica.predictor = replica.predictor, None
        if predictor is not None:
            try:
                predictor.close()
            except (BakeoffError, OSError) as error:  # it is broken already
                logger.info("replica %s did not close: %s", replica.backend.name, error)
