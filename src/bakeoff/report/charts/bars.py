"""Small horizontal drawings that sit in a table cell or a row: intervals, shares, stacks, flips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from bakeoff.report.charts.scale import Axis
from bakeoff.report.charts.svg import percent, stretched, tag
from bakeoff.report.facts import RULE
from bakeoff.schema.decision import CandidateVerdict, ConstraintVerdict

_REACH: Final = 0.2


def interval(value: float, low: float | None, high: float | None, axis: Axis, limit: float | None = None) -> Markup:
    """Return a dot on a line from ``low`` to ``high``, with the limit as a tick; off-scale values sit on the edge."""
    parts = [tag("line", x1="0", x2="100%", y1="50%", y2="50%", class_="rail")]
    if low is not None and high is not None:
        parts += [tag("line", x1=percent(axis.at(low)), x2=percent(axis.at(high)), y1="50%", y2="50%", class_="span")]
    if limit is not None and axis.holds(limit):
        parts += [tag("line", x1=percent(axis.at(limit)), x2=percent(axis.at(limit)), y1="0", y2="100%", class_="tick")]
    parts += [
        tag("circle", cx=percent(axis.at(value)), cy="50%", r=4, class_="dot" if axis.holds(value) else "dot off")
    ]
    return tag("svg", *parts, class_="glyph", aria_hidden="true")


def quality_axis(people: Sequence[CandidateVerdict], metric: str, limit: float | None) -> Axis | None:
    """Return one scale for every candidate's quality, so that the eye can compare rows."""
    found = [one.metrics[metric] for one in people if metric in one.metrics and one.metrics[metric].value is not None]
    ends = [end for one in found for end in (one.low, one.high, one.value) if end is not None]
    if not ends:
        return None
    near = [end for end in ends if end >= max(ends) - _REACH] + ([limit] if limit is not None else [])
    return Axis.around(near, log=False, pad=0.05)


def constraint(found: ConstraintVerdict) -> Markup:
    """Return how a value stands to its limit; the forbidden side is hatched."""
    value = found.metric.value
    if value is None or found.unit == RULE:
        return Markup("")
    ends = [end for end in (value, found.metric.low, found.metric.high, found.limit) if end is not None]
    close = min(ends) > 0.6 * max(ends)
    pad = (max(ends) - min(ends)) * 0.35 or abs(found.limit) * 0.1 or 1.0
    axis = Axis(min(ends) - pad, max(ends) + pad) if close else Axis(0.0, max(ends) * 1.2)
    at = axis.at(found.limit)
    start, width = (at, 100 - at) if found.direction == "max" else (0.0, at)
    parts = [tag("rect", x=percent(start), width=percent(width), y="0", height="100%", class_="beyond")]
    parts += [tag("line", x1=percent(at), x2=percent(at), y1="0", y2="100%", class_="limit")]
    if found.metric.low is not None and found.metric.high is not None:
        parts += [
            tag(
                "line",
                x1=percent(axis.at(found.metric.low)),
                x2=percent(axis.at(found.metric.high)),
                y1="50%",
                y2="50%",
                class_="span",
            )
        ]
    parts += [tag("circle", cx=percent(axis.at(value)), cy="50%", r=5, class_="dot")]
    return tag("svg", *parts, class_=f"gauge v-{found.verdict}", aria_hidden="true")


def stack(parts: Sequence[tuple[str, float]], whole: float) -> Markup:
    """Return shares one after another; each part is (class name, amount)."""
    drawn, at = [], 0.0
    for name, amount in parts:
        width = 100.0 * amount / whole if whole else 0.0
        if width > 0:
            drawn.append(tag("rect", x=at, y=0, width=width, height=100, class_=name))
        at += width
    return tag("svg", stretched(*drawn) if drawn else tag("g"), class_="stack", aria_hidden="true")


def whisker(low: float, high: float, whole: float) -> Markup:
    """Return the range of a total as a thin line on the scale of a stack."""
    ends = [min(100.0 * end / whole, 100.0) if whole else 0.0 for end in (low, high)]
    line = tag("line", x1=percent(ends[0]), x2=percent(ends[1]), y1="50%", y2="50%")
    caps = [tag("line", x1=percent(end), x2=percent(end), y1="15%", y2="85%") for end in ends]
    return tag("svg", line, *caps, class_="whisker", aria_hidden="true")


def flip_axis(factors: Sequence[float]) -> Axis:
    """Return the logarithmic scale of flip factors, from 1× to the farthest."""
    finite = [factor for factor in factors if math.isfinite(factor)]
    return Axis(1.0, max([*finite, 2.0]) * 1.15, log=True)


def flip(factor: float, axis: Axis) -> Markup:
    """Return how far away a flip is; the shorter the bar, the nearer."""
    end = axis.at(factor) if math.isfinite(factor) else 100.0
    parts = [
        tag("line", x1=percent(axis.at(mark)), x2=percent(axis.at(mark)), y1="0", y2="100%", class_="grid")
        for mark in axis.ticks()
    ]
    parts += [tag("line", x1="0", x2=percent(end), y1="50%", y2="50%", class_="span")]
    parts += [tag("circle", cx=percent(end), cy="50%", r=5, class_="dot")]
    return tag("svg", *parts, class_="flipbar", aria_hidden="true")


def flip_ticks(axis: Axis) -> Markup:
    """Return the numbers above the flip bars."""
    parts = [
        tag("text", f"{mark:g}×", x=percent(axis.at(mark)), y="80%", text_anchor="middle") for mark in axis.ticks()
    ]
    return tag("svg", *parts, class_="flipticks", aria_hidden="true")
