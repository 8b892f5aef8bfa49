"""How the finalists' rank holds over all weightings of what has no price, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bakeoff.report import numbers
from bakeoff.report.words import same, text
from bakeoff.schema.base import Words
from bakeoff.schema.decision import Decision

_MEASURED: Final = {"value": "weights.value", "quality": "weights.quality", "cost": "weights.cost"}


@dataclass(frozen=True)
class Line:
    """One finalist: how often it ranks first and second, and the mean weights where it is first."""

    label: Words
    first: str
    second: str
    valued: Words
    share: float


def weights(decision: Decision) -> tuple[Line, ...]:
    """Return one line per finalist, the most acceptable first; empty when no criteria were declared."""
    return tuple(
        Line(one.label, numbers.chance(one.first), numbers.chance(one.second), _valued(one.weights), one.first)
        for one in decision.acceptability
    )


def _valued(found: dict[str, float] | None) -> Words:
    if found is None:
        return text("weights.never")
    said = [
        (text(_MEASURED[name]) if name in _MEASURED else same(name), f"{100 * share:.0f} %")
        for name, share in found.items()
    ]
    return Words(
        zh="，".join(f"{name.zh} {share}" for name, share in said),
        en=", ".join(f"{name.en} {share}" for name, share in said),
    )
