"""What the checks share: levels, deterministic samples, paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data import personal
from bakeoff.data.examples import Row
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words, content_key
from bakeoff.schema.measurement import Finding, Level, Measurement

TASKS = ("text-classification", "tabular-classification")
Floats = NDArray[np.float64]
_HIGH, _MEDIUM = 2.0, 0.75
_SECONDS, _FEWEST, _REMOTE = 8.0, 40, 40
_DRAWS = 400


def level(likelihood: float, impact: int) -> Level:
    """Return likelihood (0..1) times impact (1..5) in words: 2 and more is high, 0.75 and more is medium."""
    expected = likelihood * impact
    return "high" if expected >= _HIGH else "medium" if expected >= _MEDIUM else "low"


def report(  # noqa: PLR0913 - a finding has this many fields
    context: RiskContext, check: str, title: Words, status: str, *, observed: Words, mitigation: Words, residual: Words,
    likelihood: float = 0.0, impact: int = 1, measurements: Sequence[Measurement] = (), standards: tuple[str, ...] = (),
    of_data: bool = False,
) -> Finding:  # fmt: skip
    """Return a finding whose level follows from likelihood and impact."""
    return Finding.model_validate({
        "check": check, "title": title, "status": status, "level": level(likelihood, impact), "likelihood": likelihood,
        "impact": impact, "observed": observed, "mitigation": mitigation, "residual": residual,
        "measurements": tuple(measurements), "standards": standards, "candidate": None if of_data else context.candidate.id,
    })  # fmt: skip


def not_applicable(
    context: RiskContext, check: str, title: Words, why: Words, standards: tuple[str, ...] = ()
) -> Finding:
    """Return the finding of a check that has nothing to look at, with the reason."""
    nothing = Words(zh="无需措施。", en="Nothing to do.")
    return report(
        context, check, title, "not_applicable", observed=why, mitigation=nothing, residual=nothing, standards=standards
    )


def not_measured(
    context: RiskContext, check: str, title: Words, why: Words, mitigation: Words, standards: tuple[str, ...]
) -> Finding:
    """Return the finding of a check that could not look, with what would let it."""
    unknown = Words(zh="未知：没有测量就没有结论。", en="Unknown: nothing measured, nothing concluded.")
    return report(
        context,
        check,
        title,
        "not_measured",
        observed=why,
        mitigation=mitigation,
        residual=unknown,
        standards=standards,
    )


def exposed(context: RiskContext) -> bool:
    """Return whether personal data of a certain kind (not a mere guess at a name) is in the rows as they were trained on."""
    masked = context.spec.risk.personal_data == "mask"
    return not masked and any(found.kind in personal.CERTAIN for found in context.profile.personal_data)


def generator(context: RiskContext, check: str) -> np.random.Generator:
    """Return a generator that depends on the study's seed and the check only, so that every candidate sees the same draws."""
    return np.random.default_rng(int(content_key("risk", context.seed, check)[:15], 16))


def affordable(context: RiskContext, most: int, passes: int = 1) -> int:
    """Return how many rows a check predicts ``passes`` times: at most ``most``, fewer for a slow candidate.

    It goes by the shipped prior of the cost, not by the clock, so that the same study always looks at the same rows.
    """
    if context.candidate.variant.remote:
        return min(most, _REMOTE)
    per_row = context.candidate.variant.cost.predict_per_1000 / 1000.0
    return min(most, max(_FEWEST, int(_SECONDS / (passes * per_row)))) if per_row > 0 else most


def pick(context: RiskContext, check: str, available: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` of ``available`` row numbers, sorted, drawn without replacement."""
    if count >= available:
        return np.arange(available)
    return np.sort(generator(context, f"{check} rows").choice(available, size=count, replace=False))


def draw_weights(context: RiskContext, check: str, rows: int, draws: int = _DRAWS) -> Floats:
    """Return row weights (draws, rows) of a Bayesian bootstrap (Rubin 1981), each row of weights summing to one."""
    return generator(context, f"{check} draws").dirichlet(np.ones(rows), size=draws)


def interval(drawn: Floats, confidence: float) -> tuple[float, float]:
    """Return the central interval of draws (D,)."""
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def measured(
    name: str, value: float, drawn: Floats, confidence: float, n: int, unit: str = "share", remark: Words | None = None
) -> Measurement:
    """Return a measurement with the central interval of its draws, widened where it would leave the value outside."""
    low, high = interval(drawn, confidence)
    return Measurement(
        name=name, value=value, low=min(low, value), high=max(high, value), n=n, unit=unit, confidence=confidence,
        remark=remark.en if remark else "", remark_zh=remark.zh if remark else "",
    )  # fmt: skip


def texts_of(context: RiskContext) -> tuple[str, ...]:
    """Return the names of the text columns the candidate reads."""
    return tuple(column.name for column in context.artifact.inputs if column.kind == "text")


def changed(row: Row, columns: Sequence[str], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a copy of ``row`` with ``change`` applied to the strings of ``columns``."""
    found = dict(row)
    for name in columns:
        if isinstance(found.get(name), str):
            found[name] = change(found[name])
    return found


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share as a percentage."""
    return "–" if value is None else f"{round(100 * value, digits) + 0.0:.{digits}f} %"


def points(value: float | None) -> str:
    """Write a difference of shares in percentage points."""
    return "–" if value is None else f"{round(100 * value, 1) + 0.0:+.1f}"  # adding zero turns -0.0 into 0.0
