"""How fast a replica is: a curve measured at the start on made-up rows, followed in height on real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

_WEIGHT, _MOST_WEIGHT = 0.2, 0.5
"""Share of the newest piece in the mean, and of one after a long time without any."""
_HALF = 10.0
"""Seconds without a piece after which half of what is known of a replica is replaced by what is usual among all."""


class Speed:
    """Seconds that rows take when they are computed at once.

    The start measures a few sizes: the curve is straight between them. Real rows are longer or shorter than made-up ones, and machines
    are busier or less: a factor follows the pieces, as a geometric mean, so that one that was held up does not decide. A replica that
    looks slow gets no pieces, which could prove otherwise; so what is known of it fades, and it is tried again.

    Args:
        measured: rows and the seconds they took together, at least once.
        now: the time [s].

    Attributes:
        height: logarithm of the factor.

    """

    def __init__(self, measured: Mapping[int, float], now: float) -> None:
        self._rows = np.array(sorted(measured), dtype=np.float64)
        self._seconds = np.array([measured[rows] for rows in sorted(measured)], dtype=np.float64)
        self.height, self._seen = 0.0, now

    def learn(self, rows: int, seconds: float, now: float, usual: float) -> None:
        """Follow what a piece took.

        Args:
            rows: of the piece.
            seconds: it took.
            now: the time [s].
            usual: mean height of all replicas.

        """
        before, certain = self._height(now, usual), self._certain(now)
        weight = max(_WEIGHT, _MOST_WEIGHT * (1.0 - certain))
        found = math.log(max(seconds, 1e-9) / self._curve(rows))
        self.height, self._seen = before + weight * (found - before), now

    def of(self, rows: int, now: float, usual: float) -> float:
        """Return the seconds that so many rows are expected to take at once; see ``learn``."""
        return self._curve(rows) * math.exp(self._height(now, usual))

    @property
    def best(self) -> float:
        """Rows a second at the best size."""
        return float((self._rows / self._seconds).max()) * math.exp(-self.height)

    def _curve(self, rows: int) -> float:
        last = self._rows[-1]
        return float(np.interp(rows, self._rows, self._seconds)) * max(rows / float(last), 1.0)

    def _certain(self, now: float) -> float:
        return float(0.5 ** ((now - self._seen) / _HALF))

    def _height(self, now: float, usual: float) -> float:
        return usual + self._certain(now) * (self.height - usual)
