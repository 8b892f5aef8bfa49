"""How fast a replica is: a curve measured at the start on made-up rows, followed in height on real ones."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bakeoff.runtimes.base import Predictor
from bakeoff.schema.errors import StepError

MOST = 256
"""Rows computed at once at most."""
_PAYS, _LONG = 1.1, 0.05
"""Twice as many rows at once are tried while that gains such a factor in rows a second, and so many take less than so many seconds."""
_MEASURES = 3
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


def measured(predictor: Predictor, rows: Sequence[Mapping[str, Any]], piece: int) -> tuple[dict[int, float], int]:
    """Measure a predictor on one row, on a piece, and on more as long as that pays.

    Args:
        predictor: a loaded one.
        rows: that it can answer; repeated as needed.
        piece: rows that are always computed at once.

    Returns:
        Rows and the seconds they took together, the best of a few times; and the rows that it should compute at once.

    Raises:
        StepError: its answers are not finite ('non_finite').

    """
    predictor.predict_proba(_repeated(rows, piece))  # the first call sets things up, too
    spent = {size: _seconds(predictor, _repeated(rows, size)) for size in (1, piece)}
    batch = piece
    while 2 * batch <= MOST and spent[batch] < _LONG:
        spent[2 * batch] = _seconds(predictor, _repeated(rows, 2 * batch))
        if spent[2 * batch] * _PAYS > 2 * spent[batch]:
            break
        batch *= 2
    return spent, batch


def _repeated(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    return (list(rows) * count)[:count]


def _seconds(predictor: Predictor, rows: Sequence[Mapping[str, Any]]) -> float:
    spent = []
    for _ in range(_MEASURES):
        begin = time.monotonic()
        if not np.isfinite(predictor.predict_proba(rows)).all():
            what = "a replica does not answer with finite numbers"
            raise StepError("non_finite", what)
        spent.append(time.monotonic() - begin)
    return max(min(spent), 1e-9)
