"""The time between steps: starting processes, and asking what to do next; learnt from the moments the ledger's rows were written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from bakeoff.schema.trial import StepResult
from bakeoff.search.factors import Seconds
from bakeoff.search.prefix import MAKING

WITHIN = "within"
"""From what makes to what measures inside of one trial; the other pauses are named by the purpose of the trial that follows."""
_SHIPPED = {WITHIN: 0.05, "probe": 0.05, "rung": 0.25, "final": 0.1, "risk": 0.5}
"""Seconds, measured on two ordinary cores; before a rung the search is asked, before risk checks it is decided."""
_BELIEVED = 5
_LONGEST = 15.0
"""A longer pause is a run that was stopped and went on later."""
_RANGE = 2.0


def pauses(rows: Iterable[StepResult]) -> dict[str, list[float]]:
    """Return the pauses of a ledger by kind, in its order."""
    found: dict[str, list[float]] = {}
    before: float | None = None
    trial: object = None
    making: object = None
    for row in rows:
        now = datetime.fromisoformat(row.created).timestamp() if row.created else None
        mine, makes = (row.candidate, row.purpose, row.fidelity, row.round), row.kind in MAKING
        started = mine != trial or makes != making
        if now is not None and before is not None and started and row.wall_seconds > 0:
            gap = now - before - row.wall_seconds
            if 0 <= gap < _LONGEST:
                found.setdefault(WITHIN if mine == trial else row.purpose, []).append(gap)
        before, trial, making = now, mine, makes
    return found


def typical(found: Mapping[str, list[float]], learnt: Mapping[str, float]) -> dict[str, Seconds]:
    """Return what each kind of pause takes on average: what was learnt before counts like a few of this study's.

    Args:
        found: pauses of this study.
        learnt: from earlier studies on the machine; shipped figures where there are none.

    """
    means = {}
    for kind, shipped in _SHIPPED.items():
        mine = found.get(kind, [])
        prior = learnt.get(kind, shipped)
        mean = (sum(mine) + _BELIEVED * prior) / (len(mine) + _BELIEVED)
        means[kind] = Seconds(mean=mean, low=mean / _RANGE, high=mean * _RANGE)
    return means
