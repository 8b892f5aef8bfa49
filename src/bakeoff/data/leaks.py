"""Columns that may give the answer away: alone they predict the target almost perfectly, or carry its name or its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.frozen import Frozen
from bakeoff.data.read import Cells

_ALMOST = 0.98
_GAIN = 0.5
_BINS = 64
_SMOOTH = 0.5
_MOST_TEXT_ROWS = 20_000


@dataclass(frozen=True)
class Leak:
    """One column that deserves a look.

    ``alone`` is the balanced accuracy it reaches by itself on held-out rows; ``suspect`` whether it goes on the list of suspects.
    """

    column: str
    reason: Literal["predicts", "name", "label_in_text"]
    alone: float
    suspect: bool


def find_leaks(frozen: Frozen, target: str) -> list[Leak]:
    """Return suspicious input columns, the most telling first. Learns on train, looks at select; confirm stays untouched."""
    train, held = frozen.splits == 0, frozen.splits == 2
    found = []
    for column in frozen.inputs:
        values = frozen.columns[column.name]
        if column.kind == "text":
            leak = _label_words(column.name, values, frozen) if isinstance(values, list) else None
        else:
            leak = _predicts(column.name, codes(values, train), frozen.labels, train, held, target, len(frozen.inputs))
        if leak:
            found.append(leak)
    return sorted(found, key=lambda leak: (-leak.alone, leak.column))


def codes(values: NDArray[np.float64] | Cells, train: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a small code per row: the value where there are few, else its quantile among the training rows; missing is 0."""
    if isinstance(values, list):
        table: dict[str | None, int] = {None: 0}
        return np.asarray([table.setdefault(cell, len(table)) for cell in values], dtype=np.int64)
    distinct = np.unique(values[train & ~np.isnan(values)])
    if distinct.size > _BINS:
        distinct = np.unique(np.quantile(distinct, np.linspace(0, 1, _BINS)))
    out = np.searchsorted(distinct, values, side="right") + 1
    out[np.isnan(values)] = 0
    return out.astype(np.int64)


def _predicts(
    name: str,
    code: NDArray[np.int64],
    labels: NDArray[np.int64],
    train: NDArray[np.bool_],
    held: NDArray[np.bool_],
    target: str,
    columns: int,
) -> Leak | None:
    alone = held_out_recall(code, labels, train, held)
    chance = 1.0 / (int(labels.max()) + 1)
    telling = alone >= _ALMOST and alone - chance >= _GAIN * (1 - chance)
    if telling and columns > 1:
        return Leak(name, "predicts", alone, suspect=True)
    if name_repeats(name, target):
        return Leak(name, "name", alone, suspect=alone >= (1 + chance) / 2)
    return None


def held_out_recall(
    code: NDArray[np.int64], labels: NDArray[np.int64], train: NDArray[np.bool_], held: NDArray[np.bool_]
) -> float:
    """Return the balanced accuracy on held-out rows of guessing, for each code, the class it favours most in training.

    Counts are divided by the class size, so that the guess is not simply the largest class; unseen codes count as wrong.
    """
    count = int(labels.max()) + 1
    table = np.full((int(code.max()) + 1, count), 0.0)
    np.add.at(table, (code[train], labels[train]), 1.0)
    seen = table.sum(axis=1) > 0
    favoured = (table / np.maximum(table.sum(axis=0), _SMOOTH)).argmax(axis=1)
    right = (favoured[code] == labels) & seen[code]
    recalls = [
        float(right[held & (labels == label)].mean()) for label in range(count) if np.any(held & (labels == label))
    ]
    return float(np.mean(recalls)) if recalls else 0.0


def name_repeats(name: str, target: str) -> bool:
    """Whether a column's name contains the target's as whole words (``label_id`` for ``label``, ``违约标志`` for ``违约``)."""
    a, b = (re.sub(r"[\W_]+", " ", text.casefold()).strip() for text in (name, target))
    if a == b or f" {b} " in f" {a} ":
        return True
    return not b.isascii() and len(b) > 1 and b in a


def _label_words(name: str, cells: Cells, frozen: Frozen) -> Leak | None:
    """Check whether the label's own words stand in the text and settle the class."""
    rows = np.flatnonzero(frozen.splits != 3)[:_MOST_TEXT_ROWS]
    texts = [(cells[row] or "").casefold() for row in rows.tolist()]
    words = [label.casefold() for label in frozen.classes]
    if any(len(word) < 2 for word in words):
        return None
    present = np.asarray([[word in text for word in words] for text in texts], dtype=np.bool_)
    labels = frozen.labels[rows]
    own = present[np.arange(len(rows)), labels]
    others = (present.sum(axis=1) - own) > 0
    decided = float(np.mean(own & ~others))
    if decided >= 0.5 and float(np.mean(others & ~own)) <= (1 - _ALMOST):
        return Leak(name, "label_in_text", decided, suspect=True)
    return None
