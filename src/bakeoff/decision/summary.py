"""The headline and the summary: what a colleague would say first."""

from __future__ import annotations

import numpy as np

from bakeoff.decision.choose import Choice
from bakeoff.decision.words import METRIC_NAMES, chance, figure, inside, money, number, opening
from bakeoff.decision.world import World
from bakeoff.schema.base import Words
from bakeoff.schema.decision import ConstraintVerdict, Flip, Relaxation
from bakeoff.schema.economics import CostEstimate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Spec


def headline(
    world: World,
    choice: Choice,
    cost: CostEstimate | None,
    constraints: tuple[ConstraintVerdict, ...],
    nearest: int | None,
) -> Words:
    """Return the decision in one sentence."""
    if choice.recommended is None:
        if nearest is None:
            return Words(zh="没有方案能满足全部要求。", en="No candidate meets every requirement.")
        label = world.views[nearest].candidate.label
        return Words(
            zh=f"没有方案能满足全部要求；最接近的是“{label.zh}”。",
            en=f"No candidate meets every requirement; {inside(label.en)} comes nearest.",
        )
    label = world.views[choice.recommended].candidate.label
    price, met = _price(cost), _met(constraints)
    if choice.outcome == "winner":
        return Words(zh=f"选“{label.zh}”：{met.zh}{price.zh}。", en=f"Ship {inside(label.en)}: {met.en}{price.en}.")
    return Words(
        zh=f"没有明显的赢家；建议用“{label.zh}”：{met.zh}{price.zh}。",
        en=f"No clear winner; {inside(label.en)} is recommended: {met.en}{price.en}.",
    )


def _price(cost: CostEstimate | None) -> Words:
    if cost is None:
        return Words(zh="", en="")
    total, months = money(cost.total, cost.currency), f"{cost.horizon_months:.3g}"
    return Words(zh=f"，{months} 个月总成本约 {total.zh}", en=f", about {total.en} over {months} months")


def _met(constraints: tuple[ConstraintVerdict, ...]) -> Words:
    open_ = [item for item in constraints if item.verdict != "meets"]
    if not constraints:
        return Words(zh="没有设硬性要求", en="no hard limit was set")
    if not open_:
        return Words(zh="满足全部要求", en="every requirement met")
    zh, en = "、".join(item.label.zh for item in open_), ", ".join(item.label.en for item in open_)
    return Words(zh=f"其余要求都满足，{zh}还没有定论", en=f"requirements met but for {en}, not settled yet")


def summary(
    world: World,
    choice: Choice,
    spec: Spec,
    score: Measurement | None,
    constraints: tuple[ConstraintVerdict, ...],
    flips: tuple[Flip, ...],
    relaxations: tuple[Relaxation, ...],
    rows_to_separate: int | None,
) -> Words:
    """Return the decision in a few sentences."""
    if choice.recommended is None:
        return _infeasible(relaxations)
    parts = [_confidence(choice, world, spec), _facts(score, constraints), _runner(world, choice)]
    if rows_to_separate is not None and choice.outcome == "no_clear_winner":
        parts.append(Words(
            zh=f"要分出胜负，大约需要 {rows_to_separate:,} 行确认数据。",
            en=f"Telling them apart would take about {rows_to_separate:,} confirm rows.",
        ))  # fmt: skip
    parts += [Words(zh=f"最近的翻转点：{flip.text.zh}", en=f"Nearest flip: {flip.text.en}") for flip in flips[:1]]
    said = [part for part in parts if part is not None]
    return Words(zh="".join(part.zh for part in said), en=" ".join(part.en for part in said))


