"""The contract of a task, and what classification tasks share: the positive class, prices of mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bakeoff.schema.errors import BakeoffError, SpecError, UserError
from bakeoff.schema.plugin import TaskTraits
from bakeoff.schema.spec import Spec, Value

CostMatrix = tuple[tuple[float, ...], ...]


class TaskPlugin(Protocol):
    """What an answer is, how it is scored, what a mistake costs."""

    traits: TaskTraits

    def positive(self, spec: Spec, classes: Sequence[str], counts: Sequence[int]) -> int:
        """Return the index of the class that f1 and roc_auc look at."""

    def costs(self, spec: Spec, classes: Sequence[str]) -> CostMatrix | None:
        """Return ``costs[actual][predicted]`` for the decision rule; None when the most probable class is cheapest."""


class Classification:
    """One class per row."""

    def __init__(self, traits: TaskTraits) -> None:
        self.traits = traits

    def positive(self, spec: Spec, classes: Sequence[str], counts: Sequence[int]) -> int:
        """Return the index of the class that f1 and roc_auc look at (see ``positive_class``)."""
        return positive_class(spec, classes, counts)

    def costs(self, spec: Spec, classes: Sequence[str]) -> CostMatrix | None:
        """Return the cost matrix of the specification's prices (see ``cost_matrix``)."""
        return cost_matrix(spec.value, classes)


def positive_class(spec: Spec, classes: Sequence[str], counts: Sequence[int]) -> int:
    """Return the index of ``data.positive``, or of the rarest class (the later one when equally rare).

    Raises:
        UserError: ``data.positive`` names a label the data does not have.

    """
    if spec.data.positive is None:
        return min(range(len(classes)), key=lambda index: (counts[index] if index < len(counts) else 0, -index))
    if spec.data.positive not in classes:
        what = "the data has no such label"
        raise UserError(what, where="data.positive", got=spec.data.positive, allowed=list(classes))
    return list(classes).index(spec.data.positive)


def error_prices(value: Value, classes: Sequence[str]) -> dict[tuple[int, int], float]:
    """Return the price of each priced mistake by (actual, predicted) class index.

    Raises:
        SpecError: a key is not 'actual->predicted' of two different known labels, or a price is negative; all are listed.

    """
    found: dict[tuple[int, int], float] = {}
    problems: list[BakeoffError] = []
    for key, price in value.errors.items():
        pair = split_mistake(key)
        where = f"value.errors.{key}"
        if pair is None or pair[0] not in classes or pair[1] not in classes or pair[0] == pair[1]:
            what = "a mistake is written 'actual->predicted' with two different labels of the data"
            problems.append(UserError(what, where=where, got=key, allowed=list(classes)))
        elif price < 0:
            what = "the cost of a mistake is a positive number"
            problems.append(UserError(what, where=where, got=price))
        else:
            found[classes.index(pair[0]), classes.index(pair[1])] = float(price)
    if problems:
        raise SpecError(problems)
    return found


def split_mistake(key: str) -> tuple[str, str] | None:
    """Split ``'bad->good'`` (or with →) into its two labels; None when it is not one."""
    actual, arrow, predicted = key.replace("→", "->").partition("->")
    return (actual.strip(), predicted.strip()) if arrow else None


def cost_matrix(value: Value, classes: Sequence[str]) -> CostMatrix | None:
    """Return ``costs[actual][predicted]``: a mistake loses the worth of a right answer and costs its own price.

    None when no mistake has a price of its own: then the most probable class is the cheapest too (Elkan 2001).
    """
    prices = error_prices(value, classes)
    if not any(prices.values()):
        return None
    size = range(len(classes))
    return tuple(tuple(0.0 if i == j else value.per_correct + prices.get((i, j), 0.0) for j in size) for i in size)
