"""From the bytes of a request to rows the model can take, or a ``Problem`` that says what is wrong and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from bakeoff.data.transforms.tabular import LARGEST, Table
from bakeoff.schema.artifact import InputColumn
from bakeoff.serving.limits import Limits
from bakeoff.serving.problems import Problem, kind

Row = dict[str, Any]
_SHOWN = 20
_NUMBERS = frozenset({float, int})
_CELLS = frozenset({float, int, type(None)})
_BEYOND = "must be a number that single precision holds"
_HELD = f"at most {LARGEST:.2g} in size"


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """Read a JSON object; strict UTF-8, no NaN or infinity, nesting bounded by the parser.

    Raises:
        Problem: 400 with the position of the fault.

    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        what = f"the body is not valid JSON: {error.msg}"
        raise Problem(400, what, where=f"line {error.lineno} column {error.colno}") from None
    except RecursionError:
        what = "the body is nested too deeply"
        raise Problem(400, what) from None
    if not isinstance(document, dict):
        what = "the body must be a JSON object"
        raise Problem(400, what, got=kind(document))
    return document


class Reader:
    """Turns documents into rows of one model; built once at start-up.

    Where every column is a number (``numeric``), a row is the list of its values in the order of ``inputs`` and never a
    mapping; ``join`` makes one matrix of the rows of a whole batch.

    Args:
        inputs: the columns the model reads.
        limits: bounds on rows and characters.

    """

    def __init__(self, inputs: Sequence[InputColumn], limits: Limits) -> None:
        self.names = tuple(column.name for column in inputs)
        self.limits = limits
        self._known = frozenset(self.names)
        self._checks: dict[str, Callable[[Any, str], Any]] = {
            column.name: self._number if column.kind == "number" else self._string for column in inputs
        }
        self.numeric = all(column.kind == "number" for column in inputs)
        self.forms: tuple[str, ...] = ("row", "rows", "values")
        texts = [column.name for column in inputs if column.kind == "text"]
        self.text_column = texts[0] if len(inputs) == 1 and texts else None
        if self.text_column:
            self.forms = ("row", "rows", "texts", "values")

    def join(self, pieces: list[Sequence[Any]]) -> Sequence[Any]:
        """Make one sequence of rows, as the model takes them, of the rows of several requests."""
        rows = pieces[0] if len(pieces) == 1 else list(chain.from_iterable(pieces))
        return Table(self.names, np.array(rows, dtype=np.float64)) if self.numeric else rows

    def predict(self, document: dict[str, Any]) -> tuple[list[Any], bool]:
        """Return the rows of a ``/v1/predict`` document and whether it was a single ``row``.

        Raises:
            Problem: 422 with the place, the kind of thing found there and what is allowed.

        """
        forms = self.forms
        given = [name for name in document if name in forms]
        extra = [name for name in document if name not in forms]
        if extra:
            what = "unknown field"
            raise Problem(422, what, where=_short(extra[0]), allowed=forms)
        if len(given) != 1:
            what = "the body must have exactly one of these fields"
            raise Problem(422, what, got=", ".join(given) or "none of them", allowed=forms)
        form = given[0]
        if form == "row":
            return [self.row(document["row"], "row")], True
        items = self.items(document[form], form)
        if form == "values":
            return self.positional(items, "values"), False
        if form == "texts":
            return [self._text(value, index) for index, value in enumerate(items)], False
        return [self.row(value, f"rows[{index}]") for index, value in enumerate(items)], False

    def positional(self, items: list[Any], where: str) -> list[Any]:
        """Return rows given as arrays in the order of the columns; the whole form of a request of numbers.

        Raises:
            Problem: 422, as for rows that name their columns.

        """
        width = len(self.names)
        if self.numeric:
            for row in items:
                if type(row) is not list or len(row) != width or not _NUMBERS.issuperset(map(type, row)):
                    break
            else:
                return items
        return [self._positional(row, f"{where}[{index}]") for index, row in enumerate(items)]

    def _positional(self, row: object, where: str) -> Any:  # noqa: ANN401 - a row as this model takes it
        if not isinstance(row, list):
            what = "must be an array of one value per column"
            raise Problem(422, what, where=where, got=kind(row), allowed=self.names[:_SHOWN])
        if len(row) != len(self.names):
            what = "must have one value per column"
            raise Problem(422, what, where=where, got=str(len(row)), allowed=str(len(self.names)))
        if self.numeric and _CELLS.issuperset(map(type, row)) and any(value is not None for value in row):
            return row
        return self.row(dict(zip(self.names, row, strict=True)), where)

    def items(self, value: object, where: str) -> list[Any]:
        """Return a non-empty list within the limit of rows."""
        if not isinstance(value, list):
            what = "must be an array"
            raise Problem(422, what, where=where, got=kind(value))
        if not value:
            what = "must not be empty"
            raise Problem(422, what, where=where)
        self.within(len(value), where)
        return value

    def within(self, count: int, where: str) -> None:
        """Refuse more rows than one request may have."""
        if count > self.limits.rows:
            what = "too many rows in one request"
            raise Problem(422, what, where=where, got=str(count), allowed=f"at most {self.limits.rows}")

    def row(self, value: object, where: str) -> Any:  # noqa: ANN401 - a mapping, or a list of numbers
        """Return one row with every column; absent ones are missing (None)."""
        if not isinstance(value, dict):
            what = "must be an object of column: value"
            raise Problem(422, what, where=where, got=kind(value), allowed=self.names[:_SHOWN])
        if not self._known.issuperset(value):
            unknown = next(name for name in value if name not in self._known)
            what = "unknown column"
            raise Problem(422, what, where=f"{where}.{_short(unknown)}", allowed=self.names[:_SHOWN])
        row = {
            name: None if (found := value.get(name)) is None else check(found, f"{where}.{name}")
            for name, check in self._checks.items()
        }
        if all(found is None for found in row.values()):
            what = "every column is missing"
            raise Problem(422, what, where=where, allowed=self.names[:_SHOWN])
        return list(row.values()) if self.numeric else row

    def _text(self, value: object, index: int) -> Row:
        column = self.text_column
        assert column is not None  # noqa: S101 - 'texts' is only a form when there is a text column
        return {column: self._string(value, f"texts[{index}]")}

    def _string(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            what = "must be a string"
            raise Problem(422, what, where=where, got=kind(value))
        if len(value) > self.limits.text:
            what = "the text is too long"
            allowed = f"at most {self.limits.text} characters"
            raise Problem(422, what, where=where, got=f"{len(value)} characters", allowed=allowed)
        return value

    def _number(self, value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            what = "must be a number"
            raise Problem(422, what, where=where, got=kind(value))
        if not -LARGEST <= value <= LARGEST:
            raise Problem(422, _BEYOND, where=where, allowed=_HELD)
        return float(value)


def refused(rows: Sequence[Any], bad: Sequence[int]) -> Problem:
    """Return what to answer when the model did not compute rows of a request.

    Rows of numbers come this far unlooked at: each number would have to be compared, and the model's own transform does that anyhow.

    Args:
        rows: the request's, in the form ``Reader.join`` takes.
        bad: places of those not computed.

    """
    where = ", ".join(f"row {index}" for index in sorted(bad)[:8])
    if any(isinstance(rows[index], list) and not _held(rows[index]) for index in bad):
        return Problem(422, _BEYOND, where=where, allowed=_HELD)
    return Problem(422, "the model cannot process this row", where=where)


def _held(row: list[float | None]) -> bool:
    return all(value is None or -LARGEST <= value <= LARGEST for value in row)


def _short(name: str) -> str:
    """Repeat a field name the client sent, shortened; names are structure, not content, but may be abused as such."""
    return name if len(name) <= 40 else f"{name[:40]}…"
