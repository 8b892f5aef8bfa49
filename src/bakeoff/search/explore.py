"""The planner on a ledger: which arm to look at next, how closely, and who goes no further.

A do-nothing baseline and one arm of every family that broke a limit are looked at first and once, so that the report can say what the
limit costs. Then the planner spends where a second is expected to gain most. When it stops, the leader and the best arm of the
simplest family are complete: trained on everything and judged on all rows, because low cost may decide for the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search.planner import Move, Option, Rules, State, completing, plan_move
from bakeoff.search.presets import build_seconds
from bakeoff.search.race import Race, failed
from bakeoff.search.scene import Scene, judged_rows, scene_of, shares_of
from bakeoff.search.sequences import beaten_asymptotically, eliminated
from bakeoff.search.tune import probe, propose_arms

ALPHA = 0.05
"""Chance that a truly best arm is ever dropped by proof; also the chance of being better below which an arm is no finalist."""
SHARE_OF_TIME = 0.6
"""Share of the planned time that looking may use; the rest is the final's."""
_MONTH = 30.44 * 86400


def explore(race: Race) -> list[Trial]:
    """Return the next look, or conclude the looking: who is left, who goes no further and why."""
    forced = _missing(race, [*_baselines(race), *_references(race)])
    if forced:
        return forced
    _fail(race)
    scene = scene_of(race)
    if not scene.alive.any():
        return []
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
    _conclude(race, scene, move)
    return []


def _tune(race: Race, scene: Scene, state: State) -> list[Trial]:
    """Return the probe of a new setting of a survivor when a look at it is expected to be worth its price."""
    race.made = propose_arms(race, scene, state)
    if not race.made:
        return []
    wider = scene_of(race)
    wider.alive[: len(scene.arms)] &= scene.alive
    fresh = {place for place, arm in enumerate(wider.arms) if arm in race.made}
    options = [option for option in _affordable(race, wider) if option.arm in fresh]
    move = plan_move(wider.field, wider.looks, options, rules_of(race), wider.alive, wider.judged, race.spent)
    made, race.made = race.made, {}
    if move.option is None:
        return []
    return [probe(race, made[wider.arms[move.option.arm]][0])]


def rules_of(race: Race) -> Rules:
    """Return when to stop: by money where answers have a price, by the indifference zone and the confidence in any case."""
    spec = race.spec
    worth = None
    if spec.value.priced:
        asked = spec.traffic.volume * spec.traffic.horizon
        worth = asked * (spec.value.per_correct + max(spec.value.errors.values(), default=0.0))
    return Rules(
        zone=spec.decision.indifference.quality,
        confidence=spec.decision.confidence,
        worth=worth,
        price=race.second_price,
        patience=race.preset.patience,
    )


def _missing(race: Race, trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if not race.seen.done(trial)]


def _baselines(race: Race) -> Iterator[Trial]:
    """The do-nothing baseline, complete: it costs next to nothing and everything is compared with it."""
    for arm in race.arms():
        candidate = race.first(arm)
        if candidate.family == "baseline" and race.paths(arm):
            yield _trial(race, race.paths(arm)[0], shares_of(race, candidate)[-1])


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
            yield _trial(race, chosen, shares_of(race, chosen)[0])


def _trial(race: Race, candidate: Candidate, fraction: float) -> Trial:
    rows = judged_rows(race, candidate)
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
    room = SHARE_OF_TIME * race.spec.budget.time - race.spent
    return [option for option in scene.options if option.seconds <= room]


