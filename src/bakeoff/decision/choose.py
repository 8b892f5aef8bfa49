"""The choice itself: who is feasible, who is best, how sure, and what to recommend; a pure function of arrays and premises.

- A candidate may be chosen when it meets every limit in at least half of the draws and breaks no rule.
- P(best): share of the draws with somebody feasible in which it is feasible and nothing of another arm does better; a draw's tie is
  shared. Compressed or exported forms of one training (one arm) are no rivals of each other here: which of them to ship is
  settled by cost and simplicity, unless the difference matters.
- Expected regret: mean over draws of what the best feasible candidate offers above this one (Chick and Inoue 2001).
- The practical ties of the leader are those whose expected loss against it is within the indifference zone. The cheapest of them is
  recommended, then the surest, then the simplest, then the first by name. A cost counts as lower only when the difference
  exceeds the indifference share and holds with the stated confidence.
- The recommended is the winner when it is the leader's training, when P(best) ≥ confidence or the expected regret is within the zone,
  and when the leader's difference to every rival exceeds its interval. The last keeps two equal candidates from being told
  apart by luck more often than 1 - confidence; small regret alone would not. Otherwise there is no clear winner.
- Whoever the search stopped early might have been best all the same: the chances it noted when it stopped them are added up
  (Bonferroni) and taken off every P(best). A winner must have met the confirm rows and its limits with the stated confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.premises import Premises
from bakeoff.decision.world import World
from bakeoff.schema.decision import Outcome

LIKELY = 0.5
_EQUAL = 1e-6


@dataclass(frozen=True)
class Choice:
    """What follows from the premises. Arrays are over the world's candidates (v,); indices point into them.

    ``pool`` took part in the comparison; ``ties`` are within indifference of ``lead``, the best on average; ``zone`` is the
    indifference zone in units of the objective.
    """

    outcome: Outcome
    recommended: int | None
    lead: int | None
    runner_up: int | None
    pool: NDArray[np.int64]
    ties: NDArray[np.int64]
    p_best: NDArray[np.float64]
    p_feasible: NDArray[np.float64]
    regret: NDArray[np.float64]
    mean: NDArray[np.float64]
    zone: float
    objective: NDArray[np.float64]
    costs: NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Who is compared under the premises, who leads, who ties, who is recommended; what a choice needs before it is judged."""

    p_feasible: NDArray[np.float64]
    mean: NDArray[np.float64]
    zone: float
    pool: NDArray[np.int64]
    lead: int | None
    ties: NDArray[np.int64]
    recommended: int | None


def recommend(world: World, premises: Premises) -> int | None:
    """Return only whom to recommend under ``premises``; as ``choose`` does, but quicker."""
    return compare(world, premises).recommended


def compare(world: World, premises: Premises) -> Comparison:
    """Return the comparison under ``premises``."""
    p_feasible, mean = world.p_feasible(premises), world.mean_objective(premises)
    admissible = np.flatnonzero(p_feasible >= LIKELY)
    zone = _zone(world, premises, admissible)
    pool = _pool(world, admissible, mean, zone)
    if pool.size == 0:
        return Comparison(p_feasible, mean, zone, pool, None, pool, None)
    lead = int(
        max(
            pool,
            key=lambda index: (_rounded(float(mean[index]), zone), p_feasible[index] >= premises.confidence, -index),
        )
    )
    ties = pool[mean[lead] - mean[pool] <= zone * (1.0 + 1e-9) + _EQUAL * abs(mean[lead])]
    return Comparison(p_feasible, mean, zone, pool, lead, ties, _cheapest(world, premises, ties, p_feasible))


def choose(world: World, premises: Premises) -> Choice:
    """Return the choice that follows from the evidence under ``premises``, with how sure it is."""
    found = compare(world, premises)
    costs = world.costs(premises)
    objective = world.objective(premises)
    p_best, regret = np.zeros(len(world.views)), np.zeros(len(world.views))
    outcome: Outcome = "infeasible"
    runner = None
    pool, lead, recommended = found.pool, found.lead, found.recommended
    if lead is not None and recommended is not None:
        feasible = world.feasible(premises)
        p_best[pool], regret[pool] = _best(objective[pool], feasible[pool], world.arms[pool], found.zone)
        p_best *= 1.0 - stopped_early(world)
        surely = stopped_early(world) <= 1.0 - premises.confidence
        clear = p_best[lead] >= premises.confidence or (surely and regret[lead] <= found.zone)
        same = world.arms[recommended] == world.arms[lead]
        proven = bool(world.final[recommended]) and found.p_feasible[recommended] >= premises.confidence
        won = same and clear and proven and _apart(objective, pool, world.arms, lead, premises.confidence)
        outcome = "winner" if won else "no_clear_winner"
        others = pool[world.arms[pool] != world.arms[recommended]]
        runner = int(max(others, key=lambda index: (found.mean[index], -index))) if others.size else None
    return Choice(
        outcome,
        recommended,
        lead,
        runner,
        pool,
        found.ties,
        p_best,
        found.p_feasible,
        regret,
        found.mean,
        found.zone,
        objective,
        costs,
    )


