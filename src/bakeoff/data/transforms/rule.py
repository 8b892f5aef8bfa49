"""From raw class probabilities to a label: temperature scaling, then the cheapest expected mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.artifact import Artifact, Rule

_TINY = 1e-12


class RawPredictor(Protocol):
    """Anything that gives raw probabilities for rows (a runtime's predictor)."""

    def predict_proba(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return (n, k) probabilities."""

    def close(self) -> None:
        """Release what was loaded."""


def scale(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Divide the logits of (n, k) probabilities by ``temperature`` and normalise again (Guo et al. 2017)."""
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.clip(probabilities, _TINY, 1.0)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    scaled: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def choose(probabilities: NDArray[np.float64], rule: Rule) -> NDArray[np.int64]:
    """Return the class index per row: most probable, or of least expected cost where the rule has costs."""
    expected = -probabilities if rule.costs is None else probabilities @ np.asarray(rule.costs, dtype=np.float64)
    chosen: NDArray[np.int64] = expected.argmin(axis=1)
    return chosen


class Classifier:
    """A predictor with its artefact's rule applied: what evaluation measures and a server runs.

    Args:
        predictor: gives raw probabilities.
        artifact: names the classes and holds the rule.

    """

    def __init__(self, predictor: RawPredictor, artifact: Artifact) -> None:
        self.predictor = predictor
        self.artifact = artifact
        self.classes = artifact.classes

    def predict_proba(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return calibrated probabilities (n, k)."""
        return scale(self.predictor.predict_proba(rows), self.artifact.rule.temperature)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return class indices (n,) and calibrated probabilities (n, k)."""
        probabilities = self.predict_proba(rows)
        return choose(probabilities, self.artifact.rule), probabilities

    def close(self) -> None:
        """Release the predictor."""
        self.predictor.close()
