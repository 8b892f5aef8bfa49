"""The race: score against processor time spent, one line per arm over its looks, a cross where it was dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bakeoff.report import facts, numbers, words
from bakeoff.report.charts.scale import Axis
from bakeoff.report.charts.svg import label, percent, stretched, tag
from bakeoff.schema.base import Words
from bakeoff.schema.decision import CandidateStatus, Decision, RaceExit, RaceLook, RunSummary

MOST: Final = 40
"""Arms drawn with points, intervals and a cross; what was dropped earliest beyond them stays as a thin line."""
COLOURED: Final = 8
_REACH: Final = 0.25
"""A score further below the best than this sits on the edge, unless more than half of all scores lie there."""
_STRIP: Final = 11.0
"""Height in per cent of the strip below the plot for arms that were dropped before they had a score."""
_MARGIN: Final = 3.0
_NEAR: Final = 6.0
"""Numbers at the ends of lines nearer to each other than this, in per cent, are moved apart."""
_MANY: Final = 12
"""With more arms dropped than this their intervals show only when pointed at."""
_TICKS: Final = 6
_TIMES: Final = tuple(
    unit * step
    for unit, steps in (
        (0.01, (1, 2, 5)), (0.1, (1, 2, 5)), (1.0, (1, 2, 5, 10, 20, 30)), (60.0, (1, 2, 5, 10, 20, 30)), (3600.0, (1, 2, 5, 10)),
        (86_400.0, (1, 2, 5, 10, 20, 50)),
    )
    for step in steps
)  # fmt: skip
"""Times people count in [s]."""


@dataclass(frozen=True)
class Runner:
    """One arm: its scored looks in the order they ended, and the exit that ended it, if one did."""

    arm: str
    label: Words
    looks: tuple[RaceLook, ...]
    out: RaceExit | None

    @property
    def last(self) -> RaceLook:
        """The last look it had a score at."""
        return self.looks[-1]


@dataclass(frozen=True)
class RaceView:
    """What the page needs: the drawing, who reached the end (the recommended first), who did not, every exit, counts.

    ``shade`` is what is added to a finisher's place to find its colour: 1 keeps the winner's colour free when there is none.
    """

    drawing: Markup
    finishers: tuple[Runner, ...]
    others: tuple[Runner, ...]
    exits: tuple[RaceExit, ...]
    arms: int
    dropped: int
    shade: int


@dataclass(frozen=True)
class _Plane:
    """Positions of seconds and scores in per cent; ``height`` is what the plot has of the canvas above the strip."""

    across: Axis
    up: Axis
    height: float

    def x(self, at: float) -> float:
        return self.across.at(at)

    def y(self, score: float) -> float:
        return (100.0 - self.up.at(score)) * self.height / 100.0


def race(decision: Decision) -> RaceView | None:
    """Return the race of a decision's run, or None when nothing is known of it (a decision of an earlier version)."""
    run = decision.run
    if not run.race and not run.exits:
        return None
    runners = _runners(run.race, run.exits)
    first = facts.chosen(decision)
    finishers = sorted(
        (one for one in runners if one.out is None), key=lambda one: _place(one, first.id if first else "")
    )
    dropped = [one for one in runners if one.out is not None]
    early = [one for one in run.exits if one.ends and one.at is not None and one.arm not in {r.arm for r in runners}]
    plane = _plane(decision, runners, early)
    shade = 0 if decision.recommended else 1
    drawing = Markup("") if plane is None else _draw(decision, plane, finishers, dropped, early, shade)
    arms = {one.arm for one in run.race} | {one.arm for one in run.exits}
    return RaceView(
        drawing=drawing, finishers=tuple(finishers), others=tuple(dropped), exits=run.exits,
        arms=len(arms), dropped=len({one.arm for one in run.exits if one.ends}), shade=shade,
    )  # fmt: skip


def _runners(looks: Sequence[RaceLook], exits: Sequence[RaceExit]) -> list[Runner]:
    """Return the arms that have a score, in the order of their first one."""
    ended = {one.arm: one for one in exits if one.ends}
    scored: Mapping[str, list[RaceLook]] = defaultdict(list)
    for look in sorted(looks, key=lambda look: look.number):
        if look.score is not None:
            scored[look.arm].append(look)
    return [Runner(arm, mine[0].label, tuple(mine), ended.get(arm)) for arm, mine in scored.items()]


