"""The contract of a runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.artifact import Artifact
from bakeoff.schema.plugin import RuntimeTraits

Row = Mapping[str, Any]


class Predictor(Protocol):
    """A loaded artefact."""

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return raw class probabilities (n, k), before the artefact's rule; pre-processing included."""

    def close(self) -> None:
        """Release memory, threads and child processes."""


class Runtime(Protocol):
    """Loads the formats of ``traits.loads``."""

    traits: RuntimeTraits

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Load the artefact whose files are in ``directory``, using at most ``threads`` threads.

        Raises:
            StepError: code 'unsupported' or 'unavailable' with the reason.

        """
