"""Logistic scorecard: every column cut into bins, each bin worth points; format ``scorecard``.

Numbers are cut by a small decision tree per column, neighbouring bins are merged until the weight of evidence is
monotone (unless that throws away a fifth of the column's information value), and missing is a bin of its own. A
logistic regression over the weights of evidence gives the points (Siddiqi 2006). More than two classes: one card per
class against the rest, normalised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms import tabular
from bakeoff.data.transforms.tabular import bins_of
from bakeoff.models._logistic import fit_logistic
from bakeoff.models.base import BuildContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

CARD = "scorecard.json"
BASE_SCORE, BASE_ODDS, DOUBLING = 600.0, 50.0, 20.0
"""Points: 600 at odds of 50 to 1 against the event, 20 more each time the odds double."""
_LEAF_SHARE = 0.03
_LEAF_ROWS = 20
_RARE_SHARE = 0.01
_KEPT_VALUE = 0.8
_SMOOTH = 0.5

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """One column's bins: ``edges`` of a number (closed on the right), or ``groups``: bin of each category code."""

    at: int
    name: str
    count: int
    edges: NDArray[np.float32] | None = None
    groups: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    def of(self, values: NDArray[np.float32]) -> Ints:
        """Return the bin of each value; missing is bin ``count``."""
        found = bins_of(values, self.edges, self.count if self.edges is not None else len(self.groups))
        if self.edges is not None:
            return found
        return np.asarray((*self.groups, self.count), dtype=np.int64)[found]


