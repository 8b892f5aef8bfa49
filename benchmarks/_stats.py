"""Intervals and tables for benchmarks that count how often something was right."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

LEVELS = ((0.9, 0.875, 0.925), (0.95, 0.925, 0.97), (0.99, 0.97, 1.0))
"""Stated confidence looked at, with the bin [low, high) of stated values that counts for it; the last one is closed."""
SLACK = 0.02
"""Two points: how far the share of right decisions may be from what was stated."""


def wilson(right: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a share."""
    if runs == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    share = right / runs
    middle, half = share + z * z / (2 * runs), z * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(0.0, (middle - half) / (1 + z * z / runs)), min(1.0, (middle + half) / (1 + z * z / runs))


def upper_bound(wrong: int, runs: int, confidence: float = 0.99) -> float:
    """Return the exact upper bound of a rate seen ``wrong`` times in ``runs`` (Clopper and Pearson 1934)."""
    from scipy import stats

    return 1.0 if wrong >= runs else float(stats.beta.ppf(confidence, wrong + 1, runs - wrong))


def share(right: int, runs: int) -> dict[str, float]:
    """Return a share with its 95 % interval, rounded for the last line of a benchmark."""
    low, high = wilson(right, runs)
    return {"share": round(right / max(1, runs), 4), "low": round(low, 4), "high": round(high, 4), "runs": runs}


def reliability(decisions: Sequence[tuple[float, bool]]) -> list[dict[str, Any]]:
    """Return, per level of stated confidence, how often decisions stated with about that confidence were right.

    ``met``: the share of right ones is within two points of the mean that was stated, as far as its 95 % interval can tell; ``safe``: it is not
    more than two points below it, likewise.
    """
    found = []
    for level, low, high in LEVELS:
        mine = [(stated, right) for stated, right in decisions if low <= stated < high or stated == high == 1.0]
        right = sum(bool(ok) for _, ok in mine)
        stated = sum(value for value, _ in mine) / max(1, len(mine))
        bottom, top = wilson(right, len(mine))
        found.append({
            "level": level, "stated": round(stated, 4), **share(right, len(mine)),
            "met": bool(mine) and bottom <= stated + SLACK and top >= stated - SLACK,
            "safe": bool(mine) and top >= stated - SLACK,
        })  # fmt: skip
    return found
