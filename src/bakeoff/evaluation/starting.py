"""Starts workers: forked off a waiting server, or, where there is none, as a process of their own from scratch.

Starting Python and importing NumPy and pydantic takes a third of a second of CPU, twice a trial. The server has done that once and
forks in milliseconds; what it forks is as much a process of its own as any: its memory, its crash, its kill are nobody else's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import bakeoff
from bakeoff.evaluation.job import JOB, OUTPUT

_WORKER = "bakeoff.evaluation.worker"
_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


class Started:
    """A worker that runs.

    Args:
        pid: its process id, also that of its process group.

    """

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def finish(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        raise NotImplementedError

    def alive(self) -> bool:
        """Whether it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False


class _Spawned(Started):
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(process.pid)
        self._process = process

    def finish(self) -> int:
        return self._process.wait()

    def alive(self) -> bool:
        return self._process.poll() is None


class _Forked(Started):
    def __init__(self, pid: int, server: subprocess.Popen[str]) -> None:
        super().__init__(pid)
        self._server = server

    def finish(self) -> int:
        assert self._server.stdout is not None  # noqa: S101 - opened as a pipe below
        answer = self._server.stdout.readline().strip()
        return int(answer) if answer else -9  # the server is gone, and took the worker with it


class Starter:
    """Starts workers with a fixed number of threads, one at a time.

    Args:
        threads: what every library in the worker is told to use.

    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._server: subprocess.Popen[str] | None = None
        if hasattr(os, "fork"):
            command = [sys.executable, "-P", "-m", _WORKER, "--serve"]
            self._server = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
                env=environment(threads),
            )  # fmt: skip

    def start(self, folder: Path) -> Started:
        """Start a worker on the job in ``folder``; its output goes to a file there."""
        forked = self._fork(folder)
        if forked is not None:
            return forked
        command = [sys.executable, "-P", "-m", _WORKER, str(folder / JOB)]
        with (folder / OUTPUT).open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
                env=environment(self._threads),
            )  # fmt: skip
        return _Spawned(process)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            for pipe in (self._server.stdin, self._server.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._server = None

    def _fork(self, folder: Path) -> Started | None:
        server = self._server
        if server is None or server.stdin is None or server.stdout is None:
            return None
        with contextlib.suppress(
            OSError, ValueError
        ):  # the server died: from now on every worker is started from scratch
            server.stdin.write(json.dumps(str(folder)) + "\n")
            server.stdin.flush()
            return _Forked(int(server.stdout.readline()), server)
        self.close()
        return None


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: threads pinned, hubs off, hashing fixed, this package found."""
    source = str(Path(bakeoff.__file__).resolve().parent.parent)
    paths = [source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        **dict.fromkeys(_THREADS, str(threads)),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
