"""The ledger as the search sees it: which trials are done, what they scored, what failed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.trial import Failure, Fidelity, StepResult, Trial
from bakeoff.store.evidence import Evidence, StudyEvidence

_BUILD_CHAIN = frozenset({"build", "export", "compress"})
_RETRIED = frozenset({"interrupted", "disk"})


@dataclass(frozen=True)
class Outcomes:
    """Per-row outcomes of one prediction: row numbers, predicted and actual class indices, probabilities (n, k)."""

    indices: NDArray[np.int32]
    predicted: NDArray[np.int16]
    actual: NDArray[np.int16]
    probabilities: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.indices)

    def on(self, indices: NDArray[np.int32]) -> Outcomes:
        """Return the outcomes of the rows in ``indices`` only, in the order of row numbers."""
        order = np.argsort(self.indices, kind="stable")
        chosen = order[np.isin(self.indices[order], indices)]
        return Outcomes(self.indices[chosen], self.predicted[chosen], self.actual[chosen], self.probabilities[chosen])


def outcomes_of(row: Evidence) -> Outcomes:
    """Return the per-row outcomes that a prediction left."""
    return Outcomes(
        np.asarray(row.arrays["indices"], np.int32),
        np.asarray(row.arrays["predicted"], np.int16),
        np.asarray(row.arrays["actual"], np.int16),
        np.asarray(row.arrays["probabilities"], np.float32),
    )


@dataclass
class Seen:
    """An index over a study's evidence; built once per ``ask``."""

    evidence: StudyEvidence
    _predictions: dict[tuple[str, str], Evidence] = field(default_factory=dict)
    _rows: dict[str, list[StepResult]] = field(default_factory=dict)
    _arms: dict[str, list[StepResult]] = field(default_factory=dict)
    _judged: dict[str, list[tuple[Fidelity, str, Outcomes]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index every row by candidate, and build steps by arm, because an arm's candidates share them."""
        for row in self.evidence.results:
            result = row.result
            self._rows.setdefault(result.candidate, []).append(result)
            if result.kind in _BUILD_CHAIN:
                self._arms.setdefault(_arm(result.candidate), []).append(result)
            if result.kind == "predict" and result.status == "ok":
                self._predictions[result.candidate, _tag(result.fidelity)] = row
                looked = result.fidelity.split == "select" and not result.fidelity.probe and result.purpose != "final"
                if looked and "actual" in row.arrays:
                    self._judged.setdefault(_arm(result.candidate), []).append(
                        (result.fidelity, result.key, outcomes_of(row))
                    )

    def judged(self, arm: str) -> list[tuple[Fidelity, str, Outcomes]]:
        """Return every judgement of an arm on select rows: fidelity, key of the ledger's row, outcomes; any path stands for all."""
        return sorted(self._judged.get(arm, []), key=lambda item: item[1])

    def failed(self, candidate: Candidate) -> Failure | None:
        """Return why a path failed outside of the risk checks, if it did: a failure at one size is taken for all."""
        own = [result for result in self._rows.get(candidate.id, []) if result.kind != "risk"]
        shared = [result for result in self._arms.get(candidate.arm, []) if _on_path(result, candidate)]
        for result in (*own, *shared):
            if result.status == "failed" and result.failure is not None and result.failure.code not in _RETRIED:
                return result.failure
        return None

    def failure(self, trial: Trial) -> Failure | None:
        """Return why a trial failed, if it did; an interrupted or full-disk step is tried again and is no failure."""
        for result in self._concerning(trial):
            failed = result.failure
            if result.status == "failed" and failed is not None and failed.code not in _RETRIED:
                return failed
        return None

    def done(self, trial: Trial) -> bool:
        """Whether the ledger holds everything this trial would find, or a reason why it never will."""
        if self.failure(trial) is not None:
            return True
        own = self._rows.get(trial.candidate.id, [])
        if trial.purpose == "risk":
            had = {result.name for result in own if result.kind == "risk"}
            return all(f"risk:{name}" in had for name in trial.checks)
        same = [result for result in own if _tag(result.fidelity) == _tag(trial.fidelity) and result.status == "ok"]
        if trial.purpose == "probe":
            return any(result.kind == "time" for result in same)
        if trial.round is not None and not any(r.kind == "time" and r.round == trial.round for r in same):
            return False
        return (trial.round or 0) > 0 or any(result.kind == "predict" for result in same)

    def outcomes(self, candidate: Candidate, fidelity: Fidelity) -> Outcomes | None:
        """Return the per-row outcomes of a candidate at a fidelity, if it was predicted."""
        row = self._predictions.get((candidate.id, _tag(fidelity)))
        if row is None:
            return None
        return outcomes_of(row)

    def probed(self, candidate: Candidate) -> dict[str, Measurement]:
        """Return what the probe of this candidate measured, by name."""
        found: dict[str, Measurement] = {}
        for result in self._rows.get(candidate.id, []):
            if result.fidelity.probe and result.status == "ok":
                found.update({measurement.name: measurement for measurement in result.measurements})
        return found

    def _concerning(self, trial: Trial) -> list[StepResult]:
        if trial.purpose == "risk":
            return []
        tag = _tag(trial.fidelity)
        own = [result for result in self._rows.get(trial.candidate.id, []) if result.kind != "risk"]
        shared = [result for result in self._arms.get(trial.candidate.arm, []) if _on_path(result, trial.candidate)]
        return [result for result in own if _tag(result.fidelity) == tag] + [r for r in shared if _same_build(r, trial)]


def _on_path(result: StepResult, candidate: Candidate) -> bool:
    """Whether a build, export or compress step of the arm is one this candidate's path goes through."""
    _, _, compression, runtime = result.candidate.split(".", 3)
    if result.kind == "build":
        return True
    if result.kind == "export":
        return runtime == candidate.runtime
    return (compression, runtime) == (candidate.compression, candidate.runtime)


def _same_build(result: StepResult, trial: Trial) -> bool:
    """Whether a step used the model this trial would need, whichever rows it was going to predict."""
    ours, theirs = trial.fidelity, result.fidelity
    return (ours.fraction, ours.seed, ours.probe) == (theirs.fraction, theirs.seed, theirs.probe)


def _arm(candidate_id: str) -> str:
    return ".".join(candidate_id.split(".")[:2])


def _tag(fidelity: Fidelity) -> str:
    return fidelity.model_dump_json()
