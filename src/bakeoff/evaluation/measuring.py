"""Loads, times and predicts: the steps that are measured, in a process that trained nothing and holds no data it need not."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff import registry
from bakeoff.data.examples import Row
from bakeoff.data.transforms.rule import Classifier, choose, scale
from bakeoff.evaluation.job import Job, Outcome, StepPlan
from bakeoff.evaluation.load import cpu_per_row, measure_throughput
from bakeoff.evaluation.quality import check_probabilities, measure_quality
from bakeoff.evaluation.recorder import Recorder
from bakeoff.evaluation.reuse import known
from bakeoff.evaluation.timing import Protocol, measure_latency, time_requests, warm_up
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Measurement
from bakeoff.store.artifacts import read_artifact
from bakeoff.store.features import FeatureStore

_BATCH = 256


class _Session:
    """The loaded candidate; loading is a step of its own, done first whether or not it was measured before."""

    def __init__(self, job: Job) -> None:
        self.job = job
        directory = Path(job.store) / job.steps[0].inputs[-1]
        self.artifact: Artifact = read_artifact(directory)
        lines = Path(job.rows).read_text(encoding="utf-8").split("\n") if job.rows else []
        self.rows: list[Row] = [json.loads(line) for line in lines if line]
        self._directory = directory
        self._predictor: Any = None
        self.classifier: Classifier | None = None
        self.seconds = 0.0

    def load(self) -> Classifier:
        """Load, answer the first request, warm up."""
        if self.classifier is None:
            start = time.perf_counter()
            runtime = registry.plugin("runtimes", self.job.trial.candidate.runtime)
            self._predictor = runtime.load(self.artifact, self._directory, self.job.threads)
            classifier = Classifier(self._predictor, self.artifact)
            if self.rows:
                check_probabilities(classifier.predict(self.rows[:1])[1], 1, len(self.artifact.classes))
            self.seconds = time.perf_counter() - start
            if self.rows:
                warm_up(classifier, self.rows)
            self.classifier = classifier
        return self.classifier

    def usage(self) -> tuple[Measurement, ...]:
        """Return tokens per row where the runtime counts them."""
        usage = getattr(self._predictor, "usage", None)
        counted = usage() if callable(usage) else usage
        if not isinstance(counted, dict) or not counted.get("requests"):
            return ()
        n = int(counted["requests"])
        names = [name for name in ("tokens_in", "tokens_out") if counted.get(name) is not None]
        return tuple(Measurement(name=name, value=float(counted[name]) / n, n=n, unit="token") for name in names)


def measure(job: Job, recorder: Recorder) -> None:
    """Do the steps in order; a candidate that cannot be loaded fails its first step with that reason."""
    session: list[_Session] = []

    def ready() -> _Session:
        if not session:
            session.append(_Session(job))
        session[0].load()
        return session[0]

    actions = {"load": _load, "time": _time, "predict": _predict}
    for plan in job.steps:
        action = actions[plan.kind]
        if recorder.run(plan, lambda plan=plan, action=action: action(ready(), plan)) is None:  # type: ignore[misc]
            break
    if session and session[0].classifier is not None:
        with contextlib.suppress(Exception):  # everything is measured; what closing does is nobody's loss
            session[0].classifier.close()


def _load(session: _Session, plan: StepPlan) -> Outcome:
    del plan
    size = float(session.artifact.size)
    return Outcome(
        measurements=(
            Measurement(
                name="load_seconds",
                value=session.seconds,
                n=1,
                unit="s",
                remark="until the first answer, files in the page cache",
                remark_zh="到给出第一个答案为止，文件已在页缓存中",
            ),
            _memory(Words(zh="加载并预热之后", en="after loading and warming up")),
            Measurement(name="size", value=size, low=size, high=size, n=1, unit="B"),
        )
    )


def _time(session: _Session, plan: StepPlan) -> Outcome:
    """Time requests, then look at memory, then search the highest rate; in this order, so that memory is that of serving."""
    protocol, confidence = Protocol.model_validate(plan.detail["protocol"]), session.job.spec.decision.confidence
    classifier = session.load()
    timed = time_requests(classifier, session.rows, protocol, session.job.threads)
    memory = _memory(Words(zh=f"{len(timed.latency)} 次请求之后", en=f"after {len(timed.latency)} requests"))
    throughput, run = measure_throughput(classifier, session.rows, timed, protocol, confidence)
    arrays = {"latency": timed.latency, "cpu": timed.cpu, "wait": timed.wait.astype(np.float32)}
    if run is not None:
        arrays |= {"intended": run.intended, "sent": run.sent, "queued": run.latency}
    latency = measure_latency(timed, protocol, confidence)
    return Outcome(
        measurements=(*latency, memory, throughput, cpu_per_row(timed, confidence), *session.usage()), arrays=arrays
    )


def _predict(session: _Session, plan: StepPlan) -> Outcome:
    """Predict the rows of the split in batches; the frozen data are read only now.

    What a frozen encoder once computed of *select* rows is used again; the confirm rows always go the whole way of what ships.
    """
    del plan
    from bakeoff.data.frozen import load_frozen
    from bakeoff.tasks.base import positive_class

    job, fidelity = session.job, session.job.trial.fidelity
    frozen = load_frozen(job.frozen)
    indices = frozen.indices(fidelity.split, limit=fidelity.limit)
    examples = frozen.take(indices)
    features = FeatureStore(Path(job.features)) if job.features and fidelity.split == "select" else None
    start = time.perf_counter()
    probabilities = _raw(session, examples.rows, features)
    reused = features.saved_seconds if features is not None else 0.0
    seconds = (time.perf_counter() - start + reused) / max(1, len(indices))
    rule = session.artifact.rule
    calibrated = scale(probabilities, rule.temperature)
    predicted = choose(calibrated, rule)
    positive = positive_class(job.spec, frozen.classes, frozen.profile.class_counts)
    scores = measure_quality(examples.labels, predicted, calibrated, positive, job.spec.decision.confidence)
    pace = Measurement(name="predict_seconds_per_row", value=seconds, n=len(indices), unit="s",
                       remark=f"in batches of {_BATCH}", remark_zh=f"每批 {_BATCH} 行")  # fmt: skip
    arrays = {
        "indices": indices.astype(np.int32),
        "predicted": predicted.astype(np.int16),
        "probabilities": calibrated.astype(np.float32),
        "actual": examples.labels.astype(np.int16),
    }
    return Outcome(measurements=(*scores, pace, *session.usage()), arrays=arrays)


def _raw(session: _Session, rows: Sequence[Row], features: FeatureStore | None) -> Any:  # noqa: ANN401 - NDArray[np.float64]
    predict, classes = known(session.load().predictor, features), len(session.artifact.classes)
    batches = [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]
    tables = [check_probabilities(predict(batch), len(batch), classes) for batch in batches]
    return np.concatenate(tables) if tables else np.zeros((0, classes))


def _memory(when: Words) -> Measurement:
    peak = float(peak_memory())
    return Measurement(name="memory", value=peak, low=peak, high=peak, n=1, unit="B",
                       remark=f"peak resident, {when.en}", remark_zh=f"常驻内存峰值，{when.zh}")  # fmt: skip


def peak_memory() -> int:
    """Return the highest resident bytes so far of this process and its children (VmHWM where the system has it)."""
    import psutil

    own = psutil.Process()
    total = _high_water(own.pid) or own.memory_info().rss
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += _high_water(child.pid) or child.memory_info().rss
    return total


def _high_water(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
