"""How many cores this process may use: what the scheduler lets it run on, less where a container's quota is smaller."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD = Path("/sys/fs/cgroup/cpu")


def usable() -> int:
    """Return the cores, at least one. ``docker run --cpus 2`` and a CPU limit of Kubernetes count, a request does not."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, min(allowed, int(quota))) if quota is not None else allowed


def _quota() -> float | None:
    """Return the cores' worth of time that the control group grants, None where it grants any; version 2, then 1."""
    try:
        words = _QUOTA.read_text(encoding="ascii").split()
    except OSError:
        try:
            words = [(_OLD / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip() for name in ("quota", "period")]
        except OSError:
            return None
    if len(words) != 2 or not words[0].isdecimal() or not words[1].isdecimal() or words[1] == "0":  # "max", or -1
        return None
    return int(words[0]) / int(words[1])
