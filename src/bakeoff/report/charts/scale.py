"""Axes: where a value sits between 0 and 100 per cent, and which round numbers are marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from bakeoff.report import numbers

_SPREAD: Final = 20.0
"""Above this ratio between largest and smallest value an axis is logarithmic."""
_MOST: Final = 7
_LEAST: Final = 1e-200
"""Values and differences below this are none: their logarithm, by which round numbers are found, is lost."""


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic scale from ``low`` to ``high``."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, log: bool | None = None, pad: float = 0.06) -> Self:
        """Return an axis that holds ``values`` with a margin; logarithmic when they spread over more than a decade or so."""
        low, high = min(values), max(values)
        if log is None:
            log = low > 0 and high / low > _SPREAD
        if log and low > _LEAST:
            span = max(math.log10(high / low), 0.3)
            return cls(10 ** (math.log10(low) - pad * span), 10 ** (math.log10(high) + pad * span), log=True)
        span = next((found for found in (high - low, abs(high)) if found > _LEAST), 1.0)
        return cls(low - pad * span, high + pad * span)

    def at(self, value: float) -> float:
        """Return the position of ``value`` in per cent, clamped to the axis."""
        if self.log:
            if value <= 0:
                return 0.0
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return 100.0 * min(max(share, 0.0), 1.0)

    def holds(self, value: float) -> bool:
        """Return whether ``value`` lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Return round values on the axis, at most seven."""
        return self._log_ticks() if self.log else self._linear_ticks()

    def marks(self, unit: str, name: str = "") -> list[tuple[float, str]]:
        """Return (position, text) of every tick."""
        return [(self.at(value), numbers.exact(value, unit, name)) for value in self.ticks()]

    def _linear_ticks(self) -> list[float]:
        raw = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [float(f"{i * step:.12g}") for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _log_ticks(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**p for p in powers for m in steps if self.holds(m * 10.0**p)]
            if len(found) <= _MOST:
                return found
        return found[:: math.ceil(len(found) / _MOST)]
