"""The ledger as the decision reads it: per candidate the best evidence there is, in an order that no shuffling changes.

For each candidate: its final outcomes on *confirm*, else those on *select* at the largest share of the training rows; timing of
interleaved rounds, else of a rung, else of the probe; memory and size of the latest stage; costs of the build chain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.artifact import Artifact
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.trial import Elimination, Environment, Fidelity, StepResult
from bakeoff.store.evidence import Evidence, StudyEvidence

_NO_FAILURE = frozenset({"interrupted", "disk"})  # tried again by the next run


@dataclass(frozen=True)
class Outcomes:
    """Per-row outcomes sorted by row number: ``indices`` (n,), class indices, probabilities (n, k) or None."""

    fidelity: Fidelity
    indices: NDArray[np.int64]
    predicted: NDArray[np.int64]
    actual: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None

    def on(self, rows: NDArray[np.int64]) -> Outcomes:
        """Return the outcomes of those ``rows`` that are among ours."""
        keep = np.isin(self.indices, rows)
        table = None if self.probabilities is None else self.probabilities[keep]
        return Outcomes(self.fidelity, self.indices[keep], self.predicted[keep], self.actual[keep], table)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.indices)


@dataclass(frozen=True)
class Timing:
    """Latencies [s] and processor seconds per request of one round; ``noisy`` when the machine was busy with other work."""

    latency: NDArray[np.float64]
    cpu: NDArray[np.float64] | None
    noisy: bool


@dataclass
class View:
    """Everything the decision needs of one candidate."""

    candidate: Candidate
    judged: Outcomes | None = None
    final: bool = False
    stage: str | None = None
    selects: list[Outcomes] = field(default_factory=list)
    rounds: list[Timing] = field(default_factory=list)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    artifact: Artifact | None = None
    train_seconds: float | None = None
    threads: int | None = None
    isa: tuple[str, ...] = ()
    failure: StepResult | None = None
    elimination: Elimination | None = None

    @property
    def id(self) -> str:
        """The candidate's id."""
        return self.candidate.id

    @property
    def partial(self) -> bool:
        """Whether it was judged before the final and after training on part of the rows only: the rest may still raise its score."""
        seen = self.judged
        return seen is not None and not self.final and self.candidate.variant.trains and seen.fidelity.fraction < 1.0

    @property
    def noisy(self) -> bool:
        """Whether the timing was taken on a busy machine."""
        return any(timing.noisy for timing in self.rounds)

    @property
    def latency(self) -> NDArray[np.float64]:
        """Latencies of all rounds together [s]."""
        return np.concatenate([timing.latency for timing in self.rounds]) if self.rounds else np.zeros(0)


def views(evidence: StudyEvidence) -> list[View]:
    """Return one view per candidate, sorted by id."""
    rows = sorted(evidence.results, key=lambda row: row.result.key)
    by_candidate: dict[str, list[Evidence]] = defaultdict(list)
    by_arm: dict[str, list[Evidence]] = defaultdict(list)
    for row in rows:
        by_candidate[row.result.candidate].append(row)
        by_arm[arm_of(row.result.candidate)].append(row)
    keys = {row.result.key: row for row in rows}
    out = {found.candidate: found for found in evidence.eliminations}
    found = []
    for candidate in sorted(evidence.candidates, key=lambda item: item.id):
        view = _view(candidate, by_candidate[candidate.id], by_arm[candidate.arm], keys, evidence)
        view.elimination = out.get(candidate.id)
        found.append(view)
    return found


def arm_of(candidate_id: str) -> str:
    """Return the first two names of an id: what is trained."""
    return ".".join(candidate_id.split(".")[:2])


def outcomes_of(row: Evidence) -> Outcomes:
    """Return a predict row's arrays sorted by row number."""
    indices = np.asarray(row.arrays["indices"], dtype=np.int64)
    order = np.argsort(indices, kind="stable")
    table = row.arrays.get("probabilities")
    return Outcomes(
        row.result.fidelity,
        indices[order],
        np.asarray(row.arrays["predicted"], dtype=np.int64)[order],
        np.asarray(row.arrays["actual"], dtype=np.int64)[order],
        None if table is None or table.size == 0 else np.asarray(table, dtype=np.float64)[order],
    )


