"""Whether the terms of the weights inside the artefact allow what the team wants to do with them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "licences"
_TITLE = Words(zh="权重许可", en="Licences of the weights")
_STANDARDS = (
    "NIST AI RMF MAP 4.1", "NIST AI RMF GOVERN 6.1", "NIST AI RMF MANAGE 3.1", "生成式人工智能服务管理暂行办法 第七条",
    "OWASP ML Top 10 2023 ML06",
)  # fmt: skip
_UNSTATED = re.compile(r"^(|unstated|unknown|other|none|noassertion)$", re.IGNORECASE)
_NO_COMMERCE = re.compile(r"(^|[-_. ])nc([-_. ]|$)|non-?commercial|research-?only", re.IGNORECASE)
_STRINGS = re.compile(r"^(AGPL|GPL|LGPL|SSPL|EUPL|OSL|CC-BY-SA|BUSL|llama|gemma|OpenRAIL|bigscience)", re.IGNORECASE)
_RANK = {"refused": 3, "unstated": 2, "obligations": 1, "accepted": 0}


class Licences:
    """Compares SPDX identifiers with ``risk.licences``, or with "commercial use allowed" where the team gave no list."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Judge every licence inside; the worst decides."""
        declared = {
            *context.artifact.licences,
            *((context.candidate.variant.licence,) if context.candidate.variant.licence else ()),
        }
        if not declared and context.candidate.variant.weights is None and not context.candidate.members:
            why = Words(
                zh="模型由自有数据从头训练，不含外部权重。",
                en="Trained from scratch on the team's own data; no outside weights inside.",
            )
            return (common.not_applicable(context, _NAME, _TITLE, why, _STANDARDS),)
        licences = tuple(sorted(declared)) or ("unstated",)
        verdicts = {licence: judge(licence, context.spec.risk.licences) for licence in licences}
        worst = max(verdicts.values(), key=_RANK.__getitem__)
        return (_report(context, verdicts, worst),)


def judge(licence: str, accepted: Sequence[str] | None) -> str:
    """Return accepted, obligations (commercial use with strings attached), unstated or refused."""
    if accepted is not None:
        if licence.casefold() in {name.casefold() for name in accepted}:
            return "accepted"
        return "unstated" if _UNSTATED.match(licence) else "refused"
    if _UNSTATED.match(licence):
        return "unstated"
    if _NO_COMMERCE.search(licence):
        return "refused"
    return "obligations" if _STRINGS.match(licence) else "accepted"


def _report(context: RiskContext, verdicts: dict[str, str], worst: str) -> Finding:
    strict = context.spec.risk.licences is not None
    status, likelihood, impact = {
        "accepted": ("ok", 0.02, 3), "obligations": ("warn", 0.3, 3), "refused": ("fail", 0.6, 5),
        "unstated": ("fail" if strict else "warn", 0.3, 4),
    }[worst]  # fmt: skip
    listed = Words(
        zh="、".join(f"{name}（{_SAID[verdict].zh}）" for name, verdict in verdicts.items()),
        en=", ".join(f"{name} ({_SAID[verdict].en})" for name, verdict in verdicts.items()),
    )
    rule = Words(
        zh="按规格书列出的许可判断" if strict else "按“允许商用”判断",
        en="judged by the specification's list" if strict else 'judged by "commercial use allowed"',
    )
    wrong = sum(verdict != "accepted" for verdict in verdicts.values())
    return common.report(
        context, _NAME, _TITLE, status, likelihood=likelihood, impact=impact, standards=_STANDARDS,
        observed=Words(zh=f"{listed.zh}；{rule.zh}。", en=f"{listed.en}; {rule.en}."),
        mitigation=_MITIGATION[worst],
        residual=Words(
            zh="SPDX 标识来自发布者的声明；训练数据本身的权利状况不在其中。这不是法律意见。",
            en="Identifiers are what the publisher states; rights in the training data behind the weights are not covered. This is no legal advice.",
        ),
        measurements=(Measurement(name="licences_not_accepted", value=float(wrong), n=len(verdicts), unit="licences", provenance="quoted"),),
    )  # fmt: skip


_SAID = {
    "accepted": Words(zh="可接受", en="accepted"),
    "obligations": Words(zh="附带义务", en="comes with obligations"),
    "unstated": Words(zh="未声明", en="not stated"),
    "refused": Words(zh="不可接受", en="not accepted"),
}
_MITIGATION = {
    "accepted": Words(zh="随包保留许可与署名文件。", en="Keep licence and attribution files with the bundle."),
    "obligations": Words(
        zh="请法务确认其条件（源码公开、使用限制、署名）在本部署方式下能够满足。",
        en="Have its conditions (source disclosure, use restrictions, attribution) checked for this way of deploying.",
    ),
    "unstated": Words(
        zh="上线前向发布者取得书面许可，或换用许可明确的权重。",
        en="Get a written licence from the publisher before going live, or use weights with stated terms.",
    ),
    "refused": Words(zh="换用许可符合要求的权重。", en="Use weights whose licence is acceptable."),
}
PLUGIN = Licences()
