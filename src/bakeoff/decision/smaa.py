"""Criteria without a price: how the finalists' rank holds over every weighting that was declared possible (SMAA-2).

Does: rank acceptability of the compared candidates (Lahdelma, Hokkanen and Salminen 1998; Lahdelma and Salminen 2001).
Does not: choose; what has no price can't be weighed for somebody, only shown.

In every joint draw the weights of the criteria are drawn uniformly from their declared ranges (those that add up to more than one are
refused), the rest of the weight goes to what was measured: net value where answers are priced, else quality and low cost in a random
proportion. Measured figures run from 0 (the worst finalist on average) to 1 (the best), but differences within indifference are not blown
up; a score that nobody declared is unknown and drawn anew from 0 to 1 each time.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, generator
from bakeoff.decision.choose import Choice
from bakeoff.decision.world import World
from bakeoff.schema.decision import Acceptability
from bakeoff.schema.spec import Criterion, Spec

_TRIES = 40
MEASURED = ("value", "quality", "cost")
"""Names of the measured axes among the weights."""


def acceptability(world: World, choice: Choice, spec: Spec) -> tuple[Acceptability, ...]:
    """Return the rank acceptability of every compared candidate, the most acceptable first; empty without criteria or candidates."""
    criteria = spec.decision.criteria
    if not criteria or choice.pool.size == 0:
        return ()
    random = generator(spec.seed, "weights")
    names = [*sorted(criteria), *_measured(world)]
    weights = _weights([criteria[name] for name in sorted(criteria)], len(names) - len(criteria), world.draws, random)
    figures = [_scores(criteria[name], world, choice.pool, random) for name in sorted(criteria)]
    figures += _figures(world, choice)
    total = sum(weights[:, place] * figure for place, figure in enumerate(figures))
    ranks = (-np.asarray(total)).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    found = [
        _one(world, int(index), ranks[place], weights, names)
        for place, index in enumerate(choice.pool)
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda item: (-item.first, -item.second, item.id)))


def _one(world: World, index: int, ranks: NDArray[np.int64], weights: Draws, names: list[str]) -> Acceptability:
    candidate, first = world.views[index].candidate, ranks == 0
    mean = (
        {name: round(float(weights[first, place].mean()), 4) for place, name in enumerate(names)}
        if first.any()
        else None
    )
    return Acceptability(
        id=candidate.id,
        label=candidate.label,
        first=float(first.mean()),
        second=float((ranks == 1).mean()),
        weights=mean,
    )


def _measured(world: World) -> tuple[str, ...]:
    return ("value",) if world.today.priced else ("quality", "cost")


def _weights(criteria: list[Criterion], measured: int, draws: int, random: np.random.Generator) -> Draws:
    """Return weights (D, criteria + measured); each row adds up to one."""
    low, high = np.array([found.range for found in criteria]).T
    kept = np.zeros((0, low.size))
    for _ in range(_TRIES):
        drawn = low + (high - low) * random.random((draws, low.size))
        kept = np.concatenate([kept, drawn[drawn.sum(axis=1) <= 1.0]])
    if len(kept) < draws:  # a corner of the simplex that hardly any draw hits: spread what the lowest weights leave
        left = 1.0 - low.sum()
        more = low + np.minimum(high - low, left * random.dirichlet(np.ones(low.size + 1), draws)[:, :-1])
        kept = np.concatenate([kept, more])
    chosen = kept[:draws]
    rest = (1.0 - chosen.sum(axis=1))[:, None]
    return np.concatenate([chosen, rest * random.dirichlet(np.ones(measured), draws)], axis=1)


def _scores(criterion: Criterion, world: World, pool: NDArray[np.int64], random: np.random.Generator) -> Draws:
    """Return the declared scores (p, D); unknown ones uniform."""
    table = np.empty((pool.size, world.draws))
    for place, index in enumerate(pool):
        name = world.views[int(index)].id
        fitting = [pattern for pattern in criterion.scores if fnmatchcase(name, pattern)]
        best = max(fitting, key=lambda pattern: (len(pattern), pattern), default=None)
        table[place] = random.random(world.draws) if best is None else criterion.scores[best]
    return table


def _figures(world: World, choice: Choice) -> list[Draws]:
    """Return the measured figures (p, D) on the scale of the finalists."""
    pool, today = choice.pool, world.today
    objective = choice.objective[pool]
    if today.priced:
        return [_scaled(objective, choice.zone)]
    costs = -choice.costs[pool]
    return [_scaled(objective, choice.zone), _scaled(costs, today.cost_zone * float(np.abs(costs).mean()))]


def _scaled(drawn: Draws, zone: float) -> Draws:
    means = drawn.mean(axis=1)
    found: Draws = (drawn - means.min()) / max(float(np.ptp(means)), zone, 1e-300)
    return found
