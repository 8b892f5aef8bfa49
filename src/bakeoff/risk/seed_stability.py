"""How much the score moves when nothing changes but the training seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "seed_stability"
_TITLE = Words(zh="训练随机性", en="Stability over training seeds")
_STANDARDS = ("NIST AI RMF MEASURE 2.5", "生成式人工智能服务管理暂行办法 第四条")
_WARN, _FAIL = 0.01, 0.03
_DRAWS = 20_000


class SeedStability:
    """Standard deviation of the score over seeds, with the exact interval a normal spread would have."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Judge the scores the study measured with different seeds."""
        scores = np.asarray(list(context.seed_scores), dtype=np.float64)
        if not context.candidate.variant.trains and not context.candidate.members:
            why = Words(zh="该方案不训练，没有训练种子。", en="Nothing is trained, so there is no seed.")
            return (common.not_applicable(context, _NAME, _TITLE, why, _STANDARDS),)
        if len(scores) < 2:
            why = Words(
                zh=f"只有 {len(scores)} 个种子的得分，无法谈离散程度。",
                en=f"Scores of {len(scores)} seed(s) show no spread.",
            )
            more = Words(
                zh="用 --preset rigorous 以更多种子重跑。",
                en="Run again with --preset rigorous: it trains with more seeds.",
            )
            return (common.not_measured(context, _NAME, _TITLE, why, more, _STANDARDS),)
        return (_report(context, scores),)


def spread(scores: np.ndarray, confidence: float, seed: int = 0) -> tuple[float, float, float]:
    """Return the standard deviation of scores (n,) and its interval, from the chi-squared law of a normal sample's variance."""
    n = len(scores)
    value = float(scores.std(ddof=1))
    drawn = value * np.sqrt((n - 1) / np.random.default_rng(seed).chisquare(n - 1, _DRAWS))
    low, high = common.interval(drawn, confidence)
    return value, low, high


def _report(context: RiskContext, scores: np.ndarray) -> Finding:
    confidence, n = context.spec.decision.confidence, len(scores)
    value, low, high = spread(scores, confidence)
    matters = max(_WARN, context.spec.decision.indifference.quality)
    status = "fail" if low > max(_FAIL, matters) else "warn" if value > matters else "ok"
    likelihood, impact = {"ok": (0.1, 2), "warn": (0.4, 3), "fail": (0.8, 3)}[status]
    fixed = bool(np.ptp(scores) == 0)
    span = f"{scores.min():.4f} – {scores.max():.4f}"
    observed = Words(
        zh=f"{n} 个种子的得分{'完全相同' if fixed else f'在 {span} 之间'}，标准差 {value:.4f}（{confidence:.0%} 区间 {low:.4f} – {high:.4f}）。",
        en=f"{n} seeds score {'exactly the same' if fixed else span}; "
        f"standard deviation {value:.4f} ({confidence:.0%} interval {low:.4f} – {high:.4f}).",
    )
    numbers = (
        Measurement(
            name="seed_sd",
            value=value,
            low=min(low, value),
            high=max(high, value),
            n=n,
            unit="share",
            confidence=confidence,
        ),
        Measurement(name="seed_range", value=float(np.ptp(scores)), n=n, unit="share"),
    )
    return common.report(
        context, _NAME, _TITLE, status, observed=observed, likelihood=likelihood, impact=impact, measurements=numbers,
        standards=_STANDARDS,
        mitigation=Words(
            zh="交付前固定种子；对多个种子取平均或集成；重训后先过契约再上线。",
            en="Fix the seed of what ships; average or ensemble over seeds; let a re-trained model pass the contract before it goes live.",
        ),
        residual=Words(
            zh=f"只有 {n} 个种子，区间很宽；数据更新后的重训可能再偏离这么多。",
            en=f"With {n} seeds the interval is wide; the next re-training may move by as much again.",
        ),
    )  # fmt: skip


PLUGIN = SeedStability()
