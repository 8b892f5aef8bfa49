"""Whether some kinds of rows are served clearly worse than the rest.

Many groups are compared, so single intervals would find gaps in noise: p-values are corrected after Holm (1979), and the interval
of the worst gap is widened for the number of groups looked at (Bonferroni).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bakeoff.data import personal
from bakeoff.data.transforms.rule import choose
from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "subgroups"
_TITLE = Words(zh="子群差距", en="Gaps between subgroups")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.11", "PIPL Art. 24", "PIPL Art. 55", "生成式人工智能服务管理暂行办法 第四条", "OWASP ML Top 10 2023 ML08",
)  # fmt: skip
_FEWEST, _MOST_VALUES = 30, 20
_WARN, _FAIL = 0.05, 0.15
_CHINESE = re.compile("[\u4e00-\u9fff]")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Gap:
    """Accuracy of one group less that of all other rows, with the p-value of no difference."""

    name: Words
    rows: int
    value: float
    low: float
    high: float
    p: float


class Subgroups:
    """Accuracy by the group column, by category, by text length and by language of the row."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Compare every group of at least thirty rows with the rest."""
        sliced = slices(context) if len(context.held_out) else []
        groups = [(name, mask) for name, mask in sliced if _FEWEST <= mask.sum() <= len(mask) - _FEWEST]
        if not groups:
            why = Words(
                zh=f"没有行数不少于 {_FEWEST} 的子群可比较。",
                en=f"There is no subgroup of at least {_FEWEST} rows to compare.",
            )
            return (common.not_measured(context, _NAME, _TITLE, why, _MITIGATION, _STANDARDS),)
        predicted = choose(context.held_out_probabilities, context.artifact.rule)
        right = predicted == context.held_out.labels
        confidence = 1 - (1 - context.spec.decision.confidence) / len(groups)
        return (_report(context, [gap(name, right, mask, confidence) for name, mask in groups], confidence),)


def gap(name: Words, right: Mask, inside: Mask, confidence: float) -> Gap:
    """Compare the share of right rows inside and outside of a group.

    The interval is Newcombe's (1998, method 10) from two Wilson intervals; p is of the pooled z test.
    """
    a, n, b, m = int(right[inside].sum()), int(inside.sum()), int(right[~inside].sum()), int((~inside).sum())
    one, other = a / n, b / m
    (l1, u1), (l2, u2) = wilson(a, n, confidence), wilson(b, m, confidence)
    value = one - other
    low = value - math.hypot(one - l1, u2 - other)
    high = value + math.hypot(u1 - one, other - l2)
    pooled = (a + b) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    p = 2 * NormalDist().cdf(-abs(value) / error) if error > 0 else 1.0
    return Gap(name, n, value, low, high, p)


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, square = successes / n, z * z / n
    middle = (share + square / 2) / (1 + square)
    reach = z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found, highest = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        found[index] = highest
    return found


def slices(context: RiskContext) -> list[tuple[Words, Mask]]:
    """Return named row masks (n,): group column, categories, text length, language, missing fields."""
    rows = context.held_out.rows
    found: list[tuple[Words, Mask]] = []
    for name, values in (context.groups or {}).items():
        found += _by_value(name, np.asarray([str(value) for value in values]))
    for column in context.artifact.inputs:
        cells = [row.get(column.name) for row in rows]
        if column.kind == "category":
            found += _by_value(column.name, np.asarray([str(cell) for cell in cells]))
        if column.kind == "text":
            texts = [cell if isinstance(cell, str) else "" for cell in cells]
            found += _by_length(column.name, texts) + _by_language(column.name, texts)
        missing = np.asarray([cell is None for cell in cells])
        found.append((Words(zh=f"{column.name} 缺失", en=f"{column.name} missing"), missing))
    return found


def _by_value(column: str, values: NDArray[np.str_]) -> list[tuple[Words, Mask]]:
    kept, counts = np.unique(values, return_counts=True)
    frequent = kept[np.argsort(-counts, kind="stable")][:_MOST_VALUES]
    shown = {value: f"{column} = {_shown(value, place)}" for place, value in enumerate(sorted(frequent), 1)}
    return [(Words(zh=name, en=name), values == value) for value, name in shown.items()]


