"""Which rows are used: unusable ones, exact repeats and texts with two labels are left out; the order no longer depends on the file.

Repeats in a pure table of few possible rows (three categories, say) are separate observations and are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.columns import ColumnFacts, Values
from bakeoff.data.read import Cells

_CHANCE_REPEATS = 0.05


@dataclass(frozen=True)
class Cleaned:
    """``used`` row numbers of the table in canonical order (by content hash); arrays run along it.

    ``copies`` counts the rows of the file that say the same (inputs and label), itself included;
    ``keys`` is a 64-bit hash of each row's content. ``repeats_kept``: identical rows are observations, not copies.
    """

    used: NDArray[np.int64]
    copies: NDArray[np.int32]
    keys: NDArray[np.uint64]
    exact_duplicates: int
    conflicting_rows: int
    unusable_rows: int
    repeats_kept: bool


def clean(
    inputs: Sequence[ColumnFacts], labels: Cells, extra: Sequence[Cells], times: NDArray[np.float64] | None
) -> Cleaned:
    """Decide which rows are used.

    Args:
        inputs: the columns candidates will read.
        labels: the target, None where missing.
        extra: other columns that belong to a row's identity when copies are chosen between (group, time).
        times: of each row, NaN where missing; such rows are unusable.

    Of several copies the earliest is kept, ties broken by content, so the order of rows in the file does not matter.

    """
    usable = _usable(inputs, labels, times)
    rows = np.flatnonzero(usable)
    read = _row_texts(inputs)
    chance = repeats_by_chance(inputs, rows)
    content = {int(row): _digest(read[row]) for row in rows}
    full = {
        int(row): _digest("\x1f".join([read[row], labels[row] or "", *(cells[row] or "" for cells in extra)]))
        for row in rows
    }
    if chance:
        kept, counts, conflicting = [int(row) for row in rows], dict.fromkeys(map(int, rows), 1), 0
    else:
        kept, counts, conflicting = _collapse(rows, labels, content, full, times)
    kept.sort(key=full.__getitem__)
    return Cleaned(
        used=np.asarray(kept, dtype=np.int64),
        copies=np.asarray([counts[row] for row in kept], dtype=np.int32),
        keys=np.asarray([int.from_bytes(full[row][:8], "little") for row in kept], dtype=np.uint64),
        exact_duplicates=len(rows) - conflicting - len(kept),
        conflicting_rows=conflicting,
        unusable_rows=int(len(labels) - len(rows)),
        repeats_kept=chance,
    )


def repeats_by_chance(inputs: Sequence[ColumnFacts], rows: NDArray[np.int64]) -> bool:
    """Whether identical rows are to be expected: n times the chance that two rows agree in every column.

    Columns are taken as independent, so the chance is a low estimate; texts never repeat by chance.
    """
    if any(column.kind == "text" for column in inputs) or not len(rows):
        return False
    chance = 1.0
    for column in inputs:
        codes = _codes(column.values)[rows]
        counts = np.bincount(codes).astype(np.float64)
        chance *= float(np.sum(counts * (counts - 1))) / max(len(rows) * (len(rows) - 1), 1)
    return len(rows) * chance > _CHANCE_REPEATS


def _codes(values: Values) -> NDArray[np.int64]:
    if isinstance(values, np.ndarray):
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    table: dict[str | None, int] = {}
    return np.asarray([table.setdefault(cell, len(table)) for cell in values], dtype=np.int64)


def _usable(inputs: Sequence[ColumnFacts], labels: Cells, times: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    usable = np.asarray([label is not None for label in labels], dtype=np.bool_)
    some = np.zeros(len(labels), dtype=np.bool_)
    for column in inputs:
        values = column.values
        some |= (
            ~np.isnan(values)
            if isinstance(values, np.ndarray)
            else np.asarray([cell is not None for cell in values], dtype=np.bool_)
        )
    usable &= some
    return usable if times is None else usable & ~np.isnan(times)


def _row_texts(inputs: Sequence[ColumnFacts]) -> list[str]:
    """Write each row's inputs as one text: white space folded, numbers in one spelling."""
    columns = [_folded(column.values) for column in inputs]
    return columns[0] if len(columns) == 1 else ["\x1e".join(cells) for cells in zip(*columns, strict=True)]


def _folded(values: Values) -> list[str]:
    if isinstance(values, np.ndarray):
        return [repr(value) for value in values.tolist()]
    return ["" if cell is None else " ".join(cell.split()) for cell in values]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _collapse(
    rows: NDArray[np.int64],
    labels: Cells,
    content: Mapping[int, bytes],
    full: Mapping[int, bytes],
    times: NDArray[np.float64] | None,
) -> tuple[list[int], dict[int, int], int]:
    same: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        same.setdefault(content[row], []).append(row)
    kept, counts, conflicting = [], {}, 0
    for members in same.values():
        if len(members) > 1 and len({labels[row] for row in members}) > 1:
            conflicting += len(members)
            continue
        first = (
            members[0]
            if len(members) == 1
            else min(members, key=lambda row: (0.0 if times is None else float(times[row]), full[row]))
        )
        kept.append(first)
        counts[first] = len(members)
    return kept, counts, conflicting
