"""Builds, exports and compresses: the steps that make an artefact, in one process that is never measured for serving."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff import registry
from bakeoff.data.examples import Examples
from bakeoff.data.frozen import Frozen, load_frozen
from bakeoff.evaluation.job import PROBE_ROWS, Job, MemberRef, Outcome, StepPlan, read_arrays
from bakeoff.evaluation.parity import gate, measure_parity
from bakeoff.evaluation.quality import check_probabilities
from bakeoff.evaluation.recorder import Recorder
from bakeoff.evaluation.reuse import known
from bakeoff.evaluation.rule import fit_rule
from bakeoff.models.base import BuildContext, ExportContext, Member
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError
from bakeoff.schema.measurement import Measurement
from bakeoff.store.artifacts import ArtifactStore, read_artifact, write_artifact
from bakeoff.store.features import FeatureStore

_BATCH = 256


@dataclass
class _Made:
    """The artefact the next step starts from, and the native one's probabilities on calibrate rows."""

    artifact: Artifact
    directory: Path
    indices: NDArray[np.int32]
    native: NDArray[np.float64] | None


def make(job: Job, recorder: Recorder) -> None:
    """Do the steps one after another, each from the one before; stop at the first that fails."""
    store, frozen = ArtifactStore(Path(job.store)), load_frozen(job.frozen)
    made = _earlier(job, store)
    for plan in job.steps:
        step = _step(job, plan, store, frozen, made)
        if step is None:
            return
        outcome = recorder.run(plan, step)
        if outcome is None or outcome.artifact is None:
            return
        native = made.native if made is not None else outcome.arrays.get("calibrate")
        indices = made.indices if made is not None else outcome.arrays.get("indices", np.zeros(0, np.int32))
        made = _Made(outcome.artifact, store.path(plan.key), indices, native)


def _step(
    job: Job, plan: StepPlan, store: ArtifactStore, frozen: Frozen, made: _Made | None
) -> Callable[[], Outcome] | None:
    if plan.kind == "build":
        return lambda: _build(job, plan, store, frozen)
    if made is None:
        return None
    return lambda: _convert(job, plan, store, frozen, made)


def _earlier(job: Job, store: ArtifactStore) -> _Made | None:
    """Return what an earlier job made, when this one does not start with the build."""
    if job.steps[0].kind == "build":
        return None
    directory = store.path(job.steps[0].inputs[-1])
    arrays = read_arrays(Path(job.arrays)) if job.arrays else {}
    indices = arrays.get("indices", np.zeros(0, np.int32))
    return _Made(read_artifact(directory), directory, indices, arrays.get("calibrate"))


def _build(job: Job, plan: StepPlan, store: ArtifactStore, frozen: Frozen) -> Outcome:
    family = registry.plugin("models", job.trial.candidate.family)
    indices = _calibrate_indices(job, frozen, int(plan.detail["calibrate"]))
    members, indices = _members(job, indices)
    train, calibrate = _rows(job, frozen, members, indices)
    features = FeatureStore(Path(job.features)) if job.features else None
    directory = store.begin(plan.key)
    try:
        start = time.perf_counter()
        artifact = family.build(_context(job, frozen, directory, train, calibrate, members, features))
        seconds = (time.perf_counter() - start) * job.processes  # what is paid for
        reused = features.saved_seconds if features is not None else 0.0
        probabilities = None
        if not job.trial.fidelity.probe:
            probabilities = _probabilities(
                artifact, directory, plan.detail["loaders"].get(artifact.format), frozen, indices, job.threads, features
            )
        labels = frozen.labels[indices] if probabilities is not None else None
        artifact = artifact.model_copy(update={"rule": fit_rule(probabilities, labels, job.spec, frozen.classes)})
        artifact = write_artifact(directory, artifact)
        store.commit(directory, plan.key)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    numbers = _trained(seconds, reused, len(train)), _size(artifact)
    return Outcome(artifact=artifact, measurements=numbers, arrays=_arrays(indices, probabilities))


def _trained(seconds: float, reused: float, rows: int) -> Measurement:
    """Return what training takes by itself: vectors another build had computed are counted as if they were computed again."""
    took = Measurement(name="train_seconds", value=seconds + reused, n=rows, unit="s")
    if not reused:
        return took
    remark = f"{reused:.3g} s of it is what vectors took that an earlier build had computed"
    return took.model_copy(
        update={"remark": remark, "remark_zh": f"其中 {reused:.3g} 秒是此前构建已算好的向量当时所用的时间"}
    )


def _convert(job: Job, plan: StepPlan, store: ArtifactStore, frozen: Frozen, made: _Made) -> Outcome:
    """Export or compress; then compare the answers with the native artefact's before anything else may use it."""
    directory = store.begin(plan.key)
    try:
        artifact = _converted(job, plan, frozen, made, directory)
        artifact = artifact.model_copy(update={"rule": made.artifact.rule})
        numbers: tuple[Measurement, ...] = ()
        probabilities = None
        if made.native is not None and plan.detail.get("loader"):
            probabilities = _probabilities(
                artifact, directory, plan.detail["loader"], frozen, made.indices, job.threads
            )
            numbers = measure_parity(made.native, probabilities, artifact.rule)
            gate(*numbers, lossy=plan.kind == "compress")
        artifact = write_artifact(directory, artifact)
        store.commit(directory, plan.key)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Outcome(
        artifact=artifact, measurements=(*numbers, _size(artifact)), arrays=_arrays(made.indices, probabilities)
    )


