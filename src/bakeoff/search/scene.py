"""A race as the planner sees it: arms with their likeness, what was seen of them, what could be looked at next and for how much."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search.planner import Look, Option
from bakeoff.search.presets import LEAST_TRAIN, build_seconds, fitting_rows, predict_seconds
from bakeoff.search.race import Race
from bakeoff.search.seen import Outcomes
from bakeoff.search.surrogate import Field, field_of
from bakeoff.search.values import row_values

GAIN = 1.3
"""A step up must add at least this factor of training rows to be worth another build."""
_STEPS = (100, 400)
"""Rows judged before all of them, where judging them takes longer than building and more than ``_LONG`` seconds."""
_LONG = 5.0


@dataclass
class Scene:
    """Arms by place; ``trials`` turns an option back into what has to be done.

    Args:
        arms: names, in the order of the catalogue, made-up arms last.
        field: families and likeness of the settings.
        alive: which may be chosen (A,).
        judged: rows that complete a judgement (A,).
        shares: shares of the train split each arm may be trained on, ascending; the last is what would be shipped.
        looks: what was seen.
        options: what could be looked at next.
        trials: by option.

    """

    arms: list[str]
    field: Field
    alive: NDArray[np.bool_]
    judged: NDArray[np.int64]
    shares: list[tuple[float, ...]]
    looks: list[Look] = dataclasses.field(default_factory=list)
    options: list[Option] = dataclasses.field(default_factory=list)
    trials: dict[Option, Trial] = dataclasses.field(default_factory=dict)

    def seen(self, arm: int) -> list[Look]:
        """Looks at one arm."""
        return self._seen.get(arm, [])

    @cached_property
    def _seen(self) -> dict[int, list[Look]]:
        found: dict[int, list[Look]] = {}
        for look in self.looks:
            found.setdefault(look.arm, []).append(look)
        return found

    def complete(self, arm: int) -> bool:
        """Whether an arm was trained on all it may be and judged on all its rows."""
        return any(look.share >= 1.0 and len(look.rows) >= self.judged[arm] for look in self.seen(arm))


def scene_of(race: Race) -> Scene:
    """Return the scene: every arm that is no ensemble, with its looks on the select rows and its options."""
    arms = race.arms()
    firsts = [race.first(arm) for arm in arms]
    shares = [shares_of(race, one) for one in firsts]
    found = Scene(
        arms=arms,
        field=field_of(
            [f"{one.family}:{one.variant.weights or one.variant.hub or ''}" for one in firsts],
            [_settings(one) for one in firsts],
            [one.variant.trains for one in firsts],
            np.array([mine[-1] * race.profile.split.train for mine in shares]),
        ),
        alive=np.array([bool(race.paths(arm)) for arm in arms], dtype=np.bool_),
        judged=np.array([judged_rows(race, one) for one in firsts], dtype=np.int64),
        shares=shares,
    )
    for place, arm in enumerate(arms):
        tops = found.shares[place][-1]
        found.looks.extend(_looks(race, place, arm, tops))
    for place in map(int, np.flatnonzero(found.alive)):
        candidate = race.paths(arms[place])[0]
        for option, trial in _options(race, found, place, candidate):
            found.options.append(option)
            found.trials[option] = trial
    return found


def _settings(candidate: Candidate) -> dict[str, object]:
    """What of a variant tells it from its relatives, numbers and words."""
    flat: dict[str, object] = {}
    strategy = candidate.variant.strategy.model_dump() if candidate.variant.strategy is not None else {}
    for name, value in {**candidate.variant.params, **strategy, "weights": candidate.variant.weights}.items():
        if isinstance(value, (int, float, str, bool)) or value is None:
            flat[name] = value
        else:
            flat[name] = repr(value)
    return flat


def judged_rows(race: Race, candidate: Candidate) -> int:
    """Return how many select rows a complete judgement of this candidate takes: all, or what its slice of the time holds."""
    limit = race.preset.judged
    wanted = min(race.profile.split.select, limit) if limit else race.profile.split.select
    return fitting_rows(candidate, wanted, race.preset.slice * race.spec.budget.time)


def shares_of(race: Race, candidate: Candidate) -> tuple[float, ...]:
    """Return the shares of the train split an arm may be trained on; the largest is what its slice of the time allows."""
    if not candidate.variant.trains:
        return (1.0,)
    train = race.profile.split.train
    most = _affordable(race, candidate)
    least = min(1.0, LEAST_TRAIN / train)
    found: list[float] = []
    for fraction in race.preset.fractions:
        share = round(min(most, max(least, fraction)), 4)
        if not found or share >= GAIN * found[-1]:
            found.append(share)
        elif share > found[-1]:
            found[-1] = share
    return tuple(found)


def _affordable(race: Race, candidate: Candidate) -> float:
    train, cost = race.profile.split.train, candidate.variant.cost
    room = race.preset.slice * race.spec.budget.time
    if build_seconds(candidate, train) <= room or cost.build_per_1000 <= 0:
        return 1.0
    fit = max(1.0, (room - cost.build_fixed) / cost.build_per_1000 * 1000)
    return max(0.01, math.floor(100 * min(1.0, fit / train)) / 100)


def _looks(race: Race, place: int, arm: str, top: float) -> Iterator[Look]:
    """Yield what was seen of an arm on the select rows; of the same training the judgement of the most rows."""
    best: dict[tuple[float, int], tuple[str, Outcomes]] = {}
    for fidelity, key, outcomes in race.seen.judged(arm):
        name = (min(1.0, fidelity.fraction / top), fidelity.seed)
        if name not in best or len(best[name][1]) < len(outcomes):
            best[name] = key, outcomes
    for (share, seed), (key, outcomes) in sorted(best.items()):
        rows, values = _values(race, key, outcomes)
        yield Look(place, share, seed, rows, values)


_KEPT: dict[tuple[str, str], tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
"""Row values by the key of the ledger's row: a pure function of content, so that asking again need not compute them again."""
_MOST_KEPT = 1024