def risk_findings(evidence: StudyEvidence, candidate: str | None) -> tuple[Finding, ...]:
    """Return what risk checks saw on this candidate and on the data, once per check and title, gravest first."""
    rank = {"high": 0, "medium": 1, "low": 2}
    found: dict[tuple[str, str], Finding] = {}
    for row in sorted(evidence.results, key=lambda row: row.result.key):
        for finding in row.result.findings:
            if row.result.status == "ok" and finding.candidate in {None, candidate}:
                found[finding.check, finding.title.en] = finding
    return tuple(
        sorted(found.values(), key=lambda item: (item.status != "fail", rank[item.level], item.check, item.title.en))
    )


def _view(
    candidate: Candidate,
    own: list[Evidence],
    arm: list[Evidence],
    keys: Mapping[str, Evidence],
    evidence: StudyEvidence,
) -> View:
    view, main = View(candidate), evidence.spec.seed
    good = [row for row in own if row.result.status == "ok"]
    predicted = [
        row for row in good if row.result.kind == "predict" and not row.result.fidelity.probe and "actual" in row.arrays
    ]
    view.selects = [outcomes_of(row) for row in predicted if row.result.fidelity.split == "select"]
    judged = _judged([row for row in predicted if row.result.fidelity.seed == main] or predicted)
    if judged is not None:
        view.judged, view.final = outcomes_of(judged), judged.result.fidelity.split == "confirm"
    timed = _timed([row for row in good if row.result.kind == "time"])
    view.rounds = [_timing(row) for row in timed if "latency" in row.arrays and row.arrays["latency"].size]
    here = _environment(timed, evidence.environments)
    view.threads, view.isa = (None, ()) if here is None else (here.threads, here.isa)
    view.measurements = _measurements(good, judged)
    view.artifact = _artifact([row for row in (judged, *reversed(timed), *good) if row is not None], arm, keys)
    view.train_seconds = _train_seconds(judged, arm, keys)
    view.stage = _stage(view, good, judged)
    view.failure = _failure(own, arm, candidate)
    return view


def _judged(predicted: list[Evidence]) -> Evidence | None:
    """The final outcomes on confirm, else those on select with the most training rows, then the most rows judged."""
    return max(
        predicted,
        key=lambda row: (
            row.result.fidelity.split == "confirm", row.result.fidelity.fraction, row.arrays["actual"].size, row.result.key
        ),
        default=None,
    )  # fmt: skip


def _timed(rows: list[Evidence]) -> list[Evidence]:
    """Timing rows of the best stage; of repeated rounds the quiet one, and quiet rounds alone when there are two or more."""
    for chosen in (
        [row for row in rows if row.result.round is not None and not row.result.fidelity.probe],
        [row for row in rows if not row.result.fidelity.probe],
        rows,
    ):
        if chosen:
            break
    best: dict[int | None, Evidence] = {}
    for row in chosen:
        number = row.result.round
        if number not in best or (_noisy(best[number]), -_size(best[number])) > (_noisy(row), -_size(row)):
            best[number] = row
    kept = [best[number] for number in sorted(best, key=lambda item: -1 if item is None else item)]
    quiet = [row for row in kept if not _noisy(row)]
    return quiet if len(quiet) >= 2 else kept


def _size(row: Evidence) -> int:
    found = row.arrays.get("latency")
    return 0 if found is None else int(found.size)


def _noisy(row: Evidence) -> bool:
    return any(
        found.validity == "noisy"
        for found in row.result.measurements
        if found.name.startswith(("latency", "throughput"))
    )


def _timing(row: Evidence) -> Timing:
    cpu = row.arrays.get("cpu")
    seconds = None if cpu is None or cpu.size == 0 else np.asarray(cpu, dtype=np.float64)
    return Timing(np.asarray(row.arrays["latency"], dtype=np.float64), seconds, _noisy(row))


