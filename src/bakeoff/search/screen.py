"""Feasible before good: which candidates a probe with initial weights already proves to break a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Requirements
from bakeoff.schema.trial import Elimination
from bakeoff.schema.units import say_bytes, say_seconds


def upper_limits(requirements: Requirements) -> Iterator[tuple[str, float]]:
    """Yield (measurement name, limit) of every upper limit that does not depend on trained weights."""
    for name in ("p50", "p95", "p99"):
        limit = getattr(requirements.latency, name)
        if limit is not None:
            yield f"latency_{name}", limit
    if requirements.memory.max is not None:
        yield "memory", requirements.memory.max
    if requirements.size.max is not None:
        yield "size", requirements.size.max


SHRINKS = 0.8
"""A figure of the finished candidate is taken to be at least this share of its probe's, where it depends on the data it learnt from.

A probe of those is a fit on a few hundred rows: trees that stop early may come out smaller than it, a vocabulary only larger (5.8 times
on Chinese reviews; measured figures of every study are in its report, ``RunSummary.probe_error``). A network's are its architecture's.
"""


def fixed_by_architecture(candidate: Candidate) -> bool:
    """Whether latency, memory and size are decided before a row is seen: networks, and whatever comes with its weights."""
    variant = candidate.variant
    return variant.strategy is not None or variant.weights is not None or variant.hub is not None or not variant.trains


def screened(candidate: Candidate, probed: Mapping[str, Measurement], requirements: Requirements) -> Elimination | None:
    """Return why the probe rules this candidate out, or None.

    Only proof counts: the whole interval above the limit, on a quiet machine (a busy one only ever adds time, so what it
    says against a candidate is not believed), and by more than the finished candidate may come out smaller (``SHRINKS``).
    """
    shrinks = 1.0 if fixed_by_architecture(candidate) else SHRINKS
    for name, limit in upper_limits(requirements):
        found = probed.get(name)
        if found is None or found.validity == "noisy":
            continue
        least = found.low if found.low is not None else (found.value if name in {"memory", "size"} else None)
        if least is not None and shrinks * least > limit:
            return Elimination(candidate=candidate.id, kind="infeasible", reason=_proof(name, found, least, limit))
    return _too_slow(candidate, probed.get("throughput"), requirements.throughput.min)


def _too_slow(candidate: Candidate, found: Measurement | None, least: float | None) -> Elimination | None:
    """Rule out by throughput; a probe predicts it from service times, so the whole interval must miss."""
    if least is None or found is None or found.value is None or found.validity != "valid":
        return None
    most = found.high if found.high is not None else found.value
    if most >= least:
        return None
    reason = Words(
        zh=f"用初始权重试测：在延迟上限内每秒最多约 {most:.1f} 次（n={found.n}，由单次耗时推算），低于要求的 {least:.1f} 次，训练之前即可排除",
        en=f"probed with initial weights: at most about {most:.1f} requests per second within the latency limits "
        f"(n={found.n}, predicted from service times), {least:.1f} are required; out before any training",
    )
    return Elimination(candidate=candidate.id, kind="infeasible", reason=reason)


def _proof(name: str, found: Measurement, least: float, limit: float) -> Words:
    say = say_seconds if name.startswith("latency") else say_bytes
    what = name.removeprefix("latency_")
    shown = say(found.value) if found.value is not None else f"≥ {say(least)}"
    return Words(
        zh=f"用初始权重在真实运行时上试测：{what} 为 {shown}（至少 {say(least)}，n={found.n}），超过上限 {say(limit)}，训练之前即可排除",
        en=f"probed with initial weights on the real runtime: {what} {shown} (at least {say(least)}, n={found.n}) "
        f"is above the limit {say(limit)}; out before any training",
    )
