"""The next look worth paying for, or the reason to stop: a pure function of what was seen and what each look would cost.

For every look that could be taken the planner asks what it is expected to change: the gain of choosing after it over choosing now
(the correlated knowledge gradient; Frazier, Powell and Dayanik 2009), counted only beyond what is indifferent. It takes the look with
the largest expected gain per second. It stops when whoever leads is good enough with the stated confidence, or when no look is expected
to be worth its price. A leader that was only ever seen on part of the rows is first trained and judged on all of them: nothing is
chosen from a curve alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bakeoff.search.surrogate import Array, Belief, Field, Sights, believe, wobble

Rule = Literal["confident", "worthless", "slow", "exhausted", "priced"]


@dataclass(frozen=True)
class Look:
    """What one judging showed: per-row values (n,) whose mean is the score, of the rows (n,) in ascending order."""

    arm: int
    share: float
    seed: int
    rows: NDArray[np.int64]
    values: Array


@dataclass(frozen=True)
class Option:
    """A look that could be taken: train ``arm`` on ``share`` with ``seed``, judge ``rows`` rows; predicted seconds."""

    arm: int
    share: float
    seed: int
    rows: int
    seconds: float


@dataclass(frozen=True)
class Rules:
    """When to stop.

    Args:
        zone: difference of the metric that does not matter.
        confidence: wanted probability that the choice loses no more than the zone.
        worth: money one unit of the metric is worth over the horizon; None where answers have no price.
        price: money one second of measuring costs; only with ``worth``.
        least: expected gain, as a share of the zone, below which no look is taken.
        patience: share of the price of looking at everything that a gain of one zone is worth; what promises less stops the search.
        planned: seconds somebody has planned to spend anyway: where they are more than everything costs, they are what counts.

    """

    zone: float = 0.005
    confidence: float = 0.95
    worth: float | None = None
    price: float = 0.0
    least: float = 0.01
    patience: float = 0.1
    planned: float = 0.0


@dataclass(frozen=True)
class State:
    """What is believed now.

    Args:
        belief: of every arm.
        alive: arms that may be chosen (A,).
        leader: arm of the highest expected score among those alive.
        complete: whether the leader was trained on everything and judged on all rows.
        p_good: probability that nobody alive beats the leader by more than the zone.
        p_best: probability that nobody alive beats the leader at all.
        regret: expected loss of choosing the leader.
        p_better: per arm, probability to beat the leader by more than the zone (A,).
        p_ahead: per arm, probability to beat the leader at all (A,).
        noise: per-row variance of an arm's own error, and of a training (seed).

    """

    belief: Belief
    alive: NDArray[np.bool_]
    leader: int
    complete: bool
    p_good: float
    p_best: float
    regret: float
    p_better: Array
    p_ahead: Array
    noise: tuple[float, float]


@dataclass(frozen=True)
class Move:
    """The option to take next and what it is expected to gain, or None and the rule that stopped the search."""

    option: Option | None
    gain: float
    state: State
    rule: Rule | None = None


_NEAR = 48
"""Arms that take part in the joint arithmetic: those that could still be the best."""
_DRAWS = 1024
_NODES = np.array([NormalDist().inv_cdf((i + 0.5) / 41) for i in range(41)])
_ROW_NOISE = 0.05
_SEED_NOISE = 0.003
_SEED_WEIGHT = 3.0
_FIRST = 0.1
"""Share of the price of everything, or of the planned time, that a first look at a family may cost without asking what it gains."""
_SOFT = 0.5
"""Share of the zone that an improvement must exceed to count as gain: less than that changes nothing anybody cares about."""


def plan_move(
    field: Field,
    looks: Sequence[Look],
    options: Sequence[Option],
    rules: Rules,
    alive: NDArray[np.bool_] | None = None,
    judged: int | NDArray[np.int64] = 0,
    spent: float = 0.0,
    only: frozenset[int] | None = None,
) -> Move:
    """Return the next look, or the rule that stops the search.

    Args:
        field: the arms.
        looks: everything seen on the select rows.
        options: what could be looked at, with its price.
        rules: when to stop.
        alive: arms that may be chosen (A,); default all.
        judged: rows that complete a judgement, of all arms or of each (A,).
        spent: seconds spent so far.
        only: arms a look may be taken at; the others' options only tell what looking at everything would cost.

    """
    may = np.ones(field.size, dtype=np.bool_) if alive is None else alive
    possible = [option for option in options if may[option.arm]]
    state = weigh(field, looks, rules, may, judged, _completable(looks, possible, judged))
    finish = None if state.complete else completing(state.leader, possible, judged)
    total = max(whole(possible, spent), rules.planned)
    chosen = possible if only is None else [option for option in possible if option.arm in only]
    stranger = unseen(field, looks, [option for option in chosen if option.seconds <= _FIRST * total])
    if stranger is not None:
        return Move(stranger, 0.0, state)
    if looks and state.p_good >= rules.confidence:
        return Move(finish, 0.0, state, None if finish else "confident")
    if not chosen:
        return Move(finish, 0.0, state, None if finish else "exhausted")
    best, gain, rule = _worthwhile(state, looks, _hopeful(state, chosen), rules, total)
    return Move(finish if best is None else best, gain, state, rule if best is None and finish is None else None)


def _completable(looks: Sequence[Look], options: Sequence[Option], judged: int | NDArray[np.int64]) -> frozenset[int]:
    """Return the arms that were trained on everything and judged on all rows, or still may be: only they can be chosen."""
    needed = np.asarray(judged)

    def whole_of(arm: int) -> int:
        return int(needed[arm]) if needed.ndim else int(needed)

    done = {look.arm for look in looks if look.share >= 1.0 and len(look.rows) >= whole_of(look.arm)}
    return frozenset(done | {one.arm for one in options if one.share >= 1.0 and one.rows >= whole_of(one.arm)})


def _worthwhile(
    state: State, looks: Sequence[Look], options: Sequence[Option], rules: Rules, total: float
) -> tuple[Option | None, float, Rule]:
    """Return the option of the largest expected gain per second, or None and the rule that says that none is worth it."""
    if not options:
        return None, 0.0, "worthless"
    gains = _gains(state, looks, options, rules)
    seconds = np.array([max(option.seconds, 1e-3) for option in options])
    paying = gains > rules.least * rules.zone
    if not paying.any():
        return None, 0.0, "worthless"
    if rules.worth is not None:
        paying &= gains * rules.worth > seconds * rules.price
        if not paying.any():
            return None, 0.0, "priced"
    rate = np.where(paying, gains, 0.0) / seconds
    if rules.patience and rate.max() * rules.patience * total < rules.zone:
        return None, 0.0, "slow"
    best = int(np.lexsort((seconds, -rate))[0])
    return options[best], float(gains[best]), "exhausted"


def unseen(field: Field, looks: Sequence[Look], options: Sequence[Option]) -> Option | None:
    """Return the cheapest look at a family nobody has looked at: each gets one that costs little, whatever its relatives did.

    How families differ is not learnt from other families: the first two may be the two worst. A family whose cheapest look is dear has
    to be worth it like any other look.
    """
    known = {int(field.family[look.arm]) for look in looks}
    fresh = [option for option in options if int(field.family[option.arm]) not in known]
    return min(fresh, key=lambda option: (option.seconds, option.arm), default=None)


def whole(options: Sequence[Option], spent: float) -> float:
    """Return the predicted seconds of having looked at everything in full."""
    most: dict[int, float] = {}
    for option in options:
        most[option.arm] = max(most.get(option.arm, 0.0), option.seconds)
    return spent + sum(most.values())


def completing(arm: int, options: Sequence[Option], judged: int | NDArray[np.int64]) -> Option | None:
    """Return the cheapest option that trains an arm on everything and judges all its rows, None when there is none."""
    rows = int(np.asarray(judged)[arm]) if np.ndim(judged) else int(judged)
    ends = [option for option in options if option.arm == arm and option.share >= 1.0 and option.rows >= rows]
    return min(ends, key=lambda option: (option.seconds, option.seed), default=None)


def weigh(
    field: Field,
    looks: Sequence[Look],
    rules: Rules,
    alive: NDArray[np.bool_] | None = None,
    judged: int | NDArray[np.int64] = 0,
    leaders: frozenset[int] = frozenset(),
) -> State:
    """Return what is believed after ``looks``; for ``judged`` see ``plan_move``; ``leaders`` are who may lead, all where empty."""
    may = np.ones(field.size, dtype=np.bool_) if alive is None else alive
    sights, noise = sights_of(field, looks)
    belief = believe(field, sights)
    lead = may & np.isin(np.arange(field.size), list(leaders)) if leaders else may
    leader = int(np.argmax(np.where(lead if lead.any() else may, belief.mean, -np.inf)))
    needed = int(np.asarray(judged)[leader]) if np.ndim(judged) else int(judged)
    complete = any(look.arm == leader and look.share >= 1.0 and len(look.rows) >= needed for look in looks)
    near = _near(belief, may, leader)
    draws = _draws(belief, near)
    ahead = draws - draws[:, :1]
    most = ahead.max(axis=1)
    p_better = np.zeros(field.size)
    p_better[near] = (ahead > rules.zone).mean(axis=0)
    p_ahead = np.zeros(field.size)
    p_ahead[near] = (ahead > 0.0).mean(axis=0)
    return State(
        belief, may, leader, complete, float((most <= rules.zone).mean()), float((most <= 0.0).mean()),
        float(np.maximum(most, 0.0).mean()), p_better, p_ahead, noise,
    )  # fmt: skip


def _hopeful(state: State, options: Sequence[Option]) -> list[Option]:
    """Options of arms that could still be the best; looks at others could only tell of relatives."""
    near = set(_near(state.belief, state.alive, state.leader).tolist())
    return [option for option in options if option.arm in near]


def _near(belief: Belief, alive: NDArray[np.bool_], leader: int) -> NDArray[np.int64]:
    """The leader first, then who could be best, by optimism."""
    hope = np.where(alive, belief.mean + 2.5 * np.sqrt(belief.variance), -np.inf)
    hope[leader] = np.inf
    order = np.argsort(-hope, kind="stable")[:_NEAR]
    return order[alive[order]].astype(np.int64)


def _draws(belief: Belief, arms: NDArray[np.int64]) -> Array:
    """Return joint draws (D, k) of F of some arms; always the same normals, so that the same ledger says the same."""
    table = belief.covariance(arms)
    values, vectors = np.linalg.eigh((table + table.T) / 2.0)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normals = np.random.default_rng(20_261_127).standard_normal((_DRAWS, arms.size))
    found: Array = belief.mean[arms] + normals @ root.T
    return found


def _gains(state: State, looks: Sequence[Look], options: Sequence[Option], rules: Rules) -> Array:
    """Return the expected gain of each option (m,): what choosing after it is worth more than choosing now."""
    belief = state.belief
    near = _near(belief, state.alive, state.leader)
    at = np.array([option.arm for option in options], dtype=np.int64)
    shares = np.array([option.share for option in options])
    cross, variance = belief.foresee(near, at, shares)
    error = np.array([_error(state, looks, option) for option in options])
    error = error + wobble(belief.field, belief.spreads, at, shares)
    swing = cross / np.sqrt(np.maximum(variance + error, 1e-12))
    mean = belief.mean[near]
    after = mean[:, None, None] + swing[:, :, None] * _NODES[None, None, :]
    lead = after[0]
    better = np.maximum(after.max(axis=0) - lead - _SOFT * rules.zone, 0.0).mean(axis=1)
    now = max(0.0, float(mean.max() - mean[0]) - _SOFT * rules.zone)
    found: Array = np.maximum(better - now, 0.0)
    return found


def _error(state: State, looks: Sequence[Look], option: Option) -> float:
    """Variance of the look's own error; what was seen at the same share already counts, so only the news is new."""
    rows, seed = state.noise
    mine = [look for look in looks if look.arm == option.arm and abs(look.share - option.share) < 1e-9]
    training = seed if state.belief.field.trains[option.arm] else 0.0
    if not mine:
        return rows / option.rows + training
    seeds = {look.seed for look in mine}
    before = rows / max(len(look.rows) for look in mine) + training / len(seeds)
    after = rows / max(option.rows, *(len(look.rows) for look in mine)) + training / len(seeds | {option.seed})
    return 1.0 / max(1.0 / after - 1.0 / before, 1e-9)


