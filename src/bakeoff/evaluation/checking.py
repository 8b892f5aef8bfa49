"""Runs risk checks on a built candidate, all of them in one process that has it loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bakeoff import registry
from bakeoff.data.frozen import Frozen, load_frozen
from bakeoff.data.transforms.rule import Classifier
from bakeoff.evaluation.job import Job, Outcome, StepPlan, read_arrays
from bakeoff.evaluation.recorder import Recorder
from bakeoff.risk.base import RiskContext
from bakeoff.store.artifacts import read_artifact


def check(job: Job, recorder: Recorder) -> None:
    """Run every check; one that fails does not keep the others from running."""
    prepared: list[_Prepared] = []

    def ready() -> _Prepared:
        if not prepared:
            prepared.append(_Prepared(job))
        return prepared[0]

    for plan in job.steps:
        recorder.run(plan, lambda plan=plan: _run(ready(), plan))  # type: ignore[misc]


def _run(prepared: _Prepared, plan: StepPlan) -> Outcome:
    plugin = registry.plugin("risk", str(plan.detail["check"]))
    context = prepared.context(loaded=plan.detail.get("scope") != "data")
    return Outcome(findings=tuple(plugin.run(context)))


class _Prepared:
    """What every check gets to see; the candidate is loaded when the first check needs it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.frozen: Frozen = load_frozen(job.frozen)
        self.directory = Path(str(job.steps[0].detail["artifact"]))
        self.artifact = read_artifact(self.directory)
        self._classifier: Classifier | None = None

    def classifier(self) -> Classifier:
        """Return the loaded candidate."""
        if self._classifier is None:
            runtime = registry.plugin("runtimes", self.job.trial.candidate.runtime)
            self._classifier = Classifier(runtime.load(self.artifact, self.directory, self.job.threads), self.artifact)
        return self._classifier

    def context(self, *, loaded: bool) -> RiskContext:
        """Return the context of one check; checks of the data alone get no loaded candidate."""
        job, frozen, fidelity = self.job, self.frozen, self.job.trial.fidelity
        indices, probabilities = self._held_out()
        group, groups = job.spec.data.split.group, frozen.group_of(indices)
        return RiskContext(
            spec=job.spec, profile=frozen.profile, candidate=job.trial.candidate, artifact=self.artifact, directory=self.directory,
            train=frozen.examples("train", fidelity.fraction), held_out=frozen.take(indices), held_out_probabilities=probabilities,
            classes=frozen.classes, seed=job.spec.seed, classifier=self.classifier() if loaded else None, seed_scores=job.seed_scores,
            groups={group: groups} if group is not None and groups is not None else None,
        )  # fmt: skip

    def _held_out(self) -> tuple[Any, Any]:
        """Return confirm rows and probabilities: what was measured on them, or, where nothing was, predicted now."""
        found = read_arrays(Path(self.job.arrays)) if self.job.arrays else {}
        if "probabilities" in found:
            order = np.argsort(found["indices"], kind="stable")
            return found["indices"][order], found["probabilities"][order].astype(np.float64)
        indices = self.frozen.indices("confirm", limit=self.job.trial.fidelity.limit)
        return indices, self.classifier().predict_proba(self.frozen.take(indices).rows)
