"""How many rows prove a floor, and how large each split should be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.spec import Spec

MARGIN = 0.02
"""The true score is taken to be this much above the floor: two points."""
USEFUL = 4_000
"""Rows beyond which calibrate, select and confirm gain little: the standard error of a share is below 0.8 points."""
_MOST = 1_000_000
_SMALL, _LARGE = 1_000, 5_000
_SMALL_SHARES = (0.40, 0.10, 0.20, 0.30)
_LARGE_SHARES = (0.60, 0.10, 0.15, 0.15)
_CONFIRM_MOST = 0.30


@dataclass(frozen=True)
class Shares:
    """Shares of the rows in each split; they add up to 1."""

    train: float
    calibrate: float
    select: float
    confirm: float

    def as_tuple(self) -> tuple[float, float, float, float]:
        """Return the four in the order of ``SPLITS``."""
        return (self.train, self.calibrate, self.select, self.confirm)


def shares(rows: int, needed: int | None) -> Shares:
    """Return the proportions for ``rows`` used rows of which ``needed`` would prove the floor.

    Below 1,000 rows 40/10/20/30, because a decision nobody can check is worth nothing; from 5,000 on 60/10/15/15; in between
    a mixture. Confirm grows to what the floor needs (at most 30 % and 4,000 rows); what no split needs goes to train.
    """
    weight = min(max(math.log(max(rows, 1) / _SMALL) / math.log(_LARGE / _SMALL), 0.0), 1.0)
    _, calibrate, select, confirm = (
        low + weight * (high - low) for low, high in zip(_SMALL_SHARES, _LARGE_SHARES, strict=True)
    )
    if needed is not None:
        confirm = max(confirm, min(needed / max(rows, 1), _CONFIRM_MOST))
    most = USEFUL / max(rows, 1)
    calibrate, select, confirm = (min(share, most) for share in (calibrate, select, confirm))
    return Shares(1.0 - calibrate - select - confirm, calibrate, select, confirm)


def rows_to_prove(
    floor: float, confidence: float, metric: str, class_shares: Sequence[float], positive: float | None = None
) -> int | None:
    """Return how many confirm rows prove ``floor`` if the true score is two points above it, None above a million.

    The observed score is taken at its expectation, so a study with exactly this many rows succeeds about every second time.
    Accuracy: exact one-sided binomial test (Clopper and Pearson 1934). Metrics that average over classes: normal bound with
    the variance of a mean of per-class shares (rare classes count as much as common ones). f1: the same on the positives only.
    roc_auc: Hanley and McNeil 1982.

    Args:
        floor: the quality floor, 0 to 1.
        confidence: one-sided confidence level.
        metric: one of the spec's quality metrics.
        class_shares: share of each class.
        positive: share of the positive class, for f1 and roc_auc; default the rarest.

    """
    true = min(floor + MARGIN, (1.0 + floor) / 2.0)
    if true <= floor:
        return None
    if metric == "accuracy":
        return _exact(floor, true, confidence)
    z = NormalDist().inv_cdf(confidence)
    rare = positive or min(class_shares)
    if metric == "roc_auc":
        return _search(lambda n: z * _auc_error(true, n * rare, n * (1 - rare)) <= true - floor)
    spread = 1.0 / rare if metric == "f1" else sum(1.0 / share for share in class_shares) / len(class_shares) ** 2
    needed = z**2 * true * (1.0 - true) * spread / (true - floor) ** 2
    return math.ceil(needed) if needed <= _MOST else None


def needed_rows(spec: Spec, labels: NDArray[np.int64], classes: Sequence[str]) -> int | None:
    """Return the confirm rows that prove the specification's floor, None without a floor or above a million."""
    quality = spec.requirements.quality
    if quality.floor is None:
        return None
    counted = np.bincount(labels, minlength=len(classes)) / len(labels)
    share = dict(zip(classes, counted.tolist(), strict=True))
    positive = share.get(spec.data.positive or "")
    return rows_to_prove(quality.floor, spec.decision.confidence, quality.metric, counted.tolist(), positive)


def _exact(floor: float, true: float, confidence: float) -> int | None:
    def proves(n: int) -> bool:
        return binomial_tail(math.floor(n * true + 1e-9), n, floor) <= 1.0 - confidence

    return _search(proves)


def _search(proves: Callable[[int], bool]) -> int | None:
    """Smallest n by doubling and bisection; the saw-tooth of whole numbers makes it approximate by a few rows."""
    high = 8
    while not proves(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high


def binomial_tail(successes: int, n: int, p: float) -> float:
    """P(X ≥ successes) for X ~ Binomial(n, p), summed in logarithms from the first term down."""
    if successes <= 0:
        return 1.0
    if p <= 0.0 or successes > n:
        return 0.0
    log_term = math.lgamma(n + 1) - math.lgamma(successes + 1) - math.lgamma(n - successes + 1)
    log_term += successes * math.log(p) + (n - successes) * math.log1p(-p)
    total, term, k = 0.0, 1.0, successes
    while k <= n and term > 1e-17 * max(total, 1.0):
        total += term
        term *= (n - k) / (k + 1) * p / (1.0 - p)
        k += 1
    return min(1.0, total * math.exp(log_term))


def _auc_error(auc: float, positives: float, negatives: float) -> float:
    if min(positives, negatives) < 1:
        return math.inf
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(variance / (positives * negatives))
