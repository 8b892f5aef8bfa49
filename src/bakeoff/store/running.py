"""Marks of steps that are being worked on. A mark counts only while its owner lives, so a killed run leaves none.

Marks are files beside the ledger, not records in it: they are no evidence, and need not survive anything.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

_TOLERANCE = 1.0
"""Seconds by which two readings of one process's start may differ."""


@dataclass(frozen=True)
class RunningStep:
    """A step somebody is working on: its key, and the process (id and start, seconds since the epoch) that does.

    ``host`` is the machine it runs on; empty for this one.
    """

    key: str
    pid: int
    started: float
    host: str = ""


class RunningMarks:
    """The marks of one study, one file each.

    Args:
        directory: where they are kept; made when the first one is set.

    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def set(self, key: str) -> None:
        """Mark ``key`` as being worked on by this process."""
        self._directory.mkdir(exist_ok=True)
        text = json.dumps({"pid": os.getpid(), "started": started(os.getpid())})
        (self._directory / key).write_text(text, encoding="ascii")

    def clear(self, key: str) -> None:
        """Take the mark away, if there is one."""
        with contextlib.suppress(OSError):
            (self._directory / key).unlink()

    def alive(self) -> tuple[RunningStep, ...]:
        """Return the marks whose owner lives; the others are swept away."""
        found = []
        for path in sorted(self._directory.glob("*")) if self._directory.is_dir() else []:
            mark = _read(path)
            if mark is not None and _lives(mark):
                found.append(mark)
            else:
                self.clear(path.name)
        return tuple(found)


def _read(path: Path) -> RunningStep | None:
    try:
        fields = json.loads(path.read_text(encoding="ascii"))
        return RunningStep(path.name, int(fields["pid"]), float(fields["started"]))
    except (OSError, ValueError, KeyError, TypeError):  # torn by a kill: nobody's mark
        return None


def _lives(mark: RunningStep) -> bool:
    return abs(started(mark.pid) - mark.started) <= _TOLERANCE


def started(pid: int) -> float:
    """Return when a process started, seconds since the epoch; -inf when there is none (a zombie is none)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return float("-inf") if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return float("-inf")
