"""Other ways to search the same recorded table: what a practitioner would otherwise run, replayed on the same rows at the same prices.

Every peer is ``peer(replay, budget, seed)`` and goes on until ``budget`` CPU seconds are spent or nothing is left to look at. All know in
advance what they would have to find out: which arms break a limit (they never pay for one) and, where they order by cost, what each look
costs. Both favour them.

Sources: exhaustive and random search (Bergstra and Bengio 2012); successive halving (Jamieson and Talwalkar 2016); ASHA (Li et al. 2020,
algorithm 2, one worker); cheapest first under a cost cap, widened when it is used up. The rest is in ``_peers_frugal`` and ``_peers_optuna``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.search.replay import Replay

Trajectory = list[tuple[float, int]]
"""(CPU seconds spent so far, arm that would be returned now) after each look."""
Peer = Callable[[Replay, float, int], Trajectory]
TRIALS = 4
"""Trials of a peer that repeats itself at no cost, per arm, after which it has nothing left to say."""


class Walk:
    """A peer at work: looks are paid, scores remembered, the incumbent noted.

    Args:
        replay: what is searched; fresh.
        budget: CPU seconds; the look that crosses it is the last.
        fullest: the incumbent is the best among those seen at the highest share, else the best at whatever share.

    """

    def __init__(self, replay: Replay, budget: float, *, fullest: bool = True) -> None:
        self.replay, self.budget, self.fullest = replay, budget, fullest
        known = replay.table.known[:, :, replay.order[0]]
        self.arms = np.flatnonzero(replay.feasible & known[:, -1])
        self.levels = [np.flatnonzero(mine) for mine in known]
        self.seen: dict[tuple[int, int], float] = {}
        self.trail: Trajectory = []
        self._best: tuple[int, float, int] | None = None

    @property
    def top(self) -> int:
        """Level of the full share."""
        return len(self.replay.table.fractions) - 1

    @property
    def open(self) -> bool:
        """Whether there is budget for another look."""
        return self.replay.spent < self.budget

    def price(self, arm: int, level: int) -> float:
        """CPU seconds that this look would cost now, on all select rows."""
        return self.replay.price(arm, self._recorded(arm, level), 0, self.replay.select)

    def look(self, arm: int, level: int) -> float:
        """Return the score of the arm at this level, or at the next one that was recorded; a look taken before is free."""
        level = self._recorded(arm, level)
        if (arm, level) in self.seen:
            return self.seen[arm, level]
        found = float(self.replay.look(arm, level).values.mean())
        self.seen[arm, level] = found
        rank = (level if self.fullest else 0, found, -arm)
        if self._best is None or rank > self._best:
            self._best = rank
        self.trail.append((self.replay.spent, -self._best[2]))
        return found

    def _recorded(self, arm: int, level: int) -> int:
        return int(self.levels[arm][np.searchsorted(self.levels[arm], level)])


def in_order(walk: Walk, arms: Sequence[int] | NDArray[np.int64]) -> Trajectory:
    """Look at these arms at the full share, one after the other."""
    for arm in arms:
        if not walk.open:
            break
        walk.look(int(arm), walk.top)
    return walk.trail


def exhaustive(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Everything at the full share, in the order of the catalogue."""
    del seed
    walk = Walk(replay, budget)
    return in_order(walk, walk.arms)


def shuffled(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Everything at the full share, in random order."""
    walk = Walk(replay, budget)
    return in_order(walk, np.random.default_rng(seed).permutation(walk.arms))


def random_search(replay: Replay, budget: float, seed: int) -> Trajectory:
    """A random family, then a random arm of it, at the full share, with replacement: a random sampler over a conditional space."""
    walk, random = Walk(replay, budget), np.random.default_rng(seed)
    families = families_of(walk)
    for _ in range(TRIALS * walk.arms.size):
        if not walk.open or len(walk.seen) == walk.arms.size:
            break
        mine = families[int(random.integers(len(families)))]
        walk.look(int(random.choice(mine)), walk.top)
    return walk.trail


def families_of(walk: Walk) -> list[NDArray[np.int64]]:
    """Return the arms that may be looked at, a family each."""
    arms = walk.replay.table.arms
    names = [arms[arm].family for arm in walk.arms]
    return [walk.arms[[name == family for name in names]] for family in dict.fromkeys(names)]


def eta_of(fractions: Sequence[float]) -> int:
    """Return the factor between the shares: what a halving keeps one of."""
    ratios = [after / before for before, after in itertools.pairwise(fractions)]
    return max(2, round(float(np.exp(np.mean(np.log(ratios)))))) if ratios else 3


def halving(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Successive halving over the shares: everything at the smallest, the best of each rung at the next; then the others, best first."""
    walk = Walk(replay, budget)
    rungs = _halve(walk, np.random.default_rng(seed).permutation(walk.arms))
    return in_order(walk, rungs)


def _halve(walk: Walk, arms: NDArray[np.int64]) -> list[int]:
    """Halve until one is left; return the arms in the order of their last rung and score."""
    eta = eta_of(walk.replay.table.fractions)
    last: list[int] = []
    rung = [int(arm) for arm in arms]
    for level in range(walk.top + 1):
        scores: dict[int, float] = {}
        for arm in rung:
            if not walk.open:
                return []
            scores[arm] = walk.look(arm, level)
        ranked = sorted(rung, key=lambda arm: (-scores[arm], arm))
        keep = max(1, len(ranked) // eta)
        last = (ranked if level == walk.top else ranked[keep:]) + last
        rung = ranked[:keep]
    return last


def asha(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Asynchronous successive halving with one worker: promote whoever is in the best part of a rung, else start another arm at the bottom."""
    walk = Walk(replay, budget)
    eta = eta_of(replay.table.fractions)
    waiting = [int(arm) for arm in np.random.default_rng(seed).permutation(walk.arms)]
    rungs: list[dict[int, float]] = [{} for _ in range(walk.top + 1)]
    while walk.open:
        job = _promotable(rungs, eta)
        if job is None and waiting:
            job = (waiting.pop(), 0)
        if job is None:
            break
        arm, level = job
        rungs[level][arm] = walk.look(arm, level)
    last = [arm for rung in reversed(rungs) for arm in sorted(rung, key=lambda arm: (-rung[arm], arm))]
    return in_order(walk, last)


def _promotable(rungs: list[dict[int, float]], eta: int) -> tuple[int, int] | None:
    """Return the arm to look at on the next level, from the top rung down."""
    for level in range(len(rungs) - 2, -1, -1):
        rung = rungs[level]
        best = sorted(rung, key=lambda arm: (-rung[arm], arm))[: len(rung) // eta]
        for arm in best:
            if arm not in rungs[level + 1]:
                return arm, level + 1
    return None


def capped(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Cheapest first under a cap: halving among arms whose first look costs at most the median; then the cap is tripled, until all are in.

    What exceeds the cap costs nothing here; a real run would pay the cap for each run that it breaks off.
    """
    del seed
    walk = Walk(replay, budget)
    first = np.array([walk.price(int(arm), 0) for arm in walk.arms])
    order = np.argsort(first, kind="stable")
    cap, done = float(np.median(first)), 0
    leftover: list[int] = []
    while walk.open and done < walk.arms.size:
        done = int((first <= cap).sum())
        leftover = _halve(walk, walk.arms[order[:done]])
        cap = max(3.0 * cap, float(first[order[min(done, first.size - 1)]]))
    return in_order(walk, leftover)
