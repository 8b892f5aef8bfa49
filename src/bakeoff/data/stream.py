"""A data file row by row, in memory that does not grow with it; a row that cannot be read becomes an error, not the end.

Reads what ``read`` reads (csv, tsv, jsonl, parquet; UTF-8, UTF-16 with BOM, GB18030) and gives the same cells; also from standard
input. What ``read`` decides from the whole file is decided here from its first megabyte.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bakeoff.data import delimited
from bakeoff.data import read as whole
from bakeoff.data.encoding import decode
from bakeoff.schema.errors import DataError

STDIN = Path("-")
_SAMPLE = 1 << 20
_LONGEST = 4 << 20
"""Characters of one cell or line: an unclosed quote must not swallow a gigabyte."""
_BATCH = 1024
_NULS = 0.05
"""Share of NUL bytes above which a file is no text at all, rather than one with a bad row."""


@dataclass(frozen=True)
class Record:
    """One row of the file: ``number`` from 1; ``cells`` by column, or None and ``error`` says why."""

    number: int
    cells: dict[str, str | None] | None
    error: str = ""


class Rows:
    """An open file.

    Args:
        kind: csv, tsv, jsonl or parquet.
        columns: their names, None where every row brings its own.
        records: the rows in order.
        raw: counts the bytes read; None where rows are counted.
        total: bytes (or rows) in all, None where nobody knows.

    """

    def __init__(
        self,
        kind: str,
        columns: tuple[str, ...] | None,
        records: Iterator[Record],
        raw: _Counted | None,
        total: int | None,
    ) -> None:
        self.format, self.columns, self.total = kind, columns, total
        self._records, self._raw = records, raw
        self._given = 0

    def __iter__(self) -> Iterator[Record]:
        """Give the rows in order, once."""
        for record in self._records:
            self._given = record.number
            yield record

    def position(self) -> int:
        """Return how much of ``total`` has been read."""
        return self._given if self._raw is None else self._raw.count


@contextmanager
def open_rows(path: Path, format: str = "auto", encoding: str = "auto") -> Iterator[Rows]:  # noqa: A002 - the spec's word
    """Open a file (``-``: standard input) for reading row by row.

    Raises:
        DataError: missing, empty, binary, unknown encoding, no header or one with repeated columns.
        UnavailableError: parquet without pyarrow.

    """
    name = "standard input" if path == STDIN else path.name
    try:
        file = sys.stdin.buffer if path == STDIN else path.open("rb")
    except OSError as error:
        raise whole.unreadable(path, error) from None
    try:
        sample = file.read(_SAMPLE)
        if not sample.strip():
            raise DataError("the file is empty", where=name, try_="a header line, then one row per line")
        kind = whole.format_of(path, sample, format)
        if kind == "parquet":
            yield _parquet(path, name)
            return
        whole.refuse_binary(sample, name)
        used, head = _sniffed(sample, encoding, name)
        raw = _Counted(file, sample)
        text = io.TextIOWrapper(io.BufferedReader(raw, 1 << 16), encoding=used, errors="surrogateescape", newline="")
        columns, records = _jsonl(text, head, name) if kind == "jsonl" else _delimited(text, head, name, kind)
        yield Rows(kind, columns, records, raw, None if path == STDIN else path.stat().st_size)
    finally:
        if path != STDIN:
            file.close()


class _Counted(io.RawIOBase):
    """The sample once more, then the rest of the file, counting."""

    def __init__(self, file: IO[bytes], sample: bytes) -> None:
        super().__init__()
        self._file, self._sample = file, sample
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        size = len(buffer)
        data = self._sample[self.count : self.count + size]
        if not data:
            self._sample = b""
            data = self._file.read(size)
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


def _sniffed(sample: bytes, encoding: str, name: str) -> tuple[str, str]:
    """Return the encoding and the whole lines of the sample, decoded; a bad byte further on is its own row's error."""
    end = sample.rfind(b"\n") + 1
    whole_lines = sample[:end] if len(sample) == _SAMPLE and end else sample
    try:
        text, used = decode(whole_lines, encoding, name)
    except DataError:
        if encoding != "auto" or sample.count(b"\x00") > _NULS * len(sample):
            raise
        used = "utf-8"
        text = whole_lines.decode(used, "replace")
    return used, text


def _lines(text: io.TextIOBase, name: str) -> Iterator[str]:
    """Give lines of bounded length; the rest of a longer one comes as further pieces."""
    try:
        while line := text.readline(_LONGEST):
            yield line
    except UnicodeError as error:
        raise DataError(f"cannot be decoded any further: {error}", where=name, try_="set the encoding") from None


