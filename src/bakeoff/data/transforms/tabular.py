"""From rows to a numeric table: numbers parsed, categories coded, everything else missing (NaN).

The transform is a JSON record: ``{"kind": "tabular", "columns": [{"name", "kind": "number", "fill"}, {"name",
"kind": "category", "values": [...]}]}``. Values are rounded to float32, so that a model trained in float64 and a graph
run in float32 see the same numbers and take the same side of every split.

``fill`` is the median of a column that was never missing in training, None for the others: no model has learned what a
missing value of such a column means (LightGBM would read it as 0), so a later one counts as ordinary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.text import text_of
from bakeoff.schema.artifact import InputColumn

Row = Mapping[str, Any]
Transform = Mapping[str, Any]

MAX_VALUES = 255
"""Most frequent values of a category that keep a code of their own; LightGBM and XGBoost both handle as many well."""
_MIN_COUNT = 2
_MISSING = frozenset({"", "nan"})
LARGEST = float(np.finfo(np.float32).max)
"""Largest number that a model is given."""
_NAN = math.nan


def number_of(value: object) -> float:
    """Return a cell as a finite number, NaN when it is missing or is no number; text such as ``' 1,234.5 '`` is read."""
    if value is None:
        return _NAN
    try:
        number = float(value)  # type: ignore[arg-type] # whatever a row holds
    except (TypeError, ValueError, OverflowError):
        return number_of(value.replace(",", "")) if isinstance(value, str) and "," in value else _NAN
    return number if -LARGEST <= number <= LARGEST else _NAN


def category_of(value: object) -> str | None:
    """Return a cell as a category, or None when it is missing."""
    text = text_of(value).strip()
    return None if text.lower() in _MISSING else text


def fit(rows: Sequence[Row], inputs: Sequence[InputColumn]) -> dict[str, Any]:
    """Return the transform of ``inputs`` with the category codes seen in ``rows`` (text columns count as categories).

    Codes are given by falling frequency, ties in alphabetical order; values seen once, and all after the first
    ``MAX_VALUES``, are treated like values never seen: missing. A category column without a repeated value is left out.
    """
    columns: list[dict[str, Any]] = []
    dropped: list[str] = []
    for column in inputs:
        if column.kind == "number":
            columns.append({"name": column.name, "kind": "number", "fill": _fill(rows, column.name)})
            continue
        counts = Counter(found for row in rows if (found := category_of(row.get(column.name))) is not None)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        values = [value for value, count in ordered[:MAX_VALUES] if count >= _MIN_COUNT]
        if values:
            columns.append({"name": column.name, "kind": "category", "values": values})
        else:
            dropped.append(column.name)
    return {"kind": "tabular", "columns": columns, "dropped": dropped}


def _fill(rows: Sequence[Row], name: str) -> float | None:
    values = np.asarray([number_of(row.get(name)) for row in rows], dtype=np.float32)
    return None if not len(values) or np.isnan(values).any() else float(np.float32(np.median(values)))


class Table(Sequence[Row]):
    """Rows of numbers only, kept as a matrix: a sequence of rows like any other, but a ``TableFeeder`` takes it whole.

    Args:
        names: the columns.
        values: float64 (n, columns), NaN where a value is missing.

    """

    __slots__ = ("names", "values")

    def __init__(self, names: tuple[str, ...], values: NDArray[np.float64]) -> None:
        self.names, self.values = names, values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> Table: ...

    def __getitem__(self, at: int | slice) -> Row | Table:
        if isinstance(at, slice):
            return Table(self.names, self.values[at])
        return dict(zip(self.names, self.values[at].tolist(), strict=True))

    def beyond(self) -> NDArray[np.bool_]:
        """Say of each row whether a number of it is beyond ``LARGEST``."""
        return np.asarray((np.abs(self.values) > LARGEST).any(axis=1))


class TableFeeder:
    """Rows → (n, columns) float32 with NaN for whatever is missing, unknown or malformed.

    Args:
        transform: a record of kind ``tabular``.

    """

    def __init__(self, transform: Transform) -> None:
        self.names = [str(column["name"]) for column in transform["columns"]]
        self.categorical = [at for at, column in enumerate(transform["columns"]) if column["kind"] == "category"]
        self._cells = [_cell(column) for column in transform["columns"]]
        fills = [_NAN if column.get("fill") is None else column["fill"] for column in transform["columns"]]
        self._fills = np.asarray(fills, dtype=np.float32)
        self._order: tuple[tuple[str, ...], list[int]] | None = None

    def matrix(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return the table of ``rows``."""
        if isinstance(rows, Table) and not self.categorical:
            return self._whole(rows)
        table = np.empty((len(rows), len(self.names)), dtype=np.float32)
        for at, row in enumerate(rows):
            table[at] = [cell(row.get(name)) for name, cell in zip(self.names, self._cells, strict=True)]
        return table

    def _whole(self, rows: Table) -> NDArray[np.float32]:
        """Return what ``matrix`` returns for the same rows as mappings, without a step per cell.

        Raises:
            ValueError: a number is beyond ``LARGEST``. Who asks about it means a number: as a missing value it would get an answer
                about another row. Training data are cleaned otherwise: there such a cell is missing.

        """
        order = self._order
        if order is None or order[0] is not rows.names:
            order = self._order = rows.names, [rows.names.index(name) for name in self.names]
        values = rows.values if order[1] == list(range(len(rows.names))) else rows.values[:, order[1]]
        with np.errstate(over="ignore", invalid="ignore"):
            table = values.astype(np.float32)
        gone = ~(np.abs(values) <= LARGEST)
        if gone.any():
            if not np.isnan(values[gone]).all():
                message = f"a number is beyond {LARGEST:.2g}"
                raise ValueError(message)
            table[gone] = np.broadcast_to(self._fills, table.shape)[gone]
        return table

    def __call__(self, rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Return the feeds of a graph: ``{"features": float32 (n, columns)}``."""
        return {"features": self.matrix(rows)}


def _cell(column: Mapping[str, Any]) -> Callable[[object], float]:
    if column["kind"] == "number":
        return number_of if column.get("fill") is None else _filled(float(column["fill"]))
    codes = {value: float(code) for code, value in enumerate(column["values"])}

    def code_of(value: object) -> float:
        found = category_of(value)
        return _NAN if found is None else codes.get(found, _NAN)

    return code_of


def _filled(fill: float) -> Callable[[object], float]:
    def cell(value: object) -> float:
        number = number_of(value)
        return number if number == number else fill  # noqa: PLR0124 - NaN is the only value that differs from itself

    return cell


def bins_of(values: NDArray[np.float32], edges: NDArray[np.float32] | None, missing: int) -> NDArray[np.int64]:
    """Return the bin of each value: number bins are closed on the right, a category's code is its bin, NaN: ``missing``."""
    gone = np.isnan(values)
    found = np.nan_to_num(values).astype(np.int64) if edges is None else np.searchsorted(edges, values, side="left")
    return np.where(gone, missing, found)


def feeder(transform: Transform, directory: Path) -> TableFeeder:  # noqa: ARG001 - the same shape as text.feeder
    """Return what turns rows into the named arrays a graph takes."""
    return TableFeeder(transform)
