"""Hard limits: how each candidate stands to each, and what would have to give for more of them to pass.

A claim needs proof in either direction. ``meets`` and ``misses`` hold with the stated confidence; in between it is ``unproven``.
A percentile from too few requests is ``refused`` as a pass but may prove a failure. Other load on the machine only ever makes a
candidate slower: a pass measured on a busy machine counts, a failure is ``refused`` unless the processor seconds alone, or a wall time
beyond ``latency.NOISE_EXCUSE`` times the limit, prove it. Likewise more training rows may only be expected to help: what was trained on part
of them, and is not carried over to the final's scale, may meet the floor on quality but cannot be said to miss it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.choose import LIKELY
from bakeoff.decision.premises import LIMITS, Premises
from bakeoff.decision.rules import broken_rules
from bakeoff.decision.view import View
from bakeoff.decision.words import LIMIT_PATHS, METRIC_NAMES, UNITS, chance, figure, opening, spaced
from bakeoff.decision.world import METRIC_OF, Known, World, rate_draws
from bakeoff.schema.base import Words
from bakeoff.schema.decision import ConstraintVerdict, Metric, Relaxation, Verdict
from bakeoff.schema.spec import Spec

BUSY_REMARK = Words(
    zh="测量时机器正忙，请在空闲时重测", en="the machine was busy with other work; measure again on a quiet one"
)
_NOTHING = Words(zh="", en="")
_NOT_MEASURED = Words(zh="没有测到", en="not measured")
_AT_LEAST = frozenset({"floor", "throughput"})


@dataclass(frozen=True)
class Judgement:
    """Verdict, P(meets) (None when it cannot be told) and, where something is missing, what."""

    verdict: Verdict
    p_meets: float | None
    remark: Words = _NOTHING


def judge(view: View, known: Known, name: str, limit: float, confidence: float) -> Judgement:
    """Return how one candidate stands to one limit."""
    metric = METRIC_OF[name]
    if metric.startswith("latency"):
        return _latency(view, known, metric, limit, confidence)
    if metric == "quality":
        if view.id not in known.quality:
            return Judgement("unproven", None, Words(zh="没有评测", en="not evaluated"))
        return _floor(view, known, limit, confidence)
    if metric == "throughput":
        return _throughput(view, known, limit, confidence)
    value = single(view, metric)
    if value is None:
        return Judgement("unproven", None, _NOT_MEASURED)
    return _plain(float(value <= limit), confidence)


def _floor(view: View, known: Known, limit: float, confidence: float) -> Judgement:
    found = known.quality[view.id]
    judged = _plain(float((found.sampling >= limit).mean()), confidence)
    if judged.verdict == "meets" or found.carried or not view.partial:
        return judged
    assert view.judged is not None  # noqa: S101 - a partial view was judged
    share = f"{100 * view.judged.fidelity.fraction:.0f}"
    remark = Words(
        zh=f"只用了训练数据的 {share}%，用得更多可能达标",
        en=f"trained on {share} % of the training rows only; more of them may lift it over the floor",
    )
    return Judgement("unproven", None, remark)


def floor_open(view: View, known: Known, premises: Premises) -> bool:
    """Whether a floor is set that the candidate might still meet: it was trained on part of the rows only."""
    if premises.floor is None or view.id not in known.quality:
        return False
    return judge(view, known, "floor", premises.floor, premises.confidence).p_meets is None


def _throughput(view: View, known: Known, limit: float, confidence: float) -> Judgement:
    found = known.rates[view.id]
    if found is None or found.value is None:
        return Judgement("unproven", None, _NOT_MEASURED)
    passes = float((rate_draws(found, known.draws) >= limit).mean())
    if found.validity == "noisy" and passes < confidence:
        return Judgement("refused", None, BUSY_REMARK)
    return _plain(passes, confidence)


def single(view: View, metric: str) -> float | None:
    """Return a figure that is one number: memory, size."""
    if metric == "size" and view.artifact is not None and view.artifact.size:
        return float(view.artifact.size)
    measured = view.measurements.get(metric)
    return None if measured is None else measured.value


def _plain(p_meets: float, confidence: float) -> Judgement:
    if p_meets >= confidence:
        return Judgement("meets", p_meets)
    return Judgement("misses" if p_meets <= 1.0 - confidence else "unproven", p_meets)


def _latency(view: View, known: Known, metric: str, limit: float, confidence: float) -> Judgement:
    found = known.percentiles[view.id].get(metric)
    if found is None:
        return Judgement("unproven", None, _NOT_MEASURED)
    passes, at_best = float((found.draws <= limit).mean()), float((found.floor <= limit).mean())
    if at_best <= 1.0 - confidence:
        return Judgement("misses", at_best)
    if found.missing:
        return Judgement("refused", None, missing_remark(metric, found.n, found.missing))
    if found.noisy and passes < confidence:
        return Judgement("refused", None, BUSY_REMARK)
    return _plain(passes, confidence)


def missing_remark(metric: str, n: int, missing: int) -> Words:
    """Return why a percentile is refused."""
    name = metric.removeprefix("latency_")
    return Words(
        zh=f"{name} 至少需要 {n + missing} 次请求，还差 {missing} 次",
        en=f"{name} needs at least {n + missing} requests; {missing} are missing",
    )


def verdicts(
    view: View, known: Known, premises: Premises, metrics: dict[str, Metric], spec: Spec
) -> tuple[ConstraintVerdict, ...]:
    """Return every limit of the specification with how this candidate stands to it."""
    found = []
    for name in LIMITS:
        limit = getattr(premises, name)
        if limit is None:
            continue
        key = spec.requirements.quality.metric if name == "floor" else METRIC_OF[name]
        absent = Metric(value=None, verdict="unproven", remark=_NOT_MEASURED.en, remark_zh=_NOT_MEASURED.zh)
        metric = metrics.get(key, absent)
        judged = judge(view, known, name, limit, premises.confidence)
        label = METRIC_NAMES[key]
        found.append(
            ConstraintVerdict(
                name=LIMIT_PATHS[name],
                label=_limit_label(name, label),
                limit=limit,
                unit=UNITS[name],
                direction="min" if name in _AT_LEAST else "max",
                metric=metric,
                verdict=judged.verdict,
                p_meets=judged.p_meets,
                text=_text(name, label, metric, limit, judged),
            )
        )
    return (*found, *_rules(view, known, spec))


def _limit_label(name: str, label: Words) -> Words:
    if name in _AT_LEAST:
        return Words(zh=f"{spaced(label.zh)}下限", en=f"floor of {label.en}")
    return Words(zh=f"{spaced(label.zh)}上限", en=f"limit of {label.en}")


_SAID: dict[str, Words] = {
    "meets": Words(zh="达标", en="met"),
    "misses": Words(zh="不达标", en="not met"),
    "unproven": Words(zh="尚无定论", en="not settled"),
    "refused": Words(zh="无法下结论", en="no verdict"),
    "not_required": Words(zh="无要求", en="not required"),
}


def _text(name: str, label: Words, metric: Metric, limit: float, judged: Judgement) -> Words:
    bound = Words(zh="下限", en="a floor of") if name in _AT_LEAST else Words(zh="上限", en="a limit of")
    said = _SAID[judged.verdict]
    if metric.value is None:
        shown = Words(zh="没有可用的数值", en="cannot be stated")
    else:
        value, spread = figure(METRIC_OF[name], metric.value), ("", "")
        if metric.low is not None and metric.high is not None:
            low, high = figure(METRIC_OF[name], metric.low), figure(METRIC_OF[name], metric.high)
            if low != high:
                spread = (f"（{low} 至 {high}，n={metric.n}）", f" ({low} to {high}, n={metric.n})")
        shown = Words(zh=f"为 {value}{spread[0]}", en=f"is {value}{spread[1]}")
    sure = judged.p_meets
    doubt = ("", "") if sure is None or sure in {0.0, 1.0} else (f"（把握 {chance(sure)}）", f" ({chance(sure)} sure)")
    why = judged.remark
    because = Words(zh=f"：{why.zh}", en=f": {why.en}") if why.en else _NOTHING
    wanted = figure(METRIC_OF[name], limit)
    return Words(
        zh=f"{spaced(label.zh)}{shown.zh}，{bound.zh} {wanted}：{said.zh}{doubt[0]}{because.zh}。",
        en=f"{opening(label.en)} {shown.en} against {bound.en} {wanted}: {said.en}{doubt[1]}{because.en}.",
    )


def _rules(view: View, known: Known, spec: Spec) -> list[ConstraintVerdict]:
    """The rules as limits of zero: rows that leave, licences not accepted."""
    rule, found = known.rules[view.id], []
    if not spec.risk.data_may_leave:
        stays, goes = (
            Words(zh="数据不离开本地", en="No row leaves the premises"),
            Words(zh="数据会发给远程模型", en="Rows go to a remote model"),
        )
        label = Words(zh="数据不出本地", en="rows stay on the premises")
        found.append(_rule_verdict("risk.data_may_leave", label, float(rule.leaves), goes if rule.leaves else stays))
    if rule.licences or spec.risk.licences is not None:
        names = ", ".join(rule.licences)
        stated = Words(zh=f"权重许可证：{names}", en=f"Licence of the weights: {names}")
        none = Words(zh="不含预训练权重", en="No pretrained weights inside")
        label = Words(zh="许可证", en="licences")
        found.append(_rule_verdict("risk.licences", label, float(len(rule.refused)), stated if names else none))
    return found


def _rule_verdict(name: str, label: Words, value: float, said: Words) -> ConstraintVerdict:
    verdict: Verdict = "misses" if value else "meets"
    metric = Metric(value=value, n=1, unit="rule", verdict=verdict)
    text = Words(zh=f"{said.zh}：{_SAID[verdict].zh}。", en=f"{said.en}: {_SAID[verdict].en}.")
    return ConstraintVerdict(
        name=name, label=label, limit=0.0, unit="rule", direction="max", metric=metric, verdict=verdict,
        p_meets=0.0 if value else 1.0, text=text,
    )  # fmt: skip


def shortfalls(world: World, premises: Premises) -> tuple[list[str], NDArray[np.bool_], NDArray[np.float64]]:
    """Return the limits set, who fails each (limits, v) and the limit each candidate would need (limits, v).

    Needed is what the candidate meets with the stated confidence; NaN where the figure was never measured, or measured only after training
    on part of the rows: a lower floor must not be offered for the sake of a model that nobody would ship.
    """
    names = [name for name in LIMITS if getattr(premises, name) is not None]
    fails, needed = [], []
    for name in names:
        limit, figures = getattr(premises, name), world.held(name, premises)
        meets = figures >= limit if name in _AT_LEAST else figures <= limit
        fails.append(meets.mean(axis=1) < LIKELY)
        quantile = 1.0 - premises.confidence if name in _AT_LEAST else premises.confidence
        wanted = np.quantile(figures, quantile, axis=1)
        needed.append(np.where(fails[-1] & in_part(world), np.nan, wanted) if name == "floor" else wanted)
    size = (len(names), len(world.views))
    return names, np.array(fails, dtype=bool).reshape(size), np.array(needed, dtype=np.float64).reshape(size)


def in_part(world: World) -> NDArray[np.bool_]:
    """Return who (v,) was judged after training on part of the rows only, with nothing that carries it to the final's scale."""
    partial = np.array([view.partial for view in world.views], dtype=np.bool_)
    return partial & ~world.carried


