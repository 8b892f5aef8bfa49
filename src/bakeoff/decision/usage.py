"""From a candidate's evidence to what economics needs to know of it."""

from __future__ import annotations

from bakeoff.decision.view import View
from bakeoff.economics import Usage, sustained_rate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Endpoint, Spec


def usage_of(view: View, spec: Spec, profile: Profile, rate: Measurement | None) -> Usage:
    """Return a candidate's consumption as far as it was measured; ``rate`` is what it sustains (``sustained``)."""
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
        capacity=capacity_of(view, spec, rate),
        memory=found.get("memory"),
        tokens_in=found.get("tokens_in"),
        tokens_out=found.get("tokens_out"),
        endpoint=endpoint_of(view, spec),
    )


def sustained(view: View, spec: Spec, run: Spec) -> Measurement | None:
    """Return the rate one process sustains within the latency limits: as measured under the same limits, else predicted."""
    measured = view.measurements.get("throughput")
    if measured is not None and measured.value is not None and spec.requirements.latency == run.requirements.latency:
        return measured
    if not view.rounds:
        return None
    return sustained_rate(view.latency, {q: limit for q, limit in _limits(spec) if limit is not None}, spec.seed)


def capacity_of(view: View, spec: Spec, rate: Measurement | None) -> Measurement | None:
    """Return the requests per second one process is planned to serve.

    The sustained rate; without latency limits the share ``BUSY`` of the closed-loop rate; a candidate that breaks the limits
    even without a queue is given its capacity without them, so that its cost can be seen.
    """
    limited = any(limit is not None for _, limit in _limits(spec))
    if limited and rate is not None and rate.value:
        return rate
    if not view.rounds:
        return None
    return sustained_rate(view.latency, {}, spec.seed)


def endpoint_of(view: View, spec: Spec) -> Endpoint | None:
    """Return the remote endpoint a candidate asks, None for a model that runs here."""
    if not view.candidate.variant.remote:
        return None
    params = view.candidate.variant.params
    name, model = params.get("endpoint"), str(params.get("model", ""))
    for endpoint in spec.candidates.endpoints:
        named = (
            name == endpoint.name or endpoint.name in view.candidate.variant.name or (model and endpoint.model == model)
        )
        if named:
            return endpoint
    return Endpoint(name="unknown", url="http://unknown/v1", model=model or view.candidate.variant.name)


def _limits(spec: Spec) -> list[tuple[float, float | None]]:
    latency = spec.requirements.latency
    return [(0.50, latency.p50), (0.95, latency.p95), (0.99, latency.p99)]
