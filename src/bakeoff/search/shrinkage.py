"""A log-normal regression that borrows strength: what is known of one machine, family or arm helps to predict the others.

A step's seconds are ``Σ_k amount_k · exp(θ_k)`` times log-normal noise, where the amounts are what the shipped prior says. The
log-factors θ of a path are a sum of deviations down a tree (machine, family, arm, path), each normal around a mean of its
own level: an ordinary hierarchical model (Gelman & Hill 2007, chapter 12). Each Gauss-Newton round linearises and then solves
exactly: messages go up the tree and down again (Kalman's recursions on a tree; Chou, Willsky & Benveniste 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_ROUNDS = 4
_STEP = 1.5
_SETTLED = 0.05
_ROBUST = 2.5
"""Noise beyond this many standard deviations counts less (Huber's weights): one disturbed step does not move a factor."""
_BELIEF = 8.0
"""Steps that the shipped guess of the noise counts for."""


@dataclass(frozen=True)
class Level:
    """Nodes of one depth of the tree.

    Args:
        parents: place of each node's parent in the level above (n,); zeros at the root.
        shift: expected deviation from the parent (n, K).
        spread: its covariance (n, K, K).

    """

    parents: NDArray[np.int64]
    shift: Floats
    spread: Floats


@dataclass(frozen=True)
class Observed:
    """Steps that were done.

    Args:
        leaf: place of each step's path in the last level (n,).
        amounts: seconds each part takes by the shipped prior (n, K).
        seconds: what it took (n,).
        extra: variance of its logarithm beyond the common noise, e.g. of a clock that ticks in hundredths (n,).

    """

    leaf: NDArray[np.int64]
    amounts: Floats
    seconds: Floats
    extra: Floats


@dataclass(frozen=True)
class Fitted:
    """Log-factors of every node: per level means (n, K) and covariances (n, K, K); ``noise`` is a standard deviation of logarithms."""

    means: tuple[Floats, ...]
    spreads: tuple[Floats, ...]
    noise: float


def fit(levels: Sequence[Level], observed: Observed, noise: float) -> Fitted:
    """Return the posterior of every node's log-factors, given a first guess of the noise."""
    gains: Sequence[Floats] = [np.broadcast_to(np.eye(one.shift.shape[1]), one.spread.shape) for one in levels]
    means = _down(levels, gains, None)
    current, theta = noise, means[-1]
    for _ in range(_ROUNDS if len(observed.seconds) else 0):
        precision, pull = _linearised(observed, theta, current)
        gains, pulls = _up(levels, precision, pull)
        means = _down(levels, gains, pulls)
        step = np.clip(means[-1] - theta, -_STEP, _STEP)
        theta = theta + step
        used = float(np.einsum("pij,pji->", _spreads(levels, gains)[-1], precision))  # parameters' worth of freedom
        current = _noise(observed, theta, current, noise, used)
        if np.abs(step).max() < _SETTLED:
            break
    return Fitted(tuple(means), tuple(_spreads(levels, gains)), current)


def _parts(observed: Observed, theta: Floats, noise: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return each step's parts as shares of its total (n, K), its residual, its variance and its robust weight (n,)."""
    parts = observed.amounts * np.exp(theta[observed.leaf])
    total = np.maximum(parts.sum(axis=1), 1e-9)
    residual = np.log(observed.seconds) - np.log(total)
    variance = noise**2 + observed.extra
    robust = np.minimum(1.0, _ROBUST * np.sqrt(variance) / np.maximum(np.abs(residual), 1e-12))
    return parts / total[:, None], residual, variance, robust


def _linearised(observed: Observed, theta: Floats, noise: float) -> tuple[Floats, Floats]:
    """Return each path's precision (P, K, K) and pull (P, K) about ``theta``."""
    shares, residual, variance, robust = _parts(observed, theta, noise)
    weight = robust / variance
    target = residual + (shares * theta[observed.leaf]).sum(axis=1)
    nodes, k = theta.shape
    outer = (weight[:, None, None] * shares[:, :, None] * shares[:, None, :]).reshape(-1, k * k)
    precision = _sums(observed.leaf, outer, nodes).reshape(nodes, k, k)
    return precision, _sums(observed.leaf, (weight * target)[:, None] * shares, nodes)


def _noise(observed: Observed, theta: Floats, noise: float, guess: float, used: float) -> float:
    """Return the noise seen around ``theta``, the shipped guess counted as a few steps; ``used`` steps' worth went into fitting."""
    _, residual, _, robust = _parts(observed, theta, noise)
    seen = float((robust * np.maximum(residual**2 - observed.extra, 0.0)).sum())
    free = max(float(robust.sum()) - used, 0.2 * len(residual))
    return float(np.sqrt((_BELIEF * guess**2 + seen) / (_BELIEF + free)))


def _sums(place: NDArray[np.int64], rows: Floats, size: int) -> Floats:
    """Return the sums (size, m) of rows (n, m) by place."""
    order = np.argsort(place, kind="stable")
    sorted_places = place[order]
    starts = np.flatnonzero(np.diff(sorted_places, prepend=-1))
    total = np.zeros((size, rows.shape[1]))
    total[sorted_places[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return total


def _up(levels: Sequence[Level], precision: Floats, pull: Floats) -> tuple[list[Floats], list[Floats]]:
    """Pass what the leaves know to the root; return every level's gain and pull."""
    gains: list[Floats] = []
    pulls = [pull]
    for depth in range(len(levels) - 1, -1, -1):
        level = levels[depth]
        gain: Floats = np.asarray(np.linalg.inv(np.eye(pull.shape[1]) + level.spread @ precision), dtype=np.float64)
        gains.append(gain)
        if depth == 0:
            break
        size, k = len(levels[depth - 1].parents), pull.shape[1]
        rest = pull - (precision @ level.shift[:, :, None])[:, :, 0]
        pull = _sums(level.parents, (gain.transpose(0, 2, 1) @ rest[:, :, None])[:, :, 0], size)
        precision = _sums(level.parents, (precision @ gain).reshape(-1, k * k), size).reshape(size, k, k)
        pulls.append(pull)
    return gains[::-1], pulls[::-1]


def _down(levels: Sequence[Level], gains: Sequence[Floats], pulls: Sequence[Floats] | None) -> list[Floats]:
    """Return every level's posterior mean (n, K); without pulls, the prior's."""
    means: list[Floats] = []
    for depth, (level, gain) in enumerate(zip(levels, gains, strict=True)):
        above = means[-1][level.parents] if depth else np.zeros_like(level.shift)
        mean = (gain @ (above + level.shift)[:, :, None])[:, :, 0]
        if pulls is not None:
            mean = mean + (gain @ level.spread @ pulls[depth][:, :, None])[:, :, 0]
        means.append(mean)
    return means


def _spreads(levels: Sequence[Level], gains: Sequence[Floats]) -> list[Floats]:
    """Return every level's posterior covariance (n, K, K)."""
    spreads: list[Floats] = []
    for depth, (level, gain) in enumerate(zip(levels, gains, strict=True)):
        own = gain @ level.spread
        if depth:
            own = own + gain @ spreads[-1][level.parents] @ gain.transpose(0, 2, 1)
        spreads.append((own + own.transpose(0, 2, 1)) / 2)
    return spreads
