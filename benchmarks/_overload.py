"""The overload part of ``benchmarks/fault.py``: three times the capacity, and what is answered, refused and remembered meanwhile."""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from bakeoff.loadgen.client import Run, run
from bakeoff.loadgen.engine import Plan
from benchmarks._clients import asked, closed, probe, speed
from benchmarks._serve_models import make
from benchmarks._serve_peers import body, memory, running

FEW = 8
"""Clients that measure the speed under a limit: more would be refused, ask again at once, and take the model's time for that."""
WAIT = 0.3
"""Longest time [s] to an answer that the overloaded server accepts."""
TIMES = 3.0
ENOUGH = 0.9
"""Share of three times the capacity that must really have been sent: with less, nothing was shown."""


@dataclass(frozen=True)
class Loaded:
    """What came of too much load: the load's own log, requests beside it (status, Retry-After), most memory [MB] seen."""

    log: Run
    beside: Sequence[tuple[int, str | None]]
    memory: float


def overload(folder: Path, seconds: float) -> dict[str, Any]:
    """An open loop at three times the peak; the speed for few clients before it and at once after it.

    The peak is that of a server without the limit, under the clients of the other parts, before and after.
    """
    network, brief = make("enc6", folder), min(8.0, seconds)
    with (
        running("bakeoff", network, folder / "unlimited", "--queue-seconds", "60") as (_, free),
        running("bakeoff", network, folder, "--queue-seconds", str(WAIT)) as (process, url),
    ):
        requests = asked("bakeoff", network, url)
        one = json.dumps(body("bakeoff", network, network.rows[0])).encode()
        closed(free, requests, 1.0)
        closed(url, requests, 1.0, FEW)
        peaks = [speed(closed(free, requests, brief))]
        few = speed(closed(url, requests, brief, FEW))
        start_memory = memory(process)
        loaded = _too_much(process, url, requests, one, TIMES * peaks[0], seconds)
        after = closed(url, requests, 2.0, FEW)
        again = speed(closed(url, requests, brief, FEW))
        peaks.append(speed(closed(free, requests, brief)))
    found = {
        **figures(loaded, peaks, seconds), "memory_mb": [round(start_memory, 1), round(loaded.memory, 1)],
        "few_per_s": [round(few, 1), round(again, 1)], "first_2s_refused": int((~after.good).sum()),
        "first_2s_after": round(speed(after, refused=True) / statistics.mean((few, again)), 3),
    }  # fmt: skip
    print(f"overload: {found}", flush=True)
    return found


def figures(loaded: Loaded, peaks: Sequence[float], seconds: float) -> dict[str, Any]:
    """Return what the log and the requests beside it say, from what was really sent."""
    log, capacity = loaded.log, statistics.mean(peaks)
    sent = float((log.sent <= seconds).sum()) / seconds
    half = log.sent < log.sent.max() / 2
    due, spent = log.latency[log.good], (log.done - log.sent)[log.good]
    refusals = [after for code, after in loaded.beside if code in {429, 503}]
    return {
        "peak_per_s": [round(peak, 1) for peak in peaks], "seconds": seconds, "due_per_s": round(len(log) / seconds, 1),
        "sent_per_s": round(sent, 1), "times_capacity": round(sent / capacity, 3), "crowded": log.crowded,
        "sent_late_p99_ms": _ms(log.lag, 0.99), "goodput_share": round(speed(log, refused=True) / capacity, 3),
        "accepted": int(log.good.sum()), "statuses": counted(log.status),
        "accepted_p50_ms": _ms(due, 0.5), "accepted_p99_ms": _ms(due, 0.99), "from_sent_p50_ms": _ms(spent, 0.5),
        "from_sent_p99_ms": _ms(spent, 0.99), "wait_limit_ms": 1000 * WAIT,
        "beside": {"asked": len(loaded.beside), "refused": len(refusals), "retry_after": sum(map(_says_when, refusals))},
        "second_half_share": round(float(log.good[~half].sum() / max(1, log.good[half].sum())), 3),
    }  # fmt: skip


def met(row: dict[str, Any]) -> dict[str, bool]:
    """Return which bars these figures meet; those of the load only when the load was there."""
    enough, beside = row["times_capacity"] >= ENOUGH * TIMES, row["beside"]
    return {
        "overload: three times the capacity was sent": enough,
        "overload: goodput": enough and row["goodput_share"] >= 0.9,
        "overload: accepted keep the limit (p99 from when they were due)":
            enough and row["accepted"] > 0 and row["accepted_p99_ms"] <= row["wait_limit_ms"],
        "overload: only 200, 429 and 503": set(row["statuses"]) <= {200, 429, 503},
        "overload: refused are told when to come again": 0 < beside["refused"] == beside["retry_after"],
        "overload: memory": enough and row["memory_mb"][1] <= 1.05 * row["memory_mb"][0] + 10,
        "overload: back in 2 s": enough and row["first_2s_after"] >= 0.9,
    }  # fmt: skip


def counted(statuses: Any) -> dict[int, int]:  # noqa: ANN401 - an array
    """Return how often each status came."""
    return {int(code): int(count) for code, count in zip(*np.unique(statuses, return_counts=True), strict=True)}


def _ms(values: Any, q: float) -> float:  # noqa: ANN401 - an array
    return round(1000 * float(np.quantile(values, q)), 1) if len(values) else 0.0


def _says_when(after: str | None) -> bool:
    return after is not None and after.isdecimal() and int(after) >= 1


def _too_much(
    process: psutil.Process, url: str, requests: Sequence[bytes], one: bytes, rate: float, seconds: float
) -> Loaded:
    """Send ``rate`` requests per second, answered or not, and a few beside them whose headers are read."""
    parts = urlsplit(url)
    plan = Plan(host=str(parts.hostname), port=int(parts.port or 0), rate=rate, connections=1000, seconds=seconds)
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        most = pool.submit(_watch, process, stop)
        beside = pool.submit(probe, url, one, stop)
        try:
            log = run(plan, requests)
        finally:
            stop.set()
    return Loaded(log, beside.result(), most.result())


def _watch(process: psutil.Process, stop: threading.Event) -> float:
    """Return the most memory [MB] of a process and all below it, seen until ``stop``."""
    most = memory(process)
    while not stop.wait(0.5):
        most = max(most, memory(process))
    return most
