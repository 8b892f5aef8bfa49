"""The Pareto plot: any two of quality, latency, cost, memory, size; limits drawn, feasible told from infeasible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from markupsafe import Markup

from bakeoff.report import facts, words
from bakeoff.report.charts.scale import Axis
from bakeoff.report.charts.svg import group, label, percent, stretched, tag
from bakeoff.schema.base import Words
from bakeoff.schema.decision import CandidateVerdict, Decision

Better = Literal["high", "low"]
Slot = Literal["x", "y"]
FEASIBLE: Final = frozenset({"winner", "within_indifference", "dominated"})
NUMBERED: Final = 20
Spot = tuple[float, float, float, bool]
"""Value, low and high in per cent; whether the ring is dashed: off the scale, or not measured."""
_SLOTS: Final[tuple[Slot, Slot]] = ("x", "y")
_REACH: Final = 0.25
"""Quality further below the best than this is drawn at the edge: a majority baseline must not flatten everyone else."""


@dataclass(frozen=True)
class PlotAxis:
    """One choosable axis: where every candidate sits on it, in per cent."""

    name: str
    title: Words
    better: Better
    marks: tuple[tuple[float, str], ...]
    limit: float | None
    limit_text: str
    spots: Mapping[str, Spot]


@dataclass(frozen=True)
class Plot:
    """What the page needs: choosable axes, the two shown first, the drawing, grids and limits of the other axes, positions."""

    axes: tuple[PlotAxis, ...]
    x: str
    y: str
    drawing: Markup
    grids: Markup
    limits: Markup
    data: dict[str, Any]


def plot(decision: Decision) -> Plot | None:
    """Return the plot, or None when fewer than two axes have numbers."""
    axes = _axes(decision)
    if len(axes) < 2:
        return None
    named = {axis.name: axis for axis in axes}
    y = decision.metric if decision.metric in named else axes[0].name
    x = next(name for name in (axis.name for axis in axes) if name != y)
    people = facts.ranked(decision)
    fronts = {f"{a.name}|{b.name}": _front(a, b, people) for a in axes for b in axes if a is not b}
    spots = {
        found.id: {axis.name: _short(axis.spots[found.id]) for axis in axes if found.id in axis.spots}
        for found in people
    }
    stores = tuple(group(make(axis, slot) for axis in axes for slot in _SLOTS) for make in (_grid, _limit))
    drawing = _draw(named[x], named[y], people, fronts[f"{x}|{y}"])
    return Plot(
        axes=axes, x=x, y=y, drawing=drawing, grids=stores[0], limits=stores[1], data={"spots": spots, "fronts": fronts}
    )


def _axes(decision: Decision) -> tuple[PlotAxis, ...]:
    latencies = ("latency_p95", "latency_p50", "latency_p99")
    limited = [name for name in latencies if facts.limit_of(decision, name)] or list(latencies)
    latency = next((name for name in limited if _values(decision, name)), None)
    wanted: list[tuple[str, Better]] = [(decision.metric, "high")]
    wanted += [(latency, "low")] if latency else []
    wanted += [("cost", "low"), ("memory", "low"), ("size", "low"), ("throughput", "high")]
    return tuple(axis for name, better in wanted if (axis := _axis(decision, name, better)))


def _axis(decision: Decision, name: str, better: Better) -> PlotAxis | None:
    values = _values(decision, name)
    if not values:
        return None
    limit = facts.limit_of(decision, name)
    seen = [number for found in values.values() for number in found.ends]
    if name == decision.metric:
        seen = [number for number in seen if number >= max(seen) - _REACH]
    axis = Axis.around([*seen, limit.limit] if limit else seen)
    unit = next(iter(values.values())).unit
    spots = {
        key: (
            axis.at(found.ends[0]),
            axis.at(found.ends[1]),
            axis.at(found.ends[2]),
            found.soft or not axis.holds(found.ends[0]),
        )
        for key, found in values.items()
    }
    return PlotAxis(
        name=name, title=facts.metric_name(name), better=better, marks=tuple(axis.marks(unit, name)), spots=spots,
        limit=axis.at(limit.limit) if limit else None, limit_text=facts.limit_text(limit, decision.metric) if limit else "",
    )  # fmt: skip


@dataclass(frozen=True)
class _Value:
    ends: tuple[float, float, float]
    unit: str
    soft: bool = False


def _values(decision: Decision, name: str) -> dict[str, _Value]:
    """Return value, low and high by candidate; cost comes from the estimate, everything else from the metrics."""
    if name == "cost":
        return {one.id: _Value((c.total, c.low, c.high), c.currency) for one in decision.candidates if (c := one.cost)}
    found: dict[str, _Value] = {}
    for one in decision.candidates:
        metric = one.metrics.get(name)
        if metric and metric.value is not None and metric.validity != "refused":
            low, high = (metric.value if end is None else end for end in (metric.low, metric.high))
            found[one.id] = _Value((metric.value, low, high), metric.unit, soft=metric.provenance != "measured")
    return found


def _short(spot: Spot) -> Spot:
    return round(spot[0], 2), round(spot[1], 2), round(spot[2], 2), spot[3]


def _front(x: PlotAxis, y: PlotAxis, people: Sequence[CandidateVerdict]) -> list[tuple[float, float]]:
    """Return the corners of the frontier of feasible candidates, in per cent, from the better end of x on."""
    here = [
        (x.spots[c.id][0], y.spots[c.id][0])
        for c in people
        if c.status in FEASIBLE and c.id in x.spots and c.id in y.spots
    ]
    right, up = (1 if x.better == "high" else -1), (1 if y.better == "high" else -1)
    corners: list[tuple[float, float]] = []
    for px, py in sorted(here, key=lambda spot: (-right * spot[0], -up * spot[1])):
        if not corners or up * py > up * corners[-1][1]:
            corners.append((round(px, 2), round(py, 2)))
    return corners


def stairs(corners: Sequence[tuple[float, float]]) -> str:
    """Return the path of the frontier in a layer of 100 × 100 units."""
    steps = [f"M{corners[0][0]:.2f} {100 - corners[0][1]:.2f}"] if corners else []
    for (_, before), (px, py) in pairwise(corners):
        steps.append(f"L{px:.2f} {100 - before:.2f}L{px:.2f} {100 - py:.2f}")
    return "".join(steps)


def _draw(x: PlotAxis, y: PlotAxis, people: Sequence[CandidateVerdict], front: Sequence[tuple[float, float]]) -> Markup:
    points = [_point(rank, found, x, y) for rank, found in enumerate(people, 1) if found.metrics]
    return tag(
        "svg",
        tag("g", _grid(x, "x"), _grid(y, "y"), class_="grid", aria_hidden="true"),
        tag("g", _limit(x, "x"), _limit(y, "y"), class_="limits", aria_hidden="true"),
        stretched(tag("path", d=stairs(front), class_="front"), class_="layer"),
        tag("g", *reversed(points), class_="points"),
        width="100%", height="100%", class_="plot-area", role="group",
    )  # fmt: skip


def _grid(axis: PlotAxis, slot: Slot) -> Markup:
    """Return grid lines and numbers of one axis in one place."""
    parts = []
    for position, mark in axis.marks:
        if slot == "x":
            at = percent(position)
            parts += [
                tag("line", x1=at, x2=at, y1="0", y2="100%"),
                tag("text", mark, x=at, y="100%", dy=20, class_="x"),
            ]
        else:
            at = percent(100 - position)
            parts += [
                tag("line", y1=at, y2=at, x1="0", x2="100%"),
                tag("text", mark, x="0", y=at, dx=-8, dy=4, class_="y"),
            ]
    return tag("g", group(parts), data_axes=f"{slot}:{axis.name}")


def _limit(axis: PlotAxis, slot: Slot) -> Markup:
    """Return the limit on one axis in one place: a dashed line, the ruled-out side shaded."""
    if axis.limit is None:
        return Markup("")
    words_ = words.text("plot.limit", limit=axis.limit_text)
    if slot == "x":
        at, side = percent(axis.limit), "end" if axis.limit > 50 else "start"
        start, width = (axis.limit, 100 - axis.limit) if axis.better == "low" else (0.0, axis.limit)
        parts = [tag("rect", x=percent(start), y="0", width=percent(width), height="100%", class_="beyond")]
        parts += [tag("line", x1=at, x2=at, y1="0", y2="100%", class_="limit")]
        parts += [label(words_, x=at, y="100%", dx=-7 if side == "end" else 7, dy=-8, text_anchor=side)]
    else:
        at = percent(100 - axis.limit)
        top, height = (100 - axis.limit, axis.limit) if axis.better == "high" else (0.0, 100 - axis.limit)
        parts = [tag("rect", x="0", y=percent(top), width="100%", height=percent(height), class_="beyond")]
        parts += [tag("line", x1="0", x2="100%", y1=at, y2=at, class_="limit")]
        parts += [label(words_, x="0", y=at, dx=6, dy=-6, text_anchor="start")]
    return tag("g", group(parts), data_axes=f"{slot}:{axis.name}")


def _point(rank: int, found: CandidateVerdict, x: PlotAxis, y: PlotAxis) -> Markup:
    here, there = x.spots.get(found.id), y.spots.get(found.id)
    numbered = rank <= NUMBERED
    shown = here is not None and there is not None
    px, xl, xh, x_off = here or (0.0, 0.0, 0.0, False)
    py, yl, yh, y_off = there or (0.0, 0.0, 0.0, False)
    kind = " off" if x_off or y_off else ""
    mark = [
        tag("circle", r=17 if numbered else 12, class_="reach"),
        tag("circle", r=10 if numbered else 4.5, class_="dot"),
    ]
    mark += [tag("text", str(rank), dy=3.8)] if numbered else []
    parts = [
        tag("line", x1=percent(xl), x2=percent(xh), y1=percent(100 - py), y2=percent(100 - py), class_="ex"),
        tag("line", x1=percent(px), x2=percent(px), y1=percent(100 - yl), y2=percent(100 - yh), class_="ey"),
        tag("svg", *mark, x=percent(px), y=percent(100 - py), overflow="visible", class_="at"),
    ]
    return tag(
        "g", group(parts), class_=f"pt s-{found.status}{kind}", data_id=found.id, tabindex="0" if rank == 1 else "-1", role="img",
        aria_labelledby=f"name-{rank}", display=None if shown else "none",
    )  # fmt: skip