def _confidence(choice: Choice, world: World, spec: Spec) -> Words:
    assert choice.recommended is not None and choice.lead is not None  # noqa: S101, PT018 - the caller checked
    sure = chance(float(choice.p_best[choice.recommended]))
    regret = _worth(float(choice.regret[choice.recommended]), world, spec)
    good = chance(float(choice.p_good[choice.recommended]))
    if choice.outcome == "winner":
        if np.unique(world.arms[choice.pool]).size == 1:
            return Words(
                zh="进入决赛且满足要求的只有这个模型。",
                en="It is the only model among the finalists that meets the requirements.",
            )
        return Words(
            zh=f"它最优的概率为 {sure}，与最优相差不超过无差异阈值的概率为 {good}，预期遗憾 {regret.zh}。",
            en=f"It is the best with probability {sure} and within indifference of the best with {good}; the regret to expect is {regret.en}.",
        )
    ties = choice.ties.size
    if ties > 1:
        return Words(
            zh=f"有 {ties} 个方案与平均最好者的差别在无差异范围之内，推荐其中最便宜、最简单的；它最优的概率为 {sure}，"
            f"与最优相差不超过无差异阈值的概率为 {good}，预期遗憾 {regret.zh}。",
            en=f"{ties} candidates lie within indifference of the best on average; the cheapest and simplest of them is recommended. "
            f"It is the best with probability {sure} and within indifference of the best with {good}; the regret to expect is {regret.en}.",
        )
    return Words(
        zh=f"平均来看它最好（最优的概率 {sure}，相差不超过无差异阈值的概率 {good}，预期遗憾 {regret.zh}），但与对手的差别还没有超出误差范围。",
        en=f"It is the best on average (probability {sure}, within indifference of the best with {good}, regret to expect {regret.en}), "
        "but not by more than the uncertainty of the data.",
    )


def _worth(value: float, world: World, spec: Spec) -> Words:
    if world.today.priced:
        return money(value, spec.value.currency)
    label = METRIC_NAMES[spec.requirements.quality.metric]
    points = f"{100 * value:.2g}" if value >= 1e-5 else "0"
    return Words(zh=f"{points} 个百分点（{label.zh}）", en=f"{points} points of {label.en}")


def _facts(score: Measurement | None, constraints: tuple[ConstraintVerdict, ...]) -> Words | None:
    zh, en = [], []
    if score is not None and score.value is not None and score.low is not None and score.high is not None:
        label = METRIC_NAMES[score.name]
        zh.append(f"{label.zh} {number(score.value)}（{number(score.low)} 至 {number(score.high)}）")
        en.append(f"{label.en} {number(score.value)} ({number(score.low)} to {number(score.high)})")
    for item in constraints:
        key = item.name.rsplit(".", 1)[-1]
        if item.name.startswith("requirements.latency") and item.metric.value is not None:
            zh.append(f"{METRIC_NAMES[f'latency_{key}'].zh} {figure(key, item.metric.value)}")
            en.append(f"{METRIC_NAMES[f'latency_{key}'].en} {figure(key, item.metric.value)}")
    if not zh:
        return None
    text = ", ".join(en)
    return Words(zh="，".join(zh) + "。", en=f"{opening(text)}.")


def _runner(world: World, choice: Choice) -> Words | None:
    if choice.runner_up is None:
        return None
    label = world.views[choice.runner_up].candidate.label
    return Words(zh=f"第二名是“{label.zh}”。", en=f"Runner-up: {inside(label.en)}.")


def _infeasible(relaxations: tuple[Relaxation, ...]) -> Words:
    if not relaxations:
        return Words(
            zh="没有哪一条限制放宽之后就能解决问题；请看每个方案的原因。",
            en="No relaxation that could be computed admits a candidate; see each candidate's reason.",
        )
    alone = len({item.admits for item in relaxations}) > 1 or len(relaxations) == 1
    if alone:
        return Words(
            zh=f"最小的让步：{relaxations[0].text.zh}", en=f"The smallest concession: {relaxations[0].text.en}"
        )
    zh, en = "".join(item.text.zh for item in relaxations), " ".join(item.text.en for item in relaxations)
    return Words(zh=f"需要同时放宽：{zh}", en=f"These would have to give together: {en}")