def _by_length(column: str, texts: Sequence[str]) -> list[tuple[Words, Mask]]:
    lengths = np.asarray([len(text) for text in texts])
    first, second = np.quantile(lengths, [1 / 3, 2 / 3])
    return [
        (Words(zh=f"{column} 不超过 {first:.0f} 字", en=f"{column} up to {first:.0f} characters"), lengths <= first),
        (Words(zh=f"{column} 超过 {second:.0f} 字", en=f"{column} over {second:.0f} characters"), lengths > second),
    ]


def _by_language(column: str, texts: Sequence[str]) -> list[tuple[Words, Mask]]:
    chinese = np.asarray([bool(_CHINESE.search(text)) for text in texts])
    return [(Words(zh=f"{column} 不含汉字", en=f"{column} without Chinese characters"), ~chinese)]


def _shown(value: str, place: int) -> str:
    """Return a value short enough for a sentence; one that looks personal is only numbered."""
    if personal.find(value):
        return f"#{place}"
    return value if len(value) <= 30 else f"{value[:30]}…"


def _report(context: RiskContext, gaps: Sequence[Gap], confidence: float) -> Finding:
    corrected = holm([found.p for found in gaps])
    worst = min(range(len(gaps)), key=lambda index: gaps[index].value)
    found, p = gaps[worst], corrected[worst]
    proven = p < 1 - context.spec.decision.confidence and found.value < 0
    large = -found.value > _FAIL and -found.high > _WARN
    status = "fail" if proven and large else "warn" if proven and -found.value > _WARN else "ok"
    likelihood, impact = {"ok": (0.1, 3), "warn": (0.5, 3), "fail": (0.9, 4)}[status]
    verdict = Words(
        zh="统计上成立" if proven else "统计上不成立",
        en="statistically established" if proven else "not statistically established",
    )
    numbers = (
        Measurement(
            name="worst_gap", value=found.value, low=found.low, high=found.high, n=found.rows, unit="share", confidence=confidence,
            remark=f"{found.name.en}; Holm p = {p:.3g}, {len(gaps)} groups",
            remark_zh=f"{found.name.zh}；Holm 校正 p = {p:.3g}，共 {len(gaps)} 组",
        ),
        *(
            Measurement(name=f"gap_{number}", value=each.value, low=each.low, high=each.high, n=each.rows, unit="share",
                        confidence=confidence, remark=f"{each.name.en}; Holm p = {value:.3g}",
                        remark_zh=f"{each.name.zh}；Holm 校正 p = {value:.3g}")
            for number, (each, value) in enumerate(zip(gaps, corrected, strict=True), 1)
        ),
    )  # fmt: skip
    return common.report(
        context, _NAME, _TITLE, status, likelihood=likelihood, impact=impact, measurements=numbers, standards=_STANDARDS,
        observed=Words(
            zh=f"比较了 {len(gaps)} 个子群。差距最大的是“{found.name.zh}”（{found.rows} 行）：准确率比其余低 {common.percent(-found.value)}"
            f"（区间 {common.percent(-found.high)} – {common.percent(-found.low)}），多重比较校正后 p = {p:.2g}，{verdict.zh}。",
            en=f'{len(gaps)} subgroups compared. Largest gap: "{found.name.en}" ({found.rows} rows), accuracy '
            f"{common.percent(-found.value)} below the rest (interval {common.percent(-found.high)} – {common.percent(-found.low)}); "
            f"p = {p:.2g} after correction for many comparisons: {verdict.en}.",
        ),
        mitigation=_MITIGATION,
        residual=Words(
            zh="只比较了数据里有的列；未记录的属性（如地域、年龄）上的差距看不到。",
            en="Only what the data record was compared; gaps along attributes nobody recorded (region, age) stay unseen.",
        ),
    )  # fmt: skip


_MITIGATION = Words(
    zh="为表现差的子群补充标注；按子群分别监控与报警；涉及个人权益的自动化决定提供人工复核渠道。",
    en="Label more rows of the weak groups; watch and alarm per group; offer human review where decisions affect people.",
)
PLUGIN = Subgroups()