def _environment(timed: Iterable[Evidence], environments: Mapping[str, Environment]) -> Environment | None:
    for row in timed:
        if row.result.environment in environments:
            return environments[row.result.environment]
    return None


def _measurements(good: list[Evidence], judged: Evidence | None) -> dict[str, Measurement]:
    """Measurements by name: later stages first, then what was measured on a quiet machine; of memory the largest."""
    order = {"probe": 0, "rung": 1, "final": 2, "risk": -1}
    found: dict[str, Measurement] = {}
    ranks: dict[str, tuple[int, bool, bool, bool, float]] = {}
    for row in good:
        result = row.result
        stage = -1 if result.fidelity.probe else order[result.purpose]
        for measured in result.measurements:
            if result.kind == "risk" or (result.kind == "predict" and judged is not None and row is not judged):
                continue
            amount = (measured.value or 0.0) if measured.name == "memory" else float(measured.n)
            rank = (
                stage,
                measured.validity != "refused",
                measured.provenance == "measured",
                measured.validity == "valid",
                amount,
            )
            if measured.name not in ranks or rank >= ranks[measured.name]:
                found[measured.name], ranks[measured.name] = measured, rank
    return found


def _artifact(used: list[Evidence], arm: list[Evidence], keys: Mapping[str, Evidence]) -> Artifact | None:
    """The artefact that was judged, else timed, else loaded; of a candidate not loaded yet, its arm's largest build.

    A measuring step names the artefact it used last in ``inputs``: a build shared with other paths is not what is delivered.
    """
    for row in used:
        made = (
            keys.get(row.result.inputs[-1])
            if row.result.kind in {"predict", "time", "load"} and row.result.inputs
            else None
        )
        if made is not None and made.result.artifact is not None:
            return made.result.artifact
    builds = [row for row in arm if row.result.kind == "build" and row.result.artifact is not None]
    largest = max(builds, key=lambda row: (row.result.fidelity.fraction, row.result.key), default=None)
    return None if largest is None else largest.result.artifact


def _train_seconds(judged: Evidence | None, arm: list[Evidence], keys: Mapping[str, Evidence]) -> float | None:
    """Wall seconds of the build behind the judged outcomes, following ``inputs``; else of the arm's largest real build."""
    chain = _chain(judged, keys) if judged is not None else []
    builds = [row for row in chain if row.result.kind == "build"]
    if not builds:
        real = [
            row
            for row in arm
            if row.result.kind == "build" and row.result.status == "ok" and not row.result.fidelity.probe
        ]
        builds = sorted(real, key=lambda row: (-row.result.fidelity.fraction, row.result.key))[:1]
    if not builds:
        return None
    return sum(_seconds(row.result) for row in builds)


def _chain(row: Evidence, keys: Mapping[str, Evidence]) -> list[Evidence]:
    seen: dict[str, Evidence] = {}
    waiting = list(row.result.inputs)
    while waiting:
        key = waiting.pop()
        if key in keys and key not in seen:
            seen[key] = keys[key]
            waiting.extend(keys[key].result.inputs)
    return [seen[key] for key in sorted(seen)]


def _seconds(result: StepResult) -> float:
    measured = result.metric("train_seconds")
    return result.wall_seconds if measured is None or measured.value is None else measured.value


def _stage(view: View, good: list[Evidence], judged: Evidence | None) -> str | None:
    if view.final:
        return "final"
    if judged is not None:
        rung = judged.result.rung
        return "rung" if rung is None else f"rung {rung}"
    return "probe" if good else None


def _failure(own: list[Evidence], arm: list[Evidence], candidate: Candidate) -> StepResult | None:
    """The first failed step of this candidate, or of a build its arm shares; a retryable one does not count."""
    shared = [row for row in arm if row.result.kind == "build" and row.result.candidate != candidate.id]
    for row in [*own, *shared]:
        failed = row.result.failure
        if (
            row.result.status == "failed"
            and failed is not None
            and failed.code not in _NO_FAILURE
            and row.result.kind != "risk"
        ):
            return row.result
    return None
