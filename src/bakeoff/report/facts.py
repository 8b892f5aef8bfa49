"""What every form of the report needs from a ``Decision``: order, numbers ready to print, names in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bakeoff.data.personal import KINDS
from bakeoff.report import numbers
from bakeoff.report.words import has, same, text
from bakeoff.schema.base import Words
from bakeoff.schema.decision import CandidateVerdict, ConstraintVerdict, Decision, Flip, Metric, Verdict
from bakeoff.schema.measurement import Finding, Measurement, Provenance, Validity

STATUSES: Final = (
    "winner", "within_indifference", "dominated", "infeasible", "eliminated", "failed", "not_reached", "unavailable",
)  # fmt: skip
RISK_ORDER: Final = ("fail", "warn", "not_measured", "ok", "not_applicable")
RULE: Final = "rule"
"""Unit of a limit that is kept or broken and has no number: licences, rows that may not leave."""
_SILENT: Final = same("")
_LEVELS: Final = ("high", "medium", "low")


@dataclass(frozen=True)
class Shown:
    """One number as text: the verdict comes first, the value may be missing, the caveats never are."""

    name: str
    value: str
    range: str
    n: str
    level: str
    provenance: Provenance = "measured"
    validity: Validity = "valid"
    verdict: Verdict = "not_required"
    remark: Words = _SILENT
    raw: float | None = None

    @property
    def plain(self) -> str:
        """Value and interval without words."""
        return f"{self.value} {self.range}".strip()


def metric(name: str, found: Metric, confidence: float) -> Shown:
    """Return a candidate's metric ready to print."""
    return _shown(name, found, confidence, found.verdict)


def measurement(found: Measurement) -> Shown:
    """Return a measurement ready to print."""
    return _shown(found.name, found, found.confidence, "not_required")


def stage(name: str) -> Words:
    """Say the last stage a candidate reached; of the looks ("rung N") the share of the rows tells which."""
    return text(f"race.stage_{name.partition(' ')[0]}")


def caveat(shown: Shown) -> Words:
    """Say what backs a number: level, sample size, and the mark of anything that was not simply measured."""
    parts = []
    if shown.range:
        parts.append(text("number.interval", level=shown.level))
    if shown.n:
        parts.append(same(f"n = {shown.n}"))
    if shown.provenance != "measured":
        parts.append(text(f"provenance.{shown.provenance}"))
    if shown.validity == "noisy":
        parts.append(text("validity.noisy"))
    return Words(zh="，".join(part.zh for part in parts), en=", ".join(part.en for part in parts))


def said(shown: Shown) -> Words:
    """Say a number in full: value, interval with level and n, marks; a refused one prints its reason instead."""
    if not shown.value:
        return text("number.refused", reason=shown.remark if shown.remark.en else "–")
    note = caveat(shown)
    if not note.en:
        return same(shown.plain)
    return Words(zh=f"{shown.plain}（{note.zh}）", en=f"{shown.plain} ({note.en})")


def metric_name(name: str) -> Words:
    """Return the words for a metric, or the name itself when it is not one of ours."""
    return text(f"metric.{name}") if has(f"metric.{name}") else same(name)


def personal(kind: str) -> Words:
    """Return the words for a kind of personal data."""
    return KINDS.get(kind) or same(kind)


def ranked(decision: Decision) -> tuple[CandidateVerdict, ...]:
    """Return candidates as the leaderboard shows them: by fate, then P(best), then quality, then id."""

    def order(found: CandidateVerdict) -> tuple[int, float, float, str]:
        score = found.metrics.get(decision.metric)
        value = score.value if score and score.value is not None else -1.0
        return STATUSES.index(found.status), -(found.p_best or 0.0), -value, found.id

    first = decision.recommended.id if decision.recommended else nearest(decision)
    return tuple(sorted(decision.candidates, key=lambda found: (found.id != first, order(found))))


def contenders(decision: Decision) -> tuple[CandidateVerdict, ...]:
    """Return the candidates as ranked, without those that could not take part and are listed with their command elsewhere."""
    absent = {one.id for one in decision.unavailable}
    return tuple(one for one in ranked(decision) if one.status != "unavailable" or one.id not in absent)


def nearest(decision: Decision) -> str | None:
    """Return the nearest miss of an infeasible study: the one that was priced, else the runner-up, else the likeliest."""
    if decision.outcome != "infeasible" or not decision.candidates:
        return None
    if decision.cost:
        return decision.cost.candidate
    if decision.runner_up:
        return decision.runner_up
    return max(decision.candidates, key=lambda found: (found.p_feasible or 0.0, found.id)).id


