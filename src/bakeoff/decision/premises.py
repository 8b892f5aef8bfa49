"""The premises of a decision as plain numbers, so that thousands of what-ifs cost milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bakeoff.schema.spec import Spec
from bakeoff.tasks.base import split_mistake

LIMITS = ("floor", "p50", "p95", "p99", "throughput", "memory", "size")


@dataclass(frozen=True)
class Premises:
    """What the choice rests on besides the evidence. Units as in the specification (s, B, 1/s, its currency, shares).

    ``machine`` multiplies the price of machines; ``retrain`` is the time between trainings, None for never; ``rows`` is the number of
    labelled training rows, None for those there are.
    """

    floor: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    throughput: float | None
    memory: float | None
    size: float | None
    volume: float
    peak: float
    growth: float
    horizon: float
    per_correct: float
    errors: tuple[float, ...]
    people: float
    label: float
    quality_zone: float
    cost_zone: float
    confidence: float
    retrain: float | None = None
    machine: float = 1.0
    rows: float | None = None

    @property
    def priced(self) -> bool:
        """Whether answers have a price."""
        return self.per_correct > 0 or any(price > 0 for price in self.errors)

    def but(self, **changes: float | tuple[float, ...] | None) -> Premises:
        """Return the premises with some of them changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def premises_of(spec: Spec, mistakes: list[str]) -> Premises:
    """Return the premises of a specification; ``mistakes`` are the keys of ``value.errors`` in the order used throughout."""
    needs, traffic = spec.requirements, spec.traffic
    return Premises(
        floor=needs.quality.floor, p50=needs.latency.p50, p95=needs.latency.p95, p99=needs.latency.p99,
        throughput=needs.throughput.min, memory=needs.memory.max, size=needs.size.max,
        volume=traffic.volume, peak=traffic.peak_rate, growth=traffic.growth, horizon=traffic.horizon,
        per_correct=spec.value.per_correct, errors=tuple(float(spec.value.errors[key]) for key in mistakes),
        people=spec.costs.people, label=spec.costs.label, quality_zone=spec.decision.indifference.quality,
        cost_zone=spec.decision.indifference.cost, confidence=spec.decision.confidence, retrain=spec.costs.retrain,
    )  # fmt: skip


def mistake_keys(spec: Spec, classes: tuple[str, ...]) -> list[tuple[str, tuple[int, int]]]:
    """Return the keys of ``value.errors`` whose labels the data has, sorted, with their (actual, predicted) class indices."""
    found = []
    for key in sorted(spec.value.errors):
        pair = split_mistake(key)
        if pair is not None and pair[0] in classes and pair[1] in classes:
            found.append((key, (classes.index(pair[0]), classes.index(pair[1]))))
    return found