def _place(one: Runner, first: str) -> tuple[bool, bool, float, str]:
    return not first.startswith(f"{one.arm}."), one.last.stage != "final", -(one.last.score or 0.0), one.arm


def _plane(decision: Decision, runners: Sequence[Runner], early: Sequence[RaceExit]) -> _Plane | None:
    looks = [look for one in runners for look in one.looks]
    if not looks:
        return None
    times = [look.at for look in looks] + [one.at for one in early if one.at]
    floor = facts.limit_of(decision, decision.metric)
    scores = sorted(look.score for look in looks if look.score is not None)
    least = scores[-1] - max(_REACH, 1.25 * (scores[-1] - scores[len(scores) // 2]))
    ends = [end for look in looks for end in (look.low, look.high) if end is not None and end >= least]
    near = [*(score for score in scores if score >= least), *ends, *([floor.limit] if floor else [])]
    return _Plane(
        Axis.around(times, pad=0.03), Axis.around(near, log=False), 100.0 - _STRIP - _MARGIN if early else 100.0
    )


def _draw(
    decision: Decision,
    plane: _Plane,
    finishers: Sequence[Runner],
    dropped: Sequence[Runner],
    early: Sequence[RaceExit],
    shade: int,
) -> Markup:
    room = max(0, MOST - len(finishers))
    latest = sorted(dropped, key=lambda one: (-one.last.at, one.arm))
    parts = [*_grid(plane, decision.metric), *_floor(plane, decision)]
    parts += [_line(one, plane, "thin") for one in reversed(latest[room:])]
    parts += [_line(one, plane, "out") for one in reversed(latest[:room])]
    parts += _below(plane, early)
    ends = _apart([(plane.x(one.last.at), plane.y(one.last.score or 0.0)) for one in finishers[:COLOURED]])
    for place, one in reversed(list(enumerate(finishers, 1))):
        coloured = place + shade <= COLOURED
        name = f"c{place + shade}" if coloured else "c0"
        parts.append(_line(one, plane, name, (str(place), ends[place - 1]) if coloured else None))
    name = "plot-area many" if len(dropped) > _MANY else "plot-area"
    return tag("svg", *parts, width="100%", height="100%", class_=name, aria_hidden="true")


def _apart(ends: Sequence[tuple[float, float]]) -> list[float]:
    """Return heights at which the numbers at the ``ends`` of lines can be read; only neighbours make room for each other."""
    placed: dict[int, float] = {}
    for one in sorted(range(len(ends)), key=lambda place: ends[place][1]):
        x, y = ends[one]
        beside = [height for other, height in placed.items() if abs(ends[other][0] - x) < _NEAR]
        placed[one] = max([y, *(height + _NEAR for height in beside)]) if beside else y
    return [placed[one] for one in range(len(ends))]


def times(axis: Axis) -> list[float]:
    """Return at most six round times [s] on an axis."""
    if axis.log:
        found = [time for time in _TIMES if axis.holds(time)]
        return found[:: -(-len(found) // _TICKS)] if found else []
    step = next((time for time in _TIMES if (axis.high - axis.low) / time <= _TICKS), None)
    if step is None:
        return [time for time in axis.ticks() if axis.holds(time)]
    return [step * count for count in range(1, int(axis.high / step) + 1) if axis.holds(step * count)]


def _grid(plane: _Plane, metric: str) -> list[Markup]:
    parts = []
    for time in times(plane.across):
        at = percent(plane.x(time))
        parts += [
            tag("line", x1=at, x2=at, y1="0", y2="100%", class_="gridline"),
            tag("text", numbers.exact(time, "s"), x=at, y="100%", dy=20, class_="x"),
        ]
    for value in plane.up.ticks():
        at = percent(plane.y(value))
        parts += [
            tag("line", x1="0", x2="100%", y1=at, y2=at, class_="gridline"),
            tag("text", numbers.exact(value, "", metric), x="0", y=at, dx=-8, dy=4, class_="y"),
        ]
    return [tag("g", *parts, class_="grid")]


def _floor(plane: _Plane, decision: Decision) -> list[Markup]:
    limit = facts.limit_of(decision, decision.metric)
    if limit is None:
        return []
    at = percent(plane.y(limit.limit))
    return [tag("g", tag("line", x1="0", x2="100%", y1=at, y2=at, class_="limit"), class_="limits")]


def _below(plane: _Plane, early: Sequence[RaceExit]) -> list[Markup]:
    """Return the strip of arms that were dropped before they had a score."""
    if not early:
        return []
    top = percent(100.0 - _STRIP)
    rule = tag("line", x1="0", x2="100%", y1=top, y2=top, class_="rule")
    said = label(words.text("race.strip"), x="100%", y=top, dx=-4, dy=14, text_anchor="end")
    middle = 100.0 - _STRIP / 2
    crosses = [
        tag("g", _cross(plane.x(one.at or 0.0), middle), class_="runner out", data_race=one.arm) for one in early
    ]
    return [tag("g", rule, said, class_="strip"), *crosses]


def _line(one: Runner, plane: _Plane, kind: str, end: tuple[str, float] | None = None) -> Markup:
    """Return an arm's line; its points grow with the share of the training rows they were built on."""
    spots = [(plane.x(look.at), plane.y(look.score or 0.0), look) for look in one.looks]
    path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y, _ in spots)
    lines = stretched(tag("path", d=path, class_="reach"), tag("path", d=path, class_="run"), class_="track")
    marks: list[Markup] = []
    if kind != "thin":
        for x, y, look in spots:
            marks += _point(x, y, look, plane)
        if one.out is not None:
            x, y = _dropped_at(one, spots)
            marks.append(_cross(x, y))
    if end is not None:
        text = tag("text", end[0], dx=11, dy=4)
        marks.append(tag("svg", text, x=percent(spots[-1][0]), y=percent(end[1]), overflow="visible"))
    return tag("g", lines, *marks, class_=f"runner {kind}", data_race=one.arm)


def _dropped_at(one: Runner, spots: Sequence[tuple[float, float, RaceLook]]) -> tuple[float, float]:
    """Where the cross of an arm belongs: at its last look before it was dropped; a look for reference may come after."""
    at = one.out.at if one.out is not None else None
    before = [spot for spot in spots if at is None or spot[2].at <= at]
    x, y, _ = (before or spots)[-1]
    return x, y


def _point(x: float, y: float, look: RaceLook, plane: _Plane) -> list[Markup]:
    marks = []
    if look.low is not None and look.high is not None:
        ends = {"y1": percent(plane.y(look.low)), "y2": percent(plane.y(look.high))}
        marks.append(tag("line", x1=percent(x), x2=percent(x), class_="ey", **ends))
    size = 2.2 + 2.8 * (1.0 if look.fraction is None else look.fraction) ** 0.5
    off = "" if plane.up.holds(look.score or 0.0) else " off"
    return [*marks, tag("circle", cx=percent(x), cy=percent(y), r=size, class_=f"dot{off}")]


def _cross(x: float, y: float) -> Markup:
    mark = tag("path", d="M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5", class_="cross")
    return tag("svg", mark, x=percent(x), y=percent(y), overflow="visible")


def counts(found: RaceView) -> dict[str, str]:
    """Return how many arms started, were dropped and reached the end, as the facts of a sentence."""
    return {"arms": str(found.arms), "out": str(found.dropped), "left": str(len(found.finishers))}


def spent(run: RunSummary) -> Words | None:
    """Say what share of evaluating everything in full the run has spent, where that was predicted."""
    if not run.exhaustive_seconds:
        return None
    return words.text(
        "race.exhaustive", spent=numbers.quantity(run.cpu_seconds, "s"), all=numbers.quantity(run.exhaustive_seconds, "s"),
        share=numbers.quantity(run.cpu_seconds / run.exhaustive_seconds, "share"),
    )  # fmt: skip


def status(one: RaceExit) -> CandidateStatus:
    """Return the fate an exit amounts to, as the leaderboard names it."""
    known: dict[str, CandidateStatus] = {"infeasible": "infeasible", "eliminated": "eliminated", "failed": "failed"}
    return known.get(one.kind, "not_reached")


def reading(look: RaceLook, metric: str) -> str:
    """Return a look's score with its interval in digits."""
    score = look.score or 0.0
    said = numbers.quantity(score, "", metric)
    return (
        said
        if look.low is None or look.high is None
        else f"{said} {numbers.interval(look.low, look.high, score, '', metric)}"
    )


def share(fraction: float) -> str:
    """Write a share of the training rows: 0.11 → ``11 %``."""
    return f"{100 * fraction:.3g} %"
