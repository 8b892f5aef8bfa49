"""The highest rate of Poisson arrivals at which every limit is kept: doubling, then bisection, then runs that verify.

Short probes only steer; what is reported was verified by a full run whose whole interval keeps the limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from bakeoff.evaluation.percentiles import required
from bakeoff.loadgen.report import QUANTILES, Probe, Search, Summary
from bakeoff.schema.measurement import Measurement

Try = Callable[[float, float, int], Summary]
"""(rate [1/s], seconds, seed) → what was seen."""

_MARGIN = 1.5
_LEAST_SECONDS = 0.5
_RESOLUTION = 1.08
_STEPS = 8
_VERIFICATIONS = 6
_BACK_OFF = 0.93
_AGAIN = 2
"""Times a run is repeated that broke a limit while the client itself was late: then it says nothing of the server."""
_SMALLEST = 0.1


def highest_rate(
    attempt: Try, capacity: float, limits: Mapping[str, float], seconds: float
) -> tuple[Search, Summary | None]:
    """Find it.

    Args:
        attempt: sends requests at a rate and judges them.
        capacity: answers per second a closed loop reached; where the search begins.
        limits: percentile name → limit in seconds; at least one.
        seconds: length of a run that verifies; longer where a percentile needs more requests.

    Returns:
        The search, and the run that verified its rate; None when no rate was verified.

    """
    probes: list[Probe] = []
    needed = max(required(QUANTILES[name]) for name in limits)

    def probe(rate: float) -> bool:
        duration = max(_LEAST_SECONDS, _MARGIN * needed / rate)
        seen = _attempt(attempt, rate, duration, len(probes), lambda one: _steers(one, limits))
        kept = _steers(seen, limits)
        probes.append(
            Probe(rate=rate, requests=seen.requests, kept=kept, late=seen.late and not kept, worst=_worst(seen, limits))
        )
        return kept

    low, high = _bracket(probe, capacity)
    for _ in range(_STEPS):
        if low <= 0.0 or high / low <= _RESOLUTION:
            break
        middle = math.sqrt(low * high)
        low, high = (middle, high) if probe(middle) else (low, middle)
    return _verify(attempt, low, limits, max(seconds, _MARGIN * needed / max(low, 1e-9)), probes)


def _attempt(attempt: Try, rate: float, seconds: float, seed: int, enough: Callable[[Summary], bool]) -> Summary:
    """Try a rate, and again where the client was too late to tell."""
    seen = attempt(rate, seconds, seed)
    for _ in range(_AGAIN):
        if enough(seen) or not seen.late:
            break
        seen = attempt(rate, seconds, seed)
    return seen


def _bracket(probe: Callable[[float], bool], capacity: float) -> tuple[float, float]:
    """Return a rate that keeps the limits and one that does not; 0 as the first when even a trickle breaks them."""
    rate = 0.5 * capacity
    if probe(rate):
        while probe(2.0 * rate):
            rate *= 2.0
        return rate, 2.0 * rate
    while rate > _SMALLEST * capacity:
        rate /= 2.0
        if probe(rate):
            return rate, 2.0 * rate
    return 0.0, rate


def _verify(
    attempt: Try, rate: float, limits: Mapping[str, float], seconds: float, probes: list[Probe]
) -> tuple[Search, Summary | None]:
    """Run in full at the rate the probes led to; where that breaks a limit, bisect again with full runs only."""
    best: Summary | None = None
    kept, broken = 0.0, math.inf
    for number in range(_VERIFICATIONS if rate > 0.0 else 0):
        seen = _attempt(attempt, rate, seconds, 1000 + number, lambda one: one.kept)
        worst = _worst(seen, limits)
        probes.append(
            Probe(rate=rate, requests=seen.requests, kept=seen.kept, late=seen.late, verifies=True, worst=worst)
        )
        if seen.kept:
            best, kept = seen, rate
        else:
            broken = rate
        if broken == math.inf or broken <= _RESOLUTION * kept:
            break
        rate = math.sqrt(kept * broken) if kept else rate * _BACK_OFF ** (number + 1)
    return Search(rate=_stated(best, kept, probes), probes=tuple(probes)), best


def _stated(best: Summary | None, rate: float, probes: list[Probe]) -> Measurement:
    tried = f"{len(probes)} runs, {sum(one.requests for one in probes)} requests"
    tried_zh = f"{len(probes)} 轮，{sum(one.requests for one in probes)} 次请求"
    broken = [one.rate for one in probes if not one.kept and not one.late and one.rate > rate]
    high = min(broken, default=None)
    if best is None:
        en = f"no rate that was tried kept every limit for a whole run; {tried}"
        zh = f"试过的速率都不能整轮守住上限；{tried_zh}"
        return Measurement(
            name="throughput", value=None, unit="1/s", validity="refused", low=0.0, high=high, remark=en, remark_zh=zh
        )
    return Measurement(
        name="throughput", value=rate, low=rate, high=high, n=best.requests, unit="1/s",
        remark=f"verified by one run of {best.seconds:.1f} s; the upper end is the lowest rate above it that broke a limit; {tried}",
        remark_zh=f"由一轮 {best.seconds:.1f} 秒的运行验证；区间上端是它之上被打破的最低速率；{tried_zh}",
    )  # fmt: skip


def _steers(seen: Summary, limits: Mapping[str, float]) -> bool:
    """Whether a short probe points upwards: its percentile, not yet its interval, keeps the limits."""
    worst = _worst(seen, limits)
    return not seen.failed and seen.sustained and worst is not None and worst <= 1.0 and not _shed(seen)


def _shed(seen: Summary) -> bool:
    """Whether so many were shed that a limit is broken, however fast the others were answered."""
    return any(one.verdict == "broken" for one in seen.limits)


def _worst(seen: Summary, limits: Mapping[str, float]) -> float | None:
    """Return the largest ratio of a limited percentile to its limit; None where one was not stated."""
    values = {one.name.removeprefix("latency_"): one.value for one in seen.latency}
    ratios = []
    for name, limit in limits.items():
        value = values.get(name)
        if value is None:
            return None
        ratios.append(value / limit)
    return max(ratios)
