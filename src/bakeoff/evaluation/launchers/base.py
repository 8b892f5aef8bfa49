"""The contract of a launcher, which one machine and a cluster keep alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bakeoff.evaluation.job import Job
from bakeoff.evaluation.process import Limits
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Environment, Failure

Keep = Callable[[Environment], str]
"""Notes where steps ran and returns the key that their results carry."""


class Launcher(Protocol):
    """Runs jobs. Several threads may call ``run`` at once: as many making jobs as ``makers``, as many measuring ones as ``measurers``."""

    def begin(
        self, spec: Spec, workers: int | None, measured: Sequence[Environment], keep: Keep, url: str | None
    ) -> None:
        """Take note of the study; nothing is started yet.

        Args:
            spec: the specification.
            workers: making jobs side by side; None leaves it to the launcher.
            measured: where earlier runs of the study timed; the same hardware is preferred.
            keep: notes the description of a machine that a job ran on.
            url: place on a file system that all machines reach, through which folders may travel; None: there is none.

        """

    @property
    def makers(self) -> int:
        """Making jobs side by side."""

    @property
    def measurers(self) -> int:
        """Measuring jobs side by side, each alone on its machine."""

    @property
    def making_threads(self) -> int:
        """Threads of one making job."""

    @property
    def processes(self) -> int:
        """Processes that train one network together, where its family can."""

    def place(self) -> Environment:
        """Return the machine that is measured on, without packages; the key of every timing contains it.

        Raises:
            StudyError: there is none.

        """

    def ready(self) -> None:
        """Start what is needed to run jobs; called in the main thread, may be called again."""

    def run(
        self, job: Job, folder: Path, limits: Limits, on_tick: Callable[[], int], stop: threading.Event
    ) -> Failure | None:
        """Run a job to its end; return why it did not finish its steps, None when it did.

        Args:
            job: what to do.
            folder: working folder of the job on this machine.
            limits: what a step may take.
            on_tick: called often and after every result; takes in what is in ``job.out`` and returns how many results that were.
            stop: set from outside to end the job.

        Raises:
            StudyError: there is nowhere left to run it; what was finished is kept.

        """

    def close(self) -> None:
        """End everything that was started."""
