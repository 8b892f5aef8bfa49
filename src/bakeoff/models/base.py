"""The contract of a model family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Examples, Row
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.candidate import Strategy, Variant
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Space
from bakeoff.schema.spec import Spec
from bakeoff.store.features import FeatureStore

__all__ = ["BuildContext", "Examples", "ExportContext", "Member", "ModelFamily", "Row", "TunableFamily"]


@dataclass(frozen=True)
class Member:
    """A trained candidate an ensemble may use: its artefact directory, runtime and probabilities (n, k) on *calibrate*."""

    candidate: str
    runtime: str
    artifact: Artifact
    directory: Path
    calibrate: NDArray[np.float64]


@dataclass(frozen=True)
class BuildContext:
    """Everything a build may use. ``out`` is an empty directory for the artefact's files.

    ``probe``: build with initial weights (or fit on the few rows given): only latency, memory and size will be looked at.
    ``weights``: the prepared asset directory of ``variant.weights``. ``endpoint`` settings sit in ``variant.params``.
    ``features``: vectors of frozen encoders that other builds of the study computed; None without.
    ``processes``: that may train together, by averaging gradients, on the Ray cluster at ``cluster``; more than 1 only for families whose
    traits say ``parallel``.
    """

    task: str
    classes: tuple[str, ...]
    inputs: tuple[InputColumn, ...]
    language: str
    train: Examples
    calibrate: Examples
    variant: Variant
    seed: int
    threads: int
    out: Path
    probe: bool = False
    weights: Path | None = None
    instruction: str | None = None
    label_words: Mapping[str, str] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    features: FeatureStore | None = None
    processes: int = 1
    cluster: str | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """The variant's parameters."""
        return self.variant.params

    @property
    def strategy(self) -> Strategy:
        """The variant's training strategy, the default one where it names none."""
        return self.variant.strategy or Strategy()


@dataclass(frozen=True)
class ExportContext:
    """``source`` holds ``artifact``; write the converted one to the empty directory ``out``."""

    artifact: Artifact
    source: Path
    out: Path
    target: str
    threads: int


class ModelFamily(Protocol):
    """A model family.

    ``build`` and ``export`` return the artefact *without* ``files`` and ``rule``: the caller hashes the files, fits the
    rule (temperature, cost matrix) on *calibrate*, and writes ``artifact.json``.
    """

    traits: FamilyTraits

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return the settings worth trying for this specification and data; imports nothing heavy."""

    def build(self, context: BuildContext) -> Artifact:
        """Train (or set up) and write the native artefact into ``context.out``.

        Raises:
            StepError: with a code when it cannot be built (too few rows, unsupported strategy, diverged).

        """

    def export(self, context: ExportContext) -> Artifact:
        """Convert a native artefact to ``context.target``, one of ``traits.exports``."""


class TunableFamily(ModelFamily, Protocol):
    """A model family whose settings may be tuned; one without ``space`` says why in ``traits.excuses['space']``."""

    def space(self, variant: Variant, profile: Profile) -> Space | None:
        """Return the settings worth tuning around one of ``variants``, itself the default point; None: nothing of this one.

        ``Space.around(variant, parameters)`` makes it; imports nothing heavy.
        """
