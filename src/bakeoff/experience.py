"""What finished runs teach a machine about how long steps take, and what a new study starts from."""

from __future__ import annotations

from pathlib import Path

from bakeoff.assets.cache import root
from bakeoff.schema.costs import CostBook
from bakeoff.schema.decision import Decision
from bakeoff.schema.spec import Spec
from bakeoff.search.costs import CostModel
from bakeoff.search.plan import exhaustive_computing
from bakeoff.store import cost_book
from bakeoff.store.archive import Archive
from bakeoff.store.evidence import StudyEvidence


def known(spec: Spec) -> CostBook:
    """Return this machine's cost book; an empty one where nothing was learnt yet or nothing is to be kept."""
    return cost_book.read(_place(), _machine(spec)) or CostBook()


def begin(archive: Archive, spec: Spec) -> None:
    """Put the machine's cost book into a new study; one that has been begun keeps its own."""
    if archive.costs() is None:
        archive.begin_costs(known(spec))


def learn(archive: Archive, spec: Spec, rows_before: int, seconds: float | None) -> None:
    """Take what a finished run showed into the machine's cost book; a run that measured nothing new teaches nothing.

    Args:
        archive: the study.
        spec: its specification.
        rows_before: rows the ledger held when the run began.
        seconds: what the run took in all, None when that says nothing about what is around its steps.

    """
    evidence = archive.evidence()
    new = [row.result for row in evidence.results[rows_before:]]
    if not new:
        return
    model = CostModel.of_study(evidence)
    around = None
    if seconds is not None and rows_before == 0:
        around = seconds - sum(row.wall_seconds for row in new) - sum(map(sum, model.paused.values()))
        around = max(0.0, around)
    cost_book.write(_place(), _machine(spec), model.learnt(around))


def told(decision: Decision, evidence: StudyEvidence) -> Decision:
    """Add to a decision how well the time of its run had been foreseen, and what evaluating everything would have taken."""
    model = CostModel.of_study(evidence)
    error = model.error()
    if error is None:
        return decision
    more = {"cost_error": error, "exhaustive_seconds": exhaustive_computing(evidence, model)}
    return decision.model_copy(update={"run": decision.run.model_copy(update=more)})


def _place() -> Path | None:
    return cost_book.place(root().parent)


def _machine(spec: Spec) -> str:
    from bakeoff.evaluation.environment import host, machine_key

    return machine_key(host(spec.measuring.threads))
