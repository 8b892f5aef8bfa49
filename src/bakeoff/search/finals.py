"""The final: finalists on the confirm rows, timed in interleaved rounds, and trained again with other seeds."""

from __future__ import annotations

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.trial import Trial
from bakeoff.search.presets import build_seconds, fitting_rows
from bakeoff.search.race import Race, failed
from bakeoff.search.rungs import ALPHA, compare, yardstick

_LEAST_ARMS = 2
_SHARE_OF_SLICE = 0.6
"""Share of a trial's slice of the time that judging the confirm rows may take; timing needs the rest."""


def confirm(race: Race) -> list[Trial]:
    """Return every finalist's trials, round by round, so that drift of the machine hits all of them alike."""
    race.finalists = [candidate for arm in _arms(race) for candidate in race.paths(arm)[: race.preset.paths]]
    trials = [_trial(race, candidate, number) for number in range(race.preset.rounds) for candidate in race.finalists]
    for trial in trials:
        failure = race.seen.failure(trial)
        if failure is not None:
            race.drop([trial.candidate], "failed", failed(failure))
    return [trial for trial in trials if trial.candidate.id not in race.out]


def _arms(race: Race) -> list[str]:
    """Arms of the final: not clearly beaten, best first; at least two, so that there is a runner-up."""
    found = compare(race, [arm for arm in race.alive if race.paths(arm)])
    near = [standing.arm for standing in found if standing.p_close >= ALPHA]
    ranked = near + [standing.arm for standing in found if standing.arm not in near]
    chosen = ranked[: max(_LEAST_ARMS, min(len(near), race.preset.arms))]
    chosen += [arm for arm in yardstick(race, found) if arm not in chosen]
    for standing in found:
        if standing.arm not in chosen:
            reason = Words(
                zh=f"选择集上得分 {standing.score:.3f}，未进入决赛的前 {len(chosen)} 名",
                en=f"scored {standing.score:.3f} on the select rows and did not make the final's {len(chosen)} arms",
            )
            fraction = race.reached[standing.arm].fraction
            race.drop(
                race.paths(standing.arm), "eliminated", reason,
                rung=len(race.preset.fractions) - 1, fraction=fraction, p_best=standing.p_best,
            )  # fmt: skip
    return chosen


def _trial(race: Race, candidate: Candidate, number: int) -> Trial:
    fidelity = race.reached[candidate.arm]
    rows = race.profile.split.confirm
    fit = fitting_rows(candidate, rows, _SHARE_OF_SLICE * race.preset.slice * race.spec.budget.time)
    judged = fidelity.model_copy(update={"split": "confirm", "limit": None if fit >= rows else fit})
    return Trial(candidate=candidate, purpose="final", fidelity=judged, round=number)


def reseed(race: Race) -> list[Trial]:
    """Return trainings of every finalist arm with other seeds, judged on the select rows: the seed variance."""
    trials = []
    for arm in dict.fromkeys(candidate.arm for candidate in race.finalists):
        paths = race.paths(arm)
        if not paths or not paths[0].variant.trains or paths[0].family in {"ensemble", "baseline"}:
            continue
        fidelity = race.reached[arm]
        rows = fidelity.fraction * race.profile.split.train
        if build_seconds(paths[0], rows) > race.preset.slice * race.spec.budget.time / 2:
            continue  # one training is all the budget allows; the decision widens its interval instead
        for number in range(1, race.preset.seeds):
            again = fidelity.model_copy(update={"seed": race.spec.seed + number})
            trials.append(Trial(candidate=paths[0], purpose="final", fidelity=again))
    return trials
