"""What a run would do and take, before anything runs: predicted from priors, this machine's past and the ledger, and labelled so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from statistics import geometric_mean

from pydantic import Field

from bakeoff.schema.base import Record, Words
from bakeoff.schema.candidate import Candidate, Unavailable
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Fidelity, Purpose, Trial
from bakeoff.search.amounts import Embedded
from bakeoff.search.costs import CostModel
from bakeoff.search.factors import NOTHING, Seconds
from bakeoff.search.graph import GraphStep, graph
from bakeoff.search.imagined import Imagination, Imagined
from bakeoff.search.prefix import steps_of
from bakeoff.search.presets import preset
from bakeoff.search.race import Race
from bakeoff.search.scene import scene_of
from bakeoff.search.seen import Seen
from bakeoff.store.evidence import StudyEvidence

_TIMED = 300
_LUCKS = (1, 2, 3)
"""Imagined runs: enough to see how much the way of a run depends on what it finds, few enough to plan in seconds."""
_SLOW_ASK = 150
_LUCK_MATTERS = 1.3
"""The most and the least of three runs are widened by this much to stand for nine in ten."""


class PlannedCandidate(Record):
    """One candidate with the predicted seconds of its stages, each as if nothing else had been done."""

    id: str
    label: Words
    probe_seconds: float
    first_rung_seconds: float = Field(description="Of its first look: the smallest share, the fewest rows judged.")
    full_seconds: float = Field(description="Building on the whole train split and judging every select row.")
    simplicity: int


class Spending(Record):
    """A run of trials of one kind, in the order in which they would be done."""

    purpose: Purpose
    trials: int
    candidates: tuple[str, ...]
    fraction: float = Field(description="Largest share of the training rows among them.")
    seconds: Seconds


class InLedger(Record):
    """What an earlier run of this study left, which is not paid for again."""

    steps: int
    seconds: float = Field(description="What those steps took.")


class Plan(Record):
    """What would run. All seconds are predicted; money is what paid endpoints would charge.

    ``steps`` is the graph of probing every candidate and of evaluating every one in full; ``spending`` is the order of a run that
    searches, imagined with middling luck. ``expected`` is what ``spending`` and ``around`` add up to, ended by the deadline.
    """

    study: str
    task: str
    preset: str
    candidates: tuple[PlannedCandidate, ...]
    unavailable: tuple[Unavailable, ...]
    fractions: tuple[float, ...]
    steps: tuple[GraphStep, ...] = ()
    spending: tuple[Spending, ...] = ()
    stops_by: Words = Field(Words(zh="", en=""), description="The rule that would end the run.")
    ledger: InLedger = InLedger(steps=0, seconds=0.0)
    around: Seconds = Field(
        NOTHING, description="Outside of its trials: reading the data, deciding, writing the report."
    )
    expected: Seconds = NOTHING
    exhaustive: Seconds = Field(
        NOTHING, description="Of training every listed candidate in full and judging it once, and nothing else."
    )
    learnt_from: int = Field(0, description="Earlier studies on this machine that the predictions draw on.")
    expected_computing: float = Field(0.0, description="Processor seconds of its steps, over all cores.")
    expected_seconds: float
    most_seconds: float
    budget_seconds: float
    money: float
    currency: str
    profile: Profile


def plan(evidence: StudyEvidence, *, second_price: float = 0.0) -> Plan:
    """Return the plan of a run that goes on from ``evidence``, or begins where it holds no results.

    Args:
        evidence: the study as its ledger stands.
        second_price: money one second of measuring costs, as ``ask`` takes it.

    """
    spec, profile, candidates = evidence.spec, evidence.profile, evidence.candidates
    model = CostModel.of_study(evidence)
    runs = imagined(evidence, model, second_price)
    middle = sorted(runs, key=lambda run: Seconds.total(seconds for _, seconds in run.trials).mean)[len(runs) // 2]
    most = 1.5 * spec.budget.time
    expected = _expected(middle, runs, model, most)
    first = _first_looks(evidence)
    return Plan(
        study=spec.name, task=spec.task, preset=spec.preset, unavailable=evidence.unavailable, profile=profile,
        candidates=tuple(_planned(candidate, spec, first.get(candidate.arm), model) for candidate in candidates), fractions=preset(spec).fractions,
        steps=graph(everything(spec, candidates), model), spending=_spending(middle), stops_by=middle.stop, ledger=_ledger(evidence),
        around=model.around, expected=expected, exhaustive=_exhaustive(evidence, model),
        learnt_from=evidence.costs.studies if evidence.costs else 0,
        expected_computing=geometric_mean([max(run.computing, 1e-3) for run in runs]),
        expected_seconds=expected.mean, most_seconds=most, budget_seconds=spec.budget.time,
        money=_money(spec, candidates), currency=spec.value.currency,
    )  # fmt: skip


def imagined(evidence: StudyEvidence, model: CostModel, second_price: float) -> list[Imagined]:
    """Return imagined runs; one is enough where the ledger says that nothing is left to do, or where asking takes long."""
    runs = [Imagination(evidence, model, _LUCKS[0], second_price).run()]
    if runs[0].trials and len(evidence.candidates) <= _SLOW_ASK:
        runs += [Imagination(evidence, model, luck, second_price).run() for luck in _LUCKS[1:]]
    return runs


def _expected(middle: Imagined, runs: Sequence[Imagined], model: CostModel, most: float) -> Seconds:
    """Return what the middling imagined run takes, its range from how runs differ and from what is not known of steps.

    Nothing takes longer than ``most`` seconds: the deadline ends it.
    """
    totals = [Seconds.total([*(seconds for _, seconds in run.trials), model.around]) for run in runs]
    mean = Seconds.total([*(seconds for _, seconds in middle.trials), model.around]).mean
    spread = _LUCK_MATTERS if len(totals) > 1 else 1.0
    low, high = min(total.low for total in totals) / spread, max(total.high for total in totals) * spread
    return Seconds(mean=min(mean, most), low=min(low, most), high=min(high, most))


def _spending(run: Imagined) -> tuple[Spending, ...]:
    """Return the order of spending: stretches of trials of one stage."""
    return tuple(
        Spending(
            purpose=purpose, trials=len(stretch), candidates=tuple(dict.fromkeys(trial.candidate.id for trial, _ in stretch)),
            fraction=max(trial.fidelity.fraction for trial, _ in stretch), seconds=Seconds.total(seconds for _, seconds in stretch),
        )
        for purpose, found in groupby(_staged(run), key=itemgetter(0))
        for stretch in [[(trial, seconds) for _, trial, seconds in found]]
    )  # fmt: skip


def _staged(run: Imagined) -> Iterator[tuple[Purpose, Trial, Seconds]]:
    """Yield trials with their stage: what is probed once the search has begun, because it was thought of then, is a part of it."""
    searching = False
    for trial, seconds in run.trials:
        searching = searching or trial.purpose == "rung"
        yield "rung" if searching and trial.purpose == "probe" else trial.purpose, trial, seconds


def everything(spec: Spec, candidates: Sequence[Candidate]) -> list[Trial]:
    """Return the trials of probing every path, and of building each on every row and judging it on all select rows."""
    return [*_probes(spec, candidates), *_whole(spec, candidates)]


def exhaustive_computing(evidence: StudyEvidence, model: CostModel) -> float:
    """Return the processor seconds of training every listed candidate in full and judging it once, each shared step once."""
    embedded, seen, total = Embedded(), set(), 0.0
    for trial in _whole(evidence.spec, _listed(evidence.candidates)):
        for step in steps_of(trial):
            if step not in seen:
                seen.add(step)
                total += model.computing(trial, step, embedded).mean
                model.amounts.note(trial.candidate, step.kind, trial.fidelity, embedded)
    return total


def _exhaustive(evidence: StudyEvidence, model: CostModel) -> Seconds:
    steps = graph(_whole(evidence.spec, _listed(evidence.candidates)), model)
    return Seconds.total(step.seconds for step in steps)


def _listed(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the catalogue's candidates, without those that the search made up: tuned settings and ensembles."""
    return [one for one in candidates if one.family != "ensemble" and one.variant.base is None]