def build(context: BuildContext) -> Artifact:
    """Fit bins, weights of evidence and points on the training rows.

    Raises:
        StepError: no column is usable, or the rows carry one class only.

    """
    labels, classes = context.train.labels, len(context.classes)
    transform = tabular.fit(context.train.rows, context.inputs)
    table = tabular.TableFeeder(transform).matrix(context.train.rows)
    columns = [
        found for found in _all_bins(table, labels, transform, int(context.params.get("bins", 8))) if found.count
    ]
    if not columns:
        what = "no input column tells anything apart"
        raise StepError("error", what)
    events = events_of(labels, classes)
    cards = [_fit(table, labels == event, columns, context) for event in events]
    link = "sigmoid" if classes == 2 else "ovr"
    sign = -1.0 if link == "sigmoid" and events[0] == 0 else 1.0
    card = {"width": table.shape[1], **_record(cards, columns, sign)}
    (context.out / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
    points = {context.classes[event]: points_table(found, columns) for event, found in zip(events, cards, strict=True)}
    return Artifact(
        format="scorecard",
        task=context.task,
        classes=context.classes,
        inputs=context.inputs,
        transform=transform,
        meta={
            "card": CARD,
            "link": link,
            "points": points,
            "scale": {"score": BASE_SCORE, "odds": BASE_ODDS, "pdo": DOUBLING},
        },
    )


def events_of(labels: Ints, classes: int) -> tuple[int, ...]:
    """Return the classes a card is made for: the rarer of two (the event, say default), else every one."""
    if classes > 2:
        return tuple(range(classes))
    counts = np.bincount(labels, minlength=2)
    return (0,) if counts[0] < counts[1] else (1,)


@dataclass(frozen=True)
class _Card:
    intercept: float
    weights: list[Floats]  # per column: log-odds of the event by bin, the missing bin last
    values: list[float]  # information value per column


def _fit(table: NDArray[np.float32], event: NDArray[np.bool_], columns: list[Bins], context: BuildContext) -> _Card:
    binned = [column.of(table[:, column.at]) for column in columns]
    evidence = [weight_of_evidence(bins, event, column.count) for bins, column in zip(binned, columns, strict=True)]
    features = np.column_stack([woe[bins] for (woe, _), bins in zip(evidence, binned, strict=True)])
    head = fit_logistic(
        features,
        event.astype(np.int64),
        2,
        strength=float(context.params.get("C", 1.0)),
        balanced=bool(context.params.get("balanced")),
    )
    slopes = head.coef[:, 0].astype(np.float64)
    weights = [slope * woe for slope, (woe, _) in zip(slopes, evidence, strict=True)]
    return _Card(float(head.intercept[0]), weights, [value for _, value in evidence])


def weight_of_evidence(bins: Ints, event: NDArray[np.bool_], count: int) -> tuple[Floats, float]:
    """Return ln(share of events / share of others) per bin, missing last, and the information value; empty bins: 0."""
    hit = np.bincount(bins[event], minlength=count + 1).astype(np.float64)
    other = np.bincount(bins[~event], minlength=count + 1).astype(np.float64)
    seen = hit + other > 0
    shares = (hit + _SMOOTH) / (hit.sum() + _SMOOTH), (other + _SMOOTH) / (other.sum() + _SMOOTH)
    woe = np.where(seen, np.log(shares[0] / shares[1]), 0.0)
    return woe, float(((shares[0] - shares[1]) * woe)[seen].sum())


def _all_bins(table: NDArray[np.float32], labels: Ints, transform: dict[str, Any], limit: int) -> list[Bins]:
    binary = int(labels.max(initial=0)) < 2
    event = labels == events_of(labels, 2)[0] if binary else None
    found = []
    for at, column in enumerate(transform["columns"]):
        values = table[:, at]
        if column["kind"] == "category":
            found.append(_category_bins(at, column, values))
            continue
        edges = tree_edges(values, labels, limit)
        if event is not None:
            edges = monotone(values, event, edges)
        found.append(_number_bins(at, str(column["name"]), edges, values))
    return found


def tree_edges(values: NDArray[np.float32], labels: Ints, limit: int) -> NDArray[np.float32]:
    """Return at most ``limit - 1`` cut points that a decision tree of this one column finds."""
    from sklearn.tree import DecisionTreeClassifier

    known = ~np.isnan(values)
    least = max(_LEAF_ROWS, math.ceil(_LEAF_SHARE * len(values)))
    if known.sum() < 2 * least:
        return np.zeros(0, dtype=np.float32)
    tree = DecisionTreeClassifier(max_leaf_nodes=limit, min_samples_leaf=least, random_state=0)
    tree.fit(values[known, None], labels[known])
    cuts = tree.tree_.threshold[tree.tree_.feature >= 0]
    return np.unique(cuts.astype(np.float32))


def monotone(values: NDArray[np.float32], event: NDArray[np.bool_], edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Drop cut points until the event rate only rises or only falls, if that keeps 80 % of the information value."""
    if len(edges) < 2:
        return edges
    known = ~np.isnan(values)

    def value_of(cuts: NDArray[np.float32]) -> float:
        return weight_of_evidence(bins_of(values[known], cuts, 0), event[known], len(cuts) + 1)[1]

    tried = [_merge(values[known], event[known], edges, direction) for direction in (1.0, -1.0)]
    best = max(tried, key=value_of)
    return best if value_of(best) >= _KEPT_VALUE * value_of(edges) else edges


def _merge(
    values: NDArray[np.float32], event: NDArray[np.bool_], edges: NDArray[np.float32], direction: float
) -> NDArray[np.float32]:
    """Pool adjacent violators: merge neighbours whose rates go against ``direction``."""
    bins = bins_of(values, edges, 0)
    rows = np.bincount(bins, minlength=len(edges) + 1).astype(np.float64)
    hits = np.bincount(bins[event], minlength=len(edges) + 1).astype(np.float64)
    blocks: list[tuple[float, float, int]] = []  # hits, rows, last bin
    for at, (hit, row) in enumerate(zip(hits, rows, strict=True)):
        blocks.append((hit, row, at))
        while len(blocks) > 1 and direction * (_rate(blocks[-1]) - _rate(blocks[-2])) <= 0:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((last[0] + before[0], last[1] + before[1], last[2]))
    return edges[[block[2] for block in blocks[:-1]]]


def _rate(block: tuple[float, float, int]) -> float:
    return block[0] / block[1] if block[1] else 0.0


def _number_bins(at: int, name: str, edges: NDArray[np.float32], values: NDArray[np.float32]) -> Bins:
    gone = bool(np.isnan(values).any())
    if not len(edges) and not gone:
        return Bins(at, name, 0)
    cuts = [f"{edge:.6g}" for edge in edges]
    labels = [f"{low} < {name} ≤ {high}" for low, high in zip(["", *cuts], [*cuts, ""], strict=True)]
    labels = [label.removeprefix(" < ").removesuffix(" ≤ ") for label in labels]
    if cuts:
        labels[-1] = f"{name} > {cuts[-1]}"
    return Bins(at, name, len(edges) + 1, edges=edges, labels=tuple(labels))


def _category_bins(at: int, column: dict[str, Any], values: NDArray[np.float32]) -> Bins:
    """Give every category that holds a hundredth of the rows a bin; the rest share one."""
    names: list[str] = column["values"]
    counts = np.bincount(values[~np.isnan(values)].astype(np.int64), minlength=len(names))
    least = max(_LEAF_ROWS, _RARE_SHARE * len(values))
    groups: list[int] = []
    labels: list[str] = []
    rare = [name for name, count in zip(names, counts, strict=True) if count < least]
    for name, count in zip(names, counts, strict=True):
        if count >= least:
            groups.append(len(labels))
            labels.append(f"{column['name']} = {name}")
        else:
            groups.append(-1)
    if rare:
        groups = [len(labels) if group < 0 else group for group in groups]
        shown = ", ".join(rare[:5]) + (", …" if len(rare) > 5 else "")
        labels.append(f"{column['name']} ∈ {{{shown}}}")
    return Bins(at, str(column["name"]), len(labels), groups=tuple(groups), labels=tuple(labels))


def _record(cards: list[_Card], columns: list[Bins], sign: float) -> dict[str, Any]:
    """Return what runtimes read: per column the weights (bins or codes × cards) and that of missing."""
    written = []
    for place, column in enumerate(columns):
        weights = sign * np.column_stack([card.weights[place] for card in cards])
        by_code = weights[list(column.groups)] if column.edges is None else weights[:-1]
        written.append(
            {
                "at": column.at,
                "name": column.name,
                "edges": None if column.edges is None else [float(edge) for edge in column.edges],
                "weights": by_code.tolist(),
                "missing": weights[-1].tolist(),
            }
        )
    return {"intercept": [sign * card.intercept for card in cards], "columns": written}


def points_table(card: _Card, columns: list[Bins]) -> dict[str, Any]:
    """Return the card as people read it: rounded points per bin, more points for less of the event."""
    factor = DOUBLING / math.log(2.0)
    offset = BASE_SCORE - factor * math.log(BASE_ODDS)
    share: Callable[[float], int] = lambda logit: round(-factor * logit)  # noqa: E731 - used twice, right here
    rows = []
    for column, weights, value in sorted(zip(columns, card.weights, card.values, strict=True), key=lambda row: -row[2]):
        labels = (
            (*column.labels, "missing") if weights[-1] else column.labels
        )  # a bin no row fell into is worth nothing
        points = dict(zip(labels, map(share, weights), strict=False))
        rows.append({"column": column.name, "information_value": round(value, 4), "points": points})
    return {"base": round(offset - factor * card.intercept), "columns": rows}