def _values(race: Race, key: str, outcomes: Outcomes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    yardstick = race.yardstick
    digest = blake2b(outcomes.predicted.tobytes() + outcomes.actual.tobytes(), digest_size=8).hexdigest()
    name = (f"{key} {digest}", yardstick.name)
    if name not in _KEPT:
        order = np.argsort(outcomes.indices, kind="stable")
        sorted_ = Outcomes(
            outcomes.indices[order], outcomes.predicted[order], outcomes.actual[order], outcomes.probabilities[order]
        )
        values = row_values(
            yardstick.metric, sorted_.actual, sorted_.predicted, sorted_.probabilities, yardstick.positive, yardstick.payoff
        )  # fmt: skip
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        _KEPT[name] = sorted_.indices.astype(np.int64), values
    return _KEPT[name]


def _options(race: Race, scene: Scene, place: int, candidate: Candidate) -> Iterator[tuple[Option, Trial]]:
    """Yield the looks that would add something: more training rows, more judged rows, another seed of a network."""
    shares, every, seed = scene.shares[place], int(scene.judged[place]), race.spec.seed
    mine = scene.seen(place)
    reached = max((look.share for look in mine), default=0.0)
    for rung, fraction in enumerate(shares):
        share = min(1.0, fraction / shares[-1])
        if share < reached - 1e-9:
            continue
        had = max((len(look.rows) for look in mine if abs(look.share - share) < 1e-6 and look.seed == seed), default=0)
        for rows in ladder(candidate, fraction * race.profile.split.train, every):
            if rows > had:
                yield _option(race, place, candidate, fraction, share, seed, rows, rung)
    if reached >= 1.0 and candidate.variant.strategy is not None and candidate.variant.trains:
        seeds = {look.seed for look in mine if look.share >= 1.0}
        again = next((seed + number for number in range(1, race.preset.seeds) if seed + number not in seeds), None)
        if again is not None:
            yield _option(race, place, candidate, shares[-1], 1.0, again, every, len(shares) - 1)


def ladder(candidate: Candidate, trained: float, every: int) -> tuple[int, ...]:
    """Return how many rows may be judged: all at once, or in steps where judging all takes long and longer than building."""
    judging = predict_seconds(candidate, every)
    if judging < _LONG or judging < 2.0 * build_seconds(candidate, trained if candidate.variant.trains else 0):
        return (every,)
    return (*[rows for rows in _STEPS if rows < every / 2], every)


def _option(
    race: Race, place: int, candidate: Candidate, fraction: float, share: float, seed: int, rows: int, rung: int
) -> tuple[Option, Trial]:
    limit = None if rows >= race.profile.split.select else rows
    fidelity = Fidelity(fraction=fraction, seed=seed, split="select", limit=limit)
    trial = Trial(candidate=candidate, purpose="rung", fidelity=fidelity, rung=rung)
    return Option(place, share, seed, rows, race.price(trial)), trial