def _converted(job: Job, plan: StepPlan, frozen: Frozen, made: _Made, directory: Path) -> Artifact:
    found: Artifact
    if plan.kind == "export":
        family = registry.plugin("models", job.trial.candidate.family)
        context = ExportContext(made.artifact, made.directory, directory, str(plan.detail["target"]), job.threads)
        found = family.export(context)
        return found
    from bakeoff.compression.base import CompressContext

    rows = frozen.take(made.indices if len(made.indices) else frozen.indices("calibrate", limit=PROBE_ROWS)).rows
    found = registry.plugin("compression", str(plan.detail["pass"])).apply(
        CompressContext(made.artifact, made.directory, directory, rows, job.threads)
    )
    return found


def _context(
    job: Job,
    frozen: Frozen,
    out: Path,
    train: Examples,
    calibrate: Examples,
    members: tuple[Member, ...],
    features: FeatureStore | None,
) -> BuildContext:
    return BuildContext(
        task=job.spec.task, classes=frozen.classes, inputs=frozen.inputs, language=frozen.language, train=train, calibrate=calibrate,
        variant=job.trial.candidate.variant, seed=job.trial.fidelity.seed, threads=job.threads, out=out, probe=job.trial.fidelity.probe,
        weights=Path(job.weights) if job.weights else None, instruction=job.spec.data.instruction, label_words=job.spec.data.labels,
        members=members, features=features, processes=job.processes, cluster=job.cluster,
    )  # fmt: skip


def _rows(
    job: Job, frozen: Frozen, members: tuple[Member, ...], indices: NDArray[np.int32]
) -> tuple[Examples, Examples]:
    fidelity = job.trial.fidelity
    if fidelity.probe:
        return frozen.examples("train", limit=PROBE_ROWS), frozen.examples("calibrate", limit=PROBE_ROWS)
    calibrate = frozen.take(indices) if members else frozen.examples("calibrate")
    return frozen.examples("train", fidelity.fraction), calibrate


def _calibrate_indices(job: Job, frozen: Frozen, rows: int) -> NDArray[np.int32]:
    return np.zeros(0, np.int32) if job.trial.fidelity.probe else frozen.indices("calibrate", limit=rows)


def _members(job: Job, indices: NDArray[np.int32]) -> tuple[tuple[Member, ...], NDArray[np.int32]]:
    """Return the members with their probabilities on the calibrate rows all of them were predicted on, and those rows."""
    if not job.members:
        return (), indices
    tables = [read_arrays(Path(reference.arrays)) for reference in job.members]
    if any("calibrate" not in table for table in tables):
        what = "a member has no probabilities on the calibrate rows"
        raise StepError("error", what, zh="有成员缺少在校准数据上的预测概率")
    common = indices
    for table in tables:
        common = np.intersect1d(common, table["indices"])
    return tuple(
        _member(reference, table, common) for reference, table in zip(job.members, tables, strict=True)
    ), common.astype(np.int32)


def _member(reference: MemberRef, table: dict[str, NDArray[Any]], rows: NDArray[np.int32]) -> Member:
    directory = Path(reference.directory)
    place = np.searchsorted(table["indices"], rows)
    probabilities = table["calibrate"][place].astype(np.float64)
    return Member(reference.candidate, reference.runtime, read_artifact(directory), directory, probabilities)


def _probabilities(
    artifact: Artifact,
    directory: Path,
    loader: str | None,
    frozen: Frozen,
    indices: NDArray[np.int32],
    threads: int,
    features: FeatureStore | None = None,
) -> NDArray[np.float64]:
    """Return raw probabilities on calibrate rows, predicted by the runtime that loads this format, with features it may know."""
    if loader is None:
        what = "no runtime loads this format"
        raise StepError("unsupported", what, zh=f"没有运行时能加载 {artifact.format} 格式", got=artifact.format)
    predictor = registry.plugin("runtimes", loader).load(artifact, directory, threads)
    try:
        rows = frozen.take(indices).rows
        tables = [known(predictor, features)(rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
    finally:
        predictor.close()
    table = np.concatenate(tables) if tables else np.zeros((0, len(frozen.classes)))
    return check_probabilities(table, len(indices), len(frozen.classes))


def _arrays(indices: NDArray[np.int32], probabilities: NDArray[np.float64] | None) -> dict[str, NDArray[Any]]:
    return {} if probabilities is None else {"indices": indices, "calibrate": probabilities.astype(np.float32)}


def _size(artifact: Artifact) -> Measurement:
    return Measurement(
        name="size", value=float(artifact.size), low=float(artifact.size), high=float(artifact.size), n=1, unit="B"
    )
