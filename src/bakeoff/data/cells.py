"""From the text cells of a file to a row the model reads, in the way ``freeze`` made the rows it was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.data.columns import number
from bakeoff.data.examples import Row
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.errors import DataError


def row_of(cells: Mapping[str, str | None], inputs: Sequence[InputColumn]) -> Row:
    """Return one row with every column of the model; cells the file does not have are missing, others are ignored.

    Raises:
        DataError: every column is missing, or a cell is not a number where the model reads one, or a larger one than it can be given.

    """
    row: dict[str, Any] = {}
    for column in inputs:
        cell = cells.get(column.name)
        row[column.name] = cell if cell is None or column.kind != "number" else _number(cell, column.name)
    if all(value is None for value in row.values()):
        what = "every column is missing"
        raise DataError(what, allowed=[column.name for column in inputs])
    return row


def _number(cell: str, name: str) -> float | None:
    value = number(cell)
    if value is None:
        what = "not a number"
        raise DataError(what, where=name)
    if not math.isnan(value):
        return value
    if any(letter.isdigit() for letter in cell):  # who asks about it means a number
        what = "a number that single precision does not hold"
        raise DataError(what, where=name)
    return None
