"""One sentence per candidate: what became of it and why."""

from __future__ import annotations

import math

import numpy as np

from bakeoff.decision.choose import LIKELY, Choice
from bakeoff.decision.compressed import gained
from bakeoff.decision.constraints import Judgement, judge, rule_reason
from bakeoff.decision.premises import LIMITS, Premises
from bakeoff.decision.view import View
from bakeoff.decision.words import METRIC_NAMES, chance, figure, money, number, spaced
from bakeoff.decision.world import METRIC_OF, Known, World
from bakeoff.schema.base import Words
from bakeoff.schema.decision import CandidateStatus, Metric
from bakeoff.schema.spec import Spec

Said = tuple[CandidateStatus, Words]
_FAILED_AT = {
    "build": Words(zh="训练", en="while it was built"),
    "export": Words(zh="导出", en="while it was exported"),
    "compress": Words(zh="压缩", en="while it was compressed"),
    "load": Words(zh="加载", en="while it was loaded"),
    "predict": Words(zh="预测", en="while it predicted"),
    "time": Words(zh="计时", en="while it was timed"),
    "risk": Words(zh="风险检查", en="in a risk check"),
}
_NOT_ELIMINATED = frozenset({"unaffordable", "not_reached", "not_representative"})


class Reasons:
    """Tells what became of each candidate under one choice."""

    def __init__(
        self, world: World, known: Known, choice: Choice, spec: Spec, shown: dict[str, dict[str, Metric]]
    ) -> None:
        self.world, self.known, self.choice, self.spec, self.shown = world, known, choice, spec, shown
        self.premises: Premises = world.today
        self.place = {view.id: index for index, view in enumerate(world.views)}

    def of(self, view: View) -> Said:
        """Return the status of a candidate and the reason; what compressing gained, that too."""
        status, reason = self._status(view)
        more = gained(view, [*self.world.views, *self.world.unseen], self.shown)
        return status, Words(zh=reason.zh + more.zh, en=reason.en + more.en)

    def _status(self, view: View) -> Said:
        index = self.place.get(view.id)
        if index is not None and index in self.choice.pool:
            return self._compared(index)
        broken = self._broken(view)
        if broken is not None:
            return "infeasible", broken
        if view.failure is not None and (index is None or not view.final):
            return "failed", _failed(view)
        return self._stopped(view, index)

    def _compared(self, index: int) -> Said:
        choice = self.choice
        if index == choice.recommended:
            return (
                ("winner", self._won(index))
                if choice.outcome == "winner"
                else ("within_indifference", self._tied_best(index))
            )
        if index in choice.ties:
            return "within_indifference", self._tied(index)
        assert choice.recommended is not None  # noqa: S101 - the pool is not empty
        if choice.mean[choice.recommended] - choice.mean[index] <= choice.zone:
            return "within_indifference", self._near(index, choice.recommended)
        return "dominated", self._beaten(index)

    def _won(self, index: int) -> Words:
        choice = self.choice
        if np.unique(self.world.arms[choice.pool]).size == 1:
            return Words(
                zh="进入决赛且满足全部要求的只有这个模型。",
                en="The only model among the finalists that meets every requirement.",
            )
        sure, regret = chance(float(choice.p_best[index])), self._amount(float(choice.regret[index]))
        if choice.p_best[index] >= self.premises.confidence:
            return Words(
                zh=f"在满足要求的方案中最优，把握 {sure}。",
                en=f"The best of those that meet the requirements, {sure} sure.",
            )
        return Words(
            zh=f"最优的概率为 {sure}；万一选错，预期损失只有{regret.zh}，在你给出的无差异范围之内。",
            en=f"Best with probability {sure}; should that be wrong, the loss to expect is {regret.en}, less than matters to you.",
        )

    def _tied_best(self, index: int) -> Words:
        choice = self.choice
        count = choice.ties.size - 1
        if count == 0:
            sure = chance(float(choice.p_best[index]))
            return Words(
                zh=f"平均表现最好（最优的概率 {sure}），但与对手的差别还没有超出误差范围；暂时推荐它。",
                en=f"Best on average (probability {sure}), but not by more than the uncertainty of the data. Recommended for now.",
            )
        why = self._tie_break(index)
        return Words(
            zh=f"与另外 {count} 个方案的差别在无差异范围之内；推荐它，因为它{why.zh}。",
            en=f"Within indifference of {count} other{'s' if count > 1 else ''}; recommended because it is {why.en}.",
        )

    def _tie_break(self, index: int) -> Words:
        others = [int(other) for other in self.choice.ties if other != index]
        mean = self.choice.costs.mean(axis=1)
        share = self.premises.cost_zone
        if all(mean[index] < mean[other] * (1.0 - share) for other in others):
            return Words(zh="最便宜", en="the cheapest")
        mine = self.world.views[index].candidate.variant.simplicity
        if all(mine <= self.world.views[other].candidate.variant.simplicity for other in others):
            return Words(zh="不比别的方案贵，也最简单", en="no dearer than the rest and the simplest")
        return Words(zh="成本和可靠性最合适", en="the soundest on cost and certainty")

    def _tied(self, index: int) -> Words:
        recommended = self.choice.recommended
        assert recommended is not None  # noqa: S101 - ties exist only beside a recommendation
        rival = self.world.views[recommended].candidate.label
        gap, low, high = self._gap(index, recommended)
        extra = self._drawbacks(index, recommended)
        if self.world.arms[index] == self.world.arms[recommended]:
            candidate = self.world.views[index].candidate
            form = (
                candidate.runtime
                if candidate.compression == "none"
                else f"{candidate.compression}, {candidate.runtime}"
            )
            same = float(np.abs(self.choice.objective[index] - self.choice.objective[recommended]).max()) == 0.0
            shown = (
                Words(zh="结果相同", en="with the same answers")
                if same
                else Words(zh=f"相差 {gap.zh}", en=f"differing by {gap.en}")
            )
            return Words(
                zh=f"与推荐方案是同一个模型的另一种形态（{form}），{shown.zh}{extra.zh}。",
                en=f"Another form ({form}) of the recommended model, {shown.en}{extra.en}.",
            )
        return Words(
            zh=f"与推荐方案“{rival.zh}”相差 {gap.zh}（区间 {low.zh} 至 {high.zh}），在无差异范围之内{extra.zh}。",
            en=f"Differs from the recommended {rival.en} by {gap.en} ({low.en} to {high.en}), within indifference{extra.en}.",
        )

    def _near(self, index: int, recommended: int) -> Words:
        """The leader need not be the recommended: what is within indifference of the one may be further from the other."""
        lead = self.choice.lead
        assert lead is not None  # noqa: S101 - the pool is not empty
        rival, best = (self.world.views[place].candidate.label for place in (recommended, lead))
        (gap, low, high), (far, _, _) = self._gap(index, recommended), self._gap(index, lead)
        part = self._part(index)
        return Words(
            zh=f"与推荐方案“{rival.zh}”相差 {gap.zh}（区间 {low.zh} 至 {high.zh}），在无差异范围之内，"
            f"但与平均最好的“{best.zh}”相差 {far.zh}，超出该范围。{part.zh}",
            en=f"Within indifference of the recommended {rival.en}, differing by {gap.en} ({low.en} to {high.en}), "
            f"but not of {best.en}, the best on average, from which it differs by {far.en}.{part.en}",
        )

    def _drawbacks(self, index: int, recommended: int) -> Words:
        mean = self.choice.costs.mean(axis=1)
        mine, theirs = self.world.views[index].candidate.variant, self.world.views[recommended].candidate.variant
        found = []
        if mean[index] > mean[recommended] * (1.0 + self.premises.cost_zone):
            found.append(Words(zh="更贵", en="dearer"))
        if mine.simplicity > theirs.simplicity:
            found.append(Words(zh="更复杂", en="more complex"))
        if not found:
            return Words(zh="", en="")
        return Words(
            zh="，但" + "、".join(word.zh for word in found), en=", but " + " and ".join(word.en for word in found)
        )

    def _beaten(self, index: int) -> Words:
        rival = self.choice.recommended
        assert rival is not None  # noqa: S101 - the pool is not empty
        label = self.world.views[rival].candidate.label
        gap, low, high = self._gap(index, rival)
        what = self._objective_name()
        also = self._also_worse(index, rival)
        part = self._part(index)
        return Words(
            zh=f"不如“{label.zh}”：{spaced(what.zh)}相差 {gap.zh}（区间 {low.zh} 至 {high.zh}）{also.zh}。{part.zh}",
            en=f"Beaten by {label.en}: {what.en} differs by {gap.en} ({low.en} to {high.en}){also.en}.{part.en}",
        )

    def _part(self, index: int) -> Words:
        """Say that a finalist was trained on part of the rows only, all that the planned time allowed."""
        seen = self.world.views[index].judged
        if seen is None or seen.fidelity.fraction >= 1.0 or not self.world.views[index].candidate.variant.trains:
            return Words(zh="", en="")
        share = f"{100 * seen.fidelity.fraction:.0f}"
        return Words(
            zh=f"它只用了训练数据的 {share}%，这是计划时间所允许的。",
            en=f" It was trained on {share} % of the training rows, which is what the planned time allowed.",
        )

    def _also_worse(self, index: int, rival: int) -> Words:
        mine, theirs = self.shown[self.world.views[index].id], self.shown[self.world.views[rival].id]
        worse = []
        for name, words in (
            ("latency_p95", Words(zh="更慢", en="slower")),
            ("memory", Words(zh="更占内存", en="larger in memory")),
        ):
            a, b = mine.get(name), theirs.get(name)
            if a and b and a.value is not None and b.value is not None and a.value > 1.1 * b.value:
                worse.append(words)
        mean = self.choice.costs.mean(axis=1)
        if mean[index] > mean[rival] * (1.0 + self.premises.cost_zone):
            worse.append(Words(zh="更贵", en="dearer"))
        if not worse:
            return Words(zh="", en="")
        return Words(
            zh="，而且" + "、".join(word.zh for word in worse),
            en="; it is also " + " and ".join(word.en for word in worse),
        )

    def _broken(self, view: View) -> Words | None:
        """The rule a candidate breaks, else the limit it is furthest from."""
        rule = rule_reason(view, self.known)
        if rule is not None:
            return Words(zh=f"不可行：{rule.zh}。", en=f"Infeasible: {rule.en}.")
        worst: tuple[bool, float, Words] | None = None
        for name in LIMITS:
            limit = getattr(self.premises, name)
            judged = None if limit is None else judge(view, self.known, name, limit, self.premises.confidence)
            if judged is None or not self._fails(view, judged):
                continue
            proven, value = judged.verdict == "misses", self._value(view, name)
            far = 0.0 if value is None else abs(math.log(max(value, 1e-12) / max(limit, 1e-12)))
            if name == "throughput" and worst is not None and worst[0]:
                continue  # what breaks a latency limit sustains no rate within it: that says nothing new
            if worst is None or (proven, far) > worst[:2]:
                worst = proven, far, self._limit_text(view, name, limit, judged.p_meets, proven=proven)
        return None if worst is None else worst[2]

    def _fails(self, view: View, judged: Judgement) -> bool:
        """Proven, or for a candidate that could take part more likely than not."""
        likely = view.id in self.place and judged.p_meets is not None and judged.p_meets < LIKELY
        return judged.verdict == "misses" or likely

    def _value(self, view: View, name: str) -> float | None:
        metric = self.known.judging.metric if name == "floor" else METRIC_OF[name]
        shown, timed = self.shown[view.id].get(metric), self.known.percentiles[view.id].get(metric)
        return shown.value if shown is not None and shown.value is not None else None if timed is None else timed.value

    def _limit_text(self, view: View, name: str, limit: float, p_meets: float | None, *, proven: bool) -> Words:
        metric = self.known.judging.metric if name == "floor" else METRIC_OF[name]
        label, shown = METRIC_NAMES[metric], self.shown[view.id].get(metric)
        value = self._stated(view, metric, shown)
        above = name not in {"floor", "throughput"}
        n = f"（n={shown.n}）" if shown and shown.n > 1 else ""
        sample = f" (n={shown.n})" if shown and shown.n > 1 else ""
        doubt = "" if proven or p_meets is None else chance(p_meets)
        maybe_zh, maybe_en = (f"，达标的把握只有 {doubt}", f"; only {doubt} sure to meet it") if doubt else ("", "")
        wanted = figure(METRIC_OF[name], limit)
        return Words(
            zh=f"不可行：{label.zh} {value}，{'高于上限' if above else '低于下限'} {wanted}{n}{maybe_zh}。",
            en=f"Infeasible: {label.en} {value} {'>' if above else '<'} {wanted}{sample}{maybe_en}.",
        )

    def _stated(self, view: View, metric: str, shown: Metric | None) -> str:
        """The figure, also of a percentile too uncertain to be stated as a pass."""
        if shown is not None and shown.value is not None:
            return figure(metric, shown.value)
        found = self.known.percentiles[view.id].get(metric)
        return "?" if found is None else f"≈ {figure(metric, found.value)}"

    def _stopped(self, view: View, index: int | None) -> Said:
        found = view.elimination
        if found is not None and found.kind == "failed":
            return "failed", _sentence(found.reason)
        if found is not None and found.kind in _NOT_ELIMINATED:
            return "not_reached", _sentence(found.reason)
        if found is not None and found.kind == "infeasible":
            return "not_reached", Words(
                zh="原先因超限被排除；按现在的要求可行，但还没有完整评测，重新运行即可得到结论。",
                en="Ruled out under the earlier limits; feasible under these, but not evaluated in full yet: run again to settle it.",
            )
        if found is not None:
            return "eliminated", _eliminated(found.reason)
        if index is not None:
            scored = number(self.known.quality[view.id].value)
            return "eliminated", Words(
                zh=f"没有进入决赛：选择集上得分 {scored}，不如进入决赛的方案。",
                en=f"Not among the finalists: {scored} on the select rows, below those that were.",
            )
        return "not_reached", Words(zh="还没有评测到它。", en="Not evaluated yet.")

    def _gap(self, index: int, rival: int) -> tuple[Words, Words, Words]:
        difference = self.choice.objective[index] - self.choice.objective[rival]
        low, high = np.quantile(difference, (0.025, 0.975))
        return tuple(self._signed(float(value)) for value in (difference.mean(), low, high))  # type: ignore[return-value]

    def _signed(self, value: float) -> Words:
        sign = "+" if value > 0 else "−" if value < 0 else ""
        if self.premises.priced:
            said = money(abs(value), self.spec.value.currency)
            return Words(zh=sign + said.zh, en=sign + said.en)
        return Words(zh=f"{sign}{abs(value):.4f}", en=f"{sign}{abs(value):.4f}")

    def _amount(self, value: float) -> Words:
        if self.premises.priced:
            said = money(value, self.spec.value.currency)
            return Words(zh=f" {said.zh}", en=said.en)
        label = METRIC_NAMES[self.known.judging.metric]
        return Words(zh=f" {value:.4f}（{label.zh}）", en=f"{value:.4f} of {label.en}")

    def _objective_name(self) -> Words:
        if self.premises.priced:
            return Words(zh="净收益", en="net value")
        return METRIC_NAMES[self.known.judging.metric]


def _eliminated(reason: Words) -> Words:
    return Words(zh=f"淘汰：{reason.zh.rstrip('。')}。", en=f"Eliminated: {reason.en.rstrip('.')}.")


def _failed(view: View) -> Words:
    result = view.failure
    assert result is not None and result.failure is not None  # noqa: S101, PT018 - asked only for a failed candidate
    place, why, name = _FAILED_AT[result.kind], result.failure.clause, result.failure.signal
    signal = Words(zh=f"（{name}）", en=f" ({name})") if name and name not in why.en else Words(zh="", en="")
    return Words(zh=f"在{place.zh}时失败{why.zh}{signal.zh}。", en=f"Failed {place.en}{why.en}{signal.en}.")


def _sentence(reason: Words) -> Words:
    zh, en = reason.zh.rstrip("。"), reason.en.rstrip(".")
    return Words(zh=f"{zh}。", en=f"{en[:1].upper()}{en[1:]}.")