def nearest_miss(world: World, premises: Premises) -> int | None:
    """Return the candidate that breaks no rule and needs the smallest relaxation: fewest limits, then least in proportion."""
    names, fails, needed = shortfalls(world, premises)
    best: tuple[float, float, str, int] | None = None
    for index, view in enumerate(world.views):
        broken = np.flatnonzero(fails[:, index])
        if not world.allowed[index] or np.isnan(needed[broken, index]).any():
            continue
        stretch = sum(_stretch(getattr(premises, names[row]), needed[row, index]) for row in broken)
        key = (float(len(broken)), stretch, view.id, index)
        best = key if best is None or key < best else best
    return None if best is None else best[3]


def relaxations(world: World, premises: Premises, nearest: int | None) -> tuple[Relaxation, ...]:
    """Return per limit the smallest change that alone admits somebody, smallest change first.

    When nobody is kept out by one limit alone, the changes the nearest miss needs together.
    """
    names, fails, needed = shortfalls(world, premises)
    found = []
    for row, name in enumerate(names):
        alone = fails[row] & (fails.sum(axis=0) == 1) & world.allowed & ~np.isnan(needed[row])
        if not alone.any():
            continue
        wanted = needed[row][alone]
        value = float(wanted.max() if name in _AT_LEAST else wanted.min())
        admits = alone & (needed[row] >= value if name in _AT_LEAST else needed[row] <= value)
        found.append(_relaxation(name, getattr(premises, name), value, world, np.flatnonzero(admits)))
    if not found and nearest is not None:
        found = [
            _relaxation(name, getattr(premises, name), float(needed[row, nearest]), world, np.array([nearest]))
            for row, name in enumerate(names) if fails[row, nearest]
        ]  # fmt: skip
    return tuple(sorted(found, key=lambda item: (_stretch(item.limit, item.needed), item.constraint)))


