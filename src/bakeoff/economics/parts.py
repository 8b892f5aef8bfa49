"""The quantities a total cost is made of, drawn with common random numbers and kept apart so that a price can change later.

Every column of the uniforms stands for one thing nobody knows exactly (``FACTORS``); candidates share the draws, so that what is
common to all of them cancels from their differences (common random numbers: Glasserman and Yao 1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bakeoff.economics.base import Usage
from bakeoff.economics.book import Machine, PriceBook
from bakeoff.economics.capacity import YEAR, machine_hours, processes, requests
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Spec

FACTORS = ("machine", "speed", "capacity", "training", "build", "upkeep", "tokens")
Draws = NDArray[np.float64]
MILLION = 1e6


@dataclass(frozen=True)
class Deployment:
    """A candidate on one kind of machine: ``capacity`` (D,) requests per second of one machine holding ``processes``."""

    name: str
    machine: Machine
    processes: int
    fits: bool
    capacity: Draws
    hourly: Draws


@dataclass(frozen=True)
class Parts:
    """Quantities (D,) of one candidate over the horizon; ``money`` adds them up at the specification's own prices."""

    deployment: Deployment
    machine_hours: Draws
    training_hours: Draws
    retraining_hours: Draws
    retrainings: int
    build_hours: Draws
    upkeep_hours: Draws
    refreshed_labels: float
    requests: float
    token_price: Draws

    def lines(self, spec: Spec) -> dict[str, Draws]:
        """Return the money (D,) of every line of the total, in the specification's currency."""
        people, hourly, zero = spec.costs.people, self.deployment.hourly, np.zeros(self.machine_hours.shape)
        return {
            "machines": self.machine_hours * hourly,
            "training": self.training_hours * hourly,
            "labels": zero,
            "build": self.build_hours * people,
            "upkeep": self.upkeep_hours * people,
            "tokens": self.token_price * self.requests,
            "retraining": self.retraining_hours * hourly + self.refreshed_labels * spec.costs.label,
        }

    def money(self, spec: Spec) -> Draws:
        """Return the total (D,) in the specification's currency."""
        total: Draws = np.sum(list(self.lines(spec).values()), axis=0)
        return total

    def under(self, spec: Spec) -> Parts:
        """Return the parts for another traffic (volume, peak, growth) of the same candidate on the same machine."""
        traffic = spec.traffic
        hours = machine_hours(traffic.peak_rate, traffic.growth, traffic.horizon, self.deployment.capacity)
        return replace(self, machine_hours=hours, requests=requests(traffic.volume, traffic.growth, traffic.horizon))


def uniforms(draws: int, seed: int) -> Draws:
    """Return (draws, number of factors) uniforms to share between candidates."""
    return np.random.default_rng(seed).random((draws, len(FACTORS)))


def typical() -> Draws:
    """Return the one draw (1, number of factors) in which every factor has its typical value."""
    return np.full((1, len(FACTORS)), 0.5)


def parts(spec: Spec, usage: Usage, book: PriceBook, drawn: Draws) -> Parts:
    """Return what ``usage`` consumes over the horizon on the cheapest of the machines allowed that hold it."""
    traffic, column = spec.traffic, _columns(drawn)
    effort, months = book.effort_of(usage.family), traffic.horizon / (YEAR / 12)
    chosen = _cheapest(spec, usage, book, drawn)
    count = retrainings(spec.costs.retrain, traffic.horizon) if usage.trains else 0
    once = _measured(usage.train_seconds, column("training"), 0.0) / 3600.0
    return Parts(
        deployment=chosen,
        machine_hours=machine_hours(traffic.peak_rate, traffic.growth, traffic.horizon, chosen.capacity),
        training_hours=once,
        retraining_hours=once * count,
        retrainings=count,
        build_hours=effort.build.at(column("build")),
        upkeep_hours=effort.upkeep.at(column("upkeep")) * months,
        refreshed_labels=count * spec.costs.refresh * usage.train_rows,
        requests=requests(traffic.volume, traffic.growth, traffic.horizon),
        token_price=_token_price(spec, usage, book, column("tokens")),
    )


def _columns(drawn: Draws) -> Callable[[str], Draws]:
    return lambda name: drawn[:, FACTORS.index(name)]


def _cheapest(spec: Spec, usage: Usage, book: PriceBook, drawn: Draws) -> Deployment:
    found = [_deployed(spec, usage, book, name, drawn) for name in spec.costs.hardware]
    fitting = [deployment for deployment in found if deployment.fits] or found
    if len(fitting) == 1:
        return fitting[0]
    return min(fitting, key=lambda deployment: (_typical_cost(spec, usage, book, deployment), deployment.name))


def _typical_cost(spec: Spec, usage: Usage, book: PriceBook, deployment: Deployment) -> float:
    middle = _deployed(spec, usage, book, deployment.name, typical())
    traffic = spec.traffic
    hours = machine_hours(traffic.peak_rate, traffic.growth, traffic.horizon, middle.capacity)
    return float((hours * middle.hourly)[0])


def _deployed(spec: Spec, usage: Usage, book: PriceBook, name: str, drawn: Draws) -> Deployment:
    machine, column = book.machine(name), _columns(drawn)
    memory = usage.memory.value if usage.memory else None
    count = processes(machine, usage.threads, memory)
    each = _measured(usage.capacity, column("capacity"), math.inf)
    capacity = each * machine.speed.at(column("speed")) * max(1, count)
    hourly = machine.price.at(column("machine")) * book.rate(machine.price.currency, spec.value.currency)
    return Deployment(name, machine, max(1, count), count > 0, capacity, hourly)


def _measured(found: Measurement | None, uniform: Draws, missing: float) -> Draws:
    """Return a measurement at quantiles ``uniform``: its interval is read like a price's range; ``missing`` where unmeasured."""
    if found is None or found.value is None:
        return np.full(uniform.shape, missing)
    low = found.value if found.low is None else min(found.low, found.value)
    high = found.value if found.high is None else max(found.high, found.value)
    return np.interp(uniform, (0.0, 0.5, 1.0), (low, found.value, high))


def retrainings(every: float | None, horizon: float) -> int:
    """Return how often a model is trained again within ``horizon`` seconds, every ``every`` seconds; never for None."""
    return 0 if every is None else max(0, math.ceil(horizon / every - 1e-9) - 1)


def _token_price(spec: Spec, usage: Usage, book: PriceBook, uniform: Draws) -> Draws:
    """Return the money (D,) one request costs in tokens; nothing for a model that runs here."""
    endpoint = usage.endpoint
    if endpoint is None:
        return np.zeros(uniform.shape)
    listed, money = book.tokens_of(endpoint.model), np.zeros(uniform.shape)
    for given, entry, count in (
        (endpoint.input_price, listed.input, usage.tokens_in),
        (endpoint.output_price, listed.output, usage.tokens_out),
    ):
        rate = 1.0 if given is not None else book.rate(entry.currency, spec.value.currency)
        price = np.full(uniform.shape, given) if given is not None else entry.at(uniform)
        money = money + price * rate * _measured(count, np.full(uniform.shape, 0.5), 0.0) / MILLION
    return money
