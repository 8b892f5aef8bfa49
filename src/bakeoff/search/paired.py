"""Who is still in the race: paired comparisons of candidates on the same rows.

Rubin's Bayesian bootstrap: each draw weighs the rows by a flat Dirichlet vector, the same vector for every candidate, so that
what is common to all (hard rows) cancels and only differences remain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.base import content_key
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.search.seen import Outcomes
from bakeoff.search.values import EXACT
from bakeoff.tasks.base import cost_matrix, positive_class
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


@dataclass(frozen=True)
class Yardstick:
    """What arms are compared by, larger is better.

    Args:
        metric: quality metric.
        positive: class index counted as positive.
        payoff: worth of an answer, ``payoff[actual, predicted]`` scaled to 0..1, where mistakes have prices of their own:
            then what is decided by is worth, and the metric only has to reach its floor.

    """

    metric: str
    positive: int
    payoff: NDArray[np.float64] | None = None

    @property
    def exact(self) -> bool:
        """Whether what an answer is worth depends on its own row alone."""
        return self.payoff is not None or self.metric in EXACT

    @property
    def name(self) -> str:
        """What tells this yardstick from others."""
        return f"{self.metric} {self.positive}" if self.payoff is None else f"payoff {self.payoff.tolist()}"

    def score(self, seen: Outcomes) -> float:
        """Return the score of outcomes."""
        if self.payoff is not None:
            return float(self.payoff[seen.actual, seen.predicted].mean())
        return score(self.metric, seen.actual, seen.predicted, seen.probabilities, self.positive)

    def draws(self, seen: Outcomes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score (D,) under each row of ``weights`` (D, n)."""
        if self.payoff is not None:
            worth: NDArray[np.float64] = weights @ self.payoff[seen.actual, seen.predicted]
            return worth
        return score_draws(self.metric, seen.actual, seen.predicted, seen.probabilities, self.positive, weights)


def yardstick_of(spec: Spec, profile: Profile) -> Yardstick:
    """Return what the decision will maximise: worth where mistakes have prices of their own, else the quality metric."""
    costs = cost_matrix(spec.value, profile.classes)
    payoff = None
    if costs is not None:
        table = np.asarray(costs, dtype=np.float64)
        payoff = 1.0 - table / table.max()
    return Yardstick(
        spec.requirements.quality.metric, positive_class(spec, profile.classes, profile.class_counts), payoff
    )


def standings(
    outcomes: dict[str, Outcomes], yardstick: Yardstick, indifference: float, seed: int
) -> tuple[Standing, ...]:
    """Return every arm's standing, best first.

    Args:
        outcomes: per arm; an arm that saw fewer rows is compared with the leader on those rows only.
        yardstick: what they are compared by.
        indifference: difference of the metric that does not matter.
        seed: of the draws.

    """
    if not outcomes:
        return ()
    scores = {arm: yardstick.score(seen) for arm, seen in outcomes.items()}
    most = max(len(seen) for seen in outcomes.values())
    full = [arm for arm, seen in outcomes.items() if len(seen) == most]
    leader = max(full, key=lambda arm: (scores[arm], arm))
    found = [
        _against(leader, arm, outcomes, scores[arm], yardstick, indifference, seed)
        for arm in sorted(outcomes)
        if arm != leader
    ]
    best = _leads(leader, [arm for arm in full if arm != leader], outcomes, yardstick, seed)
    found.append(Standing(leader, scores[leader], most, best, 1.0))
    return tuple(sorted(found, key=lambda standing: (-standing.p_close, -standing.score, standing.arm)))


def _against(
    leader: str,
    arm: str,
    outcomes: dict[str, Outcomes],
    value: float,
    yardstick: Yardstick,
    indifference: float,
    seed: int,
) -> Standing:
    ours, theirs = outcomes[arm], outcomes[leader].on(outcomes[arm].indices)
    ours = ours.on(theirs.indices)
    weights = _weights(len(ours), seed, arm)
    difference = yardstick.draws(ours, weights) - yardstick.draws(theirs, weights)
    return Standing(arm, value, len(ours), float((difference > 0).mean()), float((difference > -indifference).mean()))


def _leads(leader: str, others: list[str], outcomes: dict[str, Outcomes], yardstick: Yardstick, seed: int) -> float:
    if not others:
        return 1.0
    rows = outcomes[leader].indices
    weights = _weights(len(rows), seed, "joint")
    ours = yardstick.draws(outcomes[leader].on(rows), weights)
    theirs = np.stack([yardstick.draws(outcomes[arm].on(rows), weights) for arm in others])
    return float((ours > theirs.max(axis=0)).mean())


def _weights(rows: int, seed: int, name: str) -> NDArray[np.float64]:
    generator = np.random.default_rng(int(content_key("paired", seed, name)[:15], 16))
    weights = generator.standard_exponential((DRAWS, rows))
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