def _beaten(race: Race, scene: Scene) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return who is proven worse than another arm by more than the zone (A,), both trained in full; looking often does not weaken it."""
    found = np.zeros(len(scene.arms), dtype=np.bool_)
    full = {}
    for look in scene.looks:
        if look.share >= 1.0 and look.seed == race.spec.seed and scene.alive[look.arm]:
            full[look.arm] = look
    if len(full) < 2:
        return found
    places = sorted(full)
    rows = np.unique(np.concatenate([full[place].rows for place in places]))
    table = np.full((len(places), rows.size), np.nan)
    for number, place in enumerate(places):
        table[number, np.searchsorted(rows, full[place].rows)] = full[place].values
    zone = race.spec.decision.indifference.quality
    if race.yardstick.exact:
        found[places] = eliminated(table, ALPHA, zone, arms=len(scene.arms))
    else:
        lead = int(np.argmax(np.where(np.isfinite(table), table, 0.0).sum(axis=1)))
        found[places] = beaten_asymptotically(table[lead] - table, ALPHA / max(1, len(scene.arms) - 1), zone)
    return found


def _yardstick(race: Race, scene: Scene, state: State) -> Option | None:
    """Complete the best arm of the simplest family that was looked at."""
    options = [option for option in _affordable(race, scene) if option.seed == race.spec.seed]
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
    race.stop = stop_words(move, race)
    for place, arm in enumerate(scene.arms):
        if arm not in race.alive and race.paths(arm):
            _drop(race, scene, state, place)


def _drop(race: Race, scene: Scene, state: State, place: int) -> None:
    arm, mine = scene.arms[place], scene.seen(place)
    proven = not scene.alive[place]
    chance = 0.0 if proven else float(state.p_better[place])
    best = max(mine, key=lambda look: (look.share, len(look.rows)), default=None)
    if best is None:
        what = _unseen(chance)
    else:
        fraction = best.share * scene.shares[place][-1]
        what = (_proven if proven else _parked)(
            fraction, len(best.rows), float(best.values.mean()), chance, state, place
        )
    kind = "eliminated" if best is not None or chance < ALPHA else "not_reached"
    rung = None if best is None else _rung(scene.shares[place], best.share)
    reached = None if best is None else round(best.share * scene.shares[place][-1], 4)
    race.drop(race.paths(arm), kind, what, rung=rung, fraction=reached, p_best=chance)


def _rung(shares: tuple[float, ...], share: float) -> int:
    return min(range(len(shares)), key=lambda number: abs(shares[number] / shares[-1] - share))


def _share(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _unseen(chance: float) -> Words:
    return Words(
        zh=f"未训练：从同类方案已有的结果推算，它比领先者好出无差异区的概率为 {chance:.2f}，看一眼所值不及其代价",
        en=f"not trained: judging by its relatives, its chance to beat the leader by more than the indifference zone is {chance:.2f}, "
        "and a look was not worth its price",
    )


def _proven(fraction: float, rows: int, score: float, chance: float, state: State, place: int) -> Words:
    del chance, state, place
    return Words(
        zh=f"用训练数据的 {_share(fraction)}、在 {rows} 行上得分 {score:.3f}；逐行配对的序贯检验（任意时刻有效，误淘汰率 ≤ {ALPHA:.0%}）"
        "证明它比另一方案差出无差异区",
        en=f"trained on {_share(fraction)} of the training rows, judged on {rows}: score {score:.3f}; worse than another by more than the "
        f"indifference zone, proven row by row at an error rate of {ALPHA:.0%} however often one looked",
    )


def _parked(fraction: float, rows: int, score: float, chance: float, state: State, place: int) -> Words:
    hoped = float(state.belief.mean[place])
    spread = float(np.sqrt(state.belief.variance[place]))
    return Words(
        zh=f"用训练数据的 {_share(fraction)}、在 {rows} 行上得分 {score:.3f}；推算用全部训练数据约 {hoped:.3f}（±{spread:.3f}），"
        f"比领先者好出无差异区的概率为 {chance:.2f}，再看一眼所值不及其代价",
        en=f"trained on {_share(fraction)} of the training rows, judged on {rows}: score {score:.3f}, about {hoped:.3f} (±{spread:.3f}) "
        f"expected on all; its chance to beat the leader by more than the indifference zone is {chance:.2f}, "
        "and another look was not worth its price",
    )


def stop_words(move: Move, race: Race) -> Words:
    """Say which rule stopped the looking."""
    state, zone = move.state, race.spec.decision.indifference.quality
    sure = f"{100 * state.p_good:.0f} %"
    if move.rule == "confident":
        return Words(
            zh=f"领先者有 {sure} 的把握不比任何其他方案差出无差异区（{zone:g}），达到要求的 {race.spec.decision.confidence:.0%}",
            en=f"the leader is within the indifference zone ({zone:g}) of the best with {sure} certainty; "
            f"{race.spec.decision.confidence:.0%} were asked for",
        )
    if move.rule == "priced":
        return Words(
            zh=f"再测一步的预期收益低于其价格（此时领先者够好的把握为 {sure}）",
            en=f"the next step costs more than it is expected to gain (certainty that the leader is good enough: {sure})",
        )
    if move.rule == "slow":
        return Words(
            zh=f"再测下去收益太小：按最划算的一步的速度，花掉全部逐一评测代价的 {race.preset.patience:.0%} "
            f"也换不来一个无差异区（此时领先者够好的把握为 {sure}）",
            en=f"looking further gains too little for its price: at the rate of the best next step, {race.preset.patience:.0%} of the price "
            f"of looking at everything would not gain one indifference zone (certainty that the leader is good enough: {sure})",
        )
    if move.rule == "worthless":
        return Words(
            zh=f"再测任何一步预期都改变不了什么（预期收益不足无差异区的 1%；此时领先者够好的把握为 {sure}）",
            en="no further step is expected to change the choice by more than a hundredth of the indifference zone "
            f"(certainty that the leader is good enough: {sure})",
        )
    return Words(
        zh=f"计划时间内能看的都看过了（此时领先者够好的把握为 {sure}）",
        en=f"everything the planned time holds was looked at (certainty that the leader is good enough: {sure})",
    )