def _stretch(limit: float, needed: float) -> float:
    return abs(math.log(max(needed, 1e-12) / max(limit, 1e-12)))


def _relaxation(name: str, limit: float, needed: float, world: World, admitted: NDArray[np.int64]) -> Relaxation:
    labels = [world.views[int(index)].candidate.label for index in admitted]
    what, metric = METRIC_NAMES.get(METRIC_OF[name], Words(zh="质量", en="quality")), METRIC_OF[name]
    zh, en = "、".join(f"“{label.zh}”" for label in labels[:3]), ", ".join(label.en for label in labels[:3])
    bound = Words(zh="下限", en="floor") if name in _AT_LEAST else Words(zh="上限", en="limit")
    return Relaxation(
        constraint=LIMIT_PATHS[name], limit=limit, needed=needed, unit=UNITS[name],
        admits=tuple(world.views[int(index)].id for index in admitted),
        text=Words(
            zh=f"把{spaced(what.zh)}{bound.zh}从 {figure(metric, limit)} 放宽到 {figure(metric, needed)}，可接纳 {len(labels)} 个方案：{zh}。",
            en=f"A {what.en} {bound.en} of {figure(metric, needed)} instead of {figure(metric, limit)} admits {len(labels)}: {en}.",
        ),
    )  # fmt: skip


def rule_reason(view: View, known: Known) -> Words | None:
    """Return which rule keeps a candidate out, in words."""
    return broken_rules(known.rules[view.id])
