"""Limits that are rules, not numbers: rows that may not leave, licences that are not accepted."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from bakeoff.decision.view import View
from bakeoff.schema.base import Words
from bakeoff.schema.spec import Spec

_NON_COMMERCIAL = ("CC-BY-NC*", "*-NC-*", "*non-commercial*", "*research-only*")
UNSTATED = "unstated"


@dataclass(frozen=True)
class RuleVerdict:
    """What a candidate's stack breaks: licences not accepted, rows sent away; ``allowed`` when nothing."""

    leaves: bool
    licences: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether every rule is kept."""
        return not self.leaves and not self.refused


def rule_verdicts(view: View, spec: Spec) -> RuleVerdict:
    """Return which rules of the specification a candidate breaks."""
    leaves = view.candidate.variant.remote and not spec.risk.data_may_leave
    found = licences_of(view)
    return RuleVerdict(leaves, found, tuple(name for name in found if not accepted(name, spec.risk.licences)))


def licences_of(view: View) -> tuple[str, ...]:
    """Return the licences of the weights inside a stack, those of the artefact if it states any."""
    if view.artifact is not None and view.artifact.licences:
        return tuple(sorted(set(view.artifact.licences)))
    stated = view.candidate.variant.licence
    return (stated,) if stated else ()


def accepted(licence: str, allowed: tuple[str, ...] | None) -> bool:
    """Whether a licence is accepted: listed, or without a list not known to forbid commercial use.

    An unstated licence is refused by a list that does not name it; without a list it stays and the risk check warns of it.
    """
    if allowed is not None:
        return any(licence.lower() == name.lower() for name in allowed)
    return not any(fnmatch(licence.lower(), pattern.lower()) for pattern in _NON_COMMERCIAL)


def broken_rules(verdict: RuleVerdict) -> Words | None:
    """Return what is broken in words, None when nothing is."""
    if verdict.leaves:
        return Words(
            zh="数据会离开本地，而需求不允许（risk.data_may_leave: false）",
            en="rows would leave the premises, which the specification forbids (risk.data_may_leave: false)",
        )
    if verdict.refused:
        names = ", ".join(verdict.refused)
        return Words(
            zh=f"权重的许可证不在接受范围内：{names}", en=f"the licence of its weights is not accepted: {names}"
        )
    return None
