"""How many requests one process and one machine sustain, and what a growing load needs over the horizon."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakeoff.economics.book import Machine
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.units import SECONDS

YEAR = SECONDS["year"]
MEMORY_SHARE = 0.8  # the rest is for the system and for peaks
BUSY = 0.8  # without a latency limit a process is planned at most this busy
_BUSIEST = 0.95
_ARRIVALS = 2000
_HALVINGS = 9
_PERIODS = 12


def processes(machine: Machine, threads: int, memory: float | None) -> int:
    """Return how many serving processes fit on a machine: by cores and by memory; 0 when not even one fits."""
    by_cores = max(1, machine.cores // threads) if machine.cores >= threads else 0
    return by_cores if not memory else min(by_cores, int(MEMORY_SHARE * machine.memory / memory))


def requests(volume: float, growth: float, horizon: float) -> float:
    """Return the number of requests over ``horizon`` seconds when ``volume`` per second grows by ``growth`` a year.

    The integral of volume·(1+g)^t; growth is continuous.
    """
    years, rate = horizon / YEAR, math.log1p(growth)
    factor = math.expm1(rate * years) / rate if abs(rate) > 1e-12 else years
    return volume * factor * YEAR


def machine_hours(peak: float, growth: float, horizon: float, capacity: ArrayLike) -> NDArray[np.float64]:
    """Return machine hours over the horizon (…,) when each machine sustains ``capacity`` (…,) requests per second.

    Whole machines, at least one, bought as the peak grows; the horizon is cut into twelve equal periods, each of them
    provided for its middle.
    """
    each = 1.0 / np.maximum(np.asarray(capacity, dtype=np.float64), 1e-12)
    if abs(growth) < 1e-12:
        return _whole(peak, each) * (horizon / 3600.0)
    middles = (np.arange(_PERIODS) + 0.5) / _PERIODS * horizon / YEAR
    loads = peak * (1.0 + growth) ** middles
    total = np.zeros(each.shape)
    for load in loads:
        total += _whole(float(load), each)
    hours: NDArray[np.float64] = total * (horizon / 3600.0 / _PERIODS)
    return hours


def _whole(load: float, each: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return whole machines, at least one, for a load of which ``each`` is a machine's share per request per second."""
    count = np.asarray(each * load - 1e-9)
    return np.maximum(np.ceil(count, out=count), 1.0, out=count)


def sustained_rate(service: ArrayLike, limits: dict[float, float], seed: int = 0) -> Measurement:
    """Predict the Poisson arrival rate one process sustains so that waiting plus service keeps every limit.

    Args:
        service: measured service times [s] (n,), one request at a time.
        limits: quantile → limit [s], for example {0.95: 0.05}; empty: planned ``BUSY``.
        seed: of the arrivals.

    Returns:
        Requests per second, provenance 'predicted'. Waiting times follow Lindley's recursion (Lindley 1952) over the measured
        service times in random order, so no distribution is assumed. 0 when a limit is broken even without a queue.

    """
    times = np.asarray(service, dtype=np.float64)
    if times.size == 0:
        return Measurement(
            name="capacity",
            value=None,
            unit="1/s",
            validity="refused",
            remark="no service time was measured",
            remark_zh="没有测得单次耗时",
        )
    rng = np.random.default_rng(seed)
    drawn, gaps = rng.choice(times, _ARRIVALS), rng.exponential(size=_ARRIVALS)
    ceiling = (_BUSIEST if limits else BUSY) / float(times.mean())
    rate = _highest(drawn, gaps, limits, ceiling)
    remark = "from measured service times and random arrivals; queueing counted"
    return Measurement(
        name="capacity", value=rate, n=times.size, unit="1/s", provenance="predicted",
        remark=remark, remark_zh="由实测单次耗时和随机到达推算，已计入排队",
    )  # fmt: skip


def _highest(
    drawn: NDArray[np.float64], gaps: NDArray[np.float64], limits: dict[float, float], ceiling: float
) -> float:
    if _keeps(drawn, gaps / ceiling, limits):
        return ceiling
    if not _keeps(drawn, gaps / (ceiling * 1e-6), limits):
        return 0.0
    low, high = 0.0, ceiling
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _keeps(drawn, gaps / middle, limits) else (low, middle)
    return low


def _keeps(drawn: NDArray[np.float64], gaps: NDArray[np.float64], limits: dict[float, float]) -> bool:
    steps = np.concatenate(([0.0], np.cumsum(drawn[:-1] - gaps[1:])))
    waiting = steps - np.minimum.accumulate(steps)
    response = waiting + drawn
    return all(np.count_nonzero(response <= limit) >= quantile * response.size for quantile, limit in limits.items())
