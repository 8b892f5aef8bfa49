"""Runs jobs in processes of this machine: makers share the cores, a measurer has them alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from bakeoff.evaluation.environment import host
from bakeoff.evaluation.job import Job
from bakeoff.evaluation.launchers.base import Keep
from bakeoff.evaluation.process import Limits, run_worker
from bakeoff.evaluation.starting import Starter
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Environment, Failure


class ProcessLauncher:
    """This machine."""

    measurers = processes = 1

    def __init__(self) -> None:
        self.makers = 1
        self._threads = 1
        self._idle: SimpleQueue[Starter] = SimpleQueue()
        self._measuring: Starter | None = None

    def begin(
        self, spec: Spec, workers: int | None, measured: Sequence[Environment], keep: Keep, url: str | None
    ) -> None:
        """Take note of the study."""
        del measured, keep, url  # there is only this machine, which the bench describes itself
        self.makers, self._threads = max(1, workers or 1), spec.measuring.threads

    @property
    def making_threads(self) -> int:
        """The cores, shared by the makers."""
        return max(1, host(self._threads).cores // self.makers)

    def place(self) -> Environment:
        """Return this machine."""
        return host(self._threads)

    def ready(self) -> None:
        """Start the processes that start workers, if that is still to be done; in the main thread, with which they end."""
        if self._measuring is None:
            self._measuring = Starter(self._threads)
            for _ in range(self.makers):
                self._idle.put(Starter(self.making_threads))

    def run(
        self, job: Job, folder: Path, limits: Limits, on_tick: Callable[[], int], stop: threading.Event
    ) -> Failure | None:
        """Run a job in a process group of its own."""
        with self._starter(job) as starter:
            return run_worker(job, folder, starter, limits, on_tick, stop)

    def close(self) -> None:
        """End the processes that start workers."""
        while not self._idle.empty():
            self._idle.get().close()
        if self._measuring is not None:
            self._measuring.close()
            self._measuring = None

    @contextmanager
    def _starter(self, job: Job) -> Iterator[Starter]:
        """Lend a starter of workers for this kind of job."""
        if job.site != "make":
            assert self._measuring is not None  # noqa: S101 - ready() comes first
            yield self._measuring
            return
        starter = self._idle.get()
        try:
            yield starter
        finally:
            self._idle.put(starter)
