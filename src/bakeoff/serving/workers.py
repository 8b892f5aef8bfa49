"""Worker processes: each holds the model, one batch at a time goes to each, and one more waits, loaded, to take a dead one's place.

A worker that dies or hangs costs its batch a second try on the spare, within milliseconds; the next spare loads meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bakeoff.runtimes import memory
from bakeoff.schema.errors import BundleError
from bakeoff.serving import frames
from bakeoff.serving.computing import AbsentError, Answer, LostError

if TYPE_CHECKING:
    from bakeoff.serving.engine import Computing
    from bakeoff.serving.model import Opened

logger = logging.getLogger("bakeoff.serving")
_LOAD_SECONDS = 600.0
_PAUSE = 1.0
"""Seconds between attempts to start a spare after one did not come up."""
_VAIN = 4
"""Spares in a row that did not come up, after which nobody waits for the next."""
_GRACE = 2.0
"""Seconds a worker has to tidy up after its socket was closed, before it is killed."""


class Worker:
    """One process that has loaded the model, or is about to; ``ready`` waits for it.

    Args:
        command: program and its first arguments.
        opened: the bundle, as the server opened it: the process takes this one or none.
        threads: threads of the model.

    """

    def __init__(self, command: Sequence[str], opened: Opened, threads: int) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(opened.root), str(theirs.fileno()), str(threads), opened.sealed.sha256],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def ready(self, seconds: float) -> None:
        """Wait until the model is loaded.

        Raises:
            BundleError: it does not load.

        """
        self.socket.settimeout(_LOAD_SECONDS)
        try:
            kind, body, _, _ = frames.receive(self.socket)
        except (EOFError, OSError):
            kind, body = frames.FAILED, b"the process ended while it loaded the model"
        self.socket.settimeout(seconds)
        if kind != frames.READY:
            self.end(time.monotonic() + _GRACE)
            raise BundleError(body.decode())

    def predict(self, rows: Sequence[Any]) -> Answer:
        """Compute a batch there.

        Raises:
            EOFError | OSError: the process is gone, or took too long.
            ValueError: the model failed.

        """
        frames.send_rows(self.socket, rows)
        kind, body, count, columns = frames.receive(self.socket)
        if kind != frames.ANSWER:
            message = f"the model failed in its process: {body.decode()}"
            raise ValueError(message)
        return frames.answer(body, count, columns)

    def leave(self) -> None:
        """Hang up, upon which the process ends by itself; ``end`` or ``kill`` collects it."""
        with contextlib.suppress(OSError):  # the other side hung up first
            self.socket.shutdown(
                socket.SHUT_RDWR
            )  # unlike closing, this wakes a thread of ours that waits for an answer

    def end(self, deadline: float) -> None:
        """Let the process tidy up until ``deadline`` (``time.monotonic``), then kill it; collect it."""
        self.leave()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End the process now and collect it."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


class Remote:
    """A predictor that is a process; a lost one is replaced by the pool's spare at the next call."""

    def __init__(self, pool: Pool, worker: Worker) -> None:
        self._pool, self.worker = pool, worker
        self._lost = False

    def predict(self, rows: Sequence[Any]) -> Answer:
        """Compute a batch in the process.

        Raises:
            LostError: it died or hung; the next call goes to another.
            AbsentError: it died before, and there is no other.
            ValueError: the model failed.

        """
        if self._lost:
            self.worker, self._lost = self._pool.replacement(), False
        try:
            return self.worker.predict(rows)
        except (EOFError, OSError) as error:
            self._pool.bury(self.worker, hung=isinstance(error, TimeoutError))
            self._lost = True
            if not isinstance(error, BrokenPipeError):
                what = "the process that computed is gone"
                raise LostError(what) from None
        # it had died before and never had these rows: where others compute, they need not wait for its spare
        self.worker, self._lost = self._pool.replacement(wait=not self._pool.computes), False
        return self.predict(rows)

    def close(self) -> None:
        """End the process."""
        self.worker.end(time.monotonic() + _GRACE)


