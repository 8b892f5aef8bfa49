"""What is wrong with a specification although each of its fields alone is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bakeoff.schema.spec import Spec

REQUESTS_FOR = {"p95": 90, "p99": 459}
"""Requests below which a percentile cannot be bounded at 99 % confidence: smallest n with q^n ≤ 0.01."""
_ARROW = re.compile(r"^(?P<actual>.+?)->(?P<predicted>.+)$")


@dataclass(frozen=True)
class Contradiction:
    """``path`` is the dotted field, ``what`` the clause, ``fix`` what to write instead."""

    path: tuple[str, ...]
    what: str
    fix: str
    got: str | None = None
    allowed: str | None = None


def contradictions(spec: Spec) -> Iterator[Contradiction]:
    """Yield every contradiction and every wish that cannot be measured."""
    yield from _unmeasurable(spec)
    yield from _columns(spec)
    yield from _errors(spec)
    yield from _others(spec)


def _unmeasurable(spec: Spec) -> Iterator[Contradiction]:
    measuring, limits = spec.measuring, spec.requirements.latency
    for name, needed in REQUESTS_FOR.items():
        if getattr(limits, name) is not None and measuring.requests is not None and measuring.requests < needed:
            yield Contradiction(
                ("measuring", "requests"), f"too few requests to judge the {name} limit", got=str(measuring.requests),
                allowed=f"at least {needed} for {name}",
                fix=f"set measuring.requests to {needed}, leave it out, or remove requirements.latency.{name}",
            )  # fmt: skip
    if measuring.requests is not None and measuring.rounds is not None and measuring.rounds > measuring.requests:
        yield Contradiction(
            ("measuring", "rounds"), "more rounds than requests to spread over them", got=str(measuring.rounds),
            allowed=f"at most {measuring.requests}", fix="lower measuring.rounds or raise measuring.requests",
        )  # fmt: skip
    if spec.requirements.quality.floor == 1:
        yield Contradiction(
            ("requirements", "quality", "floor"), "no finite number of rows can prove a perfect score", got="1",
            fix="write a floor below 1, for example 0.99",
        )  # fmt: skip


def _columns(spec: Spec) -> Iterator[Contradiction]:
    data = spec.data
    inputs = (data.input,) if isinstance(data.input, str) else data.input
    if not inputs:
        yield Contradiction(("data", "input"), "no input column", fix="name at least one column, or write '*'")
    uses = {
        "data.input": () if data.input == "*" else inputs,  # '*' is every column but the target, even of one called '*'
        "data.ignore": data.ignore,
        "data.split.group": (data.split.group,),
        "data.split.time": (data.split.time,),
    }
    for path, names in uses.items():
        if data.target in names:
            yield Contradiction(
                tuple(path.split(".")), f"names the target column '{data.target}'",
                fix="a candidate may not see the answer: remove it here, or correct data.target",
            )  # fmt: skip
    for name in sorted(set(inputs) & set(data.ignore)):
        yield Contradiction(
            ("data", "ignore"), f"'{name}' is both an input and ignored", fix="remove it from one of the two"
        )


def _errors(spec: Spec) -> Iterator[Contradiction]:
    for key, cost in spec.value.errors.items():
        path = ("value", "errors", key)
        found = _ARROW.match(key)
        if not found:
            yield Contradiction(
                path,
                "not of the form 'actual->predicted'",
                got=key,
                allowed="for example 'neg->pos'",
                fix=_arrow_fix(key),
            )
        elif found["actual"] != found["actual"].strip() or found["predicted"] != found["predicted"].strip():
            yield Contradiction(path, "space around the arrow", got=key, fix=_arrow_fix(key.strip()))
        elif found["actual"] == found["predicted"]:
            yield Contradiction(
                path,
                "actual and predicted are the same, which is no error",
                got=key,
                fix="price right answers in value.per_correct",
            )
        if cost < 0:
            yield Contradiction(
                path, "the cost of an error is a positive number", got=f"{cost:g}", fix=f"write {-cost:g}"
            )


def _arrow_fix(key: str) -> str:
    halves = re.split(r"\s*(?:=>|→|-->|->|>|:|/)\s*", key, maxsplit=1)
    return f"write '{halves[0]}->{halves[1]}'" if len(halves) == 2 and all(halves) else "write 'actual->predicted'"


def _others(spec: Spec) -> Iterator[Contradiction]:
    traffic = spec.traffic
    if traffic.peak is not None and traffic.peak < traffic.volume:
        yield Contradiction(
            ("traffic", "peak"), "the peak is below the average volume", got=f"{traffic.peak:.4g}/s",
            allowed=f"at least {traffic.volume:.4g}/s", fix="raise traffic.peak, lower traffic.volume, or leave the peak out",
        )  # fmt: skip
    if not spec.candidates.include:
        yield Contradiction(("candidates", "include"), "nothing may take part", fix='write include: ["*"]')
    names = [endpoint.name for endpoint in spec.candidates.endpoints]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Contradiction(
            ("candidates", "endpoints"), f"two endpoints are called '{name}'", fix="give each a name of its own"
        )
