"""The planner on a ledger: which arm to look at next, how closely, and who goes no further.

A do-nothing baseline is looked at first. Then the planner spends where a second is expected to gain most. When it stops, the leader
and the best arm of the simplest family are complete: trained on everything and judged on all rows, because low cost may decide for
the latter. Of what is left of the time, one arm of every family that broke a limit gets one look, so that the report can say what the
limit costs; never before: on a slow machine, one that is too slow to be chosen would leave no time for those that may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search import said
from bakeoff.search.planner import Move, Option, Rules, State, completing, plan_move
from bakeoff.search.presets import MIN_ROWS, build_seconds
from bakeoff.search.race import Race, failed
from bakeoff.search.scene import Scene, judged_rows, ladder, scene_of, shares_of
from bakeoff.search.sequences import beaten_asymptotically, eliminated
from bakeoff.search.tune import probe, propose_arms

ALPHA = 0.05
"""Chance that a truly best arm is ever dropped by proof; also the chance of being better from which an arm never looked at is *not reached*."""
SHARE_OF_TIME = 0.6
"""Share of the planned time that looking may use; the rest is the final's."""
_LEAST_ARMS = 2


def explore(race: Race) -> list[Trial]:
    """Return the next look, or conclude the looking: who is left, who goes no further and why."""
    forced = _missing(race, _baselines(race))
    if forced:
        return forced
    _fail(race)
    scene = scene_of(race)
    if not scene.alive.any():
        return _missing(race, _references(race))
    scene.alive &= ~_beaten(race, scene)
    move = plan_move(
        scene.field, scene.looks, _affordable(race, scene), rules_of(race), scene.alive, scene.judged, race.spent
    )
    option = move.option or _yardstick(race, scene, move.state)
    if option is not None:
        return [scene.trials[option]]
    tuning = _tune(race, scene, move.state)
    if tuning:
        return tuning
    priced = _priced(race, scene)
    if priced:
        return priced
    _conclude(race, scene, move)
    return []


def _tune(race: Race, scene: Scene, state: State) -> list[Trial]:
    """Return the probe of a new setting of a survivor when a look at it is expected to be worth its price."""
    race.made = propose_arms(race, scene, state)
    if not race.made:
        return []
    wider = scene_of(race)
    wider.alive[: len(scene.arms)] &= scene.alive
    fresh = frozenset(place for place, arm in enumerate(wider.arms) if arm in race.made)
    options = _affordable(race, wider)
    move = plan_move(wider.field, wider.looks, options, rules_of(race), wider.alive, wider.judged, race.spent, fresh)
    made, race.made = race.made, {}
    if move.option is None or move.option.arm not in fresh:
        return []
    probes = [probe(race, path) for path in made[wider.arms[move.option.arm]]]
    return [trial for trial in probes if not race.seen.done(trial)] or [wider.trials[move.option]]


def rules_of(race: Race) -> Rules:
    """Return when to stop: by money where answers have a price, by the indifference zone and the confidence in any case."""
    spec = race.spec
    worth = None
    if spec.value.priced:
        asked = spec.traffic.volume * spec.traffic.horizon
        worth = asked * (spec.value.per_correct + max(spec.value.errors.values(), default=0.0))
    return Rules(
        zone=race.zone,
        confidence=spec.decision.confidence,
        worth=worth,
        price=race.second_price,
        patience=race.preset.patience,
        planned=SHARE_OF_TIME * spec.budget.time,
    )


def _missing(race: Race, trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if not race.seen.done(trial)]


def _baselines(race: Race) -> Iterator[Trial]:
    """The do-nothing baseline, complete: it costs next to nothing and everything is compared with it."""
    for arm in race.arms():
        candidate = race.first(arm)
        if candidate.family == "baseline" and race.paths(arm):
            yield _trial(race, race.paths(arm)[0], shares_of(race, candidate)[-1], judged_rows(race, candidate))


