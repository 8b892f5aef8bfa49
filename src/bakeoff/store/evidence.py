"""Evidence as it is read back: ledger rows with their arrays, and everything a pure function of the ledger needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.candidate import Candidate, Unavailable
from bakeoff.schema.costs import CostBook
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Told
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Elimination, Environment, StepResult


@dataclass(frozen=True)
class Evidence:
    """One ledger row: the record and its arrays (see ``StepResult`` for their names, types and units)."""

    result: StepResult
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyEvidence:
    """All that is known in one study, for ``ask``, ``decide`` and ``render``: pure functions read this and nothing else.

    ``results`` hold only rows of the current data; ``spec`` is the specification the study was run with; ``costs`` is what earlier
    studies on the machine had taught when this one started; ``warm`` is what the specification's earlier studies know about settings, by arm.
    """

    spec: Spec
    profile: Profile
    candidates: tuple[Candidate, ...]
    unavailable: tuple[Unavailable, ...]
    results: tuple[Evidence, ...]
    environments: Mapping[str, Environment] = field(default_factory=dict)
    eliminations: tuple[Elimination, ...] = ()
    finalists: tuple[str, ...] = ()
    stop_rule: tuple[str, str] = ("", "")
    costs: CostBook | None = None
    warm: Mapping[str, tuple[Told, ...]] = field(default_factory=dict)

    def candidate(self, name: str) -> Candidate:
        """Return the candidate with this id."""
        return next(found for found in self.candidates if found.id == name)