def _probes(spec: Spec, candidates: Sequence[Candidate]) -> list[Trial]:
    return [_probe(spec, one) for one in candidates if one.family != "ensemble"]


def _probe(spec: Spec, candidate: Candidate) -> Trial:
    return Trial(candidate=candidate, purpose="probe", fidelity=Fidelity(fraction=0.0, seed=spec.seed, probe=True))


def _whole(spec: Spec, candidates: Sequence[Candidate]) -> list[Trial]:
    fidelity = Fidelity(fraction=1.0, seed=spec.seed)
    return [Trial(candidate=one, purpose="rung", fidelity=fidelity) for one in candidates]


def _ledger(evidence: StudyEvidence) -> InLedger:
    rows = [row.result for row in evidence.results if row.result.wall_seconds > 0]
    return InLedger(steps=len(rows), seconds=sum(row.wall_seconds for row in rows))


def _first_looks(evidence: StudyEvidence) -> dict[str, Fidelity]:
    """Return how closely each arm would be looked at first, by arm, as if nothing had been done."""
    blank = replace(evidence, results=())
    scene = scene_of(Race(blank.spec, blank, Seen(blank)))
    found: dict[str, Fidelity] = {}
    for option in scene.options:
        found.setdefault(scene.arms[option.arm], scene.trials[option].fidelity)
    return found


def _planned(candidate: Candidate, spec: Spec, look: Fidelity | None, model: CostModel) -> PlannedCandidate:
    full = Fidelity(fraction=1.0, seed=spec.seed)
    first, whole = (Trial(candidate=candidate, purpose="rung", fidelity=found) for found in (look or full, full))
    return PlannedCandidate(
        id=candidate.id, label=candidate.label, simplicity=candidate.variant.simplicity,
        probe_seconds=model.alone(_probe(spec, candidate)).mean if candidate.family != "ensemble" else 0.0,
        first_rung_seconds=model.alone(first).mean, full_seconds=model.alone(whole).mean,
    )  # fmt: skip


def _money(spec: Spec, candidates: tuple[Candidate, ...]) -> float:
    """Tokens of paid endpoints: judged rows times a typical prompt of 300 tokens in and 2 out."""
    total = 0.0
    rows = _TIMED + 2 * 400
    for endpoint in spec.candidates.endpoints:
        if any(endpoint.name in candidate.variant.name for candidate in candidates):
            total += rows * (300 * (endpoint.input_price or 0.0) + 2 * (endpoint.output_price or 0.0)) / 1e6
    return total