def _references(race: Race) -> Iterator[Trial]:
    """The cheapest arm of every family that has no feasible path, on the smallest share: the price of the limit is worth one look."""
    feasible = {race.first(arm).family for arm in race.arms() if race.paths(arm)}
    for family in dict.fromkeys(candidate.family for candidate in race.singles):
        mine = [
            c for c in race.singles if c.family == family and c.id in race.out and race.out[c.id].kind == "infeasible"
        ]
        if family not in feasible and mine:
            chosen = min(
                mine, key=lambda c: (build_seconds(c, 1000) + c.variant.cost.predict_per_1000, c.compression != "none", c.id)
            )  # fmt: skip
            share, every = shares_of(race, chosen)[0], judged_rows(race, chosen)
            steps = ladder(chosen, share * race.profile.split.train, every)
            yield _trial(race, chosen, share, min(every, MIN_ROWS) if len(steps) > 1 else every)


def _priced(race: Race, scene: Scene) -> list[Trial]:
    """Return the next reference that the planned time still holds; any, where there is nothing but the baseline to choose."""
    missing = sorted(_missing(race, _references(race)), key=race.price)
    hopes = any(race.first(scene.arms[int(place)]).family != "baseline" for place in np.flatnonzero(scene.alive))
    return [trial for trial in missing if not hopes or race.price(trial) <= _room(race)][:1]


def _trial(race: Race, candidate: Candidate, fraction: float, rows: int) -> Trial:
    limit = None if rows >= race.profile.split.select else rows
    fidelity = Fidelity(fraction=fraction, seed=race.spec.seed, split="select", limit=limit)
    return Trial(candidate=candidate, purpose="rung", fidelity=fidelity, rung=0)


def _fail(race: Race) -> None:
    """Drop every path of an arm whose build failed, and every path whose own step did."""
    for arm in race.arms():
        for candidate in race.paths(arm):
            failure = race.seen.failed(candidate)
            if failure is not None:
                race.drop([candidate], "failed", failed(failure))


def _affordable(race: Race, scene: Scene) -> list[Option]:
    """Options that the planned time still holds."""
    room = _room(race)
    return [option for option in scene.options if option.seconds <= room]


def _room(race: Race) -> float:
    """Return what is left of the time for looking [s]."""
    return SHARE_OF_TIME * race.spec.budget.time - race.spent


