"""Whether the model gives away which rows it was trained on.

The attacker sees the probability of the true label and guesses "member" where the loss is low (Yeom et al. 2018). Reported:
area under the ROC curve of that attack, its advantage, and the true-positive rate at 5 % false alarms (Carlini et al. 2022).
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

_NAME = "membership_inference"
_TITLE = Words(zh="成员推断", en="Membership inference")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.10", "PIPL Art. 51", "PIPL Art. 55", "生成式人工智能服务管理暂行办法 第七条", "OWASP ML Top 10 2023 ML04",
)  # fmt: skip
_ROWS, _FEWEST = 400, 50
_WARN, _FAIL = 0.60, 0.75
_FALSE_ALARMS = 0.05
_TINY = 1e-12
Floats = NDArray[np.float64]


class MembershipInference:
    """The loss-threshold attack on training rows against confirm rows."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Attack and judge."""
        if not context.candidate.variant.trains and not context.candidate.members:
            why = Words(
                zh="该方案不在本数据上训练，没有成员可供推断。",
                en="Nothing is trained on these rows, so there are no members to infer.",
            )
            return (common.not_applicable(context, _NAME, _TITLE, why, _STANDARDS),)
        members, others = len(context.train), len(context.held_out)
        if context.classifier is None or min(members, others) < _FEWEST:
            why = Words(
                zh=f"训练行 {members}、对照行 {others}，各需至少 {_FEWEST} 行且方案已加载。",
                en=f"{members} training rows and {others} others; at least {_FEWEST} of each and a loaded candidate are needed.",
            )
            return (common.not_measured(context, _NAME, _TITLE, why, _MITIGATION, _STANDARDS),)
        inside = common.pick(context, _NAME, members, common.affordable(context, _ROWS))
        rows = [context.train.rows[index] for index in inside]
        shares = context.classifier.predict_proba(rows)
        known = _of_truth(shares, context.train.labels[inside])
        unknown = _of_truth(context.held_out_probabilities, context.held_out.labels)
        return (_report(context, known, unknown),)


def attack(members: Floats, others: Floats) -> tuple[float, float, float]:
    """Return the attack's AUC, advantage and true-positive rate at 5 % false alarms, from scores (m,) and (n,)."""
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, members, side="left"), np.searchsorted(ordered, members, side="right")
    area = float((below + upto).mean() / 2 / len(others))
    cuts = np.unique(np.concatenate([members, others]))
    hits = 1.0 - np.searchsorted(np.sort(members), cuts, side="left") / len(members)
    alarms = 1.0 - np.searchsorted(ordered, cuts, side="left") / len(others)
    allowed = hits[alarms <= _FALSE_ALARMS]
    return area, float(max(0.0, (hits - alarms).max())), float(allowed.max()) if len(allowed) else 0.0


def area_interval(members: Floats, others: Floats, confidence: float) -> tuple[float, float, float]:
    """Return the AUC with DeLong's interval (DeLong et al. 1988), from scores (m,) and (n,)."""
    ordered_others, ordered_members = np.sort(others), np.sort(members)
    above = (
        (np.searchsorted(ordered_others, members, "left") + np.searchsorted(ordered_others, members, "right"))
        / 2
        / len(others)
    )
    beneath = 1.0 - (
        np.searchsorted(ordered_members, others, "left") + np.searchsorted(ordered_members, others, "right")
    ) / 2 / len(members)
    area = float(above.mean())
    error = float(np.sqrt(above.var(ddof=1) / len(members) + beneath.var(ddof=1) / len(others)))
    from statistics import NormalDist

    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return area, max(0.0, area - reach), min(1.0, area + reach)


def _of_truth(shares: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return the log probability of the true label (n,): high for a low loss."""
    return np.log(np.clip(shares[np.arange(len(labels)), labels], _TINY, 1.0))


def _report(context: RiskContext, members: Floats, others: Floats) -> Finding:
    level = context.spec.decision.confidence
    area, low, high = area_interval(members, others, level)
    _, advantage, hits = attack(members, others)
    personal = common.exposed(context)
    status = "fail" if low > _FAIL and personal else "warn" if low > _WARN else "ok"
    likelihood = float(np.clip(2 * (area - 0.5), 0.02, 0.95))
    impact = 4 if personal else 2
    numbers = (
        Measurement(
            name="membership_auc",
            value=area,
            low=low,
            high=high,
            n=len(members) + len(others),
            unit="share",
            confidence=level,
        ),
        Measurement(name="membership_advantage", value=advantage, n=len(members) + len(others), unit="share"),
        Measurement(name="membership_tpr_at_5_fpr", value=hits, n=len(members) + len(others), unit="share"),
    )
    found = Words(zh="且数据含个人信息", en="personal data is in the rows")
    holds = (
        found
        if personal
        else Words(zh="数据中未见未脱敏的个人信息", en="no unmasked personal data was seen in the rows")
    )
    return common.report(
        context, _NAME, _TITLE, status, likelihood=likelihood, impact=impact, measurements=numbers, standards=_STANDARDS,
        observed=Words(
            zh=f"按损失猜测“是否训练过”的攻击 AUC 为 {area:.3f}（区间 {low:.3f} – {high:.3f}；0.5 为瞎猜），"
            f"误报 5 % 时命中 {common.percent(hits)}；{holds.zh}。",
            en=f'Guessing "was in training" from the loss reaches an AUC of {area:.3f} (interval {low:.3f} – {high:.3f}; 0.5 is guessing) '
            f"and hits {common.percent(hits)} at 5 % false alarms; {holds.en}.",
        ),
        mitigation=_MITIGATION,
        residual=Words(
            zh="这是简单攻击给出的下界；使用影子模型的攻击可能更强。若数据有时间或分组结构，差异也可能来自分布而非记忆。",
            en="This simple attack is a lower bound; shadow-model attacks may do better. With groups or time in the split, some of the "
            "difference may be shift and not memory.",
        ),
    )  # fmt: skip


_MITIGATION = Words(
    zh="对外只返回标签或取整后的概率；加强正则化、早停；训练前脱敏；必要时采用差分隐私训练。",
    en="Return labels or rounded probabilities only; regularise and stop early; mask before training; train with differential "
    "privacy where it matters.",
)
PLUGIN = MembershipInference()