def _bad_text(cells: str) -> str:
    """Say what makes a text unusable; nothing when it is fine."""
    if cells.isascii():
        return "holds a NUL byte" if "\x00" in cells else ""
    try:
        cells.encode()
    except UnicodeEncodeError:
        return "holds bytes that are not text in this encoding"
    return "holds a NUL byte" if "\x00" in cells else ""


# --- separated text ------------------------------------------------------------------------------------------------


def _delimited(text: io.TextIOBase, head: str, name: str, kind: str) -> tuple[tuple[str, ...] | None, Iterator[Record]]:
    delimiter = "\t" if kind == "tsv" else delimited.delimiter_of(head)
    quoting = csv.QUOTE_NONE if delimiter == "\t" and delimited.bare_quotes(head) else csv.QUOTE_MINIMAL
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(_lines(text, name), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type,unused-ignore]
    first = next((found for found in _cells(reader) if isinstance(found, str) or any(map(str.strip, found))), None)
    if first is None or isinstance(first, str):
        raise DataError(f"no header line: {first or 'the file is empty'}", where=f"{name}:1")
    names = tuple(delimited.header_names(first, name))
    return names, _records(reader, names)


def _cells(reader: Any) -> Iterator[list[str] | str]:  # noqa: ANN401 - csv's reader has no public type
    """Give the cells of each record, or a sentence where it is malformed."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"malformed near line {reader.line_num}: {error}"


def _records(reader: Any, names: tuple[str, ...]) -> Iterator[Record]:  # noqa: ANN401 - csv's reader
    number = 0
    for cells in _cells(reader):
        if isinstance(cells, str):
            number += 1
            yield Record(number, None, cells)
        elif any(cell.strip() for cell in cells):
            number += 1
            if len(cells) != len(names):
                yield Record(number, None, f"{len(cells)} cells, but the header has {len(names)}")
            elif bad := _bad_text("".join(cells)):
                yield Record(number, None, bad)
            else:
                yield Record(number, {name: cell.strip() or None for name, cell in zip(names, cells, strict=True)})


# --- JSON lines ----------------------------------------------------------------------------------------------------


def _jsonl(text: io.TextIOBase, head: str, name: str) -> tuple[None, Iterator[Record]]:
    if head.lstrip().startswith("["):
        raise DataError("one JSON array cannot be read row by row", where=name, try_="jq -c '.[]' FILE > FILE.jsonl")
    return None, _objects(text, name)


def _objects(text: io.TextIOBase, name: str) -> Iterator[Record]:
    number = 0
    parts = 0
    for line in _lines(text, name):
        complete = line.endswith(("\n", "\r")) or len(line) < _LONGEST
        parts += 1
        if not complete:
            continue
        too_long, parts = parts > 1, 0
        if line.strip() or too_long:
            number += 1
            yield Record(number, None, "the line is too long") if too_long else _object(line, number)


def _object(line: str, number: int) -> Record:
    if bad := _bad_text(line):
        return Record(number, None, bad)
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        return Record(number, None, f"not JSON: {error.msg} (column {error.colno})")
    except (RecursionError, ValueError):
        return Record(number, None, "not JSON this program can hold: nested too deeply or a number too long")
    if not isinstance(found, dict):
        return Record(number, None, "not a JSON object")
    return Record(number, {key.strip(): whole.plain_cell(value) for key, value in found.items()})


# --- parquet -------------------------------------------------------------------------------------------------------


def _parquet(path: Path, name: str) -> Rows:
    if path == STDIN:
        raise DataError("parquet cannot be read from standard input", try_="name the file")
    opener = whole.parquet_file()
    try:
        file = opener(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these two
        raise DataError(f"not a readable parquet file: {str(error).splitlines()[0][:160]}", where=name) from None
    columns = tuple(column.strip() for column in file.schema_arrow.names)
    return Rows("parquet", columns, _batches(file, columns, name), None, file.metadata.num_rows)


def _batches(file: Any, columns: tuple[str, ...], name: str) -> Iterator[Record]:  # noqa: ANN401 - pyarrow's file
    number = 0
    try:
        for batch in file.iter_batches(_BATCH):
            values = [column.to_pylist() for column in batch.columns]
            for row in zip(*values, strict=True):
                number += 1
                yield Record(number, dict(zip(columns, map(whole.plain_cell, row), strict=True)))
    except (OSError, ValueError) as error:
        raise DataError(f"the parquet file is damaged: {str(error).splitlines()[0][:160]}", where=name) from None
