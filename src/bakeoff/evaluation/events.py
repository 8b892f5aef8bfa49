"""What a run tells while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bakeoff.schema.trial import Failure, StepResult, Trial

EventKind = Literal["started", "running", "step", "finished", "stopped"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    ``started``: work on the trial begins. ``running``: the step called ``doing`` begins in a process of its own. ``step``: a step
    has its ``result`` (``reused``: it was in the ledger already). ``finished``: the trial is over, with the ``failure`` that ended
    it if there was one. ``stopped``: the time of the whole run is over; ``trial`` is the one that was not run.

    Args:
        number: place of the trial in what was asked for, from 1.
        total: how many trials were asked for.

    """

    kind: EventKind
    trial: Trial
    number: int
    total: int
    doing: str = ""
    result: StepResult | None = None
    failure: Failure | None = None
    reused: bool = False
