"""The choice itself: who is feasible, who is best, how sure, and what to recommend; a pure function of arrays and premises.

- A candidate may be chosen when it meets every limit in at least half of the draws and breaks no rule.
- P(best): share of the draws with somebody feasible in which it is feasible and nothing of another arm does better; a draw's tie is
  shared. Compressed or exported forms of one training (one arm) are no rivals of each other here: which of them to ship is
  settled by cost and simplicity, unless the difference matters.
- Expected regret: mean over draws of what the best feasible candidate offers above this one (Chick and Inoue 2001). P(good): share of the
  draws in which that is no more than the indifference zone; this is the confidence a choice is stated with, whatever the outcome.
- P(best), P(good) and regret are read off draws in which the lead that is luck was shrunk away (``shrink``); the comparison of two
  candidates is not, for it needs no prior.
- The practical ties of the leader are those whose expected loss against it is within the indifference zone. The cheapest of them is
  recommended, then the surest, then the simplest, then the first by name. A cost counts as lower only when the difference
  exceeds the indifference share and holds with the stated confidence.
- The recommended is the winner when it is the leader's training, when P(best) ≥ confidence or the expected regret is within the zone,
  and when the leader's difference to every rival exceeds its interval. The last keeps two equal candidates from being told
  apart by luck more often than 1 - confidence; small regret alone would not. Otherwise there is no clear winner.
- Whoever the search stopped early might have been best all the same. Where the joint posterior has it on the finalists' scale it is a rival
  in every draw. Of others, looked at or not, the search noted the chance to beat its leader at all and by more than the zone: the
  first are added up (Bonferroni) and taken off every P(best), the second off every P(good).
  A winner must have met the confirm rows and its limits with the stated confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.premises import Premises
from bakeoff.decision.shrink import shrunk
from bakeoff.decision.world import World
from bakeoff.schema.decision import Outcome

LIKELY = 0.5
_STOPPED = frozenset({"eliminated", "not_reached"})
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
    p_good: NDArray[np.float64]
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
    lead = _leader(pool, mean, p_feasible >= premises.confidence, zone)
    ties = pool[mean[lead] - mean[pool] <= zone * (1.0 + 1e-9) + _EQUAL * abs(mean[lead])]
    return Comparison(p_feasible, mean, zone, pool, lead, ties, _cheapest(world, premises, ties, p_feasible))


def choose(world: World, premises: Premises) -> Choice:
    """Return the choice that follows from the evidence under ``premises``, with how sure it is."""
    found = compare(world, premises)
    objective = world.objective(premises)
    odds = Odds(*np.zeros((3, len(world.views))))
    outcome: Outcome = "infeasible"
    runner = None
    pool, lead, recommended = found.pool, found.lead, found.recommended
    if lead is not None and recommended is not None:
        odds = _odds(world, premises, found, objective)
        outcome = "winner" if _won(world, premises, found, objective, odds) else "no_clear_winner"
        others = pool[world.arms[pool] != world.arms[recommended]]
        runner = int(max(others, key=lambda index: (found.mean[index], -index))) if others.size else None
    return Choice(
        outcome=outcome, recommended=recommended, lead=lead, runner_up=runner, pool=pool, ties=found.ties, p_best=odds.p_best,
        p_good=odds.p_good, p_feasible=found.p_feasible, regret=odds.regret, mean=found.mean, zone=found.zone, objective=objective,
        costs=world.costs(premises),
    )  # fmt: skip


@dataclass(frozen=True)
class Odds:
    """P(best), P(good) and expected regret (v,) of those in the pool; ``missed``: at most how likely somebody stopped early is too good to miss."""

    p_best: NDArray[np.float64]
    p_good: NDArray[np.float64]
    regret: NDArray[np.float64]
    missed: float = 0.0


def _odds(world: World, premises: Premises, found: Comparison, objective: NDArray[np.float64]) -> Odds:
    """Return the odds of the pool against each other and against those stopped early."""
    feasible = world.feasible(premises)
    rivals = _stopped(world, premises, found)
    field = np.concatenate([found.pool, rivals])
    count = found.pool.size
    drawn = shrunk(objective[field], world.arms[field])
    odds = _best(drawn, feasible[field], world.arms[field], found.zone)
    better, far_better = stopped_early(world)
    p_best, p_good, regret = np.zeros((3, len(world.views)))
    p_best[found.pool] = odds.p_best[:count] * (1.0 - better)
    p_good[found.pool] = odds.p_good[:count] * (1.0 - far_better)
    regret[found.pool] = odds.regret[:count]
    outside = ~np.isin(world.arms[field], world.arms[found.pool])
    firsts = np.unique(world.arms[field][outside], return_index=True)[1]
    return Odds(p_best, p_good, regret, min(1.0, far_better + float(odds.p_best[outside][firsts].sum())))


def _won(world: World, premises: Premises, found: Comparison, objective: NDArray[np.float64], odds: Odds) -> bool:
    """Whether the recommended is the winner: the leader's training, good enough surely, proven, and apart from every rival."""
    lead, recommended = found.lead, found.recommended
    assert lead is not None and recommended is not None  # noqa: S101, PT018 - the caller checked
    surely = odds.missed <= 1.0 - premises.confidence
    clear = odds.p_best[lead] >= premises.confidence or (surely and odds.regret[lead] <= found.zone)
    same = world.arms[recommended] == world.arms[lead]
    proven = bool(world.final[recommended]) and found.p_feasible[recommended] >= premises.confidence
    return bool(same and clear and proven) and _apart(objective, found.pool, world.arms, lead, premises.confidence)


