"""How long one request takes: the shipped artefact, real rows, one at a time, after warm-up, pre- and post-processing included.

Interference only adds time. So what the kernel says our threads spent waiting for a core is taken off each request; a limit
kept in spite of the rest is kept; and a broken limit counts only on a quiet machine, or when CPU time alone breaks it (less what
a neighbour on the same physical core or memory may have added to that).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Row
from bakeoff.data.transforms.rule import Classifier
from bakeoff.evaluation.noise import BUSY_WAIT, SLOWED, Busyness, Waiting, Watch
from bakeoff.evaluation.percentiles import Exceedance, percentile, required
from bakeoff.schema.base import Record
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Trial

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
ROUNDS = {"quick": 3, "standard": 4, "rigorous": 8}
"""Interleaved rounds of the final that a preset plans; requests are shared out among them."""
_REQUESTS = {"quick": 100, "standard": 110, "rigorous": 150}
_PROBE_SECONDS = {"quick": 8.0, "standard": 20.0, "rigorous": 45.0}
_ROUND_SECONDS = {"quick": 12.0, "standard": 30.0, "rigorous": 120.0}
_LOAD_SECONDS = {"quick": 3.0, "standard": 6.0, "rigorous": 20.0}
_UNLIMITED_PROBE = 40
_FEWEST = 5
_WARM_REQUESTS, _WARM_SECONDS = 20, 2.0
_BEAT_SECONDS = 0.02
_LOOK = 10
_PATIENCE = 4.0
_SETTLING = 0.25
"""Seconds a round lasts at least before a broken limit ends it: before, the kernel cannot say what others did."""


class Protocol(Record):
    """How one timing step is done; part of its key.

    Args:
        requests: requests wanted.
        fewest: requests made even when they are slow.
        seconds: time after which no more than ``fewest`` are made.
        repeats: how often a disturbed round is done again.
        limits: percentile name → limit in seconds.
        least_rate: requests per second to sustain, None where nothing is asked.
        load_seconds: length of one open-loop run; 0 leaves the load test out.
        probe: stop as soon as every limit is proven kept or one is proven broken.
        remote: waiting is the network's, not a neighbour's; nothing is taken off.

    """

    requests: int
    fewest: int
    seconds: float
    repeats: int
    limits: dict[str, float]
    least_rate: float | None = None
    load_seconds: float = 0.0
    probe: bool = False
    remote: bool = False


def protocol(spec: Spec, trial: Trial) -> Protocol:
    """Return how a trial's requests are timed: a probe, or one interleaved round of the final."""
    given = {name: getattr(spec.requirements.latency, name) for name in QUANTILES}
    limits = {name: float(limit) for name, limit in given.items() if limit is not None}
    least = spec.requirements.throughput.min
    if trial.fidelity.probe:
        wanted = max((required(QUANTILES[name]) for name in limits), default=_UNLIMITED_PROBE)
        return Protocol(
            requests=wanted, fewest=_FEWEST, seconds=_PROBE_SECONDS[spec.preset], repeats=2, limits=limits,
            least_rate=least, probe=True, remote=trial.candidate.variant.remote,
        )  # fmt: skip
    rounds = spec.measuring.rounds or ROUNDS[spec.preset]
    needed = max([required(0.95), *(required(QUANTILES[name]) for name in limits)])
    wanted = math.ceil((spec.measuring.requests or _REQUESTS[spec.preset] * rounds) / rounds)
    return Protocol(
        requests=max(wanted, math.ceil(needed / rounds)),
        fewest=math.ceil(needed / rounds),
        seconds=_ROUND_SECONDS[spec.preset],
        repeats=2,
        limits=limits,
        least_rate=least,
        load_seconds=_LOAD_SECONDS[spec.preset] if not trial.round else 0.0,
        remote=trial.candidate.variant.remote,
    )


