"""Percentiles of latency with their uncertainty, and when a percentile may be stated at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, generator
from bakeoff.decision.view import View

QUANTILES = {"latency_p50": 0.50, "latency_p95": 0.95, "latency_p99": 0.99}
PERCENTILE_CONFIDENCE = 0.99
NOISE_EXCUSE = 4.0
"""A busy machine excuses a latency up to this many times the limit; beyond it the candidate itself is too slow."""
_RESAMPLES = 64


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
    """Return draws (D,) of each quantile: rounds resampled as blocks, then the exact Bayesian bootstrap inside.

    Requests of one round share the state of the machine, so whole rounds are resampled (block bootstrap; Künsch 1989), with the
    same resamples for every candidate because interleaved rounds saw the same drift. Within a resample of n requests the
    Bayesian bootstrap's quantile is order statistic 1 + Binomial(n-1, q) exactly: the Dirichlet weight of the k smallest is
    Beta(k, n-k), and P(Beta(k, n-k) ≥ q) = P(Binomial(n-1, q) ≤ k-1).
    """
    random = generator(seed, "rounds", len(rounds))
    if len(rounds) == 1:
        return [_ordered(np.sort(rounds[0])[None, :], quantile, draws, random) for quantile in quantiles]
    picks = random.integers(0, len(rounds), size=(_RESAMPLES, len(rounds)))
    width = min(len(part) for part in rounds)
    table = np.stack([np.sort(part)[_spread(len(part), width)] for part in rounds])
    pooled = np.sort(table[picks].reshape(_RESAMPLES, -1), axis=1)
    return [_ordered(pooled, quantile, draws, random) for quantile in quantiles]


def _spread(size: int, width: int) -> NDArray[np.int64]:
    """Return ``width`` evenly spread ranks of a sorted sample, so that rounds of unequal length count alike."""
    return ((np.arange(width) + 0.5) / width * size).astype(np.int64)


def _ordered(table: NDArray[np.float64], quantile: float, draws: int, random: np.random.Generator) -> Draws:
    rows = np.arange(draws) % table.shape[0]
    drawn: Draws = table[rows, random.binomial(table.shape[1] - 1, quantile, size=draws)]
    return drawn


def _floor(drawn: Draws, cpu: list[NDArray[np.float64]], quantile: float, draws: int, seed: int) -> Draws:
    """What the latency would be at best on a quiet machine: the processor's own seconds, or the excused share of the wall."""
    excused = drawn / NOISE_EXCUSE
    return np.maximum(excused, quantile_draws(cpu, [quantile], draws, seed)[0]) if cpu else excused
