"""What the page's tables and bars are made of: small views over the decision, without words of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from bakeoff.report import facts, numbers
from bakeoff.report.charts import bars
from bakeoff.report.charts.scale import Axis
from bakeoff.report.facts import Shown
from bakeoff.schema.base import Words
from bakeoff.schema.decision import CandidateVerdict, Decision, Flip
from bakeoff.schema.economics import CostEstimate

_BARS = 8


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard."""

    rank: int
    found: CandidateVerdict
    glyph: Markup
    cells: tuple[Shown | None, ...]
    details: tuple[Shown, ...]
    keys: Mapping[str, float]


@dataclass(frozen=True)
class Rows:
    """The leaderboard: which metrics are columns, and the lines."""

    columns: tuple[str, ...]
    lines: tuple[Row, ...]


@dataclass(frozen=True)
class CostBar:
    """One candidate's total as a stack with its range."""

    estimate: CostEstimate
    label: Words
    stack: Markup
    whisker: Markup


@dataclass(frozen=True)
class CostView:
    """Cost bars on one scale, and the lines that occur, for the legend."""

    bars: tuple[CostBar, ...]
    names: tuple[tuple[str, Words], ...]


@dataclass(frozen=True)
class FlipView:
    """Flips with their bars, nearest first."""

    ticks: Markup
    lines: tuple[tuple[Flip, Markup, str, str], ...]


@dataclass(frozen=True)
class DataView:
    """Shares of rows and classes as bars."""

    kept: Markup
    split: Markup
    classes: tuple[tuple[str, int, str, Markup], ...]


def rows_view(decision: Decision) -> Rows:
    """Return the leaderboard; a metric is a column when any candidate has a number for it."""
    people = facts.contenders(decision)
    present = {name for one in people for name, metric in one.metrics.items() if metric.value is not None}
    latency = next((name for name in ("latency_p95", "latency_p50", "latency_p99") if name in present), None)
    columns = tuple(name for name in (latency, "memory", "size") if name and name in present)
    floor = facts.limit_of(decision, decision.metric)
    axis = bars.quality_axis(people, decision.metric, floor.limit if floor else None)
    lines = tuple(
        _row(rank, one, decision, columns, axis, floor.limit if floor else None) for rank, one in enumerate(people, 1)
    )
    return Rows(columns=columns, lines=lines)


def _row(
    rank: int,
    one: CandidateVerdict,
    decision: Decision,
    columns: tuple[str, ...],
    axis: Axis | None,
    floor: float | None,
) -> Row:
    shown = {name: facts.metric(name, metric, decision.confidence) for name, metric in one.metrics.items()}
    score = one.metrics.get(decision.metric)
    glyph = Markup("")
    if score and score.value is not None and axis:
        glyph = bars.interval(score.value, score.low, score.high, axis, floor)
    raw = {name: one.metrics[name].value for name in (decision.metric, *columns) if name in one.metrics}
    keys = {"rank": float(rank), **{name: value for name, value in raw.items() if value is not None}}
    keys |= {"cost": one.cost.total} if one.cost else {}
    keys |= {"p_best": one.p_best} if one.p_best is not None else {}
    cells = tuple(shown.get(name) for name in (decision.metric, *columns))
    return Row(rank=rank, found=one, glyph=glyph, cells=cells, details=tuple(shown.values()), keys=keys)


def cost_view(decision: Decision) -> CostView:
    """Return the costs of the candidates that were priced, in leaderboard order, on one scale."""
    priced = [(one, one.cost) for one in facts.ranked(decision) if one.cost is not None][:_BARS]
    whole = max([cost.high for _, cost in priced] + [cost.total for _, cost in priced], default=0.0) * 1.02
    drawn = tuple(
        CostBar(
            estimate=cost, label=one.label, stack=bars.stack([(f"k-{line.name}", line.value) for line in cost.lines], whole),
            whisker=bars.whisker(cost.low, cost.high, whole),
        )
        for one, cost in priced
    )  # fmt: skip
    names: dict[str, Words] = {line.name: line.label for _, cost in priced for line in cost.lines if line.value > 0}
    return CostView(bars=drawn, names=tuple(names.items()))


def flip_view(decision: Decision) -> FlipView | None:
    """Return the flips, nearest first, None when nothing flips."""
    if not decision.flips:
        return None
    near = facts.flips(decision)
    axis = bars.flip_axis([flip.factor for flip in near])
    return FlipView(
        ticks=bars.flip_ticks(axis),
        lines=tuple((flip, bars.flip(flip.factor, axis), *flip_numbers(flip, decision)) for flip in near),
    )


def flip_numbers(flip: Flip, decision: Decision) -> tuple[str, str]:
    """Return today's value and the flipping one as text."""
    name = decision.metric if flip.premise in {"requirements.quality.floor", "quality.floor", decision.metric} else ""
    return numbers.exact(flip.today, flip.unit, name), numbers.quantity(flip.flips_at, flip.unit, name)


def data_view(decision: Decision) -> DataView:
    """Return the bars of the data profile."""
    found = decision.profile
    gone = [
        ("x-duplicates", found.exact_duplicates),
        ("x-conflicts", found.conflicting_rows),
        ("x-unusable", found.unusable_rows),
    ]
    split = found.split
    parts = [
        ("x-train", split.train),
        ("x-calibrate", split.calibrate),
        ("x-select", split.select),
        ("x-confirm", split.confirm),
    ]
    top = max(found.class_counts, default=0)
    classes = tuple(
        (
            name,
            number,
            numbers.quantity(number / max(sum(found.class_counts), 1), "share"),
            bars.stack([("x-class", number)], top),
        )
        for name, number in zip(found.classes, found.class_counts, strict=False)
    )
    return DataView(
        kept=bars.stack([("x-used", found.rows_used), *gone], max(found.rows_read, 1)),
        split=bars.stack(parts, sum(number for _, number in parts)), classes=classes,
    )  # fmt: skip
