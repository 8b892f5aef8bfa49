"""How much of a lead is luck: the leader of many close candidates is partly the one its rows happened to favour.

Does: draw what the contenders truly offer, given what they showed and how much they differ from each other at all.
Does not know: candidates, limits, money.

With a flat prior on every candidate "best with probability 0.95" is right far less often than that when candidates are close: the best of
ten equal ones always looks better than it is. So contenders are taken as draws from one normal population around their common mean (Stein
1956; Efron and Morris 1975) whose variance is not known either: the share that is luck has a uniform prior (Daniels 1999) weighed by the
likelihood of the spread seen. Large differences are left as they are, small ones shrink; with one contender nothing happens.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, generator

_LUCK = (np.arange(40) + 0.5) / 40
_REACH = 4.0
"""A contender is behind the leader by at most this many standard deviations of their difference."""
_FLOOR = 1e-18


def shrunk(drawn: Draws, arms: NDArray[np.int64]) -> Draws:
    """Return draws (p, D) of what candidates offer, shrunk among the contenders; every form of an arm moves with the arm.

    Args:
        drawn: paired posterior draws under a flat prior (p, D), larger is better.
        arms: arm of each candidate (p,).

    """
    means = drawn.mean(axis=1)
    names = np.unique(arms)
    firsts = np.array([max(np.flatnonzero(arms == name), key=lambda index: (means[index], -index)) for name in names])
    contenders = _contenders(drawn[firsts], means[firsts])
    if contenders.size < 2:
        return drawn
    chosen = firsts[contenders]
    moved = _pooled(drawn[chosen]) - drawn[chosen]
    found = drawn.copy()
    for place, index in enumerate(chosen):
        found[arms == arms[index]] += moved[place]
    return found


def _contenders(drawn: Draws, means: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the arms that may be the best, whatever they are shrunk by."""
    lead = int(np.argmax(means))
    spread = (drawn[lead] - drawn).std(axis=1)
    return np.flatnonzero(means[lead] - means <= _REACH * spread)


def _pooled(drawn: Draws) -> Draws:
    """Return draws (k, D) under one normal population of k arms with unknown variance."""
    count, draws = drawn.shape
    means, common = drawn.mean(axis=1), drawn.mean(axis=0)
    ahead = means - means.mean()
    noise = drawn - means[:, None]
    noise = noise - noise.mean(axis=0)
    variance = np.maximum(noise.var(axis=1), _FLOOR)
    population = np.median(variance) * (1.0 - _LUCK) / _LUCK
    total = population[:, None] + variance
    fit = -0.5 * (np.log(total) + ahead**2 / total).sum(axis=1) * (count - 1) / count
    likely = np.exp(fit - fit.max())
    which = np.searchsorted(np.cumsum(likely) / likely.sum(), _shares(draws)).clip(max=_LUCK.size - 1)
    kept = (population[:, None] / total).T[:, which]
    spread = np.sqrt(kept) * noise
    spread -= spread.mean(axis=1, keepdims=True)  # finitely many draws: who leads on average must not hang on them
    found: Draws = common + kept * ahead[:, None] + spread
    return found


@lru_cache(maxsize=4)
def _shares(draws: int) -> Draws:
    """Return evenly spread shares (D,) in an order that has nothing to do with the rows."""
    return generator(draws, "luck").permutation((np.arange(draws) + 0.5) / draws)
