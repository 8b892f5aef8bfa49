"""The evidence ledger of one study: what ``append`` returned from is kept, whatever happens next.

Two files hold the same records: an append-only checksummed journal, fsynced before the acknowledgement, and a SQLite file
that can be queried. Opening reads the journal, takes from SQLite whatever the journal lost, and mends the worse of the two;
a record damaged in both is quarantined: it is as if it had never been, so its step is measured again.

Does: append durably, read back in order, keep named documents and environments, mend itself.
Does not know: what the numbers mean, or where artefacts lie. The same ledger in a database is ``store.postgres``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.schema.base import canonical
from bakeoff.schema.errors import StepError, StudyError
from bakeoff.store.journal import JournalFile, Record, scan
from bakeoff.store.ledger_base import LedgerBase, Sections
from bakeoff.store.mirror import Mirror
from bakeoff.store.running import RunningMarks, RunningStep
from bakeoff.store.study_lock import unwritable

JOURNAL, SQLITE, QUARANTINE, RUNNING = "ledger.journal", "ledger.sqlite", "ledger.quarantine", "running"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PATIENCE = 2.0
"""Seconds to wait for a reader that is mending the files; a writer keeps its lock far longer and is not waited for."""


class Ledger(LedgerBase):
    """An open ledger in a study folder; use ``Ledger.open``."""

    def __init__(self, directory: Path, journal: JournalFile) -> None:
        super().__init__()
        self._directory = directory
        self._journal = journal
        self._mirror = Mirror(directory / SQLITE)
        self._mirrored = True
        self._marks = RunningMarks(directory / RUNNING)
        self._claimed = False

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

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only writer from now on, until it is closed; what another process has added is read first.

        Raises:
            StudyError: another process writes to this study, or the folder is read-only.

        """
        with self._guard:
            self._claim()
        yield

    # -------------------------------------------------------------------------------------------------- running marks

    def mark_running(self, key: str) -> None:
        """Mark a step as being worked on by this process; the mark dies with the process."""
        with contextlib.suppress(OSError):
            self._marks.set(key)

    def unmark_running(self, key: str) -> None:
        """Take the mark away."""
        self._marks.clear(key)

    def running(self) -> tuple[RunningStep, ...]:
        """Return the steps that living processes work on."""
        return self._marks.alive()

    def close(self) -> None:
        """Close both files and give up the write lock."""
        with self._guard:
            self._mirror.close()
            self._journal.close()

    # ------------------------------------------------------------------------------------------------------ the files

    def add_all(self, sections: Sequence[Sections]) -> None:
        """Add records in this order, all of them or none.

        Raises:
            StepError: code 'disk': there is no room; nothing was added.
            StudyError: another run writes to this study, or the folder is read-only.

        """
        with self._guard:
            self._claim()
            records = [Record.of(self._last + number, *parts) for number, parts in enumerate(sections, 1)]
            try:
                self._journal.append(records)
            except OSError as error:
                raise self._no_room(error) from error
            for record in records:
                self._index(record)
            self._mirrored = self._rebuild(self._records)

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

    def _look(self) -> None:
        """Nobody else adds anything while this one is open: what was there when it opened, and what it added, is all there is."""

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


def _full(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
