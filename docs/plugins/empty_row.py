"""How sure the candidate is about nothing: an empty row should not get a confident answer."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.risk import _common as common
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "empty_row"
_TITLE = Words(zh="对空输入过于自信", en="Confident about nothing")
_STANDARDS = ("NIST AI RMF MEASURE 2.5",)
_SURE = 0.9
_MITIGATION = Words(zh="在服务前拒绝空输入。", en="Refuse empty input in front of the service.")


class EmptyRow:
    """Asks for one row whose every column is missing."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Measure the largest probability given to an empty row."""
        if context.classifier is None:
            why = Words(zh="候选方案没有加载。", en="The candidate was not loaded.")
            return (common.not_measured(context, _NAME, _TITLE, why, _MITIGATION, _STANDARDS),)
        nothing = dict.fromkeys(column.name for column in context.artifact.inputs)
        sure = float(context.classifier.predict_proba([nothing]).max())
        bad = sure > _SURE
        said = common.percent(sure)
        finding = common.report(
            context, _NAME, _TITLE, "warn" if bad else "ok", likelihood=0.5 if bad else 0.05, impact=2,
            observed=Words(zh=f"空行得到的最大概率为 {said}。", en=f"An empty row gets a probability of {said} at most."),
            mitigation=_MITIGATION,
            residual=Words(zh="近乎空的输入没有检查。", en="Input that is nearly empty was not looked at."),
            measurements=(Measurement(name="empty_row_confidence", value=sure, n=1, unit="probability"),),
            standards=_STANDARDS,
        )  # fmt: skip
        return (finding,)


PLUGIN = EmptyRow()
