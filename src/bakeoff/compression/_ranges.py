"""Ranges of activations, and the 8-bit form of a product that leaves the smallest error. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_KEPT = 16
"""Token vectors kept of a calibrate row: enough to compare roundings on, few enough to hold."""
_SHARES = (0.0, 0.3, 0.5, 0.7)
"""How much of the activations' spread moves into the weights; 0 is plain quantisation."""
_TINY = 1e-5


@dataclass
class Seen:
    """What went into a product: smallest and largest value of each input (d,), and some of the vectors (m, d)."""

    low: Floats | None = None
    high: Floats | None = None
    kept: list[Floats] = field(default_factory=list)

    def add(self, vectors: Floats) -> None:
        """Take in the vectors (m, d) of one row."""
        low, high = vectors.min(axis=0), vectors.max(axis=0)
        self.low = low.copy() if self.low is None else np.minimum(self.low, low)
        self.high = high.copy() if self.high is None else np.maximum(self.high, high)
        step = max(1, len(vectors) // _KEPT)
        self.kept.append(vectors[::step][:_KEPT].copy())


@dataclass(frozen=True)
class Plan:
    """A product in 8 bits: inputs are divided by ``smooth`` (d,) and cut to ``low`` … ``high``; weights (o, d) times scales (o, 1)."""

    smooth: Floats | None
    low: float
    high: float
    weights: NDArray[np.int8]
    scales: Floats


def chosen(seen: Seen, matrix: Floats, most: int = 127) -> Plan:
    """Return the plan whose outputs are nearest to the exact ones on the vectors kept.

    Args:
        seen: what goes into the product.
        matrix: its weights (o, d).
        most: largest magnitude of an 8-bit weight.

    """
    sample = np.concatenate(seen.kept)
    exact = sample @ matrix.T
    plans = [_plan(seen, matrix, share, most) for share in _SHARES]
    errors = [float(np.square(_product(plan, sample) - exact).mean()) for plan in plans]
    return plans[int(np.argmin(errors))]


def _plan(seen: Seen, matrix: Floats, share: float, most: int) -> Plan:
    if seen.low is None or seen.high is None:
        what = "no vector was seen"
        raise ValueError(what)
    smooth = None
    low, high = seen.low, seen.high
    if share > 0:
        spread = np.maximum(np.maximum(np.abs(low), np.abs(high)), _TINY)
        weight = np.maximum(np.abs(matrix).max(axis=0), _TINY)
        smooth = (spread**share / weight ** (1.0 - share)).astype(np.float32)
        matrix, low, high = matrix * smooth, low / smooth, high / smooth
    bottom, top = min(0.0, float(low.min())), max(0.0, float(high.max()))
    step = max((top - bottom) / 255.0, 1e-12)
    zero = round(-bottom / step)  # zero is one of the 256 values: padding stays exactly nothing
    scales = np.maximum(np.abs(matrix).max(axis=1, keepdims=True) / float(most), np.float32(1e-12)).astype(np.float32)
    weights = np.clip(np.rint(matrix / scales), -most, most).astype(np.int8)
    return Plan(smooth, -zero * step, (255 - zero) * step, weights, scales)


def _product(plan: Plan, vectors: Floats) -> Floats:
    step = (plan.high - plan.low) / 255.0
    inputs = vectors if plan.smooth is None else vectors / plan.smooth
    levels = np.clip(np.rint((inputs - plan.low) / step), 0, 255)
    narrow = (levels * step + plan.low).astype(np.float32)
    found: Floats = narrow @ (plan.weights.astype(np.float32) * plan.scales).T
    return found
