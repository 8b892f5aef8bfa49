"""The figures shown for each candidate, each judged against the limit it answers to, and the Pareto front over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import Draws, central
from bakeoff.decision.constraints import judge, missing_remark
from bakeoff.decision.latency import Percentile
from bakeoff.decision.premises import LIMITS, Premises
from bakeoff.decision.view import View
from bakeoff.decision.world import METRIC_OF, Known
from bakeoff.schema.base import Words
from bakeoff.schema.decision import Metric
from bakeoff.schema.economics import CostEstimate
from bakeoff.schema.measurement import Measurement, Validity
from bakeoff.tasks.scoring import score

_SHOWN = (
    "memory", "size", "load_seconds", "predict_seconds_per_row", "cpu_seconds_per_row", "tokens_in", "tokens_out",
    "parity_agreement", "parity_drift",
)  # fmt: skip
"""Differences that do not count on the Pareto front, as a share: below them it is noise."""
_NOTHING = Words(zh="", en="")
_BUSY = Words(zh="测量时机器正忙于别的任务", en="taken while the machine was busy with other work")


def interval(draws: Draws, confidence: float, value: float) -> tuple[float, float]:
    """Return the central interval of the draws, widened to hold the point value."""
    low, high = central(draws, confidence)
    return min(low, value), max(high, value)


def figures(view: View, known: Known, premises: Premises) -> dict[str, Metric]:
    """Return a candidate's figures by name, each with its verdict."""
    found = _quality(view, known, premises.confidence)
    for name, percentile in known.percentiles[view.id].items():
        found[name] = _percentile(name, percentile, premises.confidence)
    found |= {name: _metric(view.measurements[name]) for name in _SHOWN if name in view.measurements}
    rate = known.rates[view.id]
    if rate is not None and rate.value is not None:
        found["throughput"] = _metric(rate)
    if view.artifact is not None and view.artifact.size:
        found["size"] = Metric(value=float(view.artifact.size), n=1, unit="B")
    if view.train_seconds is not None and view.candidate.variant.trains:
        found["train_seconds"] = Metric(value=view.train_seconds, n=1, unit="s")
    for name in LIMITS:
        limit, key = getattr(premises, name), known.judging.metric if name == "floor" else METRIC_OF[name]
        if limit is not None and key in found:
            judged = judge(view, known, name, limit, premises.confidence)
            said = judged.remark
            extra = {"remark": said.en, "remark_zh": said.zh} if said.en else {}
            found[key] = found[key].model_copy(update={"verdict": judged.verdict, **extra})
    return found


def _quality(view: View, known: Known, confidence: float) -> dict[str, Metric]:
    quality, seen = known.quality.get(view.id), view.judged
    if quality is None or seen is None:
        return {}
    low, high = interval(quality.sampling, confidence, quality.value)
    remark = _judged_on(final=view.final, carried=quality.carried)
    found = {
        known.judging.metric: Metric(
            value=quality.value,
            low=low,
            high=high,
            n=seen.n,
            provenance="predicted" if quality.carried else "measured",
            remark=remark.en,
            remark_zh=remark.zh,
        )
    }
    if known.judging.metric != "accuracy":
        accuracy = score("accuracy", seen.actual, seen.predicted)
        found["accuracy"] = Metric(value=accuracy, n=seen.n, remark=remark.en, remark_zh=remark.zh)
    return found


def _judged_on(*, final: bool, carried: bool) -> Words:
    if carried:
        return Words(
            zh="在选择集上评测，再按它与决赛方案的差距折算到确认集",
            en="judged on the select rows; carried over to confirm by its difference to the finalists",
        )
    if final:
        return _NOTHING
    return Words(zh="在选择集上评测，未用确认集", en="judged on the select rows, not on confirm")


def _percentile(name: str, found: Percentile, confidence: float) -> Metric:
    if found.missing:
        remark = missing_remark(name, found.n, found.missing)
        return Metric(value=None, n=found.n, unit="s", validity="refused", remark=remark.en, remark_zh=remark.zh)
    low, high = interval(found.draws, confidence, found.value)
    noisy = _BUSY if found.noisy else _NOTHING
    validity: Validity = "noisy" if found.noisy else "valid"
    return Metric(
        value=found.value, low=low, high=high, n=found.n, unit="s", validity=validity, remark=noisy.en, remark_zh=noisy.zh
    )  # fmt: skip


def _metric(found: Measurement) -> Metric:
    return Metric(
        value=found.value, low=found.low, high=found.high, n=found.n, unit=found.unit, provenance=found.provenance,
        validity=found.validity, remark=found.remark, remark_zh=found.remark_zh,
    )  # fmt: skip


def pareto(shown: dict[str, dict[str, Metric]], costs: dict[str, CostEstimate], metric: str) -> tuple[str, ...]:
    """Return the candidates nothing beats in quality, p95 latency, total cost and memory at once (larger, smaller, smaller, smaller).

    A candidate beats another when it is no worse in all four and better in one by more than noise.
    """
    names = [name for name in sorted(shown) if metric in shown[name]]
    if not names:
        return ()
    axes = np.array([_axes(shown[name], costs.get(name), metric) for name in names], dtype=np.float64)
    beaten = [bool(_beats(axes, ours).any()) for ours in axes]
    return tuple(name for name, lost in zip(names, beaten, strict=True) if not lost)


def _axes(shown: dict[str, Metric], cost: CostEstimate | None, metric: str) -> list[float | None]:
    """Return quality, p95 latency, memory and cost; None where there is none."""
    found = [shown[metric].value]
    found += [shown[name].value if name in shown else None for name in ("latency_p95", "memory")]
    return [*found, None if cost is None else cost.total]


_SIGNS = np.array([1.0, -1.0, -1.0, -1.0])
_SLACKS = np.array([0.0, 0.05, 0.02, 0.02])


def _beats(axes: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return who (n,) of ``axes`` (n, 4) beats ``theirs`` (4,); an axis one of the two lacks does not count."""
    slack = _SLACKS * np.maximum(np.abs(axes), np.abs(theirs)) + 1e-9
    gap = _SIGNS * (axes - theirs)
    return np.asarray((gap > slack).any(axis=1) & ~(gap < -slack).any(axis=1), dtype=np.bool_)
