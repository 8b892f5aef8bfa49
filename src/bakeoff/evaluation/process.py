"""Runs one worker in a process group of its own and watches it: results as they come, time, memory, death.

Does: pin threads, keep the hub out, capture output, kill the whole group at a limit, name the signal of a crash.
Does not know: what the steps do.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bakeoff
from bakeoff.evaluation.job import EXIT_DISK, Job
from bakeoff.schema.trial import Failure, FailureCode
from bakeoff.schema.units import say_bytes, say_seconds

TAIL = 2000
_TICK = {"make": 0.05, "measure": 0.1, "risk": 0.1}
_KIN = 10
"""Ticks between two looks at child processes, which take reading all of /proc."""
_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True)
class Limits:
    """What a step may take.

    Args:
        seconds: of one step; the clock starts again with each result.
        memory: resident bytes of the process and its children.
        deadline: ``time.monotonic()`` at which the whole run ends, None without one.

    """

    seconds: float
    memory: float
    deadline: float | None = None


def run_worker(job: Job, folder: Path, limits: Limits, on_tick: Callable[[], int], stop: threading.Event) -> Failure | None:
    """Run a worker to its end; return why it did not finish its steps, None when it did.

    Args:
        job: what to do.
        folder: working folder; gets the job and the output.
        limits: when to kill it.
        on_tick: called often; takes new results in and returns how many there are by now.
        stop: set from outside to end the worker.

    """
    (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    log = folder / "output.txt"
    kills = _kernel_kills()
    command = [sys.executable, "-P", "-m", "bakeoff.evaluation.worker", str(folder / "job.json")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment(job.threads),
            start_new_session=True,
        )  # fmt: skip
    try:
        killed = _watch(process, job, limits, on_tick, stop)
    finally:
        _end(process)
    if on_tick() >= len(job.steps):
        return None
    if killed is None and process.returncode == -signal.SIGKILL and _kernel_kills() > kills:
        killed = "memory", "the system ran out of memory and killed it"
    return _failure(process.returncode, killed, tail(log))


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


def tail(log: Path) -> str:
    """Return the last output, at most ``TAIL`` characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4 * TAIL))
            return file.read().decode("utf-8", errors="replace")[-TAIL:].strip()
    except OSError:
        return ""


def _watch(
    process: subprocess.Popen[bytes], job: Job, limits: Limits, on_tick: Callable[[], int], stop: threading.Event
) -> tuple[FailureCode, str] | None:
    """Wait for the end of the process; return code and reason when it had to be killed."""
    tick, ticks, done, since = _TICK[job.site], 0, 0, time.monotonic()
    memory = _Memory(process.pid)
    with _Ended(process) as ended:
        while not ended.within(tick):
            ticks += 1
            now, found = time.monotonic(), on_tick()
            if found > done:
                done, since = found, now
            if stop.is_set():
                return "interrupted", "the run was stopped"
            if limits.deadline is not None and now > limits.deadline:
                return "interrupted", "the time of the whole run was over"
            if now - since > limits.seconds:
                return "timeout", f"took longer than {say_seconds(limits.seconds)}, the limit of one step"
            if memory.read(kin=ticks % _KIN == 1) > limits.memory:
                return "memory", f"used more than {say_bytes(limits.memory)} of memory, the limit of one step"
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the group and collect the process."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(code: int, killed: tuple[FailureCode, str] | None, output: str) -> Failure:
    if killed is not None:
        return Failure(code=killed[0], reason=killed[1], tail=output)
    if code == EXIT_DISK:
        return Failure(code="disk", reason="the disk is full", tail=output)
    if code < 0:
        name = signal.Signals(-code).name
        if -code in _FROM_OUTSIDE:
            reason = f"ended from outside by {name} (by the system for want of memory, or by somebody)"
            return Failure(code="interrupted", reason=reason, signal=name, tail=output)
        return Failure(code="crash", reason=f"crashed in native code ({name})", signal=name, tail=output)
    return Failure(code="crash", reason=f"the process ended by itself with exit code {code} before its steps were done", tail=output)


def _kernel_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since the machine started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class _Ended:
    """Notices the end of a process at once, without asking again and again where the system allows it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._descriptor: int | None = None

    def __enter__(self) -> _Ended:
        with contextlib.suppress(OSError, AttributeError):  # not Linux, or an old kernel: ask again and again
            self._descriptor = os.pidfd_open(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def within(self, seconds: float) -> bool:
        """Whether the process ends within so many seconds."""
        if self._descriptor is not None:
            poll = select.poll()  # not select(): descriptors may be above 1024
            poll.register(self._descriptor, select.POLLIN)
            return bool(poll.poll(1000 * seconds))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None


class _Memory:
    """Resident memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._psutil, self._kin = psutil, list[psutil.Process]()
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def read(self, *, kin: bool) -> int:
        """Return the bytes; with ``kin`` look for children that were started since."""
        if self._process is None:
            return 0
        total = 0
        with contextlib.suppress(self._psutil.Error):
            if kin:
                self._kin = self._process.children(recursive=True)
            total = self._process.memory_info().rss
        for child in self._kin:
            with contextlib.suppress(self._psutil.Error):
                total += child.memory_info().rss
        return total
