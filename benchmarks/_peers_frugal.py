"""Cost-frugal search in the manner of FLAML: cheap settings and small samples first, the family chosen by estimated cost for improvement.

Wu, Wang and Huang 2021, "Frugal Optimization for Cost-related Hyperparameters" (AAAI): random directions from the cheapest setting, forward,
then backward, a smaller step when nothing improves, a restart when the step is small. Wang, Wu, Weimer and Zhu 2021, "FLAML: A Fast and
Lightweight AutoML Library" (MLSys), section 4: which family next, and when its sample grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bakeoff.search.replay import Replay
from bakeoff.search.table import Arm
from benchmarks._peers import TRIALS, Trajectory, Walk, families_of

_STEP = 0.5
"""First step, in units of a setting's whole range."""


@dataclass
class _Thread:
    """A family being searched.

    ``arms`` (k,), ``place`` (k, d) their settings scaled to 0..1; ``at`` and ``score`` the best found at ``level``; ``spent`` in all,
    ``improved`` when the best was found and ``before`` when the one before it was.
    """

    arms: NDArray[np.int64]
    place: NDArray[np.float64]
    at: int
    level: int = 0
    score: float = -np.inf
    spent: float = 0.0
    improved: float = 0.0
    before: float = 0.0
    step: float = _STEP
    failures: int = 0
    back: NDArray[np.float64] | None = None
    tried: set[tuple[int, int]] = field(default_factory=set)


def frugal(replay: Replay, budget: float, seed: int) -> Trajectory:
    """Search every family from its cheapest arm and the smallest share; the next family is drawn by 1 / estimated cost for improvement."""
    walk, random = Walk(replay, budget, fullest=False), np.random.default_rng(seed)
    threads = [_thread(walk, arms) for arms in families_of(walk)]
    for _ in range(TRIALS * walk.arms.size * (walk.top + 1)):
        left = [thread for thread in threads if thread.level < walk.top or not _exhausted(thread)]
        if not walk.open or not left:
            break
        most = max(walk.seen.values(), default=0.0)
        rates = np.array([1.0 / _cost_for_improvement(walk, thread, most) for thread in left])
        _advance(walk, left[int(random.choice(len(left), p=rates / rates.sum()))], random)
    return walk.trail


def _thread(walk: Walk, arms: NDArray[np.int64]) -> _Thread:
    prices = [walk.price(int(arm), 0) for arm in arms]
    return _Thread(arms, scaled([walk.replay.table.arms[arm] for arm in arms]), int(np.argmin(prices)))


def scaled(arms: list[Arm]) -> NDArray[np.float64]:
    """Return settings (k, d): numbers by their rank in 0..1, a word one column a value."""
    columns: list[NDArray[np.float64]] = []
    for name in dict.fromkeys(name for arm in arms for name in arm.params):
        values = [arm.params.get(name) for arm in arms]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            kinds = sorted({float(value) for value in values if value is not None})
            columns.append(np.array([kinds.index(float(value or 0)) / max(len(kinds) - 1, 1) for value in values]))
            continue
        words = [repr(value) for value in values]
        columns += [np.array([float(word == kind) for word in words]) for kind in dict.fromkeys(words)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(arms), 1))


def _cost_for_improvement(walk: Walk, thread: _Thread, most: float) -> float:
    """Estimated CPU seconds until this family improves on the best of all: the smaller of trying on and growing the sample."""
    if not np.isfinite(thread.score):
        return max(walk.price(int(thread.arms[thread.at]), 0), 1e-6)
    on = max(thread.spent - thread.improved, thread.improved - thread.before)
    grow = walk.price(int(thread.arms[thread.at]), thread.level + 1) if thread.level < walk.top else np.inf
    soonest = min(on, grow)
    gap, rise = most - thread.score, max(thread.score - _first(walk, thread), 1e-3)
    catch_up = gap * (thread.spent - thread.before) / rise if gap > 0 else 0.0
    return max(soonest, catch_up, 1e-6)


def _first(walk: Walk, thread: _Thread) -> float:
    """Score of the family's first look."""
    mine = {int(arm) for arm in thread.arms}
    return next(score for (arm, _), score in walk.seen.items() if arm in mine)


def _advance(walk: Walk, thread: _Thread, random: np.random.Generator) -> None:
    """One step of the family: its first look, or the next share where that is due, or a move."""
    here = int(thread.arms[thread.at])
    if not np.isfinite(thread.score):
        _try(walk, thread, thread.at, thread.level)
        return
    on = max(thread.spent - thread.improved, thread.improved - thread.before)
    if thread.level < walk.top and (_exhausted(thread) or on >= walk.price(here, thread.level + 1)):
        thread.level, thread.score, thread.step, thread.failures = thread.level + 1, -np.inf, _STEP, 0
        _try(walk, thread, thread.at, thread.level)
        return
    place = _neighbour(thread, random)
    if not _try(walk, thread, place, thread.level):
        thread.failures += 1
    if thread.failures >= max(2, thread.place.shape[1]):
        thread.step, thread.failures = thread.step / np.sqrt(2.0), 0
    if thread.step < 1.0 / (2.0 * max(thread.arms.size, 2)):
        thread.at, thread.step, thread.back = int(random.integers(thread.arms.size)), _STEP, None
        thread.score = -np.inf


def _exhausted(thread: _Thread) -> bool:
    return all((place, thread.level) in thread.tried for place in range(thread.arms.size))


def _neighbour(thread: _Thread, random: np.random.Generator) -> int:
    """Return the nearest arm to a point a step away in a random direction, or backward in the last one."""
    here = thread.place[thread.at]
    if thread.back is not None:
        direction, thread.back = thread.back, None
    else:
        normal = random.standard_normal(here.size)
        direction = normal / np.linalg.norm(normal)
        thread.back = -direction
    goal = np.clip(here + thread.step * np.sqrt(here.size) * direction, 0.0, 1.0)
    distance = ((thread.place - goal) ** 2).sum(axis=1)
    distance[thread.at] = np.inf if thread.arms.size > 1 else 0.0
    return int(np.argmin(distance))


def _try(walk: Walk, thread: _Thread, place: int, level: int) -> bool:
    """Look; return whether the family's best improved."""
    before = walk.replay.spent
    score = walk.look(int(thread.arms[place]), level)
    thread.tried.add((place, level))
    thread.spent += walk.replay.spent - before
    if score <= thread.score:
        return False
    thread.at, thread.score, thread.back, thread.failures = place, score, None, 0
    thread.before, thread.improved = thread.improved, thread.spent
    return True
