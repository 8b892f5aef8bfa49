"""How much is measured: three presets, and the arithmetic of rungs."""

from __future__ import annotations

from dataclasses import dataclass

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.spec import Spec

LEAST_TRAIN = 150
"""Fewest training rows of a look."""
MIN_ROWS = 60
"""Fewest rows a quality figure is read from: below it, intervals of ±12 points and more say nothing."""


@dataclass(frozen=True)
class Preset:
    """Settings of the search.

    Args:
        fractions: shares of the train split that looks are taken at, the last one is what would be shipped.
        judged: select rows of a complete judgement at most (None: all).
        arms: arms in the final.
        paths: compression × runtime paths of one arm in the final.
        seeds: trainings of one finalist arm, for the seed variance.
        rounds: interleaved timing rounds of the final.
        patience: share of the price of looking at everything that a gain of one indifference zone is worth.
        slice: largest share of the time budget one trial may be planned to take.

    """

    fractions: tuple[float, ...]
    judged: int | None
    arms: int
    paths: int
    seeds: int
    rounds: int
    patience: float
    slice: float


PRESETS = {
    "quick": Preset((0.05, 0.2, 1.0), 1000, 3, 2, 2, 3, 0.05, 0.12),
    "standard": Preset((0.04, 0.11, 0.33, 1.0), None, 4, 3, 3, 4, 0.1, 0.15),
    "rigorous": Preset((0.04, 0.11, 0.33, 1.0), None, 6, 4, 5, 8, 0.3, 0.30),
}


def preset(spec: Spec) -> Preset:
    """Return the settings the specification asks for."""
    return PRESETS[spec.preset]


def build_seconds(candidate: Candidate, rows: float) -> float:
    """Predicted seconds of building on ``rows`` training rows, from the shipped prior."""
    cost = candidate.variant.cost
    return cost.build_fixed + cost.build_per_1000 * rows / 1000


def predict_seconds(candidate: Candidate, rows: float) -> float:
    """Predicted seconds of loading and predicting ``rows`` rows, from the shipped prior."""
    cost = candidate.variant.cost
    return cost.predict_fixed + cost.predict_per_1000 * rows / 1000


def fitting_rows(candidate: Candidate, rows: int, seconds: float) -> int:
    """Return how many of ``rows`` rows can be predicted within ``seconds``, never fewer than ``MIN_ROWS`` if there are as many."""
    per_row = candidate.variant.cost.predict_per_1000 / 1000
    fit = rows if per_row <= 0 else int(seconds / per_row)
    return min(rows, max(MIN_ROWS, fit))
