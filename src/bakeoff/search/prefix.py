"""Which steps a trial is made of, and which of them are the same step: identity by what is built, never by who asks.

Within one study an arm's name stands for its content, so names are enough here; the ledger's own keys are content addresses and
hold versions, data and host as well (``evaluation.steps``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from bakeoff import registry
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.errors import UserError
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.trial import Fidelity, StepKind, StepResult, Trial

MAKING = frozenset({"build", "export", "compress"})
_AGAIN = frozenset({"interrupted", "disk"})


class StepId(NamedTuple):
    """What makes a step what it is.

    Args:
        kind: of step.
        name: as the ledger has it, e.g. ``export:onnx``.
        subject: the arm, or the candidate where the runtime matters.
        model: train fraction, seed and probe of the model it works on or makes.
        rows: split, limit and round of what is judged or timed; empty for the others.

    """

    kind: StepKind
    name: str
    subject: str
    model: tuple[float, int, bool]
    rows: tuple[str, int | None, int | None] | None = None

    @property
    def makes(self) -> bool:
        """Whether it makes an artefact, in a process of its own."""
        return self.kind in MAKING


def steps_of(trial: Trial) -> tuple[StepId, ...]:
    """Return the steps of a trial in their order; the same as ``evaluation.steps.steps_of`` plans."""
    candidate, fidelity = trial.candidate, trial.fidelity
    model = _model(fidelity)
    made = tuple(StepId(_kind(name), name, candidate.arm, model) for name in making(candidate))
    if trial.purpose == "risk":
        return (*made, *(StepId("risk", f"risk:{name}", candidate.id, model) for name in trial.checks))
    load = StepId("load", "load", candidate.id, model)
    timed = StepId("time", "time", candidate.id, model, (fidelity.split, None, trial.round))
    predict = StepId("predict", "predict", candidate.id, model, (fidelity.split, fidelity.limit, None))
    if fidelity.probe:
        return (*made, load, timed)
    return (*made, load, predict) if trial.round is None else (*made, load, timed, predict)


def making(candidate: Candidate) -> tuple[str, ...]:
    """Return the names of the steps that make this candidate's artefact; a build alone where its plugins are unknown."""
    injected = os.environ.get(registry.INJECT)  # what else the registry's answers depend on
    return _making(candidate.family, candidate.compression, candidate.runtime, injected)


@cache
def _making(family_name: str, compression: str, runtime_name: str, injected: str | None) -> tuple[str, ...]:
    del injected
    names = ["build"]
    try:
        family: FamilyTraits = registry.plugin("models", family_name).traits
        wanted = registry.plugin("runtimes", runtime_name).traits.loads
        if compression != "none":
            wanted = registry.plugin("compression", compression).traits.consumes
    except UserError:
        return ("build",) if compression == "none" else ("build", f"compress:{compression}")
    if not set(family.formats) & set(wanted):
        names += [f"export:{form}" for form in family.exports if form in wanted][:1]
    if compression != "none":
        names.append(f"compress:{compression}")
    return tuple(names)


def done_steps(rows: Iterable[StepResult]) -> frozenset[StepId]:
    """Return the steps the ledger holds a result or a lasting failure of."""
    return frozenset(
        step_of(row) for row in rows
        if row.status == "ok" or (row.failure is not None and row.failure.code not in _AGAIN)
    )  # fmt: skip


def step_of(row: StepResult) -> StepId:
    """Return which step a row of the ledger is."""
    fidelity, model = row.fidelity, _model(row.fidelity)
    if row.kind in MAKING:
        return StepId(row.kind, row.name, ".".join(row.candidate.split(".", 2)[:2]), model)
    rows: tuple[str, int | None, int | None] | None = None
    if row.kind == "time":
        rows = (fidelity.split, None, row.round)
    elif row.kind == "predict":
        rows = (fidelity.split, fidelity.limit, None)
    return StepId(row.kind, row.name, row.candidate, model, rows)


def _model(fidelity: Fidelity) -> tuple[float, int, bool]:
    return fidelity.fraction, fidelity.seed, fidelity.probe


def _kind(name: str) -> StepKind:
    if name == "build":
        return "build"
    return "export" if name.startswith("export") else "compress"
