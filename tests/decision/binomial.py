"""Exact binomial bounds for tests that simulate: a rate is only claimed with the runs that support it."""

from __future__ import annotations

from scipy import stats


def upper_bound(wrong: int, runs: int, confidence: float) -> float:
    """Return the upper Clopper-Pearson bound of a rate seen ``wrong`` times in ``runs``; 0.0 wrong of 300 is at most 1 % with 95 %."""
    return float(stats.beta.ppf(confidence, wrong + 1, runs - wrong)) if wrong < runs else 1.0


def lower_bound(right: int, runs: int, confidence: float) -> float:
    """Return the lower Clopper-Pearson bound of a rate seen ``right`` times in ``runs``."""
    return float(stats.beta.ppf(1.0 - confidence, right, runs - right + 1)) if right > 0 else 0.0
