"""What a run would do and take, before anything runs: predicted from shipped priors, and labelled so."""

from __future__ import annotations

from pydantic import Field

from bakeoff.schema.base import Record, Words
from bakeoff.schema.candidate import Candidate, Unavailable
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.search.presets import Preset, build_seconds, predict_seconds, preset, rung_rows

_TIMED = 300
_SURVIVE = 0.5
_START = 2.5
"""Seconds to start the two processes of a trial, measured; the harness benchmark prints the current figure."""


class PlannedCandidate(Record):
    """One candidate with the predicted seconds of its stages."""

    id: str
    label: Words
    probe_seconds: float
    first_rung_seconds: float
    full_seconds: float = Field(description="Building on the whole train split and judging every select row.")
    simplicity: int


class Plan(Record):
    """What would run. All seconds are predicted for two ordinary cores; money is what paid endpoints would charge."""

    study: str
    task: str
    preset: str
    candidates: tuple[PlannedCandidate, ...]
    unavailable: tuple[Unavailable, ...]
    fractions: tuple[float, ...]
    expected_seconds: float
    most_seconds: float
    budget_seconds: float
    money: float
    currency: str
    profile: Profile


def plan(spec: Spec, profile: Profile, candidates: tuple[Candidate, ...], unavailable: tuple[Unavailable, ...]) -> Plan:
    """Return the plan of a run: expected time if half of the arms fall at each rung, and the most it may take."""
    settings = preset(spec)
    planned = tuple(_planned(candidate, spec, profile) for candidate in candidates)
    expected = _expected(spec, profile, candidates, settings)
    most = 1.5 * spec.budget.time
    return Plan(
        study=spec.name, task=spec.task, preset=spec.preset, candidates=planned, unavailable=unavailable,
        fractions=settings.fractions, expected_seconds=min(expected, most), most_seconds=most,
        budget_seconds=spec.budget.time, money=_money(spec, candidates), currency=spec.value.currency, profile=profile,
    )  # fmt: skip


def _planned(candidate: Candidate, spec: Spec, profile: Profile) -> PlannedCandidate:
    rows, limit = rung_rows(candidate, spec, profile, 0)
    full = profile.split.train if candidate.variant.trains else 0
    return PlannedCandidate(
        id=candidate.id,
        label=candidate.label,
        probe_seconds=_START + build_seconds(candidate, 0) + predict_seconds(candidate, 20),
        first_rung_seconds=_START
        + build_seconds(candidate, rows)
        + predict_seconds(candidate, limit or profile.split.select),
        full_seconds=_START + build_seconds(candidate, full) + predict_seconds(candidate, profile.split.select),
        simplicity=candidate.variant.simplicity,
    )


def _expected(spec: Spec, profile: Profile, candidates: tuple[Candidate, ...], settings: Preset) -> float:
    arms = list(
        {candidate.arm: candidate for candidate in reversed(candidates) if candidate.family != "ensemble"}.values()
    )
    probes = sum(_START + build_seconds(c, 0) + predict_seconds(c, 20) for c in candidates if c.family != "ensemble")
    total, alive = probes, 1.0
    cap = settings.slice * spec.budget.time
    for rung in range(len(settings.fractions)):
        for arm in arms:
            rows, limit = rung_rows(arm, spec, profile, rung)
            cost = min(build_seconds(arm, rows), cap) + predict_seconds(arm, limit or profile.split.select)
            total += alive * (_START + cost)
        alive *= _SURVIVE
    finalists = sorted(build_seconds(arm, 1000) for arm in arms)[: settings.arms]
    return total + settings.rounds * settings.arms * _START + settings.seeds * sum(min(cost, cap) for cost in finalists)


def _money(spec: Spec, candidates: tuple[Candidate, ...]) -> float:
    """Tokens of paid endpoints: judged rows times a typical prompt of 300 tokens in and 2 out."""
    total = 0.0
    rows = _TIMED + 2 * 400
    for endpoint in spec.candidates.endpoints:
        if any(endpoint.name in candidate.variant.name for candidate in candidates):
            total += rows * (300 * (endpoint.input_price or 0.0) + 2 * (endpoint.output_price or 0.0)) / 1e6
    return total
