"""Stages as processes of this machine, each started anew when it dies."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bakeoff.runtimes.sealed import contained
from bakeoff.runtimes.shards.plan import Stage
from bakeoff.runtimes.shards.wire import Address, readable
from bakeoff.schema.errors import StepError

_START_SECONDS = 120.0
_STOP_SECONDS = 5.0


class Placement(Protocol):
    """Where the stages run."""

    secret: bytes
    host: str
    """Address of this process as the stages reach it."""

    def addresses(self) -> list[Address]:
        """Return where each stage listens, first to last, after starting those that do not run."""

    def kill(self) -> None:
        """End every stage at once; ``addresses`` starts them again."""

    def close(self) -> None:
        """End every stage for good."""


class Processes:
    """One process a stage.

    Args:
        stages: first to last.
        directory: the artefact; each process opens the files of its own stage only.
        threads: of each stage.
        cores: processors each stage is bound to; None leaves that to the operating system.

    """

    def __init__(
        self, stages: Sequence[Stage], directory: Path, threads: int, cores: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.secret, self.host = secrets.token_bytes(32), "127.0.0.1"
        self._tasks: list[dict[str, Any]] = [
            {
                "stage": stage.model_dump(mode="json"), "threads": threads,
                "paths": [str(contained(directory, entry.path).absolute()) for entry in stage.files],
                "secret": self.secret.hex(), "host": self.host, "cores": list(cores[number]) if cores else None,
            }
            for number, stage in enumerate(stages)
        ]  # fmt: skip
        self._kept = [_in_memory(task["paths"]) for task in self._tasks]
        self._running: list[subprocess.Popen[str] | None] = [None] * len(stages)
        self._ports = [0] * len(stages)
        self._guard = threading.RLock()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process of each stage, 0 for one that does not run."""
        return [process.pid if process is not None and process.poll() is None else 0 for process in self._running]

    def addresses(self) -> list[Address]:
        """Return where each stage listens; see ``Placement``.

        Raises:
            StepError: a stage does not start; the reason is its own.

        """
        with self._guard:
            if self._closed:
                what = "the stages were ended"
                raise StepError("error", what)
            missing = [number for number, pid in enumerate(self.pids) if not pid]
            for number in missing:  # all of them first: they load at the same time
                self._running[number] = self._start(number)
            for number in missing:
                self._ports[number] = self._answer(number)
            return [(self.host, port) for port in self._ports]

    def _start(self, number: int) -> subprocess.Popen[str]:
        old = self._running[number]
        if old is not None:
            _end(old)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bakeoff.runtimes.shards.stage"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", pass_fds=self._kept[number],
            start_new_session=True,  # a Ctrl-C in the terminal is for the server, which then ends its stages itself
        )  # fmt: skip
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError):  # it ended at once; the answer that does not come says so
            process.stdin.write(json.dumps(self._tasks[number]) + "\n")
            process.stdin.flush()
        return process

    def _answer(self, number: int) -> int:
        process = self._running[number]
        assert process is not None  # noqa: S101 - just started
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        ready = readable([process.stdout], _START_SECONDS)
        answer: dict[str, Any] = json.loads(process.stdout.readline() or "{}") if ready else {}
        if "port" in answer:
            return int(answer["port"])
        self.kill()
        told = answer.get("error") or {
            "code": "error",
            "what": "the process ended or hung while it started",
            "where": None,
        }
        what = f"stage {number} does not start: {told['what']}"
        raise StepError(told["code"], what, where=told["where"])

    def kill(self) -> None:
        """End every stage at once."""
        for process in self._running:
            if process is not None:
                process.kill()
                _end(process)

    def close(self) -> None:
        """End every stage for good."""
        with self._guard:
            self._closed = True
            for process in self._running:
                if process is not None:
                    _end(process)
            self._running = [None] * len(self._running)


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()  # closing its input ends a stage
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _in_memory(paths: Sequence[str]) -> list[int]:
    """Return the descriptors behind the files of a decrypted bundle, which are links to files in memory: the process inherits them."""
    links = [str(Path(path).readlink()) for path in paths if Path(path).is_symlink()]
    return [int(link.rpartition("/")[2]) for link in links]
