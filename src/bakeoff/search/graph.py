"""The step graph of a study: what is built from what, what candidates share, what it takes, and what the ledger already has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from bakeoff.schema.base import Record
from bakeoff.schema.trial import Purpose, SplitName, StepKind, StepResult, Trial
from bakeoff.search.amounts import Embedded
from bakeoff.search.costs import CostModel
from bakeoff.search.factors import Seconds
from bakeoff.search.prefix import StepId, step_of, steps_of

State = Literal["done", "failed", "to_do"]


class GraphStep(Record):
    """One step; candidates whose paths begin alike share their first steps."""

    number: int = Field(description="Place in the graph, from 1.")
    after: int | None = Field(description="Number of the step whose output it uses; null for a build.")
    kind: StepKind
    name: str = Field(description="As in the ledger, e.g. 'export:onnx'.")
    subject: str = Field(description="The arm that is made, or the candidate that is measured.")
    purpose: Purpose
    fraction: float = Field(description="Share of the training rows; 0 of a probe.")
    seed: int
    split: SplitName | None = Field(description="Rows that are judged or timed; null where none are.")
    used_by: tuple[str, ...] = Field(description="Candidates whose path goes through it.")
    state: State
    seconds: Seconds = Field(description="Predicted, whether it is done already or not.")
    took: float | None = Field(None, description="Seconds it took, where the ledger has it.")

    @property
    def shared(self) -> bool:
        """Whether several candidates use it."""
        return len(self.used_by) > 1


def graph(trials: Iterable[Trial], model: CostModel) -> tuple[GraphStep, ...]:
    """Return the steps of the trials, each once, in the order in which they are first needed."""
    numbers: dict[StepId, int] = {}
    first: dict[StepId, tuple[Trial, int | None]] = {}
    users: dict[StepId, dict[str, None]] = {}
    for trial in trials:
        after: int | None = None
        for step in steps_of(trial):
            number = numbers.setdefault(step, len(numbers) + 1)
            first.setdefault(step, (trial, after))
            users.setdefault(step, {})[trial.candidate.id] = None
            after = number if step.makes else after
    had, embedded = _had(model.rows), Embedded()
    found = []
    for step, number in numbers.items():
        found.append(_step(number, step, first[step], tuple(users[step]), had.get(step), model, embedded))
        trial = first[step][0]
        model.amounts.note(trial.candidate, step.kind, trial.fidelity, embedded)
    return tuple(found)


def _step(
    number: int, step: StepId, first: tuple[Trial, int | None], users: tuple[str, ...], had: StepResult | None, model: CostModel,
    embedded: Embedded,
) -> GraphStep:  # fmt: skip
    trial, after = first
    state: State = "to_do" if step not in model.done or had is None else ("done" if had.status == "ok" else "failed")
    return GraphStep(
        number=number, after=after, kind=step.kind, name=step.name, subject=step.subject, purpose=trial.purpose,
        fraction=trial.fidelity.fraction, seed=trial.fidelity.seed, split=trial.fidelity.split if step.rows else None,
        used_by=users, state=state, seconds=model.step(trial, step, embedded), took=had.wall_seconds if had is not None else None,
    )  # fmt: skip


def _had(rows: Iterable[StepResult]) -> dict[StepId, StepResult]:
    """Return the row that did each step; a row that only notes for another trial what was known says no time."""
    had: dict[StepId, StepResult] = {}
    for row in rows:
        step = step_of(row)
        if step not in had or (row.wall_seconds > 0 and had[step].wall_seconds <= 0):
            had[step] = row
    return had
