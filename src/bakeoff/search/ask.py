"""Ask and tell: what to measure next, as a pure function of the specification and the ledger.

The walk, each stage asked for only when the one before is complete in the ledger:

1. **probe** every path with initial weights; what breaks a latency, memory or size limit is out before training.
2. **looks**: the planner trains and judges where a second is expected to gain most (``explore``), tunes the survivors, and stops when
   knowing more is not worth it. A family without any feasible path gets one look of the time that is left, for the price of the limit.
3. **ensembles** of the best arms.
4. **final**: the finalists' paths on the confirm rows, timed in interleaved rounds, and trained again with other seeds.
5. **risk** checks on what might be shipped.
"""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff import registry
from bakeoff.schema.base import Words
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Proposal, Trial
from bakeoff.search import finals, rungs
from bakeoff.search.explore import explore
from bakeoff.search.race import Race
from bakeoff.search.seen import Seen
from bakeoff.store.evidence import StudyEvidence

_FINISHED = Words(zh="所有决赛候选已在确认集上测完", en="every finalist was measured on the confirm rows")


def ask(spec: Spec, evidence: StudyEvidence, shortlist: Sequence[str] = (), *, second_price: float = 0.0) -> Proposal:
    """Return the next trials, the eliminations so far, and the finalists once there are any.

    Args:
        spec: the specification.
        evidence: what the ledger holds for the current data.
        shortlist: ids that might be shipped (from a decision on the same evidence); risk checks are asked for these.
        second_price: money one second of measuring costs: what knowing more is held against where answers have a price.

    """
    race = Race(spec, evidence, Seen(evidence), second_price)
    for stage in (rungs.probes, explore, rungs.ensembles, finals.confirm, finals.reseed):
        trials = _missing(race, stage(race))
        if trials:
            return _proposal(race, trials)
    return _proposal(race, _missing(race, _risks(race, shortlist)))


def _missing(race: Race, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    return tuple(trial for trial in trials if not race.seen.done(trial))


def _risks(race: Race, shortlist: Sequence[str]) -> list[Trial]:
    names = tuple(
        name for name, check in registry.plugins("risk").items()
        if race.spec.task in check.traits.tasks and not registry.missing(check.traits.needs)
    )  # fmt: skip
    return [
        Trial(candidate=trial.candidate, purpose="risk", fidelity=trial.fidelity, checks=names)
        for trial in finals.confirm(race)
        if trial.round == 0 and trial.candidate.id in shortlist and race.seen.failure(trial) is None
    ]


def _proposal(race: Race, trials: tuple[Trial, ...]) -> Proposal:
    return Proposal(
        trials=trials,
        eliminations=tuple(race.out.values()),
        finalists=tuple(candidate.id for candidate in race.finalists),
        stop_rule=None if trials else _finished(race),
        predicted_seconds=sum(race.price(trial) for trial in trials),
    )


def _finished(race: Race) -> Words:
    """Say which rule ended the looking, and that nothing planned is left."""
    if race.stop is None:
        return _FINISHED
    zh, en = race.stop.zh, race.stop.en
    return Words(zh=f"{zh}；{_FINISHED.zh}", en=f"{en}; {_FINISHED.en}")
