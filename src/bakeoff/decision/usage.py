"""From a candidate's evidence to what economics needs to know of it."""

from __future__ import annotations

from bakeoff.decision.view import View
from bakeoff.economics import Usage, sustained_rate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Endpoint, Spec


def usage_of(view: View, spec: Spec, profile: Profile) -> Usage:
    """Return a candidate's consumption as far as it was measured."""
    candidate, found = view.candidate, view.measurements
    fraction = view.judged.fidelity.fraction if view.judged is not None else 1.0
    seconds = view.train_seconds
    trained = None if seconds is None else Measurement(name="train_seconds", value=seconds, unit="s", n=1)
    return Usage(
        candidate=candidate.id,
        family=candidate.family,
        simplicity=candidate.variant.simplicity,
        trains=candidate.variant.trains,
        threads=view.threads or spec.measuring.threads,
        train_rows=round(fraction * profile.split.train) if candidate.variant.trains else 0,
        train_seconds=trained if candidate.variant.trains else None,
        capacity=capacity_of(view, spec),
        memory=found.get("memory"),
        tokens_in=found.get("tokens_in"),
        tokens_out=found.get("tokens_out"),
        endpoint=endpoint_of(view, spec),
    )


def capacity_of(view: View, spec: Spec) -> Measurement | None:
    """Return the requests per second one process sustains within the latency limits.

    The measured ``throughput`` where there is one; else predicted from the measured service times under random arrivals; a
    candidate that breaks the limits even without a queue is given its capacity without them, so that its cost can be seen.
    """
    measured = view.measurements.get("throughput")
    if measured is not None and measured.value:
        return measured
    if not view.rounds:
        return None
    limits = {q: limit for q, limit in _limits(spec) if limit is not None}
    found = sustained_rate(view.latency, limits, spec.seed)
    return found if found.value else sustained_rate(view.latency, {}, spec.seed)


def endpoint_of(view: View, spec: Spec) -> Endpoint | None:
    """Return the remote endpoint a candidate asks, None for a model that runs here."""
    if not view.candidate.variant.remote:
        return None
    params = view.candidate.variant.params
    name, model = params.get("endpoint"), str(params.get("model", ""))
    for endpoint in spec.candidates.endpoints:
        named = name == endpoint.name or endpoint.name in view.candidate.variant.name or (model and endpoint.model == model)
        if named:
            return endpoint
    return Endpoint(name="unknown", url="http://unknown/v1", model=model or view.candidate.variant.name)


def _limits(spec: Spec) -> list[tuple[float, float | None]]:
    latency = spec.requirements.latency
    return [(0.50, latency.p50), (0.95, latency.p95), (0.99, latency.p99)]
