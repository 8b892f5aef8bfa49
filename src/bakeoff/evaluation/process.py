"""Runs one worker in a process group of its own and watches it: results as they come, time, memory, death.

Does: watch, kill the whole group at a limit, name the signal of a crash.
Does not know: what the steps do.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bakeoff.evaluation.job import EXIT_DISK, JOB, OUTPUT, Job
from bakeoff.evaluation.starting import Started, Starter
from bakeoff.schema.base import Words
from bakeoff.schema.trial import Failure, FailureCode
from bakeoff.schema.units import say_bytes, say_seconds

TAIL = 2000
_TICK = {"make": 0.05, "measure": 0.1, "risk": 0.1}
_KIN = 10
"""Ticks between two looks at child processes, which take reading all of /proc."""
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


def run_worker(
    job: Job, folder: Path, starter: Starter, limits: Limits, on_tick: Callable[[], int], stop: threading.Event
) -> Failure | None:
    """Run a worker to its end; return why it did not finish its steps, None when it did.

    Args:
        job: what to do.
        folder: working folder; gets the job and the output.
        starter: starts workers with the threads this job may use.
        limits: when to kill it.
        on_tick: called often; takes new results in and returns how many there are by now.
        stop: set from outside to end the worker.

    """
    (folder / JOB).write_text(job.model_dump_json(), encoding="utf-8")
    kills, killed = _kernel_kills(), None
    process, ended = starter.start(folder), False
    try:
        killed = _watch(process, job, limits, on_tick, stop)
        ended = killed is None
    finally:
        _kill(process, ended=ended)
        code = process.finish()
    if on_tick() >= len(job.steps):
        return None
    if killed is None and code == -signal.SIGKILL and _kernel_kills() > kills:
        killed = "memory", Words(zh="系统内存耗尽，进程被系统杀死", en="the system ran out of memory and killed it")
    return _failure(code, killed, tail(folder / OUTPUT))


def tail(log: Path) -> str:
    """Return the last output, at most ``TAIL`` characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4 * TAIL))
            return file.read().decode("utf-8", errors="replace")[-TAIL:].strip()
    except OSError:
        return ""


def _watch(
    process: Started, job: Job, limits: Limits, on_tick: Callable[[], int], stop: threading.Event
) -> tuple[FailureCode, Words] | None:
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
                return "interrupted", Words(zh="运行被中止", en="the run was stopped")
            if limits.deadline is not None and now > limits.deadline:
                return "interrupted", Words(zh="整个运行的时间已用完", en="the time of the whole run was over")
            if now - since > limits.seconds:
                most = say_seconds(limits.seconds)
                return "timeout", Words(
                    zh=f"超过了单步时限 {most}", en=f"took longer than {most}, the limit of one step"
                )
            if memory.read(kin=ticks % _KIN == 1) > limits.memory:
                most = say_bytes(limits.memory)
                return "memory", Words(
                    zh=f"内存超过了单步上限 {most}", en=f"used more than {most} of memory, the limit of one step"
                )
    return None


def _kill(process: Started, *, ended: bool) -> None:
    """Kill the process, if it has not ended, and whatever is left of its group."""
    if not ended:  # by itself too: it may not have made its group yet
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(code: int, killed: tuple[FailureCode, Words] | None, output: str) -> Failure:
    if killed is not None:
        return Failure(code=killed[0], reason=killed[1].en, reason_zh=killed[1].zh, tail=output)
    if code == EXIT_DISK:
        return Failure(code="disk", reason="the disk is full", reason_zh="磁盘已满", tail=output)
    if code < 0:
        name = signal.Signals(-code).name
        if -code in _FROM_OUTSIDE:
            reason = f"ended from outside by {name} (by the system for want of memory, or by somebody)"
            zh = f"被外部信号 {name} 终止（可能是系统内存不足，也可能是人为）"
            return Failure(code="interrupted", reason=reason, reason_zh=zh, signal=name, tail=output)
        reason, zh = f"crashed in native code ({name})", f"在原生代码中崩溃（{name}）"
        return Failure(code="crash", reason=reason, reason_zh=zh, signal=name, tail=output)
    reason = f"the process ended by itself with exit code {code} before its steps were done"
    return Failure(
        code="crash", reason=reason, reason_zh=f"步骤还没做完，进程就自行退出了（退出码 {code}）", tail=output
    )


def _kernel_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since the machine started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


class _Ended:
    """Notices the end of a process at once, without asking again and again where the system allows it."""

    def __init__(self, process: Started) -> None:
        self._process = process
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
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
        time.sleep(min(seconds, 0.02))
        return not self._process.alive()


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
