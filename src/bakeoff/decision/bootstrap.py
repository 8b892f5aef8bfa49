"""Paired Bayesian bootstrap: what every candidate's sums over rows become when the rows are weighed anew.

Rubin (1981): weights from a flat Dirichlet distribution over the rows are draws from the posterior of the population the rows came
from. The *same* weights serve every candidate on the same rows, so what is common to all (hard rows) cancels from differences; a
candidate judged on some of the rows only uses its part of the same weights. All sums of all candidates are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
        places = np.searchsorted(self.rows, indices)
        tickets = []
        for column in statistic.columns.T:
            spread = np.zeros(self.rows.size, dtype=np.float32)
            spread[places] = column
            name = spread.tobytes()
            if name not in self._columns:
                self._columns[name] = len(self._stack)
                self._stack.append(spread)
            tickets.append(self._columns[name])
        return tickets

    def draw(self, draws: int, random: np.random.Generator) -> None:
        """Draw weights in chunks of bounded memory and keep every column's weighted sums (draws, c)."""
        table = np.stack(self._stack, axis=1)
        self._drawn = np.empty((draws, table.shape[1]), dtype=np.float32)
        step = max(1, _CHUNK // max(1, self.rows.size))
        for start in range(0, draws, step):
            count = min(step, draws - start)
            weights = random.standard_exponential((count, self.rows.size), dtype=np.float32)
            np.matmul(weights, table, out=self._drawn[start : start + count])

    def scores(self, statistic: Statistic, tickets: list[int]) -> Draws:
        """Return a statistic's draws (D,)."""
        assert self._drawn is not None  # noqa: S101 - draw() comes first
        return statistic.finish(self._drawn[:, tickets].astype(np.float64))


def plain(statistic: Statistic) -> float:
    """Return a statistic under equal weights: the ordinary score."""
    return float(statistic.finish(statistic.columns.sum(axis=0, dtype=np.float64)))
