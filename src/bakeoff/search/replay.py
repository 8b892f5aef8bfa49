"""Replaying a recorded table: an imagined study whose looks cost what they cost and show what they showed, in microseconds.

The recorded rows are the population. A replay draws its select and confirm rows from it with replacement, so that every replay is a
fresh study of the same truth, and the truth is known exactly: the metric over all recorded rows, averaged over the training seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bakeoff.search.planner import Look
from bakeoff.search.surrogate import Array, Field, field_of
from bakeoff.search.table import Table
from bakeoff.search.values import row_values
from bakeoff.tasks.scoring import score


@dataclass(frozen=True)
class Book:
    """What a table says, computed once and shared by all its replays."""

    table: Table

    @cached_property
    def truth(self) -> Array:
        """Metric at the full share over all recorded rows, averaged over seeds (A,)."""
        table = self.table
        last = len(table.fractions) - 1
        return np.array([self._mean(arm, last) for arm in range(len(table.arms))])

    def _mean(self, arm: int, level: int) -> float:
        """Mean score over the seeds that were recorded; an arm never recorded there is worth nothing."""
        known = np.flatnonzero(self.table.known[arm, level])
        return float(np.mean([self.score(arm, level, int(seed)) for seed in known])) if known.size else 0.0

    def score(self, arm: int, level: int, seed: int) -> float:
        """Metric of one cell over all recorded rows."""
        table = self.table
        return score(table.metric, table.actual, table.predicted[arm, level, seed], positive=table.positive)

    @cached_property
    def field(self) -> Field:
        """The arms as the planner sees them."""
        arms = self.table.arms
        return field_of(
            [f"{arm.family}:{arm.prefix or ''}" for arm in arms],
            [arm.params for arm in arms],
            [arm.trains for arm in arms],
            self.table.train,
        )

    def cost_of_all(self, select: int, confirm: int = 0) -> float:
        """Return the CPU seconds of exhaustive evaluation, shared steps paid once.

        Args:
            select: rows every arm is judged on, trained once at the full share.
            confirm: further rows that the best arm is judged on.

        """
        table = self.table
        used = {arm.prefix for arm in table.arms if arm.prefix}
        shared = sum(
            table.prefixes[name].fixed + table.prefixes[name].per_row * (table.train + select) for name in used
        )
        best = int(self.truth.argmax())
        prefix = table.arms[best].prefix
        again = table.predict[best] + (table.prefixes[prefix].per_row if prefix else 0.0)
        recorded = np.maximum(table.known[:, -1, :].sum(axis=1), 1)
        build = (np.where(table.known[:, -1, :], table.build[:, -1, :], 0.0).sum(axis=1) / recorded).sum()
        return float(build + select * table.predict.sum() + shared + confirm * again)


@dataclass
class Replay:
    """One imagined study.

    Args:
        book: the recorded table.
        seed: of rows and training seeds.
        select: number of select rows.
        confirm: number of confirm rows.
        limit: latency limit in seconds, None without.

    """

    book: Book
    seed: int
    select: int
    confirm: int
    limit: float | None = None
    spent: float = 0.0
    wasted: float = 0.0
    looks: list[Look] = field(default_factory=list)
    bills: list[tuple[int, float, int, float, bool]] = field(default_factory=list)
    _built: set[tuple[int, int, int]] = field(default_factory=set)
    _judged: dict[tuple[int, int, int, str], int] = field(default_factory=dict)
    _passed: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw the rows and the order of the training seeds."""
        random = np.random.default_rng(self.seed)
        rows = self.book.table.rows
        self._rows = {
            "select": random.integers(0, rows, self.select),
            "confirm": random.integers(0, rows, self.confirm),
        }
        self.order = random.permutation(self.book.table.seeds)

    @property
    def table(self) -> Table:
        """The recorded table."""
        return self.book.table

    @property
    def looking(self) -> float:
        """CPU seconds spent on select rows."""
        return sum(bill[3] for bill in self.bills if not bill[4])

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """Arms whose probe is within the latency limit (A,); what a probe with initial weights shows."""
        if self.limit is None:
            return np.ones(len(self.table.arms), dtype=np.bool_)
        return ~(self.table.latency[:, 0] > self.limit)

    def price(self, arm: int, level: int, seed: int, rows: int, split: str = "select") -> float:
        """CPU seconds that this look would add to what was spent."""
        return sum(self._parts(arm, level, seed, rows, split))

    def look(self, arm: int, level: int, seed: int = 0, rows: int | None = None, split: str = "select") -> Look:
        """Pay for a look and return it; ``seed`` counts the trainings of this study from 0."""
        count = len(self._rows[split]) if rows is None else rows
        cost = self.price(arm, level, seed, count, split)
        self.spent += cost
        if not self.feasible[arm]:
            self.wasted += cost
        self.bills.append((arm, self.table.fractions[level], seed, cost, split == "confirm"))
        self._settle(arm, level, seed, count, split)
        found = Look(
            arm, self.table.fractions[level], seed, np.arange(count), self.values(arm, level, seed, split, count)
        )
        if split == "select":
            self.looks = [
                one for one in self.looks if (one.arm, one.share, one.seed) != (arm, found.share, seed) or one.rows.size > count
            ]  # fmt: skip
            self.looks.append(found)
        return found

    def trainings(self, arm: int, level: int) -> list[int]:
        """Training seeds recorded for a cell, in the order in which this study meets them."""
        return [int(seed) for seed in self.order if self.table.known[arm, level, seed]]

    def values(self, arm: int, level: int, seed: int, split: str, count: int) -> Array:
        """Per-row values (n,) whose mean is the metric on the split's first ``count`` rows."""
        rows, table = self._rows[split][:count], self.table
        predicted = table.predicted[arm, level, self.trainings(arm, level)[seed]][rows]
        return row_values(table.metric, table.actual[rows], predicted, positive=table.positive)

    def _parts(self, arm: int, level: int, seed: int, rows: int, split: str) -> tuple[float, float, float]:
        table, one = self.table, self.table.arms[arm]
        level = level if one.trains else len(table.fractions) - 1
        build = (
            0.0
            if (arm, level, seed) in self._built
            else float(table.build[arm, level, self.trainings(arm, level)[seed]])
        )
        news = max(0, rows - self._judged.get((arm, level, seed, split), 0))
        shared = 0.0
        if one.prefix is not None:
            step, passed = table.prefixes[one.prefix], self._passed.get(one.prefix)
            trained = round(table.fractions[level] * table.train) if one.trains else 0
            before = passed or (0, 0, 0)
            place = 1 if split == "select" else 2
            fresh = max(0, trained - before[0]) + max(0, rows - before[place])
            shared = (step.fixed if passed is None else 0.0) + step.per_row * fresh
        return build, news * float(table.predict[arm]), shared

    def _settle(self, arm: int, level: int, seed: int, rows: int, split: str) -> None:
        table, one = self.table, self.table.arms[arm]
        level = level if one.trains else len(table.fractions) - 1
        self._built.add((arm, level, seed))
        key = (arm, level, seed, split)
        self._judged[key] = max(rows, self._judged.get(key, 0))
        if one.prefix is not None:
            before = self._passed.get(one.prefix, (0, 0, 0))
            trained = round(table.fractions[level] * table.train) if one.trains else 0
            passed = [max(before[0], trained), before[1], before[2]]
            place = 1 if split == "select" else 2
            passed[place] = max(passed[place], rows)
            self._passed[one.prefix] = (passed[0], passed[1], passed[2])


def regret(book: Book, arm: int, feasible: NDArray[np.bool_]) -> float:
    """Return how much the best feasible arm is truly better than ``arm``, in units of the metric."""
    return float(book.truth[feasible].max() - book.truth[arm])
