"""How many requests a second one process sustains: open-loop arrivals against a single queue, queueing counted.

With a latency limit, throughput is the highest rate of random (Poisson) arrivals at which the limit is still kept; without one it
is what a closed loop reaches, one request after another. The highest rate is predicted from the measured service times
(Lindley's recursion, 1952) and then verified by a real run, whose intended and actual send times are kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Row
from bakeoff.data.transforms.rule import Classifier
from bakeoff.evaluation.noise import Busyness, Waiting, Watch
from bakeoff.evaluation.percentiles import required
from bakeoff.evaluation.timing import QUANTILES, Protocol, Timed, one_request
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Measurement

Floats = NDArray[np.float64]
_ARRIVALS = 4000
_HALVINGS = 12
_BOOTSTRAP = 25
_TRIES = 4
_BACK_OFF = 0.85
_FIRST = 0.95
"""Of the predicted rate: a queue that is simulated for ever meets worse moments than one that is watched for seconds."""
_SPIN = 0.001
_FEWEST, _MOST = 30, 4000
_KEEPS_UP = 0.95


@dataclass(frozen=True)
class OpenLoop:
    """One open-loop run; seconds from its start. ``latency`` is from the intended time to the answer."""

    rate: float
    intended: Floats
    sent: Floats
    service: Floats
    latency: Floats
    busyness: Busyness

    @property
    def achieved(self) -> float:
        """Answers per second over the whole run; below the rate when a backlog grew."""
        return len(self.latency) / float(max((self.intended + self.latency).max(), 1e-9))

    def sustained(self) -> bool:
        """Whether the answers kept up with the arrivals, whatever their latency was in a run that ended before the queue was long."""
        return self.achieved >= _KEEPS_UP * len(self.intended) / float(self.intended[-1])


def queueing(arrivals: Floats, service: Floats) -> Floats:
    """Return the latency of each request, waiting included, of one server taking them in order (Lindley's recursion)."""
    step = service[:-1] - np.diff(arrivals)
    walk = np.concatenate([[0.0], np.cumsum(step)])
    return walk - np.minimum.accumulate(walk) + service


def predicted_rate(service: Floats, limits: dict[str, float], seed: int = 0) -> float:
    """Return the highest rate [1/s] at which simulated arrivals keep every limit; 0 when no rate does."""
    if len(service) == 0 or any(
        np.quantile(service, QUANTILES[name], method="higher") > limit for name, limit in limits.items()
    ):
        return 0.0
    rng = np.random.default_rng(seed)
    gaps, drawn = rng.exponential(size=_ARRIVALS), rng.choice(service, _ARRIVALS)
    arrivals = np.cumsum(gaps)
    low, high = 0.0, 1.0 / float(service.mean())
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        low, high = (rate, high) if _keeps(queueing(arrivals / rate, drawn), limits) else (low, rate)
    return low


def run_open_loop(classifier: Classifier, rows: Sequence[Row], rate: float, seconds: float, seed: int) -> OpenLoop:
    """Send requests at random times of mean ``rate``, whether earlier ones are answered or not; one process serves them in order."""
    count = int(np.clip(rate * seconds, _FEWEST, _MOST))
    intended = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, count))
    sent, done, wait = np.zeros(count), np.zeros(count), np.zeros(count)
    waiting, watch = Waiting(), Watch()
    watch.beat()
    start = time.perf_counter()
    for number in range(count):
        _sleep_until(start + intended[number])
        sent[number] = time.perf_counter() - start
        wall, _, wait[number] = one_request(classifier, rows[number % len(rows)], waiting)
        done[number] = sent[number] + wall
    elapsed = time.perf_counter() - start
    for _ in range(_TRIES):
        watch.beat()
    busyness = watch.busyness(float(wait.sum()) if waiting.known else None, elapsed)
    waiting.close()
    latency, service = done - intended, np.maximum(done - sent - wait, 0.0)
    if not busyness.quiet:  # replay the same arrivals with the time taken by neighbours left out
        latency = np.minimum(latency, queueing(intended, service))
    return OpenLoop(rate, intended, sent, service, latency, busyness)


def measure_throughput(
    classifier: Classifier, rows: Sequence[Row], timed: Timed, plan: Protocol, confidence: float
) -> tuple[Measurement, OpenLoop | None]:
    """Return the sustained rate with its interval, and the open-loop run that verified it."""
    if not plan.limits:
        return closed_loop(timed, confidence), None
    predicted = predicted_rate(timed.latency, plan.limits)
    if predicted <= 0.0:
        what = "no rate keeps the latency limit: a single request already breaks it"
        return Measurement(name="throughput", value=0.0, low=0.0, high=0.0, n=len(timed.latency), unit="1/s",
                           remark=what, remark_zh="任何速率下都守不住延迟上限：单次请求就已超限"), None  # fmt: skip
    low, high = _interval(timed.latency, plan.limits, confidence)
    if not plan.load_seconds:
        what = "from service times; to be verified under load"
        value = Measurement(name="throughput", value=predicted, low=min(low, predicted), high=max(high, predicted), confidence=confidence,
                            n=len(timed.latency), unit="1/s", provenance="predicted",
                            remark=what, remark_zh="由单次耗时推算，有待加压验证")  # fmt: skip
        return value, None
    return _verified(classifier, rows, predicted, (low, high), plan, confidence)