def _beaten(race: Race, scene: Scene) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return who is proven worse than another arm by more than the zone (A,), both trained in full; looking often does not weaken it."""
    found = np.zeros(len(scene.arms), dtype=np.bool_)
    full = {}
    for look in scene.looks:
        whole = look.share >= 1.0 and len(look.rows) >= scene.judged[look.arm]
        if whole and look.seed == race.spec.seed and scene.alive[look.arm]:
            full[look.arm] = look
    if len(full) < 2:
        return found
    places = sorted(full)
    rows = np.unique(np.concatenate([full[place].rows for place in places]))
    table = np.full((len(places), rows.size), np.nan)
    for number, place in enumerate(places):
        table[number, np.searchsorted(rows, full[place].rows)] = full[place].values
    zone = race.zone
    if race.yardstick.exact:
        found[places] = eliminated(table, ALPHA, zone, arms=race.most_arms)
    else:
        lead = int(np.argmax(np.where(np.isfinite(table), table, 0.0).sum(axis=1)))
        found[places] = beaten_asymptotically(table[lead] - table, ALPHA / max(1, race.most_arms - 1), zone)
    return found


def _yardstick(race: Race, scene: Scene, state: State) -> Option | None:
    """Complete the best arm of the simplest family that was looked at, whatever is left of the time: it is the cheapest to build."""
    options = [option for option in scene.options if option.seed == race.spec.seed]
    place = simplest(race, scene, state)
    if place is None or scene.complete(place):
        return None
    return completing(place, options, scene.judged)


def simplest(race: Race, scene: Scene, state: State) -> int | None:
    """Return the arm of the simplest trained family with the best expected score, None when none is left."""
    real = [
        int(place) for place in np.flatnonzero(scene.alive)
        if race.first(scene.arms[int(place)]).family != "baseline" and scene.seen(int(place))
    ]  # fmt: skip
    return min(
        real,
        key=lambda place: (
            race.first(scene.arms[place]).variant.simplicity,
            -state.belief.mean[place],
            scene.arms[place],
        ),
        default=None,
    )


def _conclude(race: Race, scene: Scene, move: Move) -> None:
    """Note the state of every arm, and drop whoever goes no further with its reason."""
    state = move.state
    keep = {state.leader, simplest(race, scene, state)}
    for place, arm in enumerate(scene.arms):
        mine = scene.seen(place)
        if mine:
            race.reached[arm] = race.fidelity(
                arm, scene.shares[place], max(mine, key=lambda look: (look.share, len(look.rows)))
            )
            race.standing[arm] = (float(state.belief.mean[place]), float(1.0 - state.p_better[place]))
    race.alive = [
        arm for place, arm in enumerate(scene.arms)
        if (race.paths(arm) and scene.complete(place) and scene.alive[place])
        or (place in keep and arm in race.reached and race.paths(arm))
    ]  # fmt: skip
    if len(race.alive) < _LEAST_ARMS:
        race.alive += _company(race, scene, state)
    spec = race.spec.decision
    race.stop = said.stopped(
        move.rule,
        state.p_good,
        spec.indifference.quality,
        spec.confidence,
        race.preset.patience,
        left=bool(scene.options),
    )
    scale = _scale(race, scene, state)
    for place, arm in enumerate(scene.arms):
        if arm not in race.alive and race.paths(arm):
            _drop(race, scene, move, place, scale)


def _company(race: Race, scene: Scene, state: State) -> list[str]:
    """Return the best believed arm that was judged at all besides the one that is left, so that there is a runner-up."""
    order = sorted(range(len(scene.arms)), key=lambda place: (-state.belief.mean[place], scene.arms[place]))
    fit = [scene.arms[place] for place in order if race.paths(scene.arms[place]) and scene.arms[place] in race.reached]
    real = [arm for arm in fit if arm not in race.alive and race.first(arm).family != "baseline"]
    return real[: _LEAST_ARMS - len(race.alive)]


def _scale(race: Race, scene: Scene, state: State) -> tuple[float, float]:
    """Return factors on the chances of being better by more than the zone, and at all, so that their sums are the joint chances.

    Relatives are better or worse together: the sum of their chances says far more than the chance that any one of them is.
    """
    out = [place for place, arm in enumerate(scene.arms) if arm not in race.alive and scene.alive[place]]
    sums = float(state.p_better[out].sum()), float(state.p_ahead[out].sum())
    joint = 1.0 - state.p_good, 1.0 - state.p_best
    return tuple(min(1.0, whole / total) if total > 0 else 1.0 for whole, total in zip(joint, sums, strict=True))  # type: ignore[return-value]


def _drop(race: Race, scene: Scene, move: Move, place: int, scale: tuple[float, float]) -> None:
    state, arm, mine = move.state, scene.arms[place], scene.seen(place)
    proven = not scene.alive[place]
    chance = float(state.p_better[place])
    best = max(mine, key=lambda look: (look.share, len(look.rows)), default=None)
    if best is None:
        race.drop(
            race.paths(arm), "eliminated" if chance < ALPHA else "not_reached", said.unseen(chance, move.rule),
            p_best=scale[1] * float(state.p_ahead[place]), p_good=scale[0] * chance,
        )  # fmt: skip
        return
    trains, fraction = race.first(arm).variant.trains, race.reached[arm].fraction
    seen = said.Seen(fraction if trains else None, len(best.rows), float(best.values.mean()))
    if proven:
        what = said.proven(seen, ALPHA, exact=race.yardstick.exact)
        chances = (ALPHA / race.most_arms, ALPHA / race.most_arms)
    else:
        what = said.parked(
            seen, float(state.belief.mean[place]), float(np.sqrt(state.belief.variance[place])), chance, move.rule
        )
        chances = (scale[0] * chance, scale[1] * float(state.p_ahead[place]))
    race.drop(
        race.paths(arm), "eliminated", what,
        rung=_rung(scene.shares[place], best.share), fraction=fraction, p_good=chances[0], p_best=chances[1],
    )  # fmt: skip


def _rung(shares: tuple[float, ...], share: float) -> int:
    return min(range(len(shares)), key=lambda number: abs(shares[number] / shares[-1] - share))
