"""Whether a probability means what it says: of the rows given 80 %, about 80 % should be right.

Expected calibration error over bins of equal size (Naeini et al. 2015; Nixon et al. 2019), judged against what a perfectly
calibrated model of the same confidences would show by chance on as many rows (Bröcker and Smith 2007).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "calibration"
_TITLE = Words(zh="概率校准", en="Calibration of probabilities")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.5",
    "NIST AI RMF MEASURE 2.9",
    "生成式人工智能服务管理暂行办法 第四条",
    "OWASP ML Top 10 2023 ML09",
)
_BINS, _FEWEST, _DRAWS = 10, 50, 400
_WARN, _FAIL = 0.05, 0.15
Floats = NDArray[np.float64]


class Calibration:
    """Error of the confidence in the most probable class, on the confirm rows."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Compare confidence and accuracy."""
        n = len(context.held_out)
        if n < _FEWEST:
            why = Words(zh=f"只有 {n} 行，少于所需的 {_FEWEST} 行。", en=f"Only {n} rows; {_FEWEST} are needed.")
            return (common.not_measured(context, _NAME, _TITLE, why, _MITIGATION, _STANDARDS),)
        return (_report(context),)


def expected_error(
    confidence: Floats, right: Floats, weights: Floats | None = None, bins: int = _BINS
) -> Floats | float:
    """Return the expected calibration error over bins of equal size.

    Args:
        confidence: probability of the most probable class (n,).
        right: 1 where that class was right (n,), or one row per draw (D, n).
        weights: row weights (D, n) that sum to one each; equal weights when None.
        bins: number of bins.

    """
    order = np.argsort(confidence, kind="stable")
    edges = np.linspace(0, len(order), min(bins, len(order)) + 1).astype(int)
    gap = confidence[order] - np.take(right, order, axis=-1)
    weighted = gap / len(order) if weights is None else gap * weights[:, order]
    found: Floats | float = np.abs(np.add.reduceat(weighted, edges[:-1], axis=-1)).sum(axis=-1)
    return found


def by_chance(confidence: Floats, random: np.random.Generator, draws: int = _DRAWS) -> Floats:
    """Return the error (draws,) a perfectly calibrated model with these confidences (n,) shows on as many rows."""
    right = (random.random((draws, len(confidence))) < confidence).astype(np.float64)
    return np.asarray(expected_error(confidence, right))


def _report(context: RiskContext) -> Finding:
    shares, labels, level = context.held_out_probabilities, context.held_out.labels, context.spec.decision.confidence
    n = len(labels)
    confidence = np.asarray(shares.max(axis=1), dtype=np.float64)
    right = (shares.argmax(axis=1) == labels).astype(np.float64)
    weights = common.draw_weights(context, _NAME, n)
    value = float(expected_error(confidence, right))
    drawn = np.asarray(expected_error(confidence, right, weights))
    chance = float(np.quantile(by_chance(confidence, common.generator(context, _NAME)), level))
    gap = confidence - right
    squares = ((shares - np.eye(shares.shape[1])[labels]) ** 2).sum(axis=1)
    bins = Words(
        zh=f"等量分为 {_BINS} 组；偶然也可达 {chance:.3f}",
        en=f"{_BINS} bins of equal size; by chance up to {chance:.3f}",
    )
    lean_of = Words(zh="平均置信度减准确率", en="mean confidence minus accuracy")
    error = common.measured("ece", value, drawn, level, n, remark=bins)
    numbers = (
        error,
        common.measured("confidence_gap", float(gap.mean()), weights @ gap, level, n, remark=lean_of),
        common.measured("brier", float(squares.mean()), weights @ squares, level, n, unit="score"),
        Measurement(
            name="ece_by_chance",
            value=chance,
            n=n,
            unit="share",
            provenance="predicted",
            remark="perfectly calibrated",
            remark_zh="假设完美校准",
        ),
        *_curve(confidence, right),
    )
    beyond = value > chance
    status = "fail" if beyond and value > _FAIL else "warn" if beyond and value > _WARN else "ok"
    likelihood, impact = {"ok": (0.1, 2), "warn": (0.5, 3), "fail": (0.9, 3)}[status]
    lean = Words(
        zh="过于自信" if gap.mean() > 0 else "过于保守", en="overconfident" if gap.mean() > 0 else "underconfident"
    )
    return common.report(
        context, _NAME, _TITLE, status, likelihood=likelihood, impact=impact, measurements=numbers, standards=_STANDARDS,
        observed=Words(
            zh=f"{n} 行上的期望校准误差为 {common.percent(value)}（区间 {common.percent(error.low)} – {common.percent(error.high)}），"
            f"完美校准时偶然也可达 {common.percent(chance)}；总体{lean.zh} {common.percent(abs(float(gap.mean())))}。",
            en=f"Expected calibration error on {n} rows: {common.percent(value)} (interval {common.percent(error.low)} – "
            f"{common.percent(error.high)}); a perfect model shows up to {common.percent(chance)} by chance. "
            f"On the whole {lean.en} by {common.percent(abs(float(gap.mean())))}.",
        ),
        mitigation=_MITIGATION,
        residual=Words(
            zh="校准只在与本数据同分布时成立；分布漂移后，置信度会先于标签失真。",
            en="Calibration holds for data like these; when they drift, confidence goes wrong before anybody sees labels.",
        ),
    )  # fmt: skip


def _curve(confidence: Floats, right: Floats) -> list[Measurement]:
    """Return the reliability curve: per bin the accuracy, its confidence in the remark."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    return [
        Measurement(
            name=f"reliability_{number}", value=float(right[part].mean()), n=len(part), unit="share",
            remark=f"mean confidence {confidence[part].mean():.4f}", remark_zh=f"平均置信度 {confidence[part].mean():.4f}",
        )
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip


_MITIGATION = Words(
    zh="用校准集重新拟合温度；阈值与成本决策只使用校准后的概率；上线后用带标签的样本定期复核。",
    en="Fit the temperature again on calibration rows; base thresholds and costs on calibrated probabilities only; check with "
    "labelled samples in production.",
)
PLUGIN = Calibration()
