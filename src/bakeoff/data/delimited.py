"""Comma-, tab-, semicolon- or pipe-separated text into columns.

Strict about quotes: an unclosed one is an error with its line, because a lenient reader would swallow the rows after it.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from bakeoff.schema.errors import DataError

_DELIMITERS = (",", "\t", ";", "|")
_SAMPLE = 200
_RAGGED_SHARE = 0.01
_SHOWN = 5


def read_delimited(
    text: str, where: str, *, tabs: bool = False
) -> tuple[dict[str, list[str | None]], list[int], tuple[int, ...]]:
    """Return columns, the line each row starts at, and the lines left out for a wrong number of cells.

    Up to 1 % of the rows may be ragged; they are left out and counted, more is an error.

    Raises:
        DataError: unclosed quotes, nameless or repeated columns, too many ragged rows.

    """
    delimiter = "\t" if tabs else delimiter_of(text)
    quoting = csv.QUOTE_NONE if delimiter == "\t" and bare_quotes(text) else csv.QUOTE_MINIMAL
    previous = csv.field_size_limit(sys.maxsize)
    try:
        records = list(_records(text, where, delimiter, quoting))
    finally:
        csv.field_size_limit(previous)
    if not records:
        return {}, [], ()
    names = header_names(records[0][1], where)
    good = [(line, cells) for line, cells in records[1:] if len(cells) == len(names)]
    ragged = tuple(line for line, cells in records[1:] if len(cells) != len(names))
    _check_ragged(ragged, len(records) - 1, len(names), where)
    columns = {name: [cells[index].strip() or None for _, cells in good] for index, name in enumerate(names)}
    return columns, [line for line, _ in good], ragged


def _records(text: str, where: str, delimiter: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type,unused-ignore]
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"malformed quoting: {error}",
            where=f"{where}:{line}",
            got=_line_at(text, line),
            try_='close the quote, and write a quote inside a quoted cell twice ("")',
        ) from None


def _line_at(text: str, line: int) -> str | None:
    return next((found.strip()[:100] for found in islice(io.StringIO(text), line - 1, line)), None)


def delimiter_of(text: str) -> str:
    """Choose the separator that gives the header at least two cells and most rows as many; a comma when none does."""
    sample = text[:500_000]
    scores = {delimiter: _agreement(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: scores[delimiter])
    return best if scores[best] > (0.0, 0) else ","


def _agreement(sample: str, delimiter: str) -> tuple[float, int]:
    previous = csv.field_size_limit(sys.maxsize)
    try:
        widths = [
            len(cells)
            for cells in islice(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), _SAMPLE)
            if cells
        ]
    except csv.Error:
        return (0.0, 0)
    finally:
        csv.field_size_limit(previous)
    if not widths or widths[0] < 2:
        return (0.0, 0)
    return (round(Counter(widths)[widths[0]] / len(widths), 2), widths[0])


def bare_quotes(text: str) -> bool:
    """Tab-separated files often do not quote at all: cells then start with a quote they do not end with."""
    rows = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()]
    even = all(len(cells) == len(rows[0]) for cells in rows)
    quoted = [cell for cells in rows for cell in cells if cell.startswith('"')]
    return even and any(len(cell) < 2 or not cell.endswith('"') for cell in quoted)


def header_names(cells: list[str], where: str) -> list[str]:
    """Return the names of the columns; nameless ones are numbered, a repeated one is refused."""
    names = [cell.strip() or f"unnamed_{index}" for index, cell in enumerate(cells, 1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            "two columns have the same name",
            where=f"{where}:1",
            got=", ".join(twice)[:200],
            try_="rename one of them in the header line",
        )
    return names


def _check_ragged(ragged: tuple[int, ...], rows: int, width: int, where: str) -> None:
    if len(ragged) <= _RAGGED_SHARE * rows:
        return
    shown = ", ".join(str(line) for line in ragged[:_SHOWN])
    raise DataError(
        f"{len(ragged)} of {rows} rows do not have {width} cells",
        where=f"{where}:{ragged[0]}",
        got=f"lines {shown}{', …' if len(ragged) > _SHOWN else ''}",
        allowed=f"{width} cells as in the header",
        try_="quote cells that hold the separator, or set data.format",
    )
