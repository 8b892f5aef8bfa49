"""Percentiles of latency with their uncertainty, and when a percentile may be stated at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, generator
from bakeoff.decision.view import View

QUANTILES = {"latency_p50": 0.50, "latency_p95": 0.95, "latency_p99": 0.99}
PERCENTILE_CONFIDENCE = 0.99
NOISE_EXCUSE = 4.0
"""A busy machine excuses a latency up to this many times the limit; beyond it the candidate itself is too slow."""
_DRIFT = {0.0: 0.5, 0.2: 0.25, 0.4: 0.25}
"""Prior of the correlation between neighbouring rounds; simulated coverage: ``make bench-decide``."""
_FURTHEST = 3.0
_STILL = 1e-18


@dataclass(frozen=True)
class Percentile:
    """One percentile: point value [s], draws (D,), a lower bound that other load cannot inflate (D,), and the sample size."""

    value: float
    draws: Draws
    floor: Draws
    n: int
    missing: int
    noisy: bool


def least(quantile: float, confidence: float = PERCENTILE_CONFIDENCE) -> int:
    """Return the smallest sample from which a percentile may be claimed.

    With fewer requests, all of them can lie below the true percentile more often than 1 - confidence: n ≥ ln(1-c)/ln(q)
    (p50: 7, p95: 90, p99: 459 at 99 %).
    """
    return math.ceil(math.log(1.0 - confidence) / math.log(quantile))


def percentiles(view: View, draws: int, seed: int, threads: int) -> dict[str, Percentile]:
    """Return every percentile of a candidate's timing; empty when it was never timed."""
    if not view.rounds:
        return {}
    wall = [timing.latency for timing in view.rounds]
    cpu = [timing.cpu / max(1, threads) for timing in view.rounds if timing.cpu is not None]
    found = {}
    n, ordered = sum(len(part) for part in wall), np.sort(np.concatenate(wall))
    every = quantile_draws(wall, tuple(QUANTILES.values()), draws, seed)
    for (name, quantile), drawn in zip(QUANTILES.items(), every, strict=True):
        floor = np.minimum(drawn, _floor(drawn, cpu, quantile, draws, seed)) if view.noisy else drawn
        value = float(ordered[max(0, math.ceil(quantile * n - 1e-9) - 1)])
        found[name] = Percentile(value, drawn, floor, n, max(0, least(quantile) - n), view.noisy)
    return found


def quantile_draws(
    rounds: Sequence[NDArray[np.float64]], quantiles: Sequence[float], draws: int, seed: int
) -> list[Draws]:
    """Return draws (D,) of each quantile: batch means over rounds where there are several, else the exact Bayesian bootstrap.

    Requests of one round share the state of the machine, so it is rounds that are counted, not requests (method of batch means; Law 2015,
    ch. 9): the logarithm of the quantile over all requests, plus a t-distributed error from the spread of the rounds' own quantiles.
    The state may drift: rounds are taken for a first-order autoregressive series whose correlation is not known but has the prior ``_DRIFT``,
    weighed by its likelihood. The same numbers serve every candidate, because interleaved rounds saw the same drift.

    Within a single round of n requests the Bayesian bootstrap's quantile is order statistic 1 + Binomial(n-1, q) exactly: the Dirichlet
    weight of the k smallest is Beta(k, n-k), and P(Beta(k, n-k) ≥ q) = P(Binomial(n-1, q) ≤ k-1).
    """
    sizes = [len(part) for part in rounds]
    pooled = np.sort(np.concatenate(rounds))
    if len(rounds) == 1:
        random = generator(seed, "rounds", 1)
        return [pooled[random.binomial(pooled.size - 1, quantile, size=draws)] for quantile in quantiles]
    ordered = [np.sort(part) for part in rounds]
    found = []
    for quantile in quantiles:
        own = np.log([part[_rank(quantile, size)] for part, size in zip(ordered, sizes, strict=True)])
        found.append(pooled[_rank(quantile, pooled.size)] * np.exp(_errors(own, draws, seed)))
    return found


def _rank(quantile: float, size: int) -> int:
    """Return the place of a quantile in a sorted sample."""
    return max(0, math.ceil(quantile * size - 1e-9) - 1)


def _errors(own: NDArray[np.float64], draws: int, seed: int) -> Draws:
    """Return draws (D,) of the error of a mean over the rounds' log quantiles ``own`` (R,)."""
    likely, scales = [], []
    for prior, determinant, inverse in _correlations(own.size):
        total = inverse.sum()
        around = own - (inverse @ own).sum() / total
        squares = max(float(around @ inverse @ around), _STILL)
        likely.append(prior * determinant**-0.5 * total**-0.5 * squares ** (-0.5 * (own.size - 1)))
        scales.append(math.sqrt(squares / (own.size - 1) / total))
    picks, student = _numbers(own.size, draws, seed)
    which = np.searchsorted(np.cumsum(likely) / np.sum(likely), picks).clip(max=len(scales) - 1)
    errors: Draws = np.clip(np.array(scales)[which] * student, -_FURTHEST, _FURTHEST)
    return errors


@lru_cache(maxsize=32)
def _correlations(rounds: int) -> list[tuple[float, float, NDArray[np.float64]]]:
    """Return (prior weight, determinant, inverse) of the correlation matrix of the rounds for every drift thought of."""
    gaps = np.abs(np.subtract.outer(np.arange(rounds), np.arange(rounds)))
    matrices = [(prior, np.power(correlation, gaps)) for correlation, prior in _DRIFT.items()]
    return [(prior, float(np.linalg.det(matrix)), np.linalg.inv(matrix)) for prior, matrix in matrices]


@lru_cache(maxsize=8)
def _numbers(rounds: int, draws: int, seed: int) -> tuple[Draws, Draws]:
    """Return the numbers (D,), (D,) every candidate with as many rounds shares: evenly spread shares in random order, and Student's t."""
    random = generator(seed, "rounds", rounds)
    return random.permutation((np.arange(draws) + 0.5) / draws), random.standard_t(rounds - 1, size=draws)


def _floor(drawn: Draws, cpu: list[NDArray[np.float64]], quantile: float, draws: int, seed: int) -> Draws:
    """What the latency would be at best on a quiet machine: the processor's own seconds, or the excused share of the wall."""
    excused = drawn / NOISE_EXCUSE
    return np.maximum(excused, quantile_draws(cpu, [quantile], draws, seed)[0]) if cpu else excused