class Pool:
    """The processes of one bundle.

    Args:
        opened: the bundle, as the server opened it.
        how: number of replicas, threads, command.
        seconds: time a batch may take before its process counts as hung.

    """

    def __init__(self, opened: Opened, how: Computing, seconds: float) -> None:
        self._opened, self._threads, self._seconds = opened, how.threads or 1, seconds
        self._command = how.worker or (sys.executable, "-P", "-m", "bakeoff.serving.worker")
        self.restarts = 0
        self._closed = False
        self._free: list[Worker] = []
        self._loading: Worker | None = None
        self._vain = 0
        self._changed = threading.Condition()
        first = [self._start() for _ in range(how.replicas or 1)]
        try:
            for worker in first:
                worker.ready(seconds)
        except BaseException:
            for worker in first:
                worker.kill()
            raise
        self._remotes = [Remote(self, worker) for worker in first]
        self._spares = threading.Thread(target=self._keep_spare, name="bakeoff-spare", daemon=True)
        self._spares.start()

    def predictors(self) -> list[Remote]:
        """Return one predictor per process."""
        return self._remotes

    @property
    def healthy(self) -> bool:
        """Whether a process computes, or waits for a dead one's place."""
        return bool(self._free) or self.computes

    @property
    def computes(self) -> bool:
        """Whether a process computes, or could."""
        return any(remote.worker.process.poll() is None for remote in self._remotes)

    def _start(self) -> Worker:
        return Worker(self._command, self._opened, self._threads)

    def bury(self, lost: Worker, *, hung: bool) -> None:
        """Collect a process that died or hung."""
        lost.kill()
        how = "hung and was ended" if hung else f"ended with {lost.process.returncode}"
        logger.error("worker %d %s", lost.process.pid, how)

    def replacement(self, *, wait: bool = True) -> Worker:
        """Return a loaded worker in the place of one that is gone; may have to wait for it.

        Raises:
            AbsentError: none came up in the time a batch may take, several in a row did not, or the server is going down.

        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._free or self._closed or self._vain >= _VAIN, self._seconds)
            if self._closed or not self._free:
                what = "the server is going down" if self._closed else "no other process came up"
                raise AbsentError(what)
            self.restarts += 1
            self._changed.notify_all()
            return self._free.pop()

    def _keep_spare(self) -> None:
        """Keep one loaded worker ready, for as long as the pool lives."""
        while not self._closed:
            try:
                self._load_spare()
            except Exception:  # whatever it was may pass; without this thread the next death would be the last
                with self._changed:
                    self._vain += 1
                    self._changed.notify_all()
                if not self._closed:
                    logger.exception("a spare worker did not start")
                    time.sleep(_PAUSE)
        with self._changed:
            for spare in self._free:
                spare.end(time.monotonic() + _GRACE)

    def _load_spare(self) -> None:
        """Wait until there is no spare, then load one."""
        with self._changed:
            while self._free and not self._closed:
                self._changed.wait(1.0)
                if self._free and self._free[0].process.poll() is not None:
                    self._free.pop().kill()  # it died while it waited
            if self._closed:
                return
            worker = self._loading = self._start()
        try:
            worker.ready(self._seconds)
        except BaseException:
            worker.kill()
            raise
        with self._changed:
            self._loading, self._vain = None, 0
            self._free.append(worker)
            self._changed.notify_all()

    def close(self) -> None:
        """End every process, all at the same time; each may take a moment to remove what it keeps outside of itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._loading is not None:
                self._loading.leave()
        deadline = time.monotonic() + _GRACE
        for remote in self._remotes:
            remote.worker.leave()
        for remote in self._remotes:
            remote.worker.end(deadline)
        self._spares.join(_GRACE + _PAUSE)  # it ends the spare
        memory.sweep()  # of processes that had to be killed