@dataclass(frozen=True)
class Timed:
    """One round of requests; arrays in seconds, one value a request.

    ``latency`` is wall time less ``wait``, the time spent ready to run but without a core; ``cpu`` is the process's CPU time.
    """

    latency: NDArray[np.float64]
    cpu: NDArray[np.float64]
    wait: NDArray[np.float64]
    busyness: Busyness
    threads: int

    @property
    def floor(self) -> NDArray[np.float64]:
        """The part of each request that no neighbour can have caused: CPU time spread over the threads, less what sharing costs."""
        return np.minimum(self.cpu / self.threads / SLOWED, self.latency)


def warm_up(classifier: Classifier, rows: Sequence[Row]) -> None:
    """Send requests that are not timed, until caches, allocators and lazy imports have settled."""
    end = time.perf_counter() + _WARM_SECONDS
    for number in range(_WARM_REQUESTS):
        classifier.predict([rows[number % len(rows)]])
        if time.perf_counter() > end:
            return


def time_requests(classifier: Classifier, rows: Sequence[Row], plan: Protocol, threads: int) -> Timed:
    """Time requests one at a time; a disturbed round whose verdict hangs on the disturbance is repeated, the quietest is kept."""
    best = _round(classifier, rows, plan, threads)
    for _ in range(plan.repeats):
        if best.busyness.quiet or not _hangs_on_noise(best, plan):
            break
        again = _round(classifier, rows, plan, threads)
        if _disturbance(again) < _disturbance(best):
            best = again
    return best


def measure_latency(timed: Timed, plan: Protocol, confidence: float) -> tuple[Measurement, ...]:
    """Return the latency percentiles: the median, p95, whatever is limited, and p99 when the sample carries it."""
    n = len(timed.latency)
    names = [name for name, q in QUANTILES.items() if name != "p99" or "p99" in plan.limits or n >= required(q)]
    return tuple(_percentile(timed, name, plan.limits.get(name), confidence) for name in names)


def _percentile(timed: Timed, name: str, limit: float | None, confidence: float) -> Measurement:
    q = QUANTILES[name]
    seen, floor = percentile(timed.latency, q, confidence), percentile(timed.floor, q, confidence)
    quiet = timed.busyness.quiet
    low = seen.low if quiet else floor.low
    facts = {"name": f"latency_{name}", "low": low, "n": seen.n, "unit": "s", "confidence": confidence}
    if seen.value is None:
        what = f"{name} needs at least {required(q)} requests, {seen.n} were timed: {seen.missing} are missing"
        what_zh = f"{name} 至少需要 {required(q)} 次请求，只测了 {seen.n} 次，还差 {seen.missing} 次"
        if limit is not None and low is not None and low > limit:
            what += f"; no more were sent, because {low:.3g} s at the least already breaks the limit"
            what_zh += f"；不再继续发送，因为至少 {low:.3g} 秒，已经超限"
        return Measurement.model_validate(
            {**facts, "value": None, "validity": "refused", "remark": what, "remark_zh": what_zh}
        )
    facts |= {"value": seen.value, "high": seen.high}
    if quiet:
        return Measurement.model_validate(facts)
    settled = limit is not None and (
        (seen.high is not None and seen.high <= limit) or (low is not None and low > limit)
    )
    busy = timed.busyness.remark()
    remark, remark_zh = (
        f"{busy.en}; the interval reaches from CPU time alone to what was seen",
        f"{busy.zh}；区间从纯 CPU 时间一直到实测值",
    )
    validity = "valid" if settled else "noisy"
    return Measurement.model_validate({**facts, "validity": validity, "remark": remark, "remark_zh": remark_zh})


def _hangs_on_noise(timed: Timed, plan: Protocol) -> bool:
    if not plan.limits:
        return True
    return any(
        found.validity == "noisy" for found in measure_latency(timed, plan, 0.95) if found.name[8:] in plan.limits
    )


def _disturbance(timed: Timed) -> float:
    state = timed.busyness
    return (state.waiting or 0.0) + max(0.0, state.ratio - 1.0) + max(0.0, state.spread - 1.0) / 10