# ------------------------------------------------------------------------------------------------------- what was seen


def sights_of(field: Field, looks: Sequence[Look]) -> tuple[Sights, tuple[float, float]]:
    """Return one entry per arm and share, compared on the same rows, and the typical noise (per row, per training).

    An arm judged on fewer rows is carried to the leader's rows by their difference on those both saw (a difference estimator;
    Cochran 1977, ch. 7).
    """
    if not looks:
        nothing = np.zeros(0)
        return Sights(np.zeros(0, np.int64), nothing, nothing, nothing), (_ROW_NOISE, _SEED_NOISE**2)
    groups: dict[tuple[int, float], list[Look]] = {}
    for look in looks:
        groups.setdefault((look.arm, round(look.share, 9)), []).append(look)
    lead = max(looks, key=lambda look: (len(look.rows), look.share, float(look.values.mean()), -look.arm, -look.seed))
    level = float(lead.values.mean())
    training = _training_noise(groups)
    arms, shares, scores, own, spread = [], [], [], [], []
    for (arm, share), mine in sorted(groups.items()):
        gaps = [_gap(look, lead) for look in mine]
        arms.append(arm)
        shares.append(share)
        scores.append(level + float(np.mean([gap.mean() for gap in gaps])))
        most = max(gaps, key=len)
        each = 0.5 * (float(((most - most.mean()) ** 2).sum()) + 1.0) / len(most)
        spread.append(each)
        own.append((each, len(most), training * bool(field.trains[arm]) / len({look.seed for look in mine})))
    typical = float(np.median(spread)) if len(spread) > 2 else _ROW_NOISE
    noise = [max(each, 0.25 * typical) / count + seed for each, count, seed in own]
    found = Sights(np.array(arms, dtype=np.int64), np.array(shares), np.array(scores), np.array(noise))
    return found, (typical, training)


def _gap(look: Look, lead: Look) -> Array:
    """Differences (n,) to the leading look on the rows both saw."""
    if look.rows.size == lead.rows.size and look.rows[0] == lead.rows[0] and look.rows[-1] == lead.rows[-1]:
        return look.values - lead.values
    place = np.minimum(np.searchsorted(lead.rows, look.rows), lead.rows.size - 1)
    both = lead.rows[place] == look.rows
    if not both.any():
        found: Array = look.values - lead.values.mean()
        return found
    return np.asarray(look.values[both] - lead.values[place[both]])


def _training_noise(groups: dict[tuple[int, float], list[Look]]) -> float:
    """Variance between trainings with different seeds, pooled over arms and shrunk to a prior."""
    total, freedom = _SEED_WEIGHT * _SEED_NOISE**2, _SEED_WEIGHT
    for mine in groups.values():
        by_seed = {look.seed: float(look.values.mean()) for look in mine}
        if len(by_seed) > 1:
            values = np.array(list(by_seed.values()))
            total += float(((values - values.mean()) ** 2).sum())
            freedom += len(values) - 1
    return total / freedom
