"""One router in front of replicas of different speed: each piece of work goes where it is expected to be done first.

There is one queue. A replica that is free takes the next piece unless another one, busy or not, is expected to be done with all
that waits before this one would be done with the piece. So work is shared in proportion to what each replica can do, a slow one
never holds up the last piece, and nothing is assigned that a replica might not live to compute. Speeds are measured at the start and
followed by an exponential mean of what each piece took.

A replica that fails on rows that it has answered before is taken out; what it held goes to the others, and it is opened again until
it answers. One that fails on some rows only is healthy: the error belongs to the rows.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.runtimes.base import Predictor
from bakeoff.schema.errors import BakeoffError, StepError

logger = logging.getLogger("bakeoff.router")

Row = Mapping[str, Any]
Scores = NDArray[np.float64]

_WEIGHT = 0.2
"""Share of the newest piece in the mean."""
_LOOK = 0.02
"""Seconds after which a free replica that left a piece to a faster one looks again: the faster one may be late."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_MEASURES = 3


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


class _Speed:
    """Seconds a row by size of a piece, as powers of two: a small piece on a large accelerator costs what a large one does."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, rows: int, seconds: float) -> None:
        size, found = rows.bit_length(), seconds / rows
        before = self._seconds.get(size)
        self._seconds[size] = found if before is None else before + _WEIGHT * (found - before)

    def of(self, rows: int) -> float:
        """Return the seconds that so many rows are expected to take."""
        size = rows.bit_length()
        nearest = min(self._seconds, key=lambda known: abs(known - size))
        return self._seconds[nearest] * rows

    @property
    def best(self) -> float:
        """Rows a second at the best size seen."""
        return 1.0 / min(self._seconds.values()) if self._seconds else 0.0


class _Replica:
    """A backend with its thread's state; the router's lock guards all of it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.predictor: Predictor | None = None
        self.speed = _Speed()
        self.running: _Piece | None = None
        self.since = 0.0
        self.rows = 0
        self.losses = 0

    def left(self, now: float) -> float:
        """Return the seconds until it is free; what is late is expected to take as long again."""
        if self.running is None:
            return 0.0
        passed = now - self.since
        expected = self.speed.of(len(self.running.rows))
        return expected - passed if passed < expected else passed


class Router:
    """A predictor that is several replicas; it may be called from several threads.

    Args:
        backends: at least one.
        canary: rows that every replica can answer; they measure it, and tell a broken replica from bad rows.
        piece: rows computed at once at most.
        patience: seconds that a piece may wait when every replica is out.

    Raises:
        BakeoffError: a backend does not open at the start.

    """

    def __init__(
        self, backends: Sequence[Backend], canary: Sequence[Row], *, piece: int = 16, patience: float = 30.0
    ) -> None:
        self._canary, self._piece, self._patience = list(canary), piece, patience
        self._changed = threading.Condition()
        self._queue: deque[_Piece] = deque()
        self._closed = False
        self._classes = 0
        self._replicas = [_Replica(backend) for backend in backends]
        self.concurrency = len(backends) + 1
        try:
            for replica in self._replicas:
                self._open(replica)
        except BaseException:
            self.close()
            raise
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
                what = "the router was closed"
                raise StepError("error", what)
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
        """Return name, health, measured rows a second, share of the rows answered and losses of each replica."""
        with self._changed:
            total = sum(replica.rows for replica in self._replicas) or 1
            return [
                {
                    "name": replica.backend.name, "alive": replica.predictor is not None, "rows_per_second": replica.speed.best,
                    "share": replica.rows / total, "losses": replica.losses,
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
        what = "the router was closed"
        for piece in left:
            piece.future.set_exception(StepError("error", what))
        for thread in getattr(self, "_threads", []):
            thread.join(self._patience)
        for replica in self._replicas:
            self._release(replica)

    # ------------------------------------------------------------------------------------------------------- for threads

    def _work(self, replica: _Replica) -> None:
        while True:
            if replica.predictor is None and not self._revive(replica):
                return
            piece = self._take(replica)
            if piece is None:
                return
            self._compute(replica, piece)

    def _take(self, replica: _Replica) -> _Piece | None:
        """Wait for a piece that this replica should compute; None when the router was closed."""
        with self._changed:
            while not self._closed:
                if self._queue and self._is_first(replica):
                    piece = self._queue.popleft()
                    replica.running, replica.since = piece, time.monotonic()
                    return piece
                self._changed.wait(_LOOK if self._queue else None)
        return None

    def _is_first(self, replica: _Replica) -> bool:
        """Whether no other replica is expected to be done with all that waits before this one is done with the next piece."""
        mine = replica.speed.of(len(self._queue[0].rows))
        now = time.monotonic()
        return all(
            mine <= other.left(now) + sum(other.speed.of(len(piece.rows)) for piece in self._queue)
            for other in self._replicas
            if other is not replica and other.predictor is not None
        )

    def _compute(self, replica: _Replica, piece: _Piece) -> None:
        predictor = replica.predictor
        assert predictor is not None  # noqa: S101 - a dead replica takes nothing
        try:
            found = predictor.predict_proba(piece.rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; who is to blame is found out
            self._failed(replica, piece, error)
            return
        with self._changed:
            replica.speed.learn(len(piece.rows), time.monotonic() - replica.since)
            replica.rows += len(piece.rows)
            replica.running = None
            self._changed.notify_all()
        piece.future.set_result(found)

    def _failed(self, replica: _Replica, piece: _Piece, error: Exception) -> None:
        """Blame the rows if the replica still answers the canary, else take the replica out and put the rows back in front."""
        healthy = self._answers(replica)
        with self._changed:
            replica.running = None
            if not healthy:
                piece.losses += 1
                replica.losses += 1
            blamed = healthy or piece.losses > len(self._replicas)
            if not blamed:
                self._queue.appendleft(piece)
            self._changed.notify_all()
        if blamed:
            piece.future.set_exception(error)
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

    def _open(self, replica: _Replica) -> None:
        """Open a replica and measure it on one row and on a whole piece."""
        predictor = replica.backend.open()
        speed = _Speed()
        rows = (self._canary * self._piece)[: self._piece]
        try:
            self._classes = predictor.predict_proba(rows).shape[1]  # the first call sets things up, too
            for some in (rows[:1], rows):
                spent = []
                for _ in range(_MEASURES):
                    begin = time.monotonic()
                    if not np.isfinite(predictor.predict_proba(some)).all():
                        what = "a replica does not answer with finite numbers"
                        raise StepError("non_finite", what, where=replica.backend.name)
                    spent.append(time.monotonic() - begin)
                speed.learn(len(some), max(min(spent), 1e-9))
        except BaseException:
            predictor.close()
            raise
        with self._changed:
            replica.predictor, replica.speed = predictor, speed
            self._changed.notify_all()

    def _release(self, replica: _Replica) -> None:
        with self._changed:
            predictor, replica.predictor = replica.predictor, None
        if predictor is not None:
            try:
                predictor.close()
            except (BakeoffError, OSError) as error:  # it is broken already
                logger.info("replica %s did not close: %s", replica.backend.name, error)
