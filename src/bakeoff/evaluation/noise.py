"""What the machine did besides our work while we timed: the time we waited for a core, and whether a core kept its speed.

Interference only ever adds time. Linux counts, per thread, the time it was ready to run but waited for a core
(``/proc/self/task/*/schedstat``); that time is the neighbours', not the candidate's, and can be taken off. What cannot be
taken off (shared caches, a slower clock, a stolen core of a virtual machine) shows in a fixed loop timed beside the requests.
"""

from __future__ import annotations

import os
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

from bakeoff.schema.base import Words

BUSY_WAIT = 0.05
"""Share of the wall time spent waiting for a core above which a round counts as disturbed."""
BUSY_RATIO = 1.10
"""Wall over CPU time of the calibration loop above which the core was shared."""
UNSTEADY = 1.35
"""Slowest over fastest calibration loop, CPU time, above which the core did not keep its speed."""
BUSY_OTHERS = 0.12
"""Share of the machine's cores that others used above which a neighbour on the same physical core is likely."""
SLOWED = 1.5
"""How much longer a request's CPU time itself may get beside busy neighbours (a shared physical core, caches, memory)."""
_LOOP = 20_000
_COARSE = 0.2
"""Seconds below which the kernel's ticks are too coarse to say what others used."""


@dataclass(frozen=True)
class Busyness:
    """How disturbed a round was.

    Args:
        waiting: share of the wall time our threads waited for a core; None where the system does not count it.
        ratio: wall over CPU time of the calibration loop, median.
        spread: slowest over fastest calibration loop in CPU time, 90th over 10th percentile.
        switches: involuntary context switches per second of wall time.
        load: load average of the last minute, a core.
        others: share of all cores that other processes used; None where it cannot be told.

    """

    waiting: float | None
    ratio: float
    spread: float
    switches: float
    load: float
    others: float | None = None

    @property
    def quiet(self) -> bool:
        """Whether timings of this round can be believed as they are."""
        waited = self.waiting is not None and self.waiting > BUSY_WAIT
        beside = self.others is not None and self.others > BUSY_OTHERS
        return not (waited or beside or self.ratio > BUSY_RATIO or self.spread > UNSTEADY)

    def remark(self) -> Words:
        """Say that the machine was busy, and what was seen."""
        nothing = Words(zh="", en="")
        waiting = (
            nothing
            if self.waiting is None
            else Words(
                zh=f"{100 * self.waiting:.0f} % 的时间在等待 CPU 核心，",
                en=f"{100 * self.waiting:.0f} % of the time spent waiting for a core, ",
            )
        )
        others = (
            nothing
            if self.others is None
            else Words(
                zh=f"其他进程占用全部核心的 {100 * self.others:.0f} %，",
                en=f"{100 * self.others:.0f} % of all cores used by others, ",
            )
        )
        return Words(
            zh=f"测量时机器正忙：{waiting.zh}{others.zh}固定循环的墙钟/CPU 时间比 {self.ratio:.2f}、快慢差 {self.spread:.2f} 倍，"
            f"每秒被强制切换 {self.switches:.0f} 次，每核负载 {self.load:.2f}",
            en=f"the machine was busy: {waiting.en}{others.en}wall/CPU {self.ratio:.2f} and speed spread {self.spread:.2f} of a fixed loop, "
            f"{self.switches:.0f} forced switches/s, load {self.load:.2f} a core",
        )  # fmt: skip


class Waiting:
    """Reads how long this process's threads have waited for a core, in seconds, since they started.

    Holds a descriptor per thread; they are closed with the object at the latest, because a model may fail while it is timed.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        weakref.finalize(self, _close, self._files)
        self.known = False
        self.refresh()

    def refresh(self) -> None:
        """Look for threads that were started since."""
        self.close()
        try:
            for thread in Path("/proc/self/task").iterdir():
                self._files.append(os.open(thread / "schedstat", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
        self.known = bool(self._files)

    def read(self) -> float:
        """Return the seconds waited, summed over the threads."""
        total = 0
        for descriptor in self._files:
            try:
                total += int(os.pread(descriptor, 128, 0).split()[1])
            except (OSError, IndexError):  # a thread that ended
                continue
        return total * 1e-9

    def close(self) -> None:
        """Close the files."""
        _close(self._files)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


class Watch:
    """Watches one round: ``beat`` it now and then between requests, then ask for the ``busyness``."""

    def __init__(self) -> None:
        self._walls: list[float] = []
        self._cpus: list[float] = []
        self._switches = _forced_switches()
        self._machine, self._own = _machine_cpu(), time.process_time()
        self._start = time.perf_counter()

    def beat(self) -> None:
        """Time the calibration loop once (about a millisecond)."""
        cpu, wall = time.thread_time(), time.perf_counter()
        _calibrate()
        self._walls.append(time.perf_counter() - wall)
        self._cpus.append(time.thread_time() - cpu)

    def shared(self) -> bool:
        """Whether the core, or the physical core under it, was shared so far."""
        others = self._others()
        return sum(self._walls) > BUSY_RATIO * sum(self._cpus) or (others is not None and others > BUSY_OTHERS)

    def busyness(self, waited: float | None, wall: float) -> Busyness:
        """Return how disturbed the round was.

        Args:
            waited: seconds waited for a core during the requests, None where unknown.
            wall: seconds the requests took.

        """
        elapsed = time.perf_counter() - self._start
        cpus = sorted(self._cpus)
        last = len(cpus) - 1
        return Busyness(
            waiting=None if waited is None or wall <= 0 else min(1.0, waited / wall),
            ratio=sum(self._walls) / max(sum(cpus), 1e-9) if cpus else 1.0,
            spread=cpus[round(0.9 * last)] / max(cpus[round(0.1 * last)], 1e-9) if cpus else 1.0,
            switches=(_forced_switches() - self._switches) / max(elapsed, 1e-9),
            load=os.getloadavg()[0] / (os.cpu_count() or 1),
            others=self._others(),
        )

    def _others(self) -> float | None:
        elapsed, now = time.perf_counter() - self._start, _machine_cpu()
        if elapsed < _COARSE or now is None or self._machine is None:
            return None
        used = now - self._machine - (time.process_time() - self._own)
        return min(1.0, max(0.0, used / elapsed / (os.cpu_count() or 1)))


def _machine_cpu() -> float | None:
    """Return the CPU seconds all processes have used since the machine started, stolen time included; None where unknown."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as file:
            fields = [int(field) for field in file.readline().split()[1:9]]
        user, nice, system, _, _, irq, softirq, steal = fields
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _calibrate() -> int:
    total = 0
    for number in range(_LOOP):
        total += number & 7
    return total


def _forced_switches() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
