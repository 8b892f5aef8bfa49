"""The contract of a risk check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.rule import Classifier
from bakeoff.models.base import Examples
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.measurement import Finding
from bakeoff.schema.plugin import CheckTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec


@dataclass(frozen=True)
class RiskContext:
    """What a check may look at.

    ``classifier`` is the loaded candidate (None for checks of scope 'data'); ``train`` the rows it was trained on;
    ``held_out`` the confirm rows with ``held_out_probabilities`` (n, k) already measured on them;
    ``seed_scores`` scores of the same arm trained with other seeds; ``groups`` the group column's value per held-out row, if any.
    """

    spec: Spec
    profile: Profile
    candidate: Candidate
    artifact: Artifact
    directory: Path
    train: Examples
    held_out: Examples
    held_out_probabilities: NDArray[np.float64]
    classes: tuple[str, ...]
    seed: int
    classifier: Classifier | None = None
    seed_scores: Sequence[float] = ()
    groups: Mapping[str, Sequence[str]] | None = None


class RiskCheck(Protocol):
    """A check; ``traits.version`` is part of the step key, so a changed check is run again on finished studies."""

    traits: CheckTraits

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Measure and report; cheap enough for every finalist (seconds)."""
