"""Percentiles that are refused until the sample can carry them, with intervals that assume no distribution.

A percentile's interval comes from order statistics: how many of n draws lie below the q-quantile is binomial (n, q), whatever
the distribution (Conover, Practical Nonparametric Statistics, 3.2; also Hahn & Meeker, Statistical Intervals, 5.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ASSURANCE = 0.99
"""How sure the largest of the sample must be to lie above the percentile before the percentile is stated at all."""


@dataclass(frozen=True)
class Percentile:
    """A percentile of a sample.

    Args:
        value: the order statistic, None while the sample is too small.
        low: lower end of the interval; stated for any sample, because a lower bound needs few draws.
        high: upper end, None when no draw is surely above the percentile.
        missing: draws still needed before it is stated.

    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int


def required(q: float, assurance: float = ASSURANCE) -> int:
    """Return the smallest sample that can carry the ``q``-quantile: 1 - q**n ≥ assurance (p95: 90, p99: 459 at 99 %)."""
    return math.ceil(math.log(1.0 - assurance) / math.log(q) - 1e-9)


def percentile(values: ArrayLike, q: float, confidence: float = 0.95) -> Percentile:
    """Return the ``q``-quantile of ``values`` by nearest rank with its two-sided order-statistic interval."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = ordered.size
    if n == 0:
        return Percentile(None, None, None, 0, required(q))
    lower, upper = ranks(n, q, confidence)
    missing = max(0, required(q) - n)
    return Percentile(
        value=None if missing else float(ordered[max(0, math.ceil(q * n - 1e-9) - 1)]),
        low=float(ordered[lower - 1]) if lower else None,
        high=float(ordered[upper - 1]) if upper else None,
        n=n,
        missing=missing,
    )


def ranks(n: int, q: float, confidence: float) -> tuple[int, int]:
    """Return the ranks (1-based; 0: there is none) of the order statistics that bound the ``q``-quantile.

    P(X[lower] ≤ quantile) ≥ 1 - α/2 and P(quantile ≤ X[upper]) ≥ 1 - α/2, with α = 1 - confidence.
    """
    tail = (1.0 - confidence) / 2.0
    below = binomial_cdf(n, q)  # below[k] = P(at most k of n lie below the quantile)
    # X[l] lies above the quantile when fewer than l draws lie below it: P = below[l - 1], to be at most the tail
    lower = int(np.searchsorted(below, tail, side="right"))
    upper = int(np.searchsorted(below, 1.0 - tail - 1e-12, side="left")) + 1
    return lower, upper if upper <= n else 0


def binomial_cdf(n: int, p: float) -> NDArray[np.float64]:
    """Return P(X ≤ k) for k = 0 … n of a binomial (n, p), summed from exact logarithms."""
    k = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    density = np.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p))
    return np.asarray(np.minimum(np.cumsum(density), 1.0), dtype=np.float64)


class Exceedance:
    """Evidence, valid whenever it is looked at, that more than 1 - q of all requests exceed a limit.

    A test martingale: the likelihood ratio of "half of them exceed it" against "just 1 - q do". By Ville's inequality it
    passes 1/α with probability at most α if the limit is in truth kept, however often one looks.

    Args:
        limit: the limit on the ``q``-quantile, in the unit of the values.
        q: which quantile is limited.

    """

    def __init__(self, limit: float, q: float) -> None:
        self.limit, self._q, self._log = limit, q, 0.0

    def add(self, value: float) -> None:
        """Take one more value into account."""
        alternative = max(0.5, 1.0 - self._q / 2.0)
        if value > self.limit:
            self._log += math.log(alternative / (1.0 - self._q))
        else:
            self._log += math.log((1.0 - alternative) / self._q)

    def proves(self, assurance: float = ASSURANCE) -> bool:
        """Whether the limit is surely broken."""
        return self._log >= -math.log(1.0 - assurance)
