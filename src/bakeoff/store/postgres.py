"""The evidence ledger in PostgreSQL: the same records as in a study folder, of any number of studies, written by any number of machines.

A record is durable when ``append`` returns: the server has committed it. A study's numbers have no gaps, and who has seen number *n*
has seen everything before it. An append that was cut off by a lost connection is done again and added once.

Does: append, read, mark, keep a second run out, come back after the server was away. Does not know: what the numbers mean.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bakeoff.schema.base import canonical
from bakeoff.schema.errors import BakeoffError, StudyError
from bakeoff.store import postgres_schema as sql
from bakeoff.store.journal import Record
from bakeoff.store.ledger_base import LedgerBase, Sections
from bakeoff.store.postgres_link import Address, Link
from bakeoff.store.running import RunningStep, started

if TYPE_CHECKING:
    import psycopg

# How long [s] a new run waits for the old one to leave: the server needs a moment to notice that a killed process is gone.
_LEAVING = 1.0


class PostgresLedger(LedgerBase):
    """The ledger of one study in a database; use ``PostgresLedger.open``."""

    def __init__(self, link: Link, study: str) -> None:
        super().__init__()
        self.study, self._link = study, link
        self._marked: set[str] = set()
        digest = hashlib.blake2b(study.encode(), digest_size=8).digest()
        self._run_lock = int.from_bytes(digest, "big") >> 1  # positive, below 2**63
        link.on_return(self._check_kept)
        link.on_return(self._mark_again)

    @classmethod
    def open(cls, url: str, study: str, *, create: bool = False) -> PostgresLedger:
        """Open the ledger of a study.

        Args:
            url: ``postgresql://user@host/database``; the password may be in it, or wherever libpq finds one.
            study: its name in the database.
            create: make tables and study where there are none.

        Raises:
            StudyError: the database cannot be reached, a newer version wrote it, or the study is not there and ``create`` is false.
            UnavailableError: psycopg is not installed.

        """
        link = Link(Address.of(url))
        try:
            _prepare(link, study, create=create)
            ledger = cls(link, study)
            ledger._look()
            ledger._note_gaps()
        except BaseException:
            link.close()
            raise
        return ledger

    # ------------------------------------------------------------------------------------------------------- writing

    def add_all(self, sections: Sequence[Sections]) -> None:
        """Add records in this order, all of them or none."""
        if not sections:
            return
        with self._guard:
            self._commit([(secrets.token_bytes(16), *parts) for parts in sections])

    def _add(self, head: Mapping[str, Any], text: bytes, blob: bytes) -> None:
        done = head["key"] if head["type"] == "step" else None
        with self._guard:
            self._commit([(secrets.token_bytes(16), canonical(head).encode(), text, blob)], done)

    def _commit(self, entries: Sequence[tuple[bytes, bytes, bytes, bytes]], done: str | None = None) -> None:
        """Add entries (token, head, text, blob) in one transaction, which also takes the mark of the step that is done away."""

        def work(connection: psycopg.Connection[Any], again: bool) -> list[Record]:  # noqa: FBT001 - what Link.run calls
            row = connection.execute(sql.NEXT, (len(entries), self.study)).fetchone()
            if row is None or int(row[0]) - len(entries) < self._last:
                raise self._went_back()
            if again and connection.execute(sql.ADDED, (self.study, entries[0][0])).fetchone() is not None:
                connection.execute(sql.NEXT, (-len(entries), self.study))  # the cut-off try had got through
                return []
            first = int(row[0]) - len(entries) + 1
            made = [Record.of(first + at, *entry[1:]) for at, entry in enumerate(entries)]
            rows = [
                (self.study, one.number, one.digest, one.head, one.text, one.blob, entry[0])
                for one, entry in zip(made, entries, strict=True)
            ]
            with connection.cursor() as cursor:
                cursor.executemany(sql.ADD, rows)
            if done is not None and done in self._marked:
                connection.execute(sql.UNMARK, (self.study, done))
            return made

        made = self._link.run(work)
        if done is not None:
            self._marked.discard(done)
        if (
            not made or made[0].number != self._last + 1
        ):  # others have added meanwhile, or it is there from the first try
            self._look()
            return
        for record in made:
            self._index(record)

    # -------------------------------------------------------------------------------------------------- running marks

    def mark_running(self, key: str) -> None:
        """Mark a step as being worked on by this process; the mark dies with the process' connection."""
        with suppress(BakeoffError):  # a mark is no evidence
            self._link.hold(self._link.session)
            self._mark(key)
            self._marked.add(key)

    def unmark_running(self, key: str) -> None:
        """Take the mark away."""
        if key in self._marked:
            self._marked.discard(key)
            with suppress(BakeoffError):
                self._link.execute(sql.UNMARK, self.study, key)

    def running(self) -> tuple[RunningStep, ...]:
        """Return the steps that living processes work on, on whatever machine; the marks of the dead are swept away."""
        with suppress(BakeoffError):  # a role that may only read leaves them
            self._link.execute(sql.SWEEP, self.study)
        return tuple(RunningStep(*row) for row in self._link.query(sql.MARKS, self.study))

    def _mark(self, key: str) -> None:
        pid = os.getpid()
        self._link.execute(sql.MARK, self.study, key, self._link.session, platform.node(), pid, started(pid))

    def _mark_again(self, _connection: psycopg.Connection[Any]) -> None:
        with suppress(BakeoffError):
            for key in tuple(self._marked):
                self._mark(key)

    # -------------------------------------------------------------------------------------------------------- the run

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the study inside the block, so that no second run works on it, on any machine.

        Raises:
            StudyError: another run holds it.

        """
        if not self._link.hold(self._run_lock, _LEAVING):
            host, _, pid = self._link.holder(self._run_lock).partition(":")
            who = f"pid {pid} on {host}" if host else "of another role"
            what = f"another run ({who}) is working on study '{self.study}'"
            raise StudyError(
                what, where=self._link.address.shown, try_="wait for it, or stop it: what it measured is kept"
            )
        try:
            yield
        finally:
            self._link.let_go(self._run_lock)

    def close(self) -> None:
        """Close the connection and give up its locks."""
        self._link.close()

    # --------------------------------------------------------------------------------------------------- the records

    def _look(self) -> None:
        for number, digest, head, text, blob in self._link.query(sql.SINCE, self.study, self._last):
            record = Record.of(number, head, text, blob)
            if record.digest == digest:
                self._index(record)
            else:
                self._last = max(self._last, number)
                self.quarantined = (*self.quarantined, number)

    def _check_kept(self, connection: psycopg.Connection[Any]) -> None:
        """Look whether the database, back again, still holds what it held: a replica that lagged has taken over otherwise."""
        last = self._last
        if last == 0:
            return
        row = connection.execute(sql.WENT_BACK, (self.study, self.study, last)).fetchone()
        connection.rollback()
        mine = self._records.get(last)  # None: it was damaged already when it was first read
        if row is None or row[0] < last or (mine is not None and row[1] != mine.digest):
            raise self._went_back()

    def _went_back(self) -> StudyError:
        what = f"the database went back: it does not hold record {self._last} any more, which it had acknowledged"
        hint = "look at the server (a replica that lagged, a backup, fsync = off), and run again: what is gone is measured again"
        return StudyError(what, where=self._link.address.shown, try_=hint)

    def _note_gaps(self) -> None:
        """Note numbers that are not there: somebody has deleted rows."""
        gaps = set(range(1, self._last + 1)) - self._records.keys()
        self.quarantined = tuple(sorted(gaps))


def studies(url: str) -> dict[str, int]:
    """Return the studies of a database with how many records each has.

    Raises:
        StudyError: the database cannot be reached, or holds no ledger.

    """
    link = Link(Address.of(url))
    try:
        _check(link)
        return dict(link.query(sql.STUDIES))
    finally:
        link.close()


def _prepare(link: Link, study: str, *, create: bool) -> None:
    if create and not link.query(sql.THERE)[0][0]:
        link.run(_create)
    _check(link)
    if link.query(sql.STUDY, study):
        return
    if not create:
        what = "no such study in this database"
        raise StudyError(
            what, where=link.address.shown, got=study, allowed=[row[0] for row in link.query(sql.STUDIES)] or "none is there",
            try_="bakeoff run SPEC --ledger URL begins one",
        )  # fmt: skip
    if not study or len(study) > 200 or "\0" in study:
        what = "not a name for a study"
        raise StudyError(what, got=study, allowed="1 to 200 characters")
    link.execute(sql.BEGIN_STUDY, study)


def _create(connection: psycopg.Connection[Any], _again: bool) -> None:  # noqa: FBT001 - what Link.run calls
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (sql.CREATING,))
    row = connection.execute(sql.THERE).fetchone()
    if row is not None and not row[0]:  # nobody was faster
        connection.execute(sql.CREATE.encode())


def _check(link: Link) -> None:
    """Refuse tables that a newer version made."""
    version = link.query(sql.VERSION_OF)[0][0]
    if version > sql.VERSION:
        what = (
            f"the ledger was made by a newer version of Bakeoff (format {version}, this one reads up to {sql.VERSION})"
        )
        raise StudyError(what, where=link.address.shown, try_="install the newer version")