def stopped_early(world: World) -> tuple[float, float]:
    """Return at most how likely an arm that the search stopped early, and that nothing compares with the finalists, beats them.

    At all, and by more than the indifference zone. An arm never looked at counts like any other; older studies noted one chance for both.
    """
    known = zip(world.views, world.final | world.carried, strict=True)
    compared = {view.candidate.arm for view, counted in known if counted}
    chances: dict[str, tuple[float, float]] = {}
    for view in (*world.views, *world.unseen):
        found, arm = view.elimination, view.candidate.arm
        if found is None or found.kind not in _STOPPED or found.p_best is None or arm in compared:
            continue
        before = chances.get(arm, (0.0, 0.0))
        good = found.p_best if found.p_good is None else found.p_good
        chances[arm] = max(before[0], found.p_best), max(before[1], good)
    return min(1.0, sum(best for best, _ in chances.values())), min(1.0, sum(good for _, good in chances.values()))


def _stopped(world: World, premises: Premises, found: Comparison) -> NDArray[np.int64]:
    """Return those stopped early that the posterior has on the finalists' scale and that may be chosen."""
    early = world.carried & ~world.barred & (world.p_feasible(premises) >= LIKELY)
    early[found.pool] = False
    return np.flatnonzero(early)


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


def _best(objective: NDArray[np.float64], feasible: NDArray[np.bool_], arms: NDArray[np.int64], zone: float) -> Odds:
    """Return P(best), P(good) and expected regret (p,) of candidates against each other."""
    reached = np.where(feasible, objective, -np.inf)
    names, place = np.unique(arms, return_inverse=True)
    tops = np.full((names.size, reached.shape[1]), -np.inf)
    np.maximum.at(tops, place, reached)
    top = tops.max(axis=0)
    counted = np.isfinite(top)
    if not counted.any():
        return Odds(*np.zeros((3, len(arms))))
    grain = _EQUAL * np.maximum(np.abs(top), 1e-12)
    close = tops >= top - grain
    share = np.where(close, 1.0 / close.sum(axis=0), 0.0)[place]
    near = (reached >= tops[place] - zone) & feasible
    good = (reached >= top - zone - grain) & feasible
    p_best = np.where(near, share, 0.0)[:, counted].mean(axis=1)
    regret = np.maximum(0.0, top - objective)[:, counted].mean(axis=1)
    return Odds(p_best, good[:, counted].mean(axis=1), regret)


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
    least = int(np.argmin(average))
    dearer = np.flatnonzero(average - average.min() > premises.cost_zone * np.maximum(average, 1e-12))
    costs = world.costs(premises, ties[[*dearer, least]])
    clearly = (costs[:-1] > costs[-1]).mean(axis=1) >= premises.confidence
    left = np.delete(ties, dearer[clearly])

    def order(index: int) -> tuple[bool, int, bool, bool, str]:
        candidate = world.views[index].candidate
        return (
            p_feasible[index] < premises.confidence,
            candidate.variant.simplicity,
            candidate.compression != "none",
            candidate.variant.base is not None,
            candidate.id,
        )

    return int(min((int(index) for index in left), key=order))


def _leader(pool: NDArray[np.int64], mean: NDArray[np.float64], sure: NDArray[np.bool_], zone: float) -> int:
    """Return the best on average, to a hundredth of the zone, so that it does not hang on what no one could measure; then the surest, the first."""
    grain = zone / 100.0
    rounded = np.round(mean[pool] / grain) * grain if grain > 0 else mean[pool]
    return int(pool[np.lexsort((pool, ~sure[pool], -rounded))[0]])
