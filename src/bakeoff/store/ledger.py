"""The evidence ledger of one study: what ``append`` returned from is kept, whatever happens next.

Two files hold the same records: an append-only checksummed journal, fsynced before the acknowledgement, and a SQLite file
that can be queried. Opening reads the journal, takes from SQLite whatever the journal lost, and mends the worse of the two;
a record damaged in both is quarantined: it is as if it had never been, so its step is measured again.

Does: append durably, read back in order, keep named documents and environments, mend itself.
Does not know: what the numbers mean, or where artefacts lie.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from numpy.typing import ArrayLike

from bakeoff.schema.base import canonical, content_key
from bakeoff.schema.errors import StepError, StudyError
from bakeoff.schema.trial import Environment, StepResult
from bakeoff.store.arrays import Arrays, encode
from bakeoff.store.evidence import Evidence
from bakeoff.store.journal import JournalFile, Record, scan
from bakeoff.store.mirror import Mirror
from bakeoff.store.running import RunningMarks, RunningStep
from bakeoff.store.study_lock import unwritable

JOURNAL, SQLITE, QUARANTINE, RUNNING = "ledger.journal", "ledger.sqlite", "ledger.quarantine", "running"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PATIENCE = 2.0
"""Seconds to wait for a reader that is mending the files; a writer keeps its lock far longer and is not waited for."""


class Ledger:
    """An open ledger; use ``Ledger.open``. Threads of one process may share it. Close it, or use it as a context manager."""

    def __init__(self, directory: Path, journal: JournalFile) -> None:
        self._directory = directory
        self._journal = journal
        self._mirror = Mirror(directory / SQLITE)
        self._mirrored = True
        self._marks = RunningMarks(directory / RUNNING)
        self._guard = threading.RLock()
        self._claimed = False
        self._records: dict[int, Record] = {}
        self._steps: dict[str, int] = {}
        self._documents: dict[str, list[int]] = {}
        self._environments: dict[str, int] = {}
        self._parsed: dict[int, Evidence] = {}
        self._last = 0
        self.quarantined: tuple[int, ...] = ()

    @classmethod
    def open(cls, directory: Path | str, create: bool = False) -> Ledger:  # noqa: FBT001, FBT002 - reads as a flag
        """Open the ledger in ``directory``; damage is mended on the way unless a run is writing to it just now.

        Raises:
            StudyError: no ledger is there and ``create`` is false; a newer version wrote it; the folder cannot be used.

        """
        directory = Path(directory)
        found = (directory / JOURNAL).exists() or (directory / SQLITE).exists()
        if not found and not create:
            what = "no study is in this folder"
            raise StudyError(what, where=str(directory), try_="bakeoff run SPEC --out STUDY")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            journal = JournalFile(directory / JOURNAL, create=True)
        except OSError as error:
            raise unwritable(directory, error) from error
        ledger = cls(directory, journal)
        try:
            ledger._load()
        except BaseException:
            journal.close()
            raise
        return ledger

    # ------------------------------------------------------------------------------------------------------- writing

    def append(self, result: StepResult, arrays: Mapping[str, ArrayLike] | None = None) -> None:
        """Add a step's result with its arrays; when this returns, both are on disk twice. The step runs no longer.

        Raises:
            StepError: code 'disk': there is no room; nothing was added and everything earlier is safe.
            StudyError: another run writes to this study, or the folder is read-only.

        """
        head = {"type": "step", "key": result.key, "data": result.data}
        try:
            self._add(head, result.model_dump_json().encode(), encode(arrays or {}))
        finally:
            self._marks.clear(result.key)

    def put_document(self, name: str, json_text: str) -> None:
        """Add a version of a named document; the newest is the one that counts, older ones stay."""
        with self._guard:
            self._add({"type": "document", "name": name}, json_text.encode(), b"")

    def put_environment(self, environment: Environment) -> str:
        """Note where steps ran; return the key that their results carry."""
        key = content_key("environment", environment)
        with self._guard:
            if key not in self._environments:
                self._add({"type": "environment", "key": key}, canonical(environment).encode(), b"")
        return key

    def mark_running(self, key: str) -> None:
        """Mark a step as being worked on by this process; the mark dies with the process."""
        with contextlib.suppress(OSError):
            self._marks.set(key)

    def unmark_running(self, key: str) -> None:
        """Take the mark away."""
        self._marks.clear(key)

    # ------------------------------------------------------------------------------------------------------- reading

    def get(self, key: str) -> Evidence | None:
        """Return the newest row of a step, or None when it was never measured."""
        with self._guard:
            number = self._steps.get(key)
            return None if number is None else self._evidence(number)

    def evidence(self, data: str | None = None) -> tuple[Evidence, ...]:
        """Return the newest row of every step in the order of appending, of one data fingerprint if it is given."""
        with self._guard:
            rows = tuple(self._evidence(number) for number in sorted(self._steps.values()))
        return rows if data is None else tuple(row for row in rows if row.result.data == data)

    def document(self, name: str) -> str | None:
        """Return the newest version of a document."""
        versions = self.document_versions(name)
        return versions[-1] if versions else None

    def document_versions(self, name: str) -> tuple[str, ...]:
        """Return every version of a document, the oldest first."""
        with self._guard:
            return tuple(self._records[number].text.decode() for number in self._documents.get(name, ()))

    def environments(self) -> dict[str, Environment]:
        """Return every environment by key."""
        with self._guard:
            texts = {key: self._records[number].text for key, number in self._environments.items()}
        return {key: Environment.model_validate_json(text) for key, text in texts.items()}

    def running(self) -> tuple[RunningStep, ...]:
        """Return the steps that living processes work on."""
        return self._marks.alive()

    def __len__(self) -> int:
        """Return the number of records of every kind."""
        return len(self._records)

    def close(self) -> None:
        """Close both files and give up the write lock."""
        with self._guard:
            self._mirror.close()
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------ the files

    def _add(self, head: Mapping[str, Any], text: bytes, blob: bytes) -> None:
        with self._guard:
            self._claim()
            record = Record.of(self._last + 1, canonical(head).encode(), text, blob)
            before = self._journal.end
            try:
                self._journal.append([record])
            except OSError as error:
                raise self._no_room(error) from error
            self._copy(record, before)
            self._index(record)

    def _copy(self, record: Record, before: int) -> None:
        """Put the record into SQLite as well; a full disk takes it back from the journal, so that nothing is half there."""
        if not self._mirrored:
            return
        try:
            self._mirror.append(record)
        except sqlite3.Error as error:
            if _full(error):
                self._journal.cut(before)
                self._journal.end = before
                raise self._no_room(error) from error
            self._mirrored = self._rebuild({**self._records, record.number: record})

    def _no_room(self, error: Exception) -> StepError | StudyError:
        if isinstance(error, sqlite3.Error) or (isinstance(error, OSError) and error.errno in FULL):
            what = "the disk is full; the last result was not kept, everything before it is safe"
            return StepError("disk", what, where=str(self._directory), try_="free some space and run again")
        return unwritable(self._directory, error) if isinstance(error, OSError) else StudyError(str(error))

    def _claim(self) -> None:
        """Become the only writer; if another process changed the journal since it was read, read it again."""
        if self._claimed:
            return
        if not self._journal.writable:
            raise unwritable(self._directory, OSError(errno.EROFS, os.strerror(errno.EROFS)))
        end = time.monotonic() + _PATIENCE
        while not self._try_lock():
            if time.monotonic() > end:
                what = "another run is writing to this study"
                raise StudyError(
                    what, where=str(self._directory), try_="wait for it, or stop it: what it measured is kept"
                )
            time.sleep(0.02)
        self._claimed = True
        if self._journal.size() != self._journal.end:
            self._read()

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._journal.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _load(self) -> None:
        """Read both files. Whoever gets the lock mends them; a reader beside a running writer only reads."""
        if not (self._journal.writable and self._try_lock()):
            self._read(mend=False)
            return
        try:
            self._read()
        finally:
            fcntl.flock(self._journal.descriptor, fcntl.LOCK_UN)

    def _read(self, *, mend: bool = True) -> None:
        data = self._journal.read()
        found = scan(data, str(self._directory))
        records = {record.number: record for record in reversed(found.records)}
        mirrored, kept, lost = self._beside(records)
        for record in sorted([*records.values(), *kept], key=lambda record: record.number):
            self._index(record)
        gaps = set(range(1, self._last + 1)) - self._records.keys()
        self.quarantined = tuple(sorted(gaps | lost))
        self._journal.end = found.end
        if mend:
            self._mend(data, found.end, kept, mirrored)

    def _beside(self, records: Mapping[int, Record]) -> tuple[dict[int, bytes] | None, list[Record], set[int]]:
        """Return SQLite's digests (None: unreadable), the records only SQLite has, and the numbers neither has intact."""
        try:
            mirrored = self._mirror.digests()
            missing = sorted(mirrored.keys() - records.keys())
            kept = self._mirror.records(missing)
        except (sqlite3.Error, OSError):
            return None, [], set()
        return mirrored, kept, set(missing) - {record.number for record in kept}

    def _mend(self, data: bytes, end: int, kept: list[Record], mirrored: dict[int, bytes] | None) -> None:
        """Cut the torn tail, put back what only SQLite had, then make SQLite equal; on a full disk the rest waits."""
        if end < len(data):
            with contextlib.suppress(OSError), (self._directory / QUARANTINE).open("ab") as aside:
                aside.write(data[end:])
            self._journal.cut(end)
        try:
            if kept:
                self._journal.append(kept)
        except OSError:
            return  # SQLite holds the only copy of these: it must not be touched
        wanted = {number: record.digest for number, record in self._records.items()}
        if mirrored is not None and mirrored.items() <= wanted.items() and mirrored:
            with contextlib.suppress(sqlite3.Error):
                for number in wanted.keys() - mirrored.keys():
                    self._mirror.append(self._records[number])
        elif wanted or mirrored is None:
            self._mirrored = self._rebuild(self._records)

    def _rebuild(self, records: Mapping[int, Record]) -> bool:
        try:
            self._mirror.rebuild(records)
        except (sqlite3.Error, OSError):
            return False  # the journal alone goes on; the next opening tries again
        return True

    # ------------------------------------------------------------------------------------------------------ the index

    def _index(self, record: Record) -> None:
        head = json.loads(record.head)
        self._records[record.number] = record
        self._last = max(self._last, record.number)
        if head["type"] == "step":
            self._steps[head["key"]] = record.number
        elif head["type"] == "document":
            versions = self._documents.setdefault(head["name"], [])
            if record.number not in versions:
                versions.append(record.number)
        elif head["type"] == "environment":
            self._environments[head["key"]] = record.number

    def _evidence(self, number: int) -> Evidence:
        if number not in self._parsed:
            record = self._records[number]
            result = StepResult.model_validate_json(record.text)
            self._parsed[number] = Evidence(result=result, arrays=Arrays(record.blob))
        return self._parsed[number]


def _full(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
