"""The contract: every hard limit of the specification as a promise, with what the trial measured."""

from __future__ import annotations

from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.contract import Contract, Promise
from bakeoff.schema.decision import CandidateVerdict, ConstraintVerdict, Decision, Metric
from bakeoff.schema.errors import BundleError
from bakeoff.schema.measurement import Measurement
from bakeoff.tasks.scoring import METRICS

_RULE = "rule"
"""Unit of limits that are rules (licences, rows that leave): nothing to measure again on what was delivered."""
_NO_BUNDLE = ("unavailable", "failed", "not_reached")


def verdict_of(decision: Decision, candidate: Candidate) -> CandidateVerdict:
    """Return what the decision says of the candidate.

    Raises:
        BundleError: it was never evaluated, so nothing can be promised.

    """
    found = next((verdict for verdict in decision.candidates if verdict.id == candidate.id), None)
    if found is None or found.status in _NO_BUNDLE:
        what = "this candidate was not evaluated to the end, so nothing can be promised of it"
        allowed = [
            verdict.id for verdict in decision.candidates if verdict.status not in _NO_BUNDLE and verdict.metrics
        ]
        raise BundleError(what, got=candidate.id, allowed=allowed)
    return found


def contract(
    decision: Decision,
    candidate: Candidate,
    *,
    confidence: float,
    threads: int,
    rows: int,
    measured_as: str | None = None,
) -> Contract:
    """Return the contract of ``candidate`` under the limits the decision was made with.

    With ``measured_as``, the format that the trial measured and that is not the one shipped, the trial's figures stand for quality
    only, because the answers were compared; speed, memory and size stay promised, to be measured by ``verify``.
    """
    verdict = verdict_of(decision, candidate)
    limits = [limit for limit in decision.constraints if limit.unit != _RULE]
    promises = [_promise(limit, verdict, decision.metric, confidence) for limit in limits]
    if measured_as is not None:
        promises = [promise if promise.name in METRICS else _open(promise, measured_as) for promise in promises]
    return Contract(
        candidate=candidate.id,
        label=candidate.label,
        task=decision.task,
        metric=decision.metric,
        confidence=confidence,
        threads=threads,
        promises=tuple(sorted(promises, key=lambda promise: promise.name)),
        rows=rows,
    )


def metric_of(path: str, metric: str) -> str:
    """Return the measurement a limit is held against: ``requirements.latency.p95`` → ``latency_p95``."""
    if path == "requirements.quality.floor":
        return metric
    parts = path.removeprefix("requirements.").split(".")
    return "_".join(parts) if parts[0] == "latency" else parts[0]


def said(promise: Promise) -> Words:
    """Name a promise for people."""
    return _NAMES.get(promise.name, Words(zh=promise.name, en=promise.name))


def _promise(limit: ConstraintVerdict, verdict: CandidateVerdict, metric: str, confidence: float) -> Promise:
    name = metric_of(limit.name, metric)
    measured = verdict.metrics.get(name)
    if measured is None:
        measured = Metric(value=None, unit=limit.unit, validity="refused",
                          remark="the trial did not measure it", remark_zh="选型时没有测量它")  # fmt: skip
    return Promise(
        name=name,
        direction=limit.direction,
        limit=limit.limit,
        unit=limit.unit,
        trial=_measurement(name, measured, confidence),
    )


def _open(promise: Promise, measured_as: str) -> Promise:
    unknown = Measurement(
        name=promise.name, value=None, unit=promise.unit, validity="refused",
        remark=f"measured as {measured_as}, not in the format shipped: verify measures it",
        remark_zh=f"试验测的是 {measured_as} 格式，不是交付的格式：由 verify 测量",
    )  # fmt: skip
    return promise.model_copy(update={"trial": unknown})


def _measurement(name: str, metric: Metric, confidence: float) -> Measurement:
    return Measurement(
        name=name, value=metric.value, low=metric.low, high=metric.high, confidence=confidence, n=metric.n,
        unit=metric.unit, provenance=metric.provenance, validity=metric.validity, remark=metric.remark, remark_zh=metric.remark_zh,
    )  # fmt: skip


_NAMES = {
    "accuracy": Words(zh="准确率", en="accuracy"),
    "macro_f1": Words(zh="宏平均 F1", en="macro F1"),
    "balanced_accuracy": Words(zh="平衡准确率", en="balanced accuracy"),
    "f1": Words(zh="F1", en="F1"),
    "roc_auc": Words(zh="ROC 曲线下面积", en="area under the ROC curve"),
    "latency_p50": Words(zh="延迟中位数", en="median latency"),
    "latency_p95": Words(zh="延迟第 95 百分位", en="95th percentile of latency"),
    "latency_p99": Words(zh="延迟第 99 百分位", en="99th percentile of latency"),
    "throughput": Words(zh="吞吐量", en="throughput"),
    "memory": Words(zh="内存", en="memory"),
    "size": Words(zh="体积", en="size"),
}
