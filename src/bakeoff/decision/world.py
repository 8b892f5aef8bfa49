"""Evidence turned into arrays: candidates × draws of everything a choice depends on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.bootstrap import generator
from bakeoff.decision.curves import Curve, changes
from bakeoff.decision.latency import Percentile, percentiles
from bakeoff.decision.posterior import Judging, Quality, QualityPosterior
from bakeoff.decision.premises import LIMITS, Premises, mistake_keys, premises_of
from bakeoff.decision.rules import RuleVerdict, rule_verdicts
from bakeoff.decision.usage import sustained, usage_of
from bakeoff.decision.view import View
from bakeoff.economics import FACTORS, PriceBook, Usage, parts, retrainings
from bakeoff.economics.capacity import YEAR, machine_hours, requests
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec
from bakeoff.tasks.base import positive_class

Table = NDArray[np.float64]
METRIC_OF = {
    "floor": "quality", "p50": "latency_p50", "p95": "latency_p95", "p99": "latency_p99",
    "throughput": "throughput", "memory": "memory", "size": "size",
}  # fmt: skip
_EVERY = slice(None)
_BUDGETARY = frozenset({"unaffordable", "not_reached", "failed"})


@dataclass
class World:
    """The candidates that have outcomes, as arrays over joint draws (v candidates, D draws).

    ``unseen`` are the candidates without outcomes. ``limits[name]`` (v, D) or (v, 1) are the figures held against the limit ``name``; NaN
    where nothing was measured.
    ``hourly`` [money/h], ``hours`` of machines under today's load, ``training`` [machine h] once, ``build`` and ``upkeep`` [h of people; upkeep
    over today's horizon], ``relabel`` [rows] of each re-training (v, 1) and ``per_request`` [money] are what a cost is made of.
    """

    views: list[View]
    unseen: list[View]
    quality: Table
    accuracy: Table
    mistakes: NDArray[np.float64]
    limits: dict[str, Table]
    allowed: NDArray[np.bool_]
    final: NDArray[np.bool_]
    barred: NDArray[np.bool_]
    carried: NDArray[np.bool_]
    arms: NDArray[np.int64]
    capacity: Table
    hourly: Table
    hours: Table
    training: Table
    build: Table
    upkeep: Table
    relabel: Table
    per_request: Table
    today: Premises
    curves: list[Curve | None]
    _memo: dict[str, tuple[Hashable, NDArray[Any]]] = field(default_factory=dict, repr=False)

    @property
    def draws(self) -> int:
        """Number of joint draws."""
        return int(self.quality.shape[1])

    def thinned(self, draws: int) -> World:
        """Return the world with only the first ``draws`` joint draws: for scans where speed matters."""

        def cut(table: Table) -> Table:
            return table[..., :draws] if table.shape[-1] > 1 else table

        drawn = (
            "quality",
            "accuracy",
            "mistakes",
            "capacity",
            "hourly",
            "hours",
            "training",
            "build",
            "upkeep",
            "per_request",
        )
        cuts: dict[str, Any] = {name: cut(getattr(self, name)) for name in drawn}
        cuts["limits"] = {name: cut(table) for name, table in self.limits.items()}
        return replace(self, **cuts, _memo={})

    def costs(self, premises: Premises, chosen: NDArray[np.int64] | slice = _EVERY) -> Table:
        """Return total costs (v, D) under ``premises``, of the ``chosen`` candidates only if given."""
        machines = self._machines(premises)[chosen] * premises.machine
        people = self.build[chosen] + self.upkeep[chosen] * (premises.horizon / self.today.horizon)
        labels = self.relabel[chosen] * (self._again(premises) * premises.label)
        total: Table = machines + people * premises.people + labels + self.per_request[chosen] * self.asked(premises)
        return total

    def means(self, premises: Premises) -> Table:
        """Return mean total costs (v,) under ``premises``."""
        return self._once("means", self._prices(premises), lambda: self._means(premises))

    def _means(self, premises: Premises) -> Table:
        load = self._load(premises)
        machines = self._once("machines-mean", load, lambda: self._machines(premises).mean(axis=1)) * premises.machine
        people = self._mean("build") + self._mean("upkeep") * (premises.horizon / self.today.horizon)
        labels = self.relabel[:, 0] * (self._again(premises) * premises.label)
        total: Table = machines + people * premises.people + labels + self._mean("per_request") * self.asked(premises)
        return total

    def _machines(self, premises: Premises) -> Table:
        """Money for machines (v, D) at today's prices of them: serving, training and training again."""
        return self._once("machines", self._load(premises), lambda: (
            (self._hours(premises) + self.training * (1.0 + self._again(premises) * self._learns())) * self.hourly
        ))  # fmt: skip

    def _hours(self, premises: Premises) -> Table:
        today = self.today
        if (premises.peak, premises.growth, premises.horizon) == (today.peak, today.growth, today.horizon):
            return self.hours
        hours = np.full(self.capacity.shape, premises.horizon / 3600.0)
        last = premises.peak * max(1.0, (1.0 + premises.growth) ** (premises.horizon / YEAR))
        busy = (
            self._once("least", (), lambda: self.capacity.min(axis=1)) < last
        )  # one machine does for the others, whatever the draw
        hours[busy] = machine_hours(premises.peak, premises.growth, premises.horizon, self.capacity[busy])
        return hours

    def _again(self, premises: Premises) -> int:
        return retrainings(premises.retrain, premises.horizon)

    def _learns(self) -> Table:
        """1.0 for candidates that train (v, 1)."""
        return self._once(
            "learns",
            (),
            lambda: np.array([[float(view.candidate.variant.trains)] for view in self.views]).reshape(-1, 1),
        )

    def _mean(self, name: str) -> Table:
        """Mean over draws (v,) of one of our own tables."""
        return self._once(f"mean-{name}", (), lambda: getattr(self, name).mean(axis=-1))

    @staticmethod
    def _load(premises: Premises) -> Hashable:
        return premises.peak, premises.growth, premises.horizon, premises.retrain

    @classmethod
    def _prices(cls, premises: Premises) -> Hashable:
        """Everything a cost depends on."""
        return cls._load(premises), premises.volume, premises.machine, premises.people, premises.label

    def _once(self, name: str, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the table made last time for the same key: turning one premise leaves most tables as they were."""
        if name not in self._memo or self._memo[name][0] != key:
            self._memo[name] = (key, make())
        return self._memo[name][1]

    def asked(self, premises: Premises) -> float:
        """Return the number of requests over the horizon."""
        return requests(premises.volume, premises.growth, premises.horizon)

    def gain(self, premises: Premises) -> Table | None:
        """Return how quality changes (v, 1) with another number of labelled rows, from the learning curves; None for today's.

        A trained candidate without a curve of its own (an ensemble, an arm judged once) changes as the others do on average.
        """
        if premises.rows is None:
            return None
        return self._once("gain", premises.rows, lambda: self._gain(float(premises.rows or 0.0)))

    def _gain(self, rows: float) -> Table:
        have = [place for place, curve in enumerate(self.curves) if curve is not None]
        own = changes([curve for curve in self.curves if curve is not None], rows)
        pooled = float(own.mean()) if have else 0.0
        learns = [view.candidate.variant.trains and view.candidate.family != "baseline" for view in self.views]
        found = np.where(learns, pooled, 0.0)
        found[have] = own
        return found[:, None]

    def objective(self, premises: Premises) -> Table:
        """Return what is maximised (v, D): net value over the horizon where answers are priced, else quality."""
        return self._once("objective", self._worths(premises), lambda: self._objective(premises, self.costs(premises)))

    def mean_objective(self, premises: Premises) -> Table:
        """Return the mean of what is maximised (v,)."""
        return self._once("mean", self._worths(premises), lambda: self._mean_objective(premises))

    def _mean_objective(self, premises: Premises) -> Table:
        if premises.rows is not None:
            full: Table = self.objective(premises).mean(axis=1)
            return full
        if not premises.priced:
            return self._mean("quality")
        worth = premises.per_correct * self._mean("accuracy") - np.array(premises.errors) @ self._mean("mistakes")
        net: Table = np.asarray(worth * self.asked(premises) - self.means(premises))
        return net

    def _worths(self, premises: Premises) -> Hashable:
        """Everything the objective depends on."""
        return self._prices(premises) if premises.priced else None, premises.per_correct, premises.errors, premises.rows

    def _objective(self, premises: Premises, costs: Table) -> Table:
        gain = self.gain(premises)
        if not premises.priced:
            return self.quality if gain is None else np.clip(self.quality + gain, 0.0, 1.0)
        right, wrong = self.accuracy, self.mistakes
        if gain is not None:
            right = np.clip(right + gain, 0.0, 1.0)
            wrong = wrong * ((1.0 - right) / np.maximum(1.0 - self.accuracy, 1e-9))
        worth = premises.per_correct * right
        for number, price in enumerate(premises.errors):
            worth = worth - price * wrong[number]
        net: Table = worth * self.asked(premises) - costs
        return net

    def point_value(self, premises: Premises) -> float:
        """Return the money one unit of quality is worth over the horizon, at today's mix of mistakes."""
        wrong = 1.0 - float(self._once("right", (), lambda: self.accuracy.mean(axis=1)).mean())
        rates = self._once("rates", (), lambda: self.mistakes.mean(axis=(1, 2)))
        priced = sum(price * float(rates[number]) for number, price in enumerate(premises.errors))
        return self.asked(premises) * (premises.per_correct + (priced / wrong if wrong > 0 else 0.0))

    def held(self, name: str, premises: Premises) -> Table:
        """Return the figures (v, D) or (v, 1) held against one limit."""
        gain = self.gain(premises) if name == "floor" else None
        return self.limits[name] if gain is None else np.clip(self.limits[name] + gain, 0.0, 1.0)

    def feasible(self, premises: Premises) -> NDArray[np.bool_]:
        """Return which candidate meets every limit in which draw (v, D); unmeasured figures do not."""
        return self._once("feasible", self._limits(premises), lambda: self._feasible(premises))

    def p_feasible(self, premises: Premises) -> Table:
        """Return the share of draws in which each candidate meets every limit (v,)."""
        return self._once("p_feasible", self._limits(premises), lambda: (
            np.count_nonzero(self.feasible(premises), axis=1) / self.draws
        ))  # fmt: skip

    @staticmethod
    def _limits(premises: Premises) -> Hashable:
        return *(getattr(premises, name) for name in LIMITS), premises.rows

    def _feasible(self, premises: Premises) -> NDArray[np.bool_]:
        meets = np.broadcast_to(self.allowed[:, None], self.quality.shape)
        for name in LIMITS:
            limit = getattr(premises, name)
            if limit is not None:
                meets = meets & self._once(f"meets-{name}", (limit, premises.rows), lambda: self._meets(name, premises))  # noqa: B023 - called at once
        return meets

    def _meets(self, name: str, premises: Premises) -> NDArray[np.bool_]:
        limit, figures = getattr(premises, name), self.held(name, premises)
        found: NDArray[np.bool_] = figures >= limit if name in {"floor", "throughput"} else figures <= limit
        return found


@dataclass
class Known:
    """What was learned of each candidate besides the arrays, by id; also of those without outcomes."""

    judging: Judging
    quality: dict[str, Quality]
    percentiles: dict[str, dict[str, Percentile]]
    usages: dict[str, Usage]
    rates: dict[str, Measurement | None]
    rules: dict[str, RuleVerdict]
    mistakes: list[tuple[str, tuple[int, int]]]
    book: PriceBook
    draws: int


def judging_of(spec: Spec, profile: Profile) -> Judging:
    """Return how answers are judged under a specification."""
    positive = positive_class(spec, profile.classes, profile.class_counts)
    pairs = tuple(pair for _, pair in mistake_keys(spec, profile.classes))
    return Judging(spec.requirements.quality.metric, positive, pairs)


def learn(views: list[View], spec: Spec, profile: Profile, book: PriceBook, run: Spec) -> Known:
    """Draw qualities and percentiles and gather usages of every candidate; ``run`` is what they were measured under."""
    judging, draws = judging_of(spec, profile), spec.decision.draws
    threads = spec.measuring.threads
    quality = QualityPosterior(views, judging, draws, spec.seed, run.seed).quality()
    timed = {view.id: percentiles(view, draws, spec.seed, view.threads or threads) for view in views}
    rates = {view.id: sustained(view, spec, run) for view in views}
    usages = {view.id: usage_of(view, spec, profile, rates[view.id]) for view in views}
    rules = {view.id: rule_verdicts(view, spec) for view in views}
    return Known(judging, quality, timed, usages, rates, rules, mistake_keys(spec, profile.classes), book, draws)


def build(views: list[View], known: Known, spec: Spec, curves: dict[str, Curve]) -> World:
    """Stack what is known of the candidates that have outcomes."""
    judged = [view for view in views if view.id in known.quality]
    qualities = [known.quality[view.id] for view in judged]
    drawn = generator(spec.seed, "prices").random((spec.decision.draws, len(FACTORS)))
    priced = [parts(spec, known.usages[view.id], known.book, drawn) for view in judged]
    arms = {arm: index for index, arm in enumerate(sorted({view.candidate.arm for view in judged}))}
    count = spec.decision.draws
    return World(
        views=judged,
        unseen=[view for view in views if view.id not in known.quality],
        quality=_stack([item.draws for item in qualities], count),
        accuracy=_stack([item.accuracy for item in qualities], count),
        mistakes=np.moveaxis(
            np.array([item.mistakes for item in qualities]).reshape(len(judged), len(known.mistakes), count), 0, 1
        ),
        limits={name: _figures(name, judged, known, count) for name in LIMITS},
        allowed=np.array([known.rules[view.id].allowed for view in judged], dtype=np.bool_),
        final=np.array([view.final for view in judged], dtype=np.bool_),
        barred=np.array([_barred(view) for view in judged], dtype=np.bool_),
        carried=np.array([item.carried for item in qualities], dtype=np.bool_),
        arms=np.array([arms[view.candidate.arm] for view in judged], dtype=np.int64),
        today=premises_of(spec, [key for key, _ in known.mistakes]),
        curves=[curves.get(view.candidate.arm) for view in judged],
        capacity=_stack([item.deployment.capacity for item in priced], count),
        hourly=_stack([item.deployment.hourly for item in priced], count),
        hours=_stack([item.machine_hours for item in priced], count),
        training=_stack([item.training_hours for item in priced], count),
        build=_stack([item.build_hours for item in priced], count),
        upkeep=_stack([item.upkeep_hours for item in priced], count),
        relabel=np.array([[spec.costs.refresh * known.usages[view.id].train_rows] for view in judged]).reshape(
            len(judged), 1
        ),
        per_request=_stack([item.token_price for item in priced], count),
    )


def _barred(view: View) -> bool:
    """Whether the search stopped it for want of budget: then nothing recommends it either."""
    return view.elimination is not None and view.elimination.kind in _BUDGETARY


def _stack(rows: list[NDArray[np.float64]], count: int) -> Table:
    return np.stack(rows) if rows else np.zeros((0, count))


def _figures(name: str, views: list[View], known: Known, count: int) -> Table:
    metric = METRIC_OF[name]
    if metric == "quality":  # the floor holds for the artefact delivered, not for another training of it
        return _stack([known.quality[view.id].sampling for view in views], count)
    if metric.startswith("latency"):
        missing = np.full(count, np.nan)
        return _stack(
            [known.percentiles[view.id][metric].floor if known.percentiles[view.id] else missing for view in views],
            count,
        )
    if metric == "throughput":
        return _stack([rate_draws(known.rates[view.id], count) for view in views], count)
    return np.array([[_point(view, metric)] for view in views]).reshape(len(views), 1)


def rate_draws(found: Measurement | None, count: int) -> NDArray[np.float64]:
    """Return draws (D,) of a sustained rate, evenly spread over its interval; NaN when it was never measured."""
    if found is None or found.value is None:
        return np.full(count, np.nan)
    low = found.value if found.low is None else min(found.low, found.value)
    high = found.value if found.high is None else max(found.high, found.value)
    return np.interp((np.arange(count) + 0.5) / count, (0.0, 0.5, 1.0), (low, found.value, high))


def _point(view: View, metric: str) -> float:
    if metric == "size" and view.artifact is not None and view.artifact.size:
        return float(view.artifact.size)
    measured = view.measurements.get(metric)
    return np.nan if measured is None or measured.value is None else measured.value
