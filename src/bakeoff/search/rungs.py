"""Probes, then rungs of growing train fractions with paired elimination, then ensembles of who is left."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search.paired import Standing, Yardstick, standings
from bakeoff.search.presets import build_seconds, rung_rows
from bakeoff.search.race import Race, failed
from bakeoff.search.screen import screened
from bakeoff.search.seen import Outcomes
from bakeoff.tasks.base import cost_matrix

ALPHA = 0.05
"""An arm is out when its chance to come within the indifference zone of the leader is below this."""
_LEAST_ARMS = 3
_GAIN = 1.3
"""A rung must add at least this factor of training rows to be worth another build."""
_MEMBERS = 3
_SHARE_FOR_RUNGS = 0.6
"""Share of the planned time that rungs may use; the rest is the final's."""


def probes(race: Race) -> list[Trial]:
    """Return a probe of every path; conclude from those already done who is infeasible."""
    trials = []
    for candidate in race.singles:
        fidelity = Fidelity(fraction=0.0, seed=race.spec.seed, split="select", probe=True)
        trial = Trial(candidate=candidate, purpose="probe", fidelity=fidelity)
        trials.append(trial)
        failure = race.seen.failure(trial)
        if failure is not None:
            race.drop([candidate], "failed", failed(failure))
            continue
        verdict = screened(candidate, race.seen.probed(candidate), race.spec.requirements)
        if verdict is not None:
            race.out.setdefault(candidate.id, verdict)
    return _cheapest_first(race, trials)


def climb(race: Race) -> list[Trial]:
    """Return the trials of the first rung that is not complete; judge every rung that is."""
    race.alive = list(dict.fromkeys(candidate.arm for candidate in race.singles if candidate.id not in race.out))
    spent = 0.0
    for rung in range(len(race.preset.fractions)):
        trials = _rung(race, rung, spent)
        if any(not race.seen.done(trial) for trial in trials):
            return trials
        spent += sum(race.seconds(trial) for trial in trials)
        _judge(race, rung, trials)
    return []


def _rung(race: Race, rung: int, spent: float) -> list[Trial]:
    """One trial per arm that moves up; the cheapest first, as far as the planned time goes."""
    wanted = [trial for arm in race.alive if (trial := _step_up(race, arm, rung)) is not None]
    if rung == 0:
        return _cheapest_first(race, [*wanted, *_references(race)])
    room = _SHARE_FOR_RUNGS * race.spec.budget.time - spent
    trials = []
    for trial in _cheapest_first(race, wanted):
        room -= race.seconds(trial)
        if room >= 0:
            trials.append(trial)
    return trials


def _cheapest_first(race: Race, trials: Sequence[Trial]) -> list[Trial]:
    """Order trials so that a run cut short by its time limit has seen as many candidates as it could."""
    return sorted(trials, key=lambda trial: (race.seconds(trial), trial.candidate.id))


def _step_up(race: Race, arm: str, rung: int) -> Trial | None:
    """The arm's trial at this rung, at the largest fraction it can be built on in its slice of the time; None when that is no gain."""
    candidate = race.paths(arm)[0]
    rows, limit = rung_rows(candidate, race.spec, race.profile, rung)
    fidelity = Fidelity(fraction=1.0, seed=race.spec.seed, split="select", limit=limit)
    if candidate.variant.trains:
        fraction = _affordable(race, candidate, rows)
        before = race.reached.get(arm)
        if before is not None and fraction < _GAIN * before.fraction:
            return None
        fidelity = fidelity.model_copy(update={"fraction": fraction})
    if fidelity == race.reached.get(arm):
        return None
    return Trial(candidate=candidate, purpose="rung", fidelity=fidelity, rung=rung)


def _affordable(race: Race, candidate: Candidate, rows: int) -> float:
    train = race.profile.split.train
    slice_ = race.preset.slice * race.spec.budget.time
    cost = candidate.variant.cost
    if build_seconds(candidate, rows) <= slice_ or cost.build_per_1000 <= 0:
        return round(min(1.0, rows / train), 4)
    fit = max(1.0, (slice_ - cost.build_fixed) / cost.build_per_1000 * 1000)
    return max(0.01, math.floor(100 * min(1.0, fit / train)) / 100)


def _references(race: Race) -> list[Trial]:
    """Cheapest arm of every family that has no feasible path: evaluated once, so that the price of the limit is known."""
    feasible = {arm.split(".")[0] for arm in race.alive}
    trials = []
    for family in dict.fromkeys(candidate.family for candidate in race.singles):
        mine = [
            c for c in race.singles if c.family == family and c.id in race.out and race.out[c.id].kind == "infeasible"
        ]
        if family in feasible or not mine:
            continue
        candidate = min(
            mine,
            key=lambda c: (build_seconds(c, 1000) + c.variant.cost.predict_per_1000, c.compression != "none", c.id),
        )
        rows, limit = rung_rows(candidate, race.spec, race.profile, 0)
        fraction = _affordable(race, candidate, rows) if candidate.variant.trains else 1.0
        fidelity = Fidelity(fraction=fraction, seed=race.spec.seed, split="select", limit=limit)
        trials.append(Trial(candidate=candidate, purpose="rung", fidelity=fidelity, rung=0))
    return trials


