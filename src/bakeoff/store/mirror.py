"""The ledger's SQLite side: the same records as the journal, in tables a person can query; rebuilt whenever it differs.

``records`` holds everything; the view ``steps`` shows one line per step with candidate, kind, status and times.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from bakeoff.store.journal import VERSION, Record

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY,  -- order of appending
    digest BLOB NOT NULL,        -- BLAKE2b over everything below
    head   BLOB NOT NULL,        -- JSON: type, name or key, data fingerprint
    text   BLOB NOT NULL,        -- JSON: the step's result or the document
    blob   BLOB NOT NULL         -- arrays, NumPy's npz
);
CREATE VIEW IF NOT EXISTS steps AS SELECT
    number,
    json_extract(CAST(head AS TEXT), '$.key') AS key,
    json_extract(CAST(text AS TEXT), '$.candidate') AS candidate,
    json_extract(CAST(text AS TEXT), '$.name') AS name,
    json_extract(CAST(text AS TEXT), '$.purpose') AS purpose,
    json_extract(CAST(text AS TEXT), '$.status') AS status,
    json_extract(CAST(text AS TEXT), '$.failure.reason') AS reason,
    json_extract(CAST(text AS TEXT), '$.wall_seconds') AS wall_seconds,
    json_extract(CAST(text AS TEXT), '$.measurements') AS measurements,
    json_extract(CAST(text AS TEXT), '$.created') AS created
FROM records WHERE json_extract(CAST(head AS TEXT), '$.type') = 'step';
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - a constant
_INSERT = "INSERT OR REPLACE INTO records (number, digest, head, text, blob) VALUES (?, ?, ?, ?, ?)"


class Mirror:
    """The SQLite file. Every method may raise ``sqlite3.Error``: the journal is what counts, the caller decides.

    Args:
        path: the database file.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def digests(self) -> dict[int, bytes]:
        """Return number → digest as the file states them; an absent file has none."""
        rows = self._read("SELECT number, digest FROM records")
        return {number: state for number, state in rows if isinstance(number, int) and isinstance(state, bytes)}

    def records(self, numbers: Iterable[int]) -> list[Record]:
        """Return the intact ones among the numbered records."""
        found = []
        for number in numbers:
            rows = self._read("SELECT head, text, blob, digest FROM records WHERE number = ?", (number,))
            found += [record for row in rows if (record := _intact(number, row)) is not None]
        return found

    def append(self, record: Record) -> None:
        """Insert one record durably."""
        connection = self._open()
        with connection:
            connection.execute(_INSERT, (record.number, record.digest, record.head, record.text, record.blob))

    def rebuild(self, records: Mapping[int, Record]) -> None:
        """Replace the file by one that holds exactly ``records``; until the last moment the old one stays."""
        self.close()
        fresh = self.path.with_suffix(".rebuilding")
        _remove(fresh)
        connection = sqlite3.connect(fresh, isolation_level=None, check_same_thread=False)
        try:
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN")
            rows = ((r.number, r.digest, r.head, r.text, r.blob) for r in records.values())
            connection.executemany(_INSERT, rows)
            connection.execute("COMMIT")
        finally:
            connection.close()
        for suffix in ("-wal", "-shm"):  # of the old file; SQLite would play an old log into the new file
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        fresh.replace(self.path)

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self.path, timeout=10.0, isolation_level="IMMEDIATE", check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                    connection.executescript(_SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _read(self, query: str, arguments: tuple[int, ...] = ()) -> list[tuple[object, ...]]:
        if self._connection is not None:
            return self._connection.execute(query, arguments).fetchall()
        if not self.path.exists():
            return []
        connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            return connection.execute(query, arguments).fetchall()
        finally:
            connection.close()


def _intact(number: int, row: tuple[object, ...]) -> Record | None:
    head, text, blob, expected = row
    if not (isinstance(head, bytes) and isinstance(text, bytes) and isinstance(blob, bytes)):
        return None
    record = Record.of(number, head, text, blob)
    return record if record.digest == expected else None


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
