"""Probes of every path, ensembles of who is left, and the paired comparison of the final."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.search.paired import Standing, standings
from bakeoff.search.race import Race, failed
from bakeoff.search.screen import screened
from bakeoff.search.seen import Outcomes

ALPHA = 0.05
"""Chance to come within the indifference zone of the leader from which an arm may be in the final."""
_MEMBERS = 3


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


def _cheapest_first(race: Race, trials: Sequence[Trial]) -> list[Trial]:
    """Order trials so that a run cut short by its time limit has seen as many candidates as it could."""
    return sorted(trials, key=lambda trial: (race.seconds(trial), trial.candidate.id))


def compare(race: Race, arms: Sequence[str]) -> tuple[Standing, ...]:
    """Compare arms on the rows they share, each at the highest fidelity it reached."""
    outcomes: dict[str, Outcomes] = {}
    for arm in arms:
        seen = race.outcomes(arm)
        if seen is not None:
            outcomes[arm] = seen
    return standings(outcomes, race.yardstick, race.spec.decision.indifference.quality, race.spec.seed)


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


def ensembles(race: Race) -> list[Trial]:
    """Return a trial of every ensemble over the best arms that were trained; judge those that are done."""
    members = _members(race)
    trials = []
    for blank in (candidate for candidate in race.evidence.candidates if candidate.family == "ensemble"):
        if len(members) < 2:
            reason = Words(
                zh="不足两个完整训练过的候选可供组合", en="fewer than two complete trained candidates to combine"
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
