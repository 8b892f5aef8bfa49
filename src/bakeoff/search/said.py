"""What the search says: why an arm goes no further, and which rule stopped the looking."""

from __future__ import annotations

from typing import NamedTuple

from bakeoff.schema.base import Words
from bakeoff.search.planner import Rule


class Seen(NamedTuple):
    """How closely an arm was looked at: share of the training rows (None where it does not train), rows judged, score."""

    fraction: float | None
    rows: int
    score: float


def _looked(seen: Seen) -> Words:
    if seen.fraction is None:
        return Words(
            zh=f"在 {seen.rows} 行上得分 {seen.score:.3f}", en=f"judged on {seen.rows} rows: score {seen.score:.3f}"
        )
    share = f"{100 * seen.fraction:.0f} %"
    return Words(
        zh=f"用训练数据的 {share}、在 {seen.rows} 行上得分 {seen.score:.3f}",
        en=f"trained on {share} of the training rows, judged on {seen.rows}: score {seen.score:.3f}",
    )


def _chance(value: float) -> str:
    return "< 0.01" if value < 0.005 else f"{value:.2f}"


def _over(rule: Rule | None) -> Words:
    """Why no further look was taken."""
    if rule == "exhausted":
        return Words(zh="计划时间容不下再看一眼", en="the planned time held no further look")
    return Words(zh="再看一眼所值不及其代价", en="another look was not worth its price")


def unseen(chance: float, rule: Rule | None) -> Words:
    """Say why an arm was never looked at."""
    over = _over(rule)
    return Words(
        zh=f"未训练：从同类方案已有的结果推算，它比领先者好出无差异区的概率为 {_chance(chance)}，{over.zh}",
        en=f"not trained: judging by its relatives, its chance to beat the leader by more than the indifference zone is {_chance(chance)}; {over.en}",
    )


def proven(seen: Seen, alpha: float, *, exact: bool) -> Words:
    """Say that an arm is proven worse, and how strictly: linearised metrics keep the error rate in the limit of many rows only."""
    looked = _looked(seen)
    if exact:
        return Words(
            zh=f"{looked.zh}；逐行配对的序贯检验证明它比另一方案差出无差异区（任意时刻有效，误淘汰率 ≤ {alpha:.0%}）",
            en=f"{looked.en}; worse than another by more than the indifference zone, proven row by row at an error rate of {alpha:.0%} "
            "however often one looked",
        )
    return Words(
        zh=f"{looked.zh}；大样本序贯检验表明它比另一方案差出无差异区（误淘汰率约 {alpha:.0%}）",
        en=f"{looked.en}; worse than another by more than the indifference zone by a large-sample sequential test (error rate about {alpha:.0%})",
    )


def parked(seen: Seen, hoped: float, spread: float, chance: float, rule: Rule | None) -> Words:
    """Say why an arm that may still be good was not looked at again."""
    looked, over = _looked(seen), _over(rule)
    part = seen.fraction is not None and seen.fraction < 1.0
    zh = f"，推算用全部训练数据约 {hoped:.3f}（±{spread:.3f}）" if part else ""
    en = f", about {hoped:.3f} (±{spread:.3f}) expected on all" if part else ""
    return Words(
        zh=f"{looked.zh}{zh}；比领先者好出无差异区的概率为 {_chance(chance)}，{over.zh}",
        en=f"{looked.en}{en}; its chance to beat the leader by more than the indifference zone is {_chance(chance)}, and {over.en}",
    )


def stopped(rule: Rule | None, sure: float, zone: float, confidence: float, patience: float, *, left: bool) -> Words:
    """Say which rule stopped the looking; ``left``: whether anything was left to look at."""
    certain = f"{100 * sure:.0f} %"
    also = Words(
        zh=f"（此时领先者够好的把握为 {certain}）", en=f" (certainty that the leader is good enough: {certain})"
    )
    if rule == "confident":
        return Words(
            zh=f"领先者有 {certain} 的把握不比任何其他方案差出无差异区（{zone:g}），达到要求的 {confidence:.0%}",
            en=f"the leader is within the indifference zone ({zone:g}) of the best with {certain} certainty; {confidence:.0%} were asked for",
        )
    if rule == "priced":
        return Words(
            zh=f"再测一步的预期收益低于其价格{also.zh}",
            en=f"the next step costs more than it is expected to gain{also.en}",
        )
    if rule == "slow":
        return Words(
            zh=f"再测下去收益太小：按最划算的一步的速度，"
            f"花掉计划时间（或全部逐一评测的代价，取其大者）的 {patience:.0%} 也换不来一个无差异区{also.zh}",
            en=f"looking further gains too little for its price: at the rate of the best next step, {patience:.0%} of the planned time "
            f"(or of the price of looking at everything, if that is more) would not gain one indifference zone{also.en}",
        )
    if rule == "worthless":
        return Words(
            zh=f"再测任何一步预期都改变不了什么：预期收益不足无差异区的 1%{also.zh}",
            en=f"no further step is expected to gain as much as a hundredth of the indifference zone{also.en}",
        )
    if left:
        return Words(
            zh=f"计划时间内能看的都看过了{also.zh}", en=f"everything the planned time holds was looked at{also.en}"
        )
    return Words(zh=f"所有方案都完整看过了{also.zh}", en=f"everything was looked at in full{also.en}")