def closed_loop(timed: Timed, confidence: float) -> Measurement:
    """Return what one request after another reaches: the reciprocal of the mean service time."""
    n = len(timed.latency)
    mean = float(timed.latency.mean())
    error = _z(confidence) * float(timed.latency.std(ddof=1)) / n**0.5 if n > 1 else mean
    busy = [] if timed.busyness.quiet else [timed.busyness.remark()]
    remark = _listed([Words(zh="闭环测量，没有延迟上限", en="closed loop, no latency limit"), *busy])
    return Measurement(
        name="throughput", value=1.0 / mean, low=1.0 / (mean + error), high=1.0 / max(mean - error, mean / 10), confidence=confidence, n=n,
        unit="1/s", remark=remark.en, remark_zh=remark.zh, validity="valid" if timed.busyness.quiet else "noisy",
    )  # fmt: skip


def cpu_per_row(timed: Timed, confidence: float) -> Measurement:
    """Return the mean CPU seconds of one request, all threads of the process."""
    n = len(timed.cpu)
    mean = float(timed.cpu.mean())
    error = _z(confidence) * float(timed.cpu.std(ddof=1)) / n**0.5 if n > 1 else mean
    return Measurement(
        name="cpu_seconds_per_row",
        value=mean,
        low=max(0.0, mean - error),
        high=mean + error,
        confidence=confidence,
        n=n,
        unit="s",
    )


def _verified(
    classifier: Classifier,
    rows: Sequence[Row],
    predicted: float,
    interval: tuple[float, float],
    plan: Protocol,
    confidence: float,
) -> tuple[Measurement, OpenLoop]:
    rate, broken, kept = _FIRST * predicted, interval[1], False
    for attempt in range(_TRIES):
        run = run_open_loop(classifier, rows, rate, plan.load_seconds, seed=attempt)
        kept = run.sustained() and _keeps(run.latency, plan.limits)
        if kept:
            break
        broken, rate = min(broken, rate), _lower(run, plan.limits)
    low = min(interval[0], run.rate) if kept else 0.0
    if kept and plan.least_rate is not None and plan.least_rate <= run.rate:
        low = max(low, plan.least_rate)  # a real run at this rate or above kept the limit
    settled = run.busyness.quiet or (plan.least_rate is not None and low >= plan.least_rate)
    remark = _remark(run, kept=kept)
    found = Measurement(
        name="throughput", value=run.rate if kept else None, low=low, high=max(run.rate, broken), confidence=confidence,
        n=len(run.latency), unit="1/s", validity=("valid" if settled else "noisy") if kept else "refused",
        remark=remark.en, remark_zh=remark.zh,
    )  # fmt: skip
    return found, run


def _lower(run: OpenLoop, limits: dict[str, float]) -> float:
    """Return the rate to try after a run that did not keep the limits: requests may take longer under load than one at a time."""
    caps = [_BACK_OFF * run.rate]
    slower = predicted_rate(run.service, limits)
    if slower > 0:
        caps.append(_FIRST * slower)
    if not run.sustained():
        caps.append(_BACK_OFF * run.achieved)
    return min(caps)


def _remark(run: OpenLoop, *, kept: bool) -> Words:
    n, rate = len(run.latency), f"{run.rate:.3g}"
    parts = [Words(zh=f"开环加压，以每秒 {rate} 次发出 {n} 次请求", en=f"open loop, {n} requests at {rate}/s")]
    if not kept:
        parts.append(Words(zh="试过的速率都守不住上限", en="the limit was not kept at any rate tried"))
    if n < required(QUANTILES["p95"]):
        parts.append(Words(zh="请求太少，不足以给出 p95", en="too few to carry a p95"))
    if not run.busyness.quiet:
        parts.append(run.busyness.remark())
    return _listed(parts)


def _listed(parts: Sequence[Words]) -> Words:
    return Words(zh="；".join(part.zh for part in parts), en="; ".join(part.en for part in parts))


def _interval(service: Floats, limits: dict[str, float], confidence: float) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    rates = [predicted_rate(rng.choice(service, len(service)), limits, seed) for seed in range(_BOOTSTRAP)]
    low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _keeps(latency: Floats, limits: dict[str, float]) -> bool:
    return all(np.quantile(latency, QUANTILES[name], method="higher") <= limit for name, limit in limits.items())


def _sleep_until(moment: float) -> None:
    """Sleep, then spin through the last millisecond, which sleeping would miss."""
    left = moment - time.perf_counter()
    if left > _SPIN:
        time.sleep(left - _SPIN)
    while time.perf_counter() < moment:
        pass


def _z(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)
