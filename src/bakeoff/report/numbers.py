"""Numbers as text: the one place that turns a value into digits, so that every language prints the same ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

QUALITY: Final = frozenset({"accuracy", "macro_f1", "balanced_accuracy", "f1", "roc_auc"})
_FEW: Final = 3
_TIME: Final = (
    (1e-3, " µs", 1e6), (1.0, " ms", 1e3), (120.0, " s", 1.0), (7200.0, " min", 1 / 60), (172_800.0, " h", 1 / 3600),
    (math.inf, " d", 1 / 86_400),
)  # fmt: skip
_BYTES: Final = (
    (1e3, " B", 1.0),
    (1e6, " kB", 1e-3),
    (1e9, " MB", 1e-6),
    (1e12, " GB", 1e-9),
    (math.inf, " TB", 1e-12),
)
_RATE: Final = ((1e-3, "/d", 86_400.0), (0.1, "/h", 3600.0), (math.inf, "/s", 1.0))
_STEPS: Final = {"s": _TIME, "B": _BYTES, "1/s": _RATE, "/s": _RATE}
"""Per unit: below this many base units, multiply by that and write this suffix."""


@dataclass(frozen=True)
class Scale:
    """How a value of one size is written: multiplied by ``factor``, with ``decimals``, then ``unit``."""

    factor: float
    decimals: int
    prefix: str = ""
    suffix: str = ""

    def write(self, value: float, *, bare: bool = False) -> str:
        """Return the text of ``value``; ``bare`` leaves the unit out."""
        if not math.isfinite(value):
            digits = "∞" if value > 0 else "−∞" if value < 0 else "?"
        else:
            digits = f"{value * self.factor:,.{self.decimals}f}".replace("-", "−")
        return digits if bare else f"{self.prefix}{digits}{self.suffix}"


def scale(value: float, unit: str, name: str = "") -> Scale:
    """Return how to write ``value`` of ``unit`` (base units of ``schema.units``); ``name`` tells quality metrics from shares."""
    if name in QUALITY or unit in QUALITY:
        return Scale(1.0, _FEW)
    if unit in {"rows", "requests"}:
        return Scale(1.0, 0)
    if unit in _STEPS:
        return _stepped(value, _STEPS[unit])
    if unit == "share":
        return Scale(100.0, 1 if abs(value) >= 0.01 or value == 0 else 2, suffix=" %")
    if len(unit) == 3 and unit.isupper():
        return Scale(1.0, 0 if abs(value) >= 100 else _decimals(value), prefix=f"{unit} ")
    return Scale(1.0, _decimals(value), suffix=f" {unit}" if unit else "")


def quantity(value: float, unit: str = "", name: str = "") -> str:
    """Write a number with its unit: 0.0123 s → ``12.3 ms``."""
    return scale(value, unit, name).write(value)


def exact(value: float, unit: str = "", name: str = "") -> str:
    """Write a number somebody chose (a limit, a tick) without zeros that were not written: 0.05 s → ``50 ms``."""
    form = scale(value, unit, name)
    digits = form.write(value, bare=True)
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{form.prefix}{digits}{form.suffix}"


def interval(low: float, high: float, value: float, unit: str = "", name: str = "") -> str:
    """Write an interval in the unit and with the decimals of its value: ``[11.8, 12.9]``."""
    form = scale(value, unit, name)
    return f"[{form.write(low, bare=True)}, {form.write(high, bare=True)}]"


def chance(probability: float) -> str:
    """Write a probability in per cent, never as a certainty that was only sampled."""
    if probability > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if probability < 0.001 else f"{probability * 100:.1f} %"


def level(confidence: float) -> str:
    """Write the level of an interval: 0.95 → ``95 %``."""
    return f"{confidence * 100:g} %"


def count(number: float) -> str:
    """Write a whole number with separators."""
    return f"{number:,.0f}"


def times(factor: float) -> str:
    """Write a ratio: 2.437 → ``2.4×``, 26.35 → ``26×``."""
    if not math.isfinite(factor):
        return "∞"
    return f"{factor:.2f}×" if factor < 1.2 else f"{factor:.1f}×" if factor < 10 else f"{factor:,.0f}×"


def _stepped(value: float, steps: tuple[tuple[float, str, float], ...]) -> Scale:
    """Return the unit that leaves one to three digits before the point."""
    _, suffix, factor = next((step for step in steps if abs(value) < step[0]), steps[-1])
    return Scale(factor, _decimals(value * factor), suffix=suffix)


def _decimals(value: float) -> int:
    """Return the decimals that leave three significant digits."""
    if not value or not math.isfinite(value):
        return 0
    digits = _FEW - 1 - math.floor(math.log10(abs(value)))
    return max(0, min(digits, 9))
