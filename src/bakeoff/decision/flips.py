"""Flip points: for every premise the value at which the choice changes, found by bisection, the nearest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bakeoff.decision.choose import recommend
from bakeoff.decision.constraints import in_part
from bakeoff.decision.curves import REACH
from bakeoff.decision.premises import LIMITS, Premises
from bakeoff.decision.words import LIMIT_PATHS, METRIC_NAMES, UNITS, figure, money, rate, spaced
from bakeoff.decision.world import METRIC_OF, Known, World
from bakeoff.economics import retrainings
from bakeoff.schema.base import Words
from bakeoff.schema.decision import Flip
from bakeoff.schema.measurement import Provenance
from bakeoff.schema.spec import Spec

_STEPS = (1.02, 1.06, 1.15, 1.35, 1.7, 2.5, 4.0, 8.0, 20.0, 60.0, 200.0, 1000.0)
_PRECISION = 1.003
_AROUND = 1.02
_THIN = 500
_GROWTH = 10.0
_MONTH = 365.25 * 86400.0 / 12
_HORIZON = 240 * _MONTH
"""Twenty years: nobody plans further."""
_NOTHING = Words(zh="没有方案可用", en="nothing is feasible")
Change = Callable[[float], Premises]


@dataclass(frozen=True)
class Dial:
    """One premise that can be turned: its value today and the premises that follow from another value."""

    premise: str
    label: Words
    today: float
    unit: str
    provenance: Provenance
    to: Change
    say: Callable[[float], Words]
    highest: float = float("inf")
    lowest: float = 0.0


def flips(world: World, known: Known, spec: Spec, recommended: int | None) -> tuple[Flip, ...]:
    """Return where the choice changes, nearest first, within a factor of 1,000 either way.

    Scans with the first draws only, for speed, as long as they lead to the same choice today as all of them, and settles every
    place found with all draws. Machines stay of today's kind, their capacity that at today's latency limits, and decision
    rules of the artefacts (thresholds for today's prices of mistakes) as they were fitted: a re-run may do better.
    """
    if not world.views:
        return ()
    thin = world.thinned(min(_THIN, world.draws))
    scan = thin if recommend(thin, world.today) == recommended else world
    found = []
    for dial in dials(world, known, spec):
        if dial.today <= 0:
            continue  # a factor of nothing is nothing: such a premise is switched off, not small
        for direction in ("up", "down"):
            factor = _turn(scan, dial, direction, recommended)
            place = None if factor is None else _settled(world, dial, direction, recommended, factor)
            if place is not None and not _premature(world, dial, direction, place[1]):
                found.append(_flip(world, dial, direction, *place))
    return tuple(sorted(found, key=lambda flip: (round(flip.factor, 6), flip.premise, flip.direction)))


def _premature(world: World, dial: Dial, direction: str, beyond: int | None) -> bool:
    """Whether a lower floor would only admit what was trained on part of the rows: more of them may lift it over today's."""
    lowered = dial.premise == LIMIT_PATHS["floor"] and direction == "down"
    return lowered and beyond is not None and bool(in_part(world)[beyond])


def _chosen(world: World, dial: Dial, direction: str, factor: float) -> int | None:
    return recommend(world, dial.to(_value(dial, direction, factor)))


def _value(dial: Dial, direction: str, factor: float) -> float:
    return dial.today * factor if direction == "up" else dial.today / factor


def _turn(world: World, dial: Dial, direction: str, today: int | None) -> float | None:
    """Return the factor at which the choice first changes in one direction, None when it does not."""
    furthest = dial.highest / dial.today if direction == "up" else dial.today / max(dial.lowest, 1e-300)
    before = 1.0
    for step in _STEPS:
        reach = min(step, furthest)
        if reach <= before:
            return None
        if _chosen(world, dial, direction, reach) != today:
            return _bisect(world, dial, direction, before, reach, today)
        before = reach
    return None


def _settled(
    world: World, dial: Dial, direction: str, today: int | None, factor: float
) -> tuple[float, int | None] | None:
    """Return (value, choice beyond it) with all draws, searched around what the first draws found."""
    same, other = max(1.0, factor / _AROUND), factor * _AROUND
    furthest = dial.highest / dial.today if direction == "up" else dial.today / max(dial.lowest, 1e-300)
    other = min(other, furthest)
    if _chosen(world, dial, direction, other) == today or _chosen(world, dial, direction, same) != today:
        found = _turn(world, dial, direction, today)
    else:
        found = _bisect(world, dial, direction, same, other, today)
    return None if found is None else (_value(dial, direction, found), _chosen(world, dial, direction, found))


def _bisect(world: World, dial: Dial, direction: str, same: float, other: float, today: int | None) -> float:
    while other / same > _PRECISION:
        middle = math.sqrt(same * other)
        if _chosen(world, dial, direction, middle) == today:
            same = middle
        else:
            other = middle
    return other


def dials(world: World, known: Known, spec: Spec) -> Iterator[Dial]:
    """Yield every premise that has a value today."""
    today = world.today
    yield from _limit_dials(today, spec)
    yield from _traffic_dials(today)
    yield from _value_dials(today, known, spec)
    yield from _price_dials(world, today, spec)
    yield Dial(
        "decision.indifference.quality", Words(zh="质量无差异阈值", en="indifference in quality"), today.quality_zone, "", "assumed",
        lambda value: today.but(quality_zone=value), lambda value: _same(f"{value:.3g}"), highest=1.0,
    )  # fmt: skip
    yield Dial(
        "decision.indifference.cost", Words(zh="成本无差异阈值", en="indifference in cost"), today.cost_zone, "share", "assumed",
        lambda value: today.but(cost_zone=value), lambda value: _same(f"{value:.3g}"), highest=1.0,
    )  # fmt: skip
    yield Dial(
        "decision.confidence", Words(zh="要求的把握", en="confidence asked for"), today.confidence, "", "assumed",
        lambda value: today.but(confidence=value), lambda value: _same(f"{100 * value:.3g} %"), highest=0.999, lowest=0.5,
    )  # fmt: skip
    yield from _rows_dial(world, today)


def _limit_dials(today: Premises, spec: Spec) -> Iterator[Dial]:
    for name in LIMITS:
        limit = getattr(today, name)
        if limit is None:
            continue
        metric = spec.requirements.quality.metric if name == "floor" else METRIC_OF[name]
        bound = Words(zh="下限", en="floor of") if name in {"floor", "throughput"} else Words(zh="上限", en="limit of")
        label = METRIC_NAMES[metric]
        yield Dial(
            LIMIT_PATHS[name], Words(zh=f"{spaced(label.zh)}{bound.zh}", en=f"{bound.en} {label.en}"), limit, UNITS[name], "measured",
            _setting(today, name), _figures_of(METRIC_OF[name]), highest=1.0 if name == "floor" else float("inf"),
        )  # fmt: skip


def _traffic_dials(today: Premises) -> Iterator[Dial]:
    yield Dial(
        "traffic.volume", Words(zh="请求量（峰值同比例）", en="traffic (its peak in proportion)"), today.volume, "1/s", "assumed",
        lambda value: today.but(volume=value, peak=today.peak * value / today.volume), rate,
    )  # fmt: skip
    yield Dial(
        "traffic.peak", Words(zh="峰值请求率", en="peak traffic"), today.peak, "1/s", "assumed",
        lambda value: today.but(peak=value), rate, lowest=today.volume,
    )  # fmt: skip
    yield Dial(
        "traffic.growth", Words(zh="年增长率", en="growth of traffic"), today.growth, "1/yr", "assumed",
        lambda value: today.but(growth=value), lambda value: Words(zh=f"每年 {100 * value:.3g}%", en=f"{100 * value:.3g} % a year"),
        highest=_GROWTH,
    )  # fmt: skip
    yield Dial(
        "traffic.horizon", Words(zh="时间范围", en="horizon"), today.horizon, "s", "assumed",
        lambda value: today.but(horizon=value), _months, highest=max(_HORIZON, today.horizon),
    )  # fmt: skip


def _months(seconds: float) -> Words:
    months = seconds / _MONTH
    return Words(zh=f"{months:.3g} 个月", en=f"{months:.3g} months")


def _value_dials(today: Premises, known: Known, spec: Spec) -> Iterator[Dial]:
    currency = spec.value.currency
    if today.per_correct > 0:
        yield Dial(
            "value.per_correct", Words(zh="一次正确回答的价值", en="worth of a right answer"), today.per_correct, currency, "assumed",
            lambda value: today.but(per_correct=value), lambda value: money(value, currency),
        )  # fmt: skip
    for number, (key, _) in enumerate(known.mistakes):
        price = today.errors[number]
        if price > 0:
            yield Dial(
                f"value.errors.{key}", Words(zh=f"误判 {key} 的代价", en=f"cost of the mistake {key}"), price, currency, "assumed",
                _pricing(today, number),
                lambda value: money(value, currency),
            )  # fmt: skip


def _price_dials(world: World, today: Premises, spec: Spec) -> Iterator[Dial]:
    currency = spec.value.currency
    if today.people > 0:
        yield Dial(
            "costs.people", Words(zh="人力时价", en="price of a working hour"), today.people, f"{currency}/h", "assumed",
            lambda value: today.but(people=value), lambda value: money(value, currency),
        )  # fmt: skip
    if today.label > 0 and world.relabel.any() and retrainings(today.retrain, today.horizon):
        yield Dial(
            "costs.label", Words(zh="一条标注的价格", en="price of a label"), today.label, currency, "assumed",
            lambda value: today.but(label=value), lambda value: money(value, currency),
        )  # fmt: skip
    hourly = float(world.hourly.mean()) if world.hourly.size else 0.0
    if hourly > 0:
        yield Dial(
            "costs.machine_hour", Words(zh="机器时价", en="price of a machine hour"), hourly, f"{currency}/h", "assumed",
            lambda value: today.but(machine=value / hourly), lambda value: money(value, currency),
        )  # fmt: skip


def _rows_dial(world: World, today: Premises) -> Iterator[Dial]:
    rows = max((curve.today for curve in world.curves if curve is not None), default=0.0)
    if rows > 0:
        yield Dial(
            "labelled_rows", Words(zh="训练用标注行数", en="labelled training rows"), rows, "rows", "predicted",
            lambda value: today.but(rows=value), lambda value: Words(zh=f"{value:,.0f} 行", en=f"{value:,.0f}"),
            highest=REACH * rows, lowest=min(rows, 50.0),
        )  # fmt: skip


def _setting(today: Premises, name: str) -> Change:
    return lambda value: today.but(**{name: value})


def _pricing(today: Premises, number: int) -> Change:
    return lambda value: today.but(errors=(*today.errors[:number], value, *today.errors[number + 1 :]))


def _figures_of(metric: str) -> Callable[[float], Words]:
    return lambda value: _same(figure(metric, value))


def _same(text: str) -> Words:
    return Words(zh=text, en=text)


def _flip(world: World, dial: Dial, direction: str, value: float, beyond: int | None) -> Flip:
    target = None if beyond is None else world.views[beyond].candidate
    up = direction == "up"
    early = beyond is not None and not bool(world.final[beyond])
    way: Literal["up", "down"] = "up" if up else "down"
    return Flip(
        premise=dial.premise, label=dial.label, today=dial.today, flips_at=value, direction=way,
        factor=value / dial.today if up else dial.today / value, unit=dial.unit,
        to=None if target is None else target.id, to_label=_NOTHING if target is None else target.label,
        provenance="predicted" if early and dial.provenance == "measured" else dial.provenance,
        text=_text(dial, value, up, None if target is None else target.label, early=early),
    )  # fmt: skip


def _text(dial: Dial, value: float, up: bool, target: Words | None, *, early: bool) -> Words:  # noqa: FBT001
    now, then = dial.say(dial.today), dial.say(value)
    zh = f"{dial.label.zh}从 {now.zh} {'升到' if up else '降到'} {then.zh}，"
    en = f"If the {dial.label.en} {'rises' if up else 'falls'} from {now.en} to {then.en}, "
    if dial.provenance == "predicted":
        zh, en = "按学习曲线预测，" + zh, en.replace("If the", "By the learning curves, if the number of", 1)
    if target is None:
        return Words(zh=zh + "就没有方案可用。", en=en + "nothing is feasible.")
    doubt = Words(
        zh="（它没有进决赛，要再测才能定）", en=" (it was not in the final: a new run would have to confirm it)"
    )
    said = doubt if early else Words(zh="", en="")
    return Words(zh=zh + f"推荐改为“{target.zh}”{said.zh}。", en=en + f"the choice becomes {target.en}{said.en}.")