def _round(classifier: Classifier, rows: Sequence[Row], plan: Protocol, threads: int) -> Timed:
    sampler = _Sampler(plan, threads)
    for number in range(plan.requests):
        sampler.take(*one_request(classifier, rows[number % len(rows)], sampler.waiting))
        if sampler.enough():
            break
    return sampler.finish()


class _Sampler:
    """Takes in one request after another, watches the machine meanwhile, and says when enough is known."""

    def __init__(self, plan: Protocol, threads: int) -> None:
        self._plan, self._threads = plan, threads
        self.waiting, self._watch = Waiting(), Watch()
        self._latency, self._cpu, self._wait = (list[float]() for _ in range(3))
        self._tests = self._fresh()
        self._shared = False
        self._watch.beat()
        self._start = self._beat = time.perf_counter()

    def take(self, wall: float, used: float, waited: float) -> None:
        """Take in one request: wall seconds, CPU seconds, and seconds spent waiting for a core."""
        waited = 0.0 if self._plan.remote else min(waited, max(0.0, wall - used / self._threads))
        self._latency.append(wall - waited)
        self._cpu.append(used)
        self._wait.append(waited)
        now = time.perf_counter()
        if now - self._beat > _BEAT_SECONDS:
            self._watch.beat()
            self.waiting.refresh()
            self._shared, self._beat = self._shared or self._watch.shared(), time.perf_counter()
        self._count(-1, disturbed=self._shared or waited > BUSY_WAIT * wall)

    def enough(self) -> bool:
        """Whether the limits are settled, or the time for this round is up."""
        n, elapsed = len(self._latency), time.perf_counter() - self._start
        if n < _FEWEST:
            return False
        if elapsed > _SETTLING and any(test.proves() for test in self._tests):
            if self._plan.remote or self._shared or self._busyness().quiet:
                return True
            self._shared, self._tests = True, self._fresh()  # disturbed all along: count again, CPU time only
            for number in range(n):
                self._count(number, disturbed=True)
        spent = sum(self._latency)  # the candidate's own time: neighbours must not cost it its percentile
        if n >= self._plan.fewest and (spent > self._plan.seconds or elapsed > _PATIENCE * self._plan.seconds):
            return True
        return bool(self._plan.probe and self._plan.limits and n % _LOOK == 0 and self._kept())

    def finish(self) -> Timed:
        """Return the round."""
        self._watch.beat()
        busyness = self._busyness()
        self.waiting.close()
        latency, cpu, wait = np.array(self._latency), np.array(self._cpu), np.array(self._wait)
        return Timed(latency, cpu, wait, busyness, self._threads)

    def _fresh(self) -> list[Exceedance]:
        return [Exceedance(limit, QUANTILES[name]) for name, limit in self._plan.limits.items()]

    def _count(self, number: int, *, disturbed: bool) -> None:
        latency = self._latency[number]
        if disturbed and not self._plan.remote:
            latency = min(latency, self._cpu[number] / self._threads / SLOWED)
        for test in self._tests:
            test.add(latency)

    def _kept(self) -> bool:
        seen = {name: percentile(self._latency, QUANTILES[name]) for name in self._plan.limits}
        return all(
            one.value is not None and one.high is not None and one.high <= self._plan.limits[name]
            for name, one in seen.items()
        )

    def _busyness(self) -> Busyness:
        waited, latency = sum(self._wait), sum(self._latency)
        known = self.waiting.known and not self._plan.remote
        return self._watch.busyness(waited if known else None, latency + waited)


def one_request(classifier: Classifier, row: Row, waiting: Waiting) -> tuple[float, float, float]:
    """Send one request; return wall seconds, CPU seconds of the process, and seconds its threads waited for a core."""
    waited = waiting.read()
    used, start = time.process_time(), time.perf_counter()
    classifier.predict([row])
    wall = time.perf_counter() - start
    return wall, time.process_time() - used, waiting.read() - waited
