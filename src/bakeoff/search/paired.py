"""Who is still in the race: paired comparisons of candidates on the same rows.

Rubin's Bayesian bootstrap: each draw weighs the rows by a flat Dirichlet vector, the same vector for every candidate, so that
what is common to all (hard rows) cancels and only differences remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.base import content_key
from bakeoff.search.seen import Outcomes
from bakeoff.tasks.scoring import score, score_draws

DRAWS = 1000


@dataclass(frozen=True)
class Standing:
    """How one arm stands after a look: score on the rows it saw, and two probabilities against the leader.

    ``p_best``: chance to be better than the leader (for the leader: than every other); ``p_close``: chance to be better than the
    leader minus the indifference zone.
    """

    arm: str
    score: float
    rows: int
    p_best: float
    p_close: float


def standings(
    outcomes: dict[str, Outcomes], metric: str, positive: int, indifference: float, seed: int
) -> tuple[Standing, ...]:
    """Return every arm's standing, best first.

    Args:
        outcomes: per arm; an arm that saw fewer rows is compared with the leader on those rows only.
        metric: quality metric, larger is better.
        positive: class index counted as positive.
        indifference: difference of the metric that does not matter.
        seed: of the draws.

    """
    if not outcomes:
        return ()
    scores = {arm: _score(metric, seen, positive) for arm, seen in outcomes.items()}
    most = max(len(seen) for seen in outcomes.values())
    full = [arm for arm, seen in outcomes.items() if len(seen) == most]
    leader = max(full, key=lambda arm: (scores[arm], arm))
    found = [
        _against(leader, arm, outcomes, scores[arm], metric, positive, indifference, seed)
        for arm in sorted(outcomes)
        if arm != leader
    ]
    best = _leads(leader, [arm for arm in full if arm != leader], outcomes, metric, positive, seed)
    found.append(Standing(leader, scores[leader], most, best, 1.0))
    return tuple(sorted(found, key=lambda standing: (-standing.p_close, -standing.score, standing.arm)))


def _score(metric: str, seen: Outcomes, positive: int) -> float:
    return score(metric, seen.actual, seen.predicted, seen.probabilities, positive)


def _against(
    leader: str,
    arm: str,
    outcomes: dict[str, Outcomes],
    value: float,
    metric: str,
    positive: int,
    indifference: float,
    seed: int,
) -> Standing:
    ours, theirs = outcomes[arm], outcomes[leader].on(outcomes[arm].indices)
    ours = ours.on(theirs.indices)
    weights = _weights(len(ours), seed, arm)
    difference = _draws(metric, ours, positive, weights) - _draws(metric, theirs, positive, weights)
    return Standing(arm, value, len(ours), float((difference > 0).mean()), float((difference > -indifference).mean()))


def _leads(
    leader: str, others: list[str], outcomes: dict[str, Outcomes], metric: str, positive: int, seed: int
) -> float:
    if not others:
        return 1.0
    rows = outcomes[leader].indices
    weights = _weights(len(rows), seed, "joint")
    ours = _draws(metric, outcomes[leader].on(rows), positive, weights)
    theirs = np.stack([_draws(metric, outcomes[arm].on(rows), positive, weights) for arm in others])
    return float((ours > theirs.max(axis=0)).mean())


def _weights(rows: int, seed: int, name: str) -> NDArray[np.float64]:
    generator = np.random.default_rng(int(content_key("paired", seed, name)[:15], 16))
    weights = generator.standard_exponential((DRAWS, rows))
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _draws(metric: str, seen: Outcomes, positive: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return score_draws(metric, seen.actual, seen.predicted, seen.probabilities, positive, weights)