def _judge(race: Race, rung: int, trials: Sequence[Trial]) -> None:
    """Drop what failed and what is clearly beaten; keep at most the preset's share, the best of every family first."""
    for trial in trials:
        failure = race.seen.failure(trial)
        arm = trial.candidate.arm
        if failure is not None:
            race.drop(race.paths(arm), "failed", failed(failure), rung=rung, fraction=trial.fidelity.fraction)
        elif arm in race.alive:
            race.reached[arm] = trial.fidelity
    race.alive = [arm for arm in race.alive if race.paths(arm) and arm in race.reached]
    found = compare(race, race.alive)
    for standing in found:
        race.standing[standing.arm] = (standing.score, standing.p_close)
    kept = _kept(race, found, last=rung == len(race.preset.fractions) - 1)
    for standing in found:
        if standing.arm not in kept:
            _drop_beaten(race, standing, rung)
    race.alive = [arm for arm in race.alive if arm in kept]


def compare(race: Race, arms: Sequence[str]) -> tuple[Standing, ...]:
    """Compare arms on the rows they share, each at the highest fidelity it reached."""
    outcomes: dict[str, Outcomes] = {}
    for arm in arms:
        seen = race.outcomes(arm)
        if seen is not None:
            outcomes[arm] = seen
    return standings(outcomes, _yardstick(race), race.spec.decision.indifference.quality, race.spec.seed)


def _yardstick(race: Race) -> Yardstick:
    """What the decision will maximise: worth where mistakes have prices of their own, else the quality metric."""
    costs = cost_matrix(race.spec.value, race.profile.classes)
    payoff = None
    if costs is not None:
        table = np.asarray(costs, dtype=np.float64)
        payoff = 1.0 - table / table.max()
    return Yardstick(race.spec.requirements.quality.metric, positive_class(race), payoff)


def positive_class(race: Race) -> int:
    """Index of the class counted as positive: the one named, else the rarest."""
    classes, counts = race.profile.classes, race.profile.class_counts
    named = race.spec.data.positive
    return (
        classes.index(named) if named in classes else min(range(len(classes)), key=lambda index: (counts[index], index))
    )


def _kept(race: Race, found: Sequence[Standing], *, last: bool) -> set[str]:
    near = [standing for standing in found if standing.p_close >= ALPHA]
    room = max(_LEAST_ARMS, math.ceil(race.preset.keep * len(found))) if not last else len(near)
    firsts = list({standing.arm.split(".")[0]: standing.arm for standing in reversed(near)}.values())
    order = [s.arm for s in near if s.arm in firsts] + [s.arm for s in near if s.arm not in firsts]
    return {*order[: max(room, len(firsts))], *yardstick(race, found)}


def yardstick(race: Race, found: Sequence[Standing]) -> list[str]:
    """Return the best arm of the simplest trained family: it always goes on, because its low cost may decide for it."""
    real = [standing for standing in found if not standing.arm.startswith("baseline.")]
    if not real:
        return []
    return [
        min(
            real, key=lambda standing: (race.paths(standing.arm)[0].variant.simplicity, -standing.score, standing.arm)
        ).arm
    ]


def _drop_beaten(race: Race, standing: Standing, rung: int) -> None:
    fraction = race.reached[standing.arm].fraction
    share = f"{100 * fraction:.0f} %"
    how = "p" if standing.p_close < ALPHA else "rank"
    reason = Words(
        zh=f"第 {rung + 1} 轮（训练数据的 {share}，{standing.rows} 行）得分 {standing.score:.3f}，优于领先者的概率 {standing.p_best:.2f}，"
        + ("进入无差异区的概率不足 5%" if how == "p" else "同族已有更好的一个，名额有限"),
        en=f"round {rung + 1} ({share} of the training rows, {standing.rows} rows judged): score {standing.score:.3f}, "
        f"P(better than the leader) {standing.p_best:.2f}, "
        + (
            "chance to come within the indifference zone below 5 %"
            if how == "p"
            else "a better one of its family went on"
        ),
    )
    race.drop(race.paths(standing.arm), "eliminated", reason, rung=rung, fraction=fraction, p_best=standing.p_best)


def ensembles(race: Race) -> list[Trial]:
    """Return a trial of every ensemble over the best arms that were trained; judge those that are done."""
    members = _members(race)
    trials = []
    for blank in (candidate for candidate in race.evidence.candidates if candidate.family == "ensemble"):
        if len(members) < 2:
            reason = Words(
                zh="不足两个可行的已训练候选可供组合", en="fewer than two feasible trained candidates to combine"
            )
            race.drop([blank], "not_reached", reason)
            continue
        fractions = {member.id: race.reached[member.arm].fraction for member in members}
        variant = blank.variant.model_copy(update={"params": {**blank.variant.params, "fractions": fractions}})
        candidate = blank.model_copy(update={"members": tuple(fractions), "variant": variant})
        fidelity = Fidelity(fraction=1.0, seed=race.spec.seed, split="select", limit=_common_limit(race, members))
        trial = Trial(candidate=candidate, purpose="rung", fidelity=fidelity, rung=len(race.preset.fractions) - 1)
        trials.append(trial)
        _join(race, trial)
    return trials


def _members(race: Race) -> list[Candidate]:
    ranked = sorted(race.alive, key=lambda arm: (-race.standing.get(arm, (0.0, 0.0))[0], arm))
    trained = [race.paths(arm)[0] for arm in ranked if arm in race.reached]
    return [c for c in trained if c.variant.trains and not c.variant.remote and c.family != "baseline"][:_MEMBERS]


def _common_limit(race: Race, members: Sequence[Candidate]) -> int | None:
    limits = [race.reached[member.arm].limit for member in members]
    return min((limit for limit in limits if limit is not None), default=None)


def _join(race: Race, trial: Trial) -> None:
    arm = trial.candidate.arm
    race.combined[arm] = trial.candidate
    failure = race.seen.failure(trial)
    if failure is not None:
        race.drop([trial.candidate], "failed", failed(failure))
    elif race.seen.done(trial):
        race.reached[arm] = trial.fidelity
        race.alive.append(arm)
