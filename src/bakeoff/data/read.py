"""A data file into a ``Table`` of text cells, or a ``DataError`` that says where and what to do.

Reads csv, tsv, jsonl and parquet; UTF-8 (with or without BOM), UTF-16 with BOM and GB18030.
Knows nothing of targets, kinds or splits.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakeoff.data.delimited import read_delimited
from bakeoff.data.encoding import decode
from bakeoff.schema.errors import DataError, UnavailableError

Cells = list[str | None]
_SUFFIXES = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_BINARY = {
    b"PK\x03\x04": ("an Excel or zip file", "save the sheet as 'CSV UTF-8'"),
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "save the sheet as 'CSV UTF-8'"),
    b"\x1f\x8b": ("a gzip file", "unpack it first: gunzip FILE"),
    b"SQLite f": ("an SQLite database", "export the table as CSV"),
    b"\x89PNG": ("an image", "name the table of rows"),
    b"%PDF": ("a PDF", "name the table of rows"),
}


@dataclass(frozen=True)
class Table:
    """Columns of equal length; a cell is text without surrounding white space, or None where nothing stands.

    ``lines`` holds the line in the file at which each row starts (from 1; record number for parquet);
    ``ragged`` the lines left out because their number of cells is wrong.
    """

    columns: Mapping[str, Cells]
    lines: Sequence[int]
    format: str
    encoding: str
    sha256: str
    where: str
    ragged: tuple[int, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lines)

    def column(self, name: str, role: str) -> Cells:
        """Return one column.

        Raises:
            DataError: there is none of that name; near names are suggested. ``role`` is the spec field that asked.

        """
        if name in self.columns:
            return self.columns[name]
        near = _near(name, self.columns)
        hint = f"{role}: {near}" if near else "check that the first line of the file holds the column names"
        raise DataError(
            f"no column '{name}', which {role} names", where=self.where, allowed=list(self.columns), try_=hint
        )


def _near(name: str, names: Iterable[str]) -> str | None:
    folded = {other.strip().casefold(): other for other in names}
    found = difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def read_table(path: str | Path, format: str = "auto", encoding: str = "auto") -> Table:  # noqa: A002 - the spec's word
    """Read a data file.

    Args:
        path: the file.
        format: csv, tsv, jsonl or parquet; auto goes by the name, then by the content.
        encoding: any codec's name; auto tries UTF-8 (with or without BOM), UTF-16 with BOM, then GB18030.

    Raises:
        DataError: missing, unreadable, empty, malformed, wrongly encoded.
        UnavailableError: parquet without pyarrow.

    """
    path = Path(path)
    raw = _bytes(path)
    where = path.name
    if not raw.strip():
        raise DataError("the file is empty", where=where, try_="a header line, then one row per line")
    kind = format_of(path, raw, format)
    digest = hashlib.sha256(raw).hexdigest()
    if kind == "parquet":
        columns, lines = _parquet(path)
        return _checked(Table(columns, lines, kind, "utf-8", digest, where))
    refuse_binary(raw, where)
    text, used = decode(raw, encoding, where)
    if kind == "jsonl":
        columns, lines = _jsonl(text, where)
        return _checked(Table(columns, lines, kind, used, digest, where))
    columns, lines, ragged = read_delimited(text, where, tabs=kind == "tsv")
    return _checked(Table(columns, lines, kind, used, digest, where, ragged))


def _checked(table: Table) -> Table:
    if not table.columns:
        raise DataError("no columns", where=table.where, try_="the first line must hold the column names")
    if not len(table):
        raise DataError(
            "a header but no rows",
            where=table.where,
            got=f"columns {', '.join(table.columns)}"[:200],
            try_="add labelled rows",
        )
    return table


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> DataError:
    """Say why a file cannot be opened, and which one may have been meant."""
    if isinstance(error, FileNotFoundError):
        return _missing(path)
    if isinstance(error, IsADirectoryError):
        inside = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
        hint = f"data.file: {path.name}/{inside[0]}" if inside else "name one table in it"
        return DataError("a folder, not a file", where=str(path), try_=hint)
    if isinstance(error, PermissionError):
        hint = f"check the rights of the file and of {path.parent}"
        return DataError("no permission to read it", where=str(path), try_=hint)
    return DataError(f"cannot be read: {error.strerror}", where=str(path))


def _missing(path: Path) -> DataError:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError as error:
        return DataError(
            f"its folder cannot be read: {error.strerror}",
            where=str(path),
            try_="check data.file; it is relative to the specification",
        )
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return DataError(
        "no such file",
        where=str(path),
        try_=f"data.file: {near[0]}" if near else "check data.file; it is relative to the specification",
    )


def format_of(path: Path, raw: bytes, wanted: str) -> str:
    """Return csv, tsv, jsonl or parquet: what is wanted, else what the name says, else what the first bytes look like."""
    if raw.startswith(b"PAR1"):
        return "parquet"
    if wanted == "parquet":
        raise DataError("not a parquet file", where=path.name, try_="data.format: auto")
    if wanted != "auto":
        return wanted
    known = _SUFFIXES.get(path.suffix.lower())
    if known == "parquet":
        raise DataError("not a parquet file", where=path.name, try_="data.format: csv, tsv or jsonl")
    return known or ("jsonl" if raw.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") else "csv")


def refuse_binary(raw: bytes, where: str) -> None:
    """Refuse what the first bytes show to be no text, with what to do about it."""
    for magic, (what, hint) in _BINARY.items():
        if raw.startswith(magic):
            raise DataError(f"{what}, not a table of text", where=where, allowed="csv, tsv, jsonl, parquet", try_=hint)


def _jsonl(text: str, where: str) -> tuple[dict[str, Cells], list[int]]:
    records = _array(text, where) if text.lstrip().startswith("[") else _lines(text, where)
    columns: dict[str, Cells] = {}
    lines: list[int] = []
    for number, record in records:
        if not isinstance(record, dict):
            raise DataError("not a JSON object", where=f"{where}:{number}", got=json.dumps(record, ensure_ascii=False)[:80],
                            try_='one object a line: {"text": "…", "label": "…"}')  # fmt: skip
        for name, value in record.items():
            cells = columns.setdefault(plain_name(name, where, number), [])
            cells.extend([None] * (len(lines) - len(cells)))
            cells.append(plain_cell(value))
        lines.append(number)
    for cells in columns.values():
        cells.extend([None] * (len(lines) - len(cells)))
    return columns, lines


def plain_name(name: str, where: str, number: int) -> str:
    """Return the name of a column without surrounding white space; a nameless one is refused."""
    if name.strip():
        return name.strip()
    raise DataError("a key without a name", where=f"{where}:{number}")


def _lines(text: str, where: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _json(line, f"{where}:{number}")


def _array(text: str, where: str) -> Iterable[tuple[int, Any]]:
    found = _json(text, where)
    return enumerate(found if isinstance(found, list) else [found], 1)


def _json(text: str, where: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not JSON: {error.msg} (column {error.colno})", where=where, got=text[:80], try_="one JSON object a line"
        ) from None
    except (RecursionError, ValueError):
        raise DataError("not JSON this program can hold: nested too deeply or a number too long", where=where) from None


def plain_cell(value: Any) -> str | None:  # noqa: ANN401 - any JSON or Arrow value
    """Write any value as text: numbers so that ``float`` reads them back exactly, nested values as JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, (dict, list)) else str(value)
    text = str(value).replace("\x00", " ").strip()
    if text.isascii():
        return text or None
    return text.encode("utf-8", "replace").decode() or None  # JSON may hold half a surrogate pair, which no file can


def _parquet(path: Path) -> tuple[dict[str, Cells], list[int]]:
    opener = parquet_file()
    try:
        table = opener(path).read()
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these two
        raise DataError(f"not a readable parquet file: {str(error).splitlines()[0][:160]}", where=path.name) from None
    columns = {
        name.strip(): [plain_cell(value) for value in table.column(index).to_pylist()]
        for index, name in enumerate(table.column_names)
    }
    if len(columns) != table.num_columns:
        raise DataError("two columns have the same name", where=path.name, got=", ".join(table.column_names)[:200])
    return columns, list(range(1, table.num_rows + 1))


def parquet_file() -> Callable[[Path], Any]:
    """Return what opens a parquet file.

    Raises:
        UnavailableError: pyarrow is not installed.

    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise UnavailableError(
            "parquet files need pyarrow, which is not installed", try_="pip install 'bakeoff[parquet]'"
        ) from None
    opener: Callable[[Path], Any] = pyarrow.parquet.ParquetFile
    return opener