def chosen(decision: Decision) -> CandidateVerdict | None:
    """Return the candidate the page speaks about first: the recommended one, or the nearest miss."""
    name = decision.recommended.id if decision.recommended else nearest(decision)
    return find(decision, name)


def find(decision: Decision, name: str | None) -> CandidateVerdict | None:
    """Return the candidate with this id, if there is one."""
    return next((found for found in decision.candidates if found.id == name), None)


def label(decision: Decision, name: str) -> Words:
    """Return a candidate's label in words, its id when it is not listed."""
    found = find(decision, name)
    return found.label if found else same(name)


def risks(decision: Decision) -> tuple[Finding, ...]:
    """Return findings, the gravest first."""
    return tuple(
        sorted(
            decision.risks,
            key=lambda found: (
                RISK_ORDER.index(found.status), _LEVELS.index(found.level), -found.likelihood * found.impact, found.check,
            ),
        )
    )  # fmt: skip


def open_risks(decision: Decision) -> tuple[Finding, ...]:
    """Return the findings that ask for attention."""
    return tuple(found for found in risks(decision) if found.status in {"fail", "warn"})


def flips(decision: Decision) -> tuple[Flip, ...]:
    """Return the flips, nearest first."""
    return tuple(sorted(decision.flips, key=lambda flip: (flip.factor, flip.premise)))


def nearest_flip(decision: Decision) -> Flip | None:
    """Return the flip closest to today, if anything flips at all."""
    return next(iter(flips(decision)), None)


def margin(found: ConstraintVerdict) -> Words:
    """Say how far a value is from its limit, as a share of the limit."""
    value = found.metric.value
    if value is None or not found.limit:
        return same("–")
    gap = (value - found.limit) / abs(found.limit) * (1 if found.direction == "min" else -1)
    if gap >= 1:
        return text("margin.times", factor=numbers.times(value / found.limit))
    key = "margin.spare" if gap >= 0 else "margin.short"
    share = abs(gap)
    return text(key, share=f"{share * 100:.1f} %" if share < 0.1 else f"{share * 100:,.0f} %")


def limit_of(decision: Decision, name: str) -> ConstraintVerdict | None:
    """Return the limit on a metric, whether the constraint is called by the metric's name or by its path in the spec."""
    known = _aliases(name, decision.metric)
    return next((found for found in decision.constraints if found.name in known), None)


def metric_of(found: ConstraintVerdict, quality: str) -> str:
    """Return the metric a constraint limits, as ``candidates.metrics`` calls it."""
    names = (quality, "latency_p50", "latency_p95", "latency_p99", "throughput", "memory", "size")
    return next((name for name in names if found.name in _aliases(name, quality)), found.name)


def limit_text(found: ConstraintVerdict, quality: str) -> str:
    """Write a limit with its direction: ``≤ 50 ms``; a rule that is kept or broken has none."""
    if found.unit == RULE:
        return ""
    sign = "≥" if found.direction == "min" else "≤"
    return f"{sign} {numbers.exact(found.limit, found.unit, metric_of(found, quality))}"


def score(decision: Decision) -> Shown | None:
    """Return the score to quote: corrected for selection where there is one, else the chosen candidate's own."""
    if decision.score is not None:
        return measurement(decision.score)
    found = chosen(decision)
    own = found.metrics.get(decision.metric) if found else None
    return metric(decision.metric, own, decision.confidence) if own else None


def _aliases(name: str, quality: str) -> frozenset[str]:
    dotted = name.replace("latency_", "latency.")
    known = {
        name,
        dotted,
        f"requirements.{dotted}",
        f"{name}.max",
        f"{name}.min",
        f"requirements.{name}.max",
        f"requirements.{name}.min",
    }
    if name == quality:
        known |= {"quality", "quality.floor", "requirements.quality.floor"}
    return frozenset(known)


def _shown(name: str, found: Metric | Measurement, confidence: float, verdict: Verdict) -> Shown:
    value = None if found.validity == "refused" else found.value
    span = ""
    if value is not None and found.low is not None and found.high is not None:
        span = numbers.interval(found.low, found.high, value, found.unit, name)
    return Shown(
        name=name, value="" if value is None else numbers.quantity(value, found.unit, name), range=span,
        n=numbers.count(found.n) if found.n else "", level=numbers.level(confidence), provenance=found.provenance,
        validity=found.validity, verdict=verdict, remark=found.remark_words, raw=value,
    )  # fmt: skip
