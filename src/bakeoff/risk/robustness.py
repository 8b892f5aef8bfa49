"""How much of the score is left when input is as careless as people write it: the drop, paired, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bakeoff.data.transforms.rule import choose
from bakeoff.risk import _common as common
from bakeoff.risk._perturb import Perturbation, perturbations
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits
from bakeoff.tasks.base import positive_class
from bakeoff.tasks.scoring import score, score_draws

_NAME = "robustness"
_TITLE = Words(zh="输入扰动下的稳健性", en="Robustness to careless input")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.5", "NIST AI RMF MEASURE 2.7", "生成式人工智能服务管理暂行办法 第四条", "OWASP ML Top 10 2023 ML01",
)  # fmt: skip
_ROWS, _FEWEST = 250, 40
_WARN, _FAIL = 0.03, 0.10


@dataclass(frozen=True)
class Drop:
    """What one perturbation cost: the fall of the score with its interval, and the share of rows whose label changed."""

    by: Perturbation
    found: Measurement
    flipped: float


class Robustness:
    """Predicts the same rows clean and perturbed; every perturbation sees the same rows and the same resampling weights."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Perturb, predict, compare."""
        ways = perturbations(context.artifact.inputs, context.profile.language)
        available = len(context.held_out)
        if context.classifier is None or available < _FEWEST or not ways:
            why = Words(
                zh=f"需要已加载的方案和至少 {_FEWEST} 行，现有 {available} 行。",
                en=f"A loaded candidate and {_FEWEST} rows are needed; there are {available} rows.",
            )
            return (common.not_measured(context, _NAME, _TITLE, why, _MITIGATION, _STANDARDS),)
        picked = common.pick(context, _NAME, available, common.affordable(context, _ROWS, passes=len(ways)))
        return (_report(context, [_drop(context, way, picked) for way in ways], len(picked)),)


def _drop(context: RiskContext, way: Perturbation, picked: np.ndarray) -> Drop:
    assert context.classifier is not None  # noqa: S101 - run() checked
    metric, labels = context.spec.requirements.quality.metric, context.held_out.labels[picked]
    positive = positive_class(context.spec, context.classes, context.profile.class_counts)
    rows = [context.held_out.rows[index] for index in picked]
    clean = context.held_out_probabilities[picked]
    before = choose(clean, context.artifact.rule)
    after, shares = context.classifier.predict(way.change(rows, common.generator(context, f"{_NAME} {way.name}")))
    weights = common.draw_weights(context, _NAME, len(picked))
    value = score(metric, labels, before, clean, positive) - score(metric, labels, after, shares, positive)
    drawn = score_draws(metric, labels, before, clean, positive, weights) - score_draws(
        metric, labels, after, shares, positive, weights
    )
    confidence = context.spec.decision.confidence
    fall = Words(zh=f"{metric} 的下降", en=f"fall of {metric}")
    found = common.measured(f"drop_{way.name}", value, drawn, confidence, len(picked), remark=fall)
    return Drop(way, found, float((before != after).mean()))


def _report(context: RiskContext, drops: Sequence[Drop], n: int) -> Finding:
    worst = max(drops, key=lambda drop: drop.found.value or 0.0)
    low, value = worst.found.low or 0.0, worst.found.value or 0.0
    broken = any((drop.found.low or 0.0) > _FAIL and not drop.by.gross for drop in drops)
    status = "fail" if broken else "warn" if low > 0 and value > _WARN else "ok"
    likelihood = float(np.clip(0.05 + 2 * value, 0.05, 0.95))
    metric = context.spec.requirements.quality.metric
    listed = Words(
        zh="、".join(f"{drop.by.label.zh} {common.points(-(drop.found.value or 0.0))}" for drop in drops),
        en=", ".join(f"{drop.by.label.en} {common.points(-(drop.found.value or 0.0))}" for drop in drops),
    )
    flips = tuple(
        Measurement(name=f"flipped_{drop.by.name}", value=drop.flipped, n=n, unit="share",
                    remark="rows whose label changed", remark_zh="标签发生变化的行")
        for drop in drops
    )  # fmt: skip
    return common.report(
        context, _NAME, _TITLE, status, likelihood=likelihood, impact=3, standards=_STANDARDS, mitigation=_MITIGATION,
        measurements=(*(drop.found for drop in drops), *flips),
        observed=Words(
            zh=f"{n} 行上 {metric} 的变化（百分点）：{listed.zh}。最坏的是{worst.by.label.zh}：下降 {common.percent(value)}"
            f"（区间 {common.percent(low)} – {common.percent(worst.found.high)}），{common.percent(worst.flipped)} 的行改变了标签。",
            en=f"Change of {metric} on {n} rows, in points: {listed.en}. Worst: {worst.by.label.en}, down {common.percent(value)} "
            f"(interval {common.percent(low)} – {common.percent(worst.found.high)}); {common.percent(worst.flipped)} of the rows change their label.",
        ),
        residual=Words(
            zh="这些是无意的差错；有人蓄意寻找对抗样本时，下降会更大。",
            en="These are mistakes nobody intended; someone who searches for adversarial input will do more harm.",
        ),
    )  # fmt: skip


_MITIGATION = Words(
    zh="入口做归一化（NFKC、去零宽字符、折叠空白、繁简转换）与取值范围校验；训练时加入同类扰动；监控异常输入的比例。",
    en="Normalise at the door (NFKC, zero-width characters out, white space folded, script converted) and check ranges; train with "
    "such noise; watch the share of odd input.",
)
PLUGIN = Robustness()