def stopped_early(world: World) -> float:
    """Return at most how likely it is that an arm the search stopped early would have been the best one."""
    chances: dict[str, float] = {}
    for view in world.views:
        found = view.elimination
        if found is not None and found.kind == "eliminated" and found.p_best is not None:
            chances[view.candidate.arm] = max(chances.get(view.candidate.arm, 0.0), found.p_best)
    return min(1.0, sum(chances.values()))


def _zone(world: World, premises: Premises, admissible: NDArray[np.int64]) -> float:
    """The difference that does not matter, in units of the objective.

    In money it is what the indifferent difference of quality is worth, or the indifferent share of the cost, whichever is larger.
    """
    if not premises.priced or admissible.size == 0:
        return premises.quality_zone
    cost = float(np.median(world.means(premises)[admissible]))
    return max(premises.quality_zone * world.point_value(premises), premises.cost_zone * abs(cost))


def _pool(world: World, admissible: NDArray[np.int64], mean: NDArray[np.float64], zone: float) -> NDArray[np.int64]:
    """Return who is compared: the finalists that may be chosen.

    A candidate the search stopped earlier joins only when it now seems better than all of them by more than the zone (a limit
    or a price changed), or when no finalist is left.
    """
    finals = admissible[world.final[admissible]]
    early = admissible[~world.final[admissible] & ~world.barred[admissible]]
    if finals.size == 0:
        return early if early.size else admissible
    joining = early[mean[early] > mean[finals].max() + zone]
    return np.sort(np.concatenate([finals, joining]))


def _best(
    objective: NDArray[np.float64], feasible: NDArray[np.bool_], arms: NDArray[np.int64], zone: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return P(best) and expected regret (p,) of the pool's candidates."""
    reached = np.where(feasible, objective, -np.inf)
    names, place = np.unique(arms, return_inverse=True)
    tops = np.stack([reached[place == index].max(axis=0) for index in range(names.size)])
    top = tops.max(axis=0)
    counted = np.isfinite(top)
    if not counted.any():
        return np.zeros(len(arms)), np.zeros(len(arms))
    close = tops >= top - _EQUAL * np.maximum(np.abs(top), 1e-12)
    share = np.where(close, 1.0 / close.sum(axis=0), 0.0)[place]
    near = reached >= tops[place] - zone
    p_best = np.where(near & feasible, share, 0.0)[:, counted].mean(axis=1)
    regret = np.maximum(0.0, top - objective)[:, counted].mean(axis=1)
    return p_best, regret


def _apart(
    objective: NDArray[np.float64], pool: NDArray[np.int64], arms: NDArray[np.int64], lead: int, confidence: float
) -> bool:
    """Whether the central interval of the leader's difference to every candidate of another arm lies above zero."""
    others = pool[arms[pool] != arms[lead]]
    ahead = (objective[lead] > objective[others]).mean(axis=1)
    return bool((ahead >= (1.0 + confidence) / 2.0).all())


def _cheapest(world: World, premises: Premises, ties: NDArray[np.int64], p_feasible: NDArray[np.float64]) -> int:
    """Return the tie to recommend: clearly cheapest, surest to meet its limits, simplest, uncompressed, first by name."""
    if ties.size == 1:
        return int(ties[0])
    average = world.means(premises)[ties]
    costs = world.costs(premises)
    least = int(ties[int(np.argmin(average))])
    materially = average - average.min() > premises.cost_zone * np.maximum(average, 1e-12)
    clearly = (costs[ties] > costs[least]).mean(axis=1) >= premises.confidence
    left = ties[~(materially & clearly)]

    def order(index: int) -> tuple[bool, int, bool, str]:
        candidate = world.views[index].candidate
        return (
            p_feasible[index] < premises.confidence,
            candidate.variant.simplicity,
            candidate.compression != "none",
            candidate.id,
        )

    return int(min((int(index) for index in left), key=order))


def _rounded(value: float, zone: float) -> float:
    """Round a mean to a hundredth of the zone, so that the leader does not hang on what no one could measure."""
    grain = zone / 100.0
    return round(value / grain) * grain if grain > 0 else value
