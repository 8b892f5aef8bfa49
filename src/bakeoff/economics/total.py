"""Total cost of ownership and net value over the horizon; ranges in, ranges out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bakeoff.economics.base import Usage
from bakeoff.economics.book import PriceBook
from bakeoff.economics.explain import basis, label_of, provenance_of
from bakeoff.economics.parts import Draws, Parts, parts, typical, uniforms
from bakeoff.schema.economics import CostEstimate, CostLine, LineName
from bakeoff.schema.spec import Spec
from bakeoff.schema.units import SECONDS

LINES: tuple[LineName, ...] = ("machines", "training", "labels", "build", "upkeep", "tokens", "retraining")
_DRAWS, _SEED = 400, 20261101
Confusion = NDArray[np.float64]
ErrorPrices = Mapping[tuple[int, int], float]


def estimate(
    spec: Spec,
    usage: Usage,
    book: PriceBook,
    confusion: Confusion | None = None,
    errors: ErrorPrices | None = None,
) -> CostEstimate:
    """Return what a candidate costs over the horizon, line by line, and what it is worth when answers have a price.

    Args:
        spec: traffic, prices, hardware.
        usage: what was measured of the candidate.
        book: everything else.
        confusion: (k, k) shares of all rows by actual and predicted class, or draws of them (D, k, k).
        errors: price of a mistake by (actual, predicted) class index (``tasks.base.error_prices``).

    Returns:
        Values with every factor at its typical value; intervals hold 95 % of joint draws.

    """
    middle = parts(spec, usage, book, _drawn())  # its first draw is the typical one
    lines = middle.lines(spec)
    values, ranges = {name: line[0] for name, line in lines.items()}, {name: line[1:] for name, line in lines.items()}
    worth = (
        None
        if confusion is None or not spec.value.priced
        else worth_of(spec, confusion, errors or {}) * middle.requests
    )
    money = np.sum(list(lines.values()), axis=0)
    total, totals = float(money[0]), money[1:]
    nets = np.zeros(_DRAWS) if worth is None else np.resize(worth, _DRAWS) - totals
    names = [name for name in LINES if name != "tokens" or usage.endpoint is not None]
    low, high = np.quantile(np.stack([*(ranges[name] for name in names), totals, nets]), (0.025, 0.975), axis=1)
    listed = tuple(
        CostLine(
            name=name, label=label_of(name), value=float(values[name]), low=min(float(values[name]), float(low[row])),
            high=max(float(values[name]), float(high[row])), provenance=provenance_of(name, usage, middle),
            basis=basis(name, spec, usage, middle),
        )
        for row, name in enumerate(names)
    )  # fmt: skip
    value = None if worth is None else float(np.mean(worth))
    capacity = float(middle.deployment.capacity[0])
    held = float(middle.machine_hours[0]) * 3600.0 * capacity
    return CostEstimate(
        candidate=usage.candidate, currency=spec.value.currency, horizon_months=spec.traffic.horizon / SECONDS["month"],
        lines=listed, total=total, low=min(total, float(low[-2])), high=max(total, float(high[-2])),
        per_1000=1000.0 * total / middle.requests, replicas=_replicas(spec, middle),
        capacity=capacity if np.isfinite(capacity) else None,
        utilisation=min(1.0, middle.requests / held) if held > 0 and np.isfinite(held) else None,
        value=value, net=None if value is None else value - total,
        net_low=None if value is None else float(low[-1]), net_high=None if value is None else float(high[-1]),
        book_date=book.date,
    )  # fmt: skip


@cache
def _drawn() -> Draws:
    return np.concatenate([typical(), uniforms(_DRAWS, _SEED)])


def draw_costs(spec: Spec, usage: Usage, book: PriceBook, drawn: Draws) -> Draws:
    """Return the total cost (D,) for shared ``uniforms`` (D, number of factors) (see ``parts.FACTORS``)."""
    return parts(spec, usage, book, drawn).money(spec)


def worth_of(spec: Spec, confusion: Confusion, errors: ErrorPrices) -> NDArray[np.float64]:
    """Return what one answer is worth on average: right ones times their worth, less the price of each mistake.

    ``confusion`` (k, k) or (D, k, k) → a single number's array () or (D,).
    """
    right = np.trace(confusion, axis1=-2, axis2=-1)
    worth: NDArray[np.float64] = spec.value.per_correct * right
    for (actual, predicted), price in errors.items():
        worth = worth - price * confusion[..., actual, predicted]
    return np.asarray(worth)


def break_even_volume(spec: Spec, own: Usage, remote: Usage, book: PriceBook) -> float | None:
    """Return the request rate [1/s] above which one's own hardware is cheaper than the remote model, if there is one.

    The peak grows with the volume; typical values; found by bisection on log scale between 1e-6 and 1e6 requests per second.
    None when one of them is cheaper everywhere.
    """
    ratio = spec.traffic.peak_rate / spec.traffic.volume

    def gap(volume: float) -> float:
        traffic = spec.traffic.model_copy(update={"volume": volume, "peak": volume * ratio})
        changed = spec.model_copy(update={"traffic": traffic})
        costs = [float(draw_costs(changed, usage, book, typical())[0]) for usage in (own, remote)]
        return costs[0] - costs[1]

    return _crossing(gap, 1e-6, 1e6)


def _crossing(gap: Callable[[float], float], low: float, high: float) -> float | None:
    if gap(low) <= 0 or gap(high) > 0:
        return None
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if gap(middle) > 0 else (low, middle)
    return math.sqrt(low * high)


def _replicas(spec: Spec, middle: Parts) -> int | None:
    each = float(middle.deployment.capacity[0]) / middle.deployment.processes
    return max(1, int(np.ceil(spec.traffic.peak_rate / each - 1e-9))) if np.isfinite(each) and each > 0 else None
