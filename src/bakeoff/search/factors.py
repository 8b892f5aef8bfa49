"""How far the shipped guesses are off on this machine, for this family, this arm and this path; and predictions from that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import mul

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.base import Record
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.costs import COST_PARTS, Factor
from bakeoff.search.amounts import Parts
from bakeoff.search.shrinkage import Fitted, Floats, Level

_K = len(COST_PARTS)
NOISE = 0.2
"""Standard deviation of the logarithm of a step's seconds when it is done again."""
_SPREADS = {  # standard deviations of log-factors: how wrong the shipped guess may be, level by level
    "machine": (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
    "family": (0.6, 0.7, 0.7, 0.6, 0.6, 0.8, 0.8, 0.5),
    "arm": (0.4, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.3),
    "path": (0.02, 0.02, 0.6, 0.6, 0.6, 0.4, 0.4, 0.3),
    "tuned": (0.2, 0.4, 0.6, 0.6, 0.6, 0.4, 0.4, 0.3),  # a path whose settings were changed
}
BIAS = (-0.2, -0.4, -1.3, -0.6, -0.4, 0.0, 0.0, -0.4)
"""How far the shipped guesses are off on an ordinary machine, as logarithms: they were made when every load started a process; measured
on studies of Chinese reviews with linear models, static and transformer embeddings."""
_TOGETHER = {"machine": 0.7, "family": 0.4, "arm": 0.3, "path": 0.3, "tuned": 0.3}
"""How much the parts of a level are wrong together (correlation)."""
_DRIFT = {"machine": 0.10, "family": 0.10, "arm": 0.10, "path": 0.02}
"""Standard deviation added to what an earlier study taught: other rows, another load on the machine."""
_LEVELS = ("machine", "family", "arm", "path")
_QUANTILE = 1.645
_SHARED = 0.5
"""Correlation assumed between the errors of different steps of one machine when predictions are added up."""


class Seconds(Record):
    """A predicted time: expected seconds, and where nine in ten such times should lie."""

    mean: float
    low: float
    high: float

    @classmethod
    def total(cls, parts: Iterable[Seconds]) -> Seconds:
        """Return the sum; errors of steps on one machine go together in part."""
        found = list(parts)
        mean = math.fsum(part.mean for part in found)
        down = _together([part.mean - part.low for part in found])
        up = _together([part.high - part.mean for part in found])
        return cls(mean=mean, low=max(0.0, mean - down), high=mean + up)


NOTHING = Seconds(mean=0.0, low=0.0, high=0.0)


def _together(errors: list[float]) -> float:
    alone = math.fsum(error * error for error in errors)
    return math.sqrt(_SHARED * math.fsum(errors) ** 2 + (1 - _SHARED) * alone)


class Tree:
    """Places of nodes, and what is believed of each before this study's steps are seen."""

    def __init__(self, candidates: list[Candidate], factors: Mapping[str, Factor]) -> None:
        names: dict[str, dict[str, str]] = {level: {} for level in _LEVELS}  # name → name of its parent
        names["machine"]["machine"] = ""
        tuned = {candidate.id for candidate in candidates if candidate.variant.base}
        for candidate in candidates:
            machine, family, arm, path = _names(candidate)
            names["family"][family] = machine
            names["arm"][arm] = family
            names["path"][path] = arm
        self.places = {level: {name: place for place, name in enumerate(names[level])} for level in _LEVELS}
        self.levels: list[Level] = []
        above: Floats = np.zeros((1, _K))
        for depth, level in enumerate(_LEVELS):
            parents = [self.places[_LEVELS[depth - 1]][parent] if depth else 0 for parent in names[level].values()]
            place = np.array(parents, dtype=np.int64)
            believed = [factors.get(level if depth == 0 else f"{level}:{name}") for name in names[level]]
            shipped = np.stack([covariance("tuned" if name in tuned else level) for name in names[level]])
            made = _level(level, believed, above[place], place, shipped)
            self.levels.append(made)
            above = above[place] + made.shift


def _level(
    name: str, believed: list[Factor | None], above: Floats, parents: NDArray[np.int64], shipped: Floats
) -> Level:
    """Return one level: the shipped spread where nothing was learnt, else what was, a little less sure.

    A book's doubt is that of the whole sum down to a node, so it is put where the sum ends: at the path.
    """
    shift, spread = np.zeros((len(believed), _K)), shipped.copy()
    if name == "machine":
        shift[:] = BIAS
    for number, factor in enumerate(believed):
        if factor is None:
            continue
        shift[number] = np.array(factor.mean) - above[number]
        own = np.array(factor.sd) if name == "path" else np.zeros(_K)
        spread[number] = np.diag(own**2 + _DRIFT[name] ** 2)
    return Level(parents, shift, spread)


@cache
def covariance(name: str) -> Floats:
    """Return the shipped prior covariance (K, K) of a level's deviations, ``tuned`` of a tuned path's."""
    sd, rho = np.array(_SPREADS[name]), _TOGETHER[name]
    found: Floats = np.outer(sd, sd) * (rho + (1 - rho) * np.eye(_K))
    return found


@dataclass(frozen=True)
class Fit:
    """Factors of every node, and predictions from them."""

    tree: Tree
    fitted: Fitted
    counts: NDArray[np.int64]
    _factors: dict[str, tuple[float, ...]] = field(default_factory=dict, compare=False)

    def seconds(self, candidate: Candidate, parts: Parts) -> Seconds:
        """Return expected seconds with their range."""
        theta, spread = self._node(candidate)
        took = np.array(parts) * np.exp(theta)
        middle = float(took.sum())
        if middle <= 0:
            return NOTHING
        shares = took / middle
        sd = math.sqrt(float(shares @ spread @ shares) + self.fitted.noise**2)
        mean = middle * math.exp(sd * sd / 2)
        return Seconds(mean=mean, low=middle * math.exp(-_QUANTILE * sd), high=middle * math.exp(_QUANTILE * sd))

    def middle(self, candidate: Candidate, parts: Parts) -> float:
        """Return the median seconds."""
        factors = self._factors.get(candidate.id)
        if factors is None:
            factors = self._factors[candidate.id] = tuple(np.exp(self._node(candidate)[0]).tolist())
        return float(sum(map(mul, parts, factors)))

    def _node(self, candidate: Candidate) -> tuple[Floats, Floats]:
        """Return the path's factors, or of the nearest node above it that is known."""
        spread = np.zeros((_K, _K))
        for depth, (level, name) in reversed(list(enumerate(zip(_LEVELS, _names(candidate), strict=True)))):
            place = self.tree.places[level].get(name)
            if place is not None:
                return self.fitted.means[depth][place], self.fitted.spreads[depth][place] + spread
            spread = spread + covariance("tuned" if level == "path" and candidate.variant.base else level)
        raise AssertionError  # the machine is always known

    def factors(self) -> dict[str, Factor]:
        """Return what was learnt of every node that a step was done for."""
        found: dict[str, Factor] = {}
        counts = self.counts
        for depth in range(len(_LEVELS) - 1, -1, -1):
            level, size = _LEVELS[depth], len(self.tree.levels[depth].parents)
            for name, place in self.tree.places[level].items():
                if counts[place]:
                    sd = np.sqrt(np.diag(self.fitted.spreads[depth][place]))
                    mean = self.fitted.means[depth][place]
                    key = level if depth == 0 else f"{level}:{name}"
                    found[key] = Factor(mean=_rounded(mean), sd=_rounded(sd), n=int(counts[place]))
            if depth:
                above = len(self.tree.levels[depth - 1].parents)
                counts = np.bincount(self.tree.levels[depth].parents, weights=counts[:size], minlength=above).astype(
                    np.int64
                )
        return found


def _names(candidate: Candidate) -> tuple[str, str, str, str]:
    """Return the nodes from the machine down to the path; tuned settings hang below the listed variant they came from."""
    arm = f"{candidate.family}.{candidate.variant.base or candidate.variant.name}"
    return "machine", candidate.family, arm, candidate.id


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
