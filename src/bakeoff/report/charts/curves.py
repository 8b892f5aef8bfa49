"""Learning curves: quality against labelled rows, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from bakeoff.report.charts.scale import Axis
from bakeoff.report.charts.svg import percent, stretched, tag
from bakeoff.report.numbers import count
from bakeoff.schema.decision import LearningCurve

MOST: Final = 8
"""Curves drawn; the table beside the chart lists every one."""
_GAP: Final = 5.0


@dataclass(frozen=True)
class Curves:
    """The drawing, and the curves in the order they are numbered."""

    drawing: Markup
    curves: tuple[LearningCurve, ...]


def curves(found: Sequence[LearningCurve], metric: str, recommended: str | None, floor: float | None) -> Curves | None:
    """Return the chart, the recommended arm first, then by the last value; None without points."""
    usable = [curve for curve in found if curve.points]
    if not usable:
        return None
    ordered = sorted(usable, key=lambda curve: (not _is(curve, recommended), -_last(curve), curve.arm))
    drawn = ordered[:MOST]
    xs = [float(point.rows) for curve in drawn for point in curve.points]
    ends = [end for curve in drawn for point in curve.points for end in (point.low, point.high)]
    across = Axis.around(xs, log=min(xs) > 0 and max(xs) > min(xs), pad=0.05)
    up = Axis.around([*ends, floor] if floor is not None else ends, log=False)
    parts = [*_grid(across, up, metric), *_floor(up, floor)]
    ends_at = _apart([100 - up.at(_last(curve)) for curve in drawn])
    parts += [
        _line(place, curve, across, up, ends_at[place - 1]) for place, curve in reversed(list(enumerate(drawn, 1)))
    ]
    drawing = tag("svg", *parts, width="100%", height="100%", class_="plot-area", aria_hidden="true")
    return Curves(drawing=drawing, curves=tuple(ordered))


def _last(curve: LearningCurve) -> float:
    return max(curve.points, key=lambda point: point.rows).value


def _is(curve: LearningCurve, recommended: str | None) -> bool:
    return recommended is not None and recommended.startswith(f"{curve.arm}.")


def _grid(across: Axis, up: Axis, metric: str) -> list[Markup]:
    parts = []
    for value in across.ticks():
        at = percent(across.at(value))
        parts += [
            tag("line", x1=at, x2=at, y1="0", y2="100%", class_="gridline"),
            tag("text", count(value), x=at, y="100%", dy=20, class_="x"),
        ]
    for position, mark in up.marks("", metric):
        at = percent(100 - position)
        parts += [
            tag("line", x1="0", x2="100%", y1=at, y2=at, class_="gridline"),
            tag("text", mark, x="0", y=at, dx=-8, dy=4, class_="y"),
        ]
    return [tag("g", *parts, class_="grid")]


def _floor(up: Axis, floor: float | None) -> list[Markup]:
    if floor is None:
        return []
    at = percent(100 - up.at(floor))
    return [tag("g", tag("line", x1="0", x2="100%", y1=at, y2=at, class_="limit"), class_="limits")]


def _apart(heights: Sequence[float]) -> list[float]:
    """Move the numbers at the ends of the curves so far apart that they can be read, keeping their order."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=lambda i: placed[i])
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + _GAP)
    return placed


def _line(place: int, curve: LearningCurve, across: Axis, up: Axis, end_at: float) -> Markup:
    spots = [
        (across.at(point.rows), 100 - up.at(point.value), point)
        for point in sorted(curve.points, key=lambda point: point.rows)
    ]
    path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y, _ in spots)
    layers = [tag("path", d=path, class_="curve")]
    if place == 1:
        top = [f"{x:.2f} {100 - up.at(point.high):.2f}" for x, _, point in spots]
        bottom = [f"{x:.2f} {100 - up.at(point.low):.2f}" for x, _, point in reversed(spots)]
        layers.insert(0, tag("path", d="M" + "L".join(top + bottom) + "Z", class_="band"))
    marks = []
    for x, y, point in spots:
        if place > 1:
            ends = {"y1": percent(100 - up.at(point.low)), "y2": percent(100 - up.at(point.high))}
            marks.append(tag("line", x1=percent(x), x2=percent(x), class_="ey", **ends))
        marks.append(tag("circle", cx=percent(x), cy=percent(y), r=4, class_="dot"))
    end = tag(
        "svg", tag("text", str(place), dx=10, dy=4), x=percent(spots[-1][0]), y=percent(end_at), overflow="visible"
    )
    return tag("g", stretched(*layers, class_="layer"), *marks, end, class_=f"c{place}")
