"""What to send: rows of the contract, of a file, or made up from what the model says of itself."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bakeoff.data.cells import row_of
from bakeoff.data.examples import Row
from bakeoff.data.stream import open_rows
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.errors import DataError, UserError

_MOST = 5000
_MADE_UP = 500
_WORDS = (
    "service",
    "好",
    "delivery",
    "屏幕",
    "late",
    "refund",
    "不错",
    "account",
    "问题",
    "please",
    "order",
    "谢谢",
    "battery",
    "价格",
    "again",
)
_LENGTHS = (3, 40)


def from_file(path: Path, inputs: Sequence[InputColumn]) -> list[Row]:
    """Return the first rows of a data file that the model can read.

    Raises:
        DataError: none of them can be.

    """
    rows: list[Row] = []
    wrong = ""
    with open_rows(path) as stream:
        for record in islice(stream, _MOST):
            try:
                if record.cells is None:
                    raise DataError(record.error)
                rows.append(row_of(record.cells, inputs))
            except DataError as error:
                wrong = wrong or f"row {record.number}: {error}"
    if not rows:
        what = f"no row that the model can read ({wrong or 'the file is empty'})"
        raise DataError(what, where=path.name, allowed=[column.name for column in inputs])
    return rows


def made_up(inputs: Sequence[InputColumn], count: int = _MADE_UP, seed: int = 0) -> list[Row]:
    """Return rows nobody wrote: a few to a few dozen common words, standard normal numbers, five categories."""
    draw = random.Random(seed)  # noqa: S311 - made-up rows, nothing secret

    def value(kind: str) -> Any:  # noqa: ANN401 - text or a number
        if kind == "number":
            return round(draw.gauss(0.0, 1.0), 4)
        return " ".join(draw.choices(_WORDS, k=draw.randint(*_LENGTHS))) if kind == "text" else draw.choice("abcde")

    return [{column.name: value(column.kind) for column in inputs} for _ in range(count)]


def predict_bodies(rows: Sequence[Row], size: int) -> list[bytes]:
    """Return bodies for ``/v1/predict`` of ``size`` rows each; the last one is filled up from the start."""
    laps = [rows[index % len(rows)] for index in range(-(-len(rows) // size) * size)]
    return [_json({"rows": [dict(row) for row in laps[at : at + size]]}) for at in range(0, len(laps), size)]


def infer_bodies(rows: Sequence[Row], inputs: Sequence[InputColumn], size: int) -> list[bytes]:
    """Return bodies of the Open Inference Protocol, one tensor a column."""
    bodies = []
    for body in predict_bodies(rows, size):
        batch = json.loads(body)["rows"]
        tensors = [
            {
                "name": column.name, "shape": [size], "data": [row[column.name] for row in batch],
                "datatype": "FP64" if column.kind == "number" else "BYTES",
            }
            for column in inputs
        ]  # fmt: skip
        bodies.append(_json({"inputs": tensors}))
    return bodies


def given_bodies(path: Path) -> list[bytes]:
    """Return the lines of a file, each a body to be sent as it is.

    Raises:
        UserError: it cannot be read or holds nothing.

    """
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise UserError(what, where=str(path)) from None
    if not lines:
        what = "the file is empty"
        raise UserError(what, where=str(path), try_="one body a line")
    return lines


def _json(document: Any) -> bytes:  # noqa: ANN401 - any JSON document
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
