"""Paired Bayesian bootstrap: what every candidate's sums over rows become when the rows are weighed anew.

Rubin (1981): weights from a flat Dirichlet distribution over the rows are draws from the posterior of the population the rows came
from. The *same* weights serve every candidate on the same rows, so what is common to all (hard rows) cancels from differences; a
candidate judged on some of the rows only uses its part of the same weights. All sums of all candidates are one matrix product.

Rows alone can't say more than they show: with 200 of 200 right every draw would be 100 %. So each arm gets one row more that nobody saw, half
of it right and half wrong: weights from two Gamma(1/2), which makes the posterior of an accuracy Jeffreys' Beta(k + 1/2, n - k + 1/2). Every arm
draws its own, for two arms that agreed on every row so far need not agree on the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.base import content_key
from bakeoff.tasks.scoring import Statistic

_CHUNK = 6_000_000
Draws = NDArray[np.float64]


def generator(seed: int, *names: object) -> np.random.Generator:
    """Return a generator that depends on ``seed`` and ``names`` only, never on an order of calls."""
    return np.random.default_rng(int(content_key("decision", seed, *[str(name) for name in names])[:15], 16))


@dataclass
class RowSums:
    """Collects columns over the rows of one split, then draws all their sums at once.

    Args:
        rows: sorted row numbers of everything judged on this split (n,).

    """

    rows: NDArray[np.int64]
    _columns: dict[bytes, int] = field(default_factory=dict)
    _stack: list[NDArray[np.float32]] = field(default_factory=list)
    _drawn: NDArray[np.float32] | None = None

    def add(self, statistic: Statistic, indices: NDArray[np.int64]) -> list[int]:
        """Take a statistic's columns of the rows ``indices``; return their tickets. Equal columns share one."""
        return self.take(statistic.columns, indices)

    def take(self, columns: NDArray[np.float32], indices: NDArray[np.int64]) -> list[int]:
        """Take columns (n, c) of the rows ``indices`` (n,); return their tickets."""
        places = np.searchsorted(self.rows, indices)
        tickets = []
        for column in columns.T:
            spread = np.zeros(self.rows.size, dtype=np.float32)
            spread[places] = column
            name = spread.tobytes()
            if name not in self._columns:
                self._columns[name] = len(self._stack)
                self._stack.append(spread)
            tickets.append(self._columns[name])
        return tickets

    def draw(self, draws: int, random: np.random.Generator) -> None:
        """Draw weights in chunks of bounded memory and keep every column's weighted sums (c, draws)."""
        table = np.stack(self._stack)
        self._drawn = np.empty((table.shape[0], draws), dtype=np.float32)
        step = max(1, _CHUNK // max(1, self.rows.size))
        for start in range(0, draws, step):
            count = min(step, draws - start)
            weights = random.standard_exponential((count, self.rows.size), dtype=np.float32)
            self._drawn[:, start : start + count] = table @ weights.T

    def sums(self, tickets: list[int]) -> Draws:
        """Return the weighted sums (c, D) of the columns with these tickets."""
        assert self._drawn is not None  # noqa: S101 - draw() comes first
        return self._drawn[tickets].astype(np.float64)

    def scores(self, statistic: Statistic, tickets: list[int], unseen: Unseen | None = None) -> Draws:
        """Return a statistic's draws (D,), with the row nobody saw if one is given."""
        return finished(statistic, self.sums(tickets), unseen)


def finished(statistic: Statistic, sums: Draws, unseen: Unseen | None) -> Draws:
    """Return a statistic's draws (D,) from its columns' sums (c, D), with the row nobody saw if one is given."""
    return statistic.finish((sums if unseen is None else sums + unseen.of(statistic)).T)


@dataclass(frozen=True)
class Unseen:
    """The row nobody saw: weights of its right and its wrong half (D,), and the number of classes."""

    right: Draws
    wrong: Draws
    classes: int

    @classmethod
    def of_arm(cls, arm: str, draws: int, seed: int, classes: int) -> Unseen:
        """Return an arm's; its forms share it."""
        right, wrong = _halves(draws, seed)
        turn = int(content_key("unseen", seed, arm)[:15], 16) % draws
        return cls(np.roll(right, turn), np.roll(wrong, turn), classes)

    def of(self, statistic: Statistic) -> Draws:
        """Return what it adds to the sums of a statistic's columns (c, D), spread evenly over its ratios."""
        size = statistic.columns.shape[1]
        top, bottom = (2.0, 2.0) if statistic.metric in {"macro_f1", "f1"} else (1.0, 1.0)
        share = 2.0 / size
        if statistic.metric == "roc_auc":  # two ratios a class, each over the rows of that class or of the others
            top, share = 2.0 / size, (self.classes - 1) / self.classes**2
        added = np.empty((size, self.right.size))
        added[0::2], added[1::2] = top * share * self.right, bottom * share * (self.right + self.wrong)
        if statistic.metric == "rate":  # of one kind of mistake: its part of the wrong half
            added[0::2] = self.wrong / (self.classes * (self.classes - 1))
        return added


@lru_cache(maxsize=4)
def _halves(draws: int, seed: int) -> tuple[Draws, Draws]:
    right, wrong = generator(seed, "unseen").standard_gamma(0.5, (2, draws))
    return right, wrong


def central(draws: Draws, confidence: float) -> tuple[float, float]:
    """Return the central interval of draws (D,), as ``numpy.quantile`` interpolates it but without its overhead."""
    places = [(1.0 - confidence) / 2.0 * (draws.size - 1), (1.0 + confidence) / 2.0 * (draws.size - 1)]
    below = [int(place) for place in places]
    above = [min(place + 1, draws.size - 1) for place in below]
    ordered = np.partition(draws, sorted({*below, *above}))
    low, high = (
        float(ordered[first] + (place - first) * (ordered[second] - ordered[first]))
        for place, first, second in zip(places, below, above, strict=True)
    )
    return low, high


def plain(statistic: Statistic) -> float:
    """Return a statistic under equal weights: the ordinary score."""
    return float(statistic.finish(statistic.columns.sum(axis=0, dtype=np.float64)))
