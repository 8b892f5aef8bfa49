"""A connection to PostgreSQL that comes back: what was being done is done again until it succeeds or patience ends.

Does: read the address, connect, run work in a transaction, tell errors that pass from those that do not, keep session locks through a
reconnection. Does not know: the tables. No message ever shows a password.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from bakeoff.schema.errors import BakeoffError, StepError, StudyError, UnavailableError
from bakeoff.store import postgres_schema as sql
from bakeoff.store.addresses import misread, scrubbed, without_password

if TYPE_CHECKING:
    import psycopg

_Out = TypeVar("_Out")
SCHEMES = ("postgresql://", "postgres://")
PATIENCE = 300.0
"""Seconds for which a lost connection is sought again: longer than a server takes to restart or to fail over."""
_GHOST = 5.0
"""Seconds within which the server ends our own former session when asked to."""
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_PASSING = ("08", "57P", "25P03", "53300", "40001", "40P01")
"""SQLSTATEs, or how they begin: connection lost, server stopping or starting, ended because we slept inside a transaction,
too many connections, serialisation, deadlock."""
_FULL, _DENIED, _READ_ONLY, _NO_SCHEMA = "53100", "42501", "25006", ("3F000", "42P01")
_OPTIONS = {"connect_timeout": "10", "keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3",
            "tcp_user_timeout": "40000"}  # fmt: skip
_SERVER_SIDE = (
    "SET synchronous_commit = on",  # when COMMIT returns it is on the disk, whatever the database's default
    "SET tcp_keepalives_idle = 20", "SET tcp_keepalives_interval = 10", "SET tcp_keepalives_count = 3",
    "SET idle_in_transaction_session_timeout = '60s'",  # nobody may hold a study's row by falling asleep
)  # fmt: skip
_OTHERS: list[object] = []
"""Connections of the process this one was forked from: kept, because giving them up would close them."""
_LONGEST = 63
"""Bytes of an application's name that PostgreSQL keeps."""


@dataclass(frozen=True)
class Address:
    """Where a ledger is: the database's URL, without what names the study, and the study's name ('' when the URL names none)."""

    url: str
    study: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Read ``postgresql://user@host/database#study``.

        Raises:
            StudyError: it is no such URL.

        """
        if not url.startswith(SCHEMES):
            what = "not an address of a ledger"
            raise StudyError(what, got=without_password(url), allowed="postgresql://user@host/database#study")
        if misread(url):
            what = "the password in this address cannot be told from the rest of it"
            hint = "percent-encode / as %2F, ? as %3F, # as %23, @ as %40; or leave it to PGPASSWORD or ~/.pgpass"
            raise StudyError(what, got=without_password(url), try_=hint)
        plain, _, study = url.partition("#")
        return cls(plain, unquote(study))

    @property
    def shown(self) -> str:
        """The URL as it may be printed and kept: without password."""
        return without_password(self.url)

    def same(self, other: Address) -> bool:
        """Whether both mean the same database, passwords aside."""
        return self.shown == other.shown


class Link:
    """A connection that is made when it is first needed and again when it was lost. Threads take turns.

    Args:
        address: the database.

    """

    def __init__(self, address: Address) -> None:
        self._connection: psycopg.Connection[Any] | None = None
        self._process = os.getpid()
        self.address = address
        self.guard = threading.RLock()
        self.session = secrets.randbits(62)
        self.name = f"bakeoff {platform.node()[:24]}:{os.getpid()} {secrets.token_hex(4)}"[:_LONGEST]
        self._psycopg = _library()
        self._before: int | None = None
        self._held: set[int] = set()
        self._restore: list[weakref.WeakMethod[Callable[[psycopg.Connection[Any]], None]]] = []
        self._connected_once = False

    def run(self, work: Callable[[psycopg.Connection[Any], bool], _Out]) -> _Out:
        """Do ``work`` in a transaction, again after a lost connection (then its second argument is true).

        Raises:
            StepError: code 'disk': the server's disk is full; nothing was changed.
            StudyError: the database cannot be reached or refuses.

        """
        with self.guard:
            end, tries = time.monotonic() + (PATIENCE if self._connected_once else 0.0), 0
            while True:
                try:
                    connection = self._open()
                    with connection.transaction():
                        return work(connection, tries > 0)
                except self._psycopg.Error as error:
                    said = self._said(error)
                    if not self._passes(error) or time.monotonic() > end:
                        raise said from None  # the chain could show the address with its password
                    self._drop()
                time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1

    def query(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own and return its rows."""
        return self.run(lambda connection, _: connection.execute(text, values, binary=True).fetchall())

    def execute(self, text: str, *values: object) -> None:
        """Run one statement without rows in a transaction of its own."""
        self.run(lambda connection, _: connection.execute(text, values))

    # ---------------------------------------------------------------------------------------------------------- locks

    def hold(self, lock: int, patience: float = 0.0) -> bool:
        """Take a lock that lives as long as this session, or say that somebody else still has it after ``patience`` [s].

        It survives a lost connection.
        """
        end = time.monotonic() + patience
        while True:
            with self.guard:
                if lock in self._held or self._try_hold(lock):
                    self._held.add(lock)
                    return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)

    def let_go(self, lock: int) -> None:
        """Give a lock back; where the connection is lost it went with it."""
        with self.guard:
            self._held.discard(lock)
            if self._connection is not None:
                with contextlib.suppress(BakeoffError, self._psycopg.Error):
                    self._connection.execute(sql.LET_GO, (lock,))
                    self._connection.commit()

    def holder(self, lock: int) -> str:
        """Return who holds a lock: 'HOST:PID', or '' where this role may not know."""
        rows = self.query(sql.HOLDER, lock)
        fields = str(rows[0][0]).split() if rows else []
        return fields[1] if len(fields) == 3 and fields[0] == "bakeoff" else ""

    def _try_hold(self, lock: int) -> bool:
        return bool(self.query(sql.TRY_HOLD, lock)[0][0])

    # ------------------------------------------------------------------------------------------------- the connection

    def on_return(self, work: Callable[[psycopg.Connection[Any]], None]) -> None:
        """Do ``work``, a method, each time a lost connection is back, before anything else is done with it.

        Its object is not kept alive for that. If it raises, the connection is given up, so that the next use comes here again.
        """
        self._restore.append(weakref.WeakMethod(work))

    def close(self) -> None:
        """Close the connection, which gives up its locks."""
        with self.guard:
            self._held.clear()
            self._drop()

    def __del__(self) -> None:
        self._drop()  # a reader that nobody closed ends its session quietly

    def _open(self) -> psycopg.Connection[Any]:
        if self._process != os.getpid():
            what = "this ledger was opened by the process that this one was forked from"
            raise StudyError(what, where=self.address.shown, try_="open it anew in every process")
        if self._connection is None or self._connection.closed:
            connection = self._psycopg.connect(
                self.address.url, application_name=self.name, **_defaults(self.address.url)
            )
            try:
                for statement in _SERVER_SIDE:
                    connection.execute(statement.encode())
                connection.commit()
                self._hold_again(connection)
            except BaseException:
                connection.close()
                raise
            self._before, self._connection = connection.info.backend_pid, connection
            if self._connected_once:
                self._return(connection)
            self._connected_once = True
        return self._connection

    def _return(self, connection: psycopg.Connection[Any]) -> None:
        try:
            for reference in self._restore:
                if (work := reference()) is not None:
                    work(connection)
        except BaseException:
            self._drop()
            raise

    def _hold_again(self, connection: psycopg.Connection[Any]) -> None:
        """Take the session's locks anew; our own former session may still hold them if the server has not noticed its end."""
        for lock in self._held:
            if not connection.execute(sql.TRY_HOLD, (lock,)).fetchone()[0]:  # type: ignore[index]
                connection.execute(sql.END_GHOST, (self._before, self.name))
                connection.commit()
                end = time.monotonic() + _GHOST
                while not connection.execute(sql.TRY_HOLD, (lock,)).fetchone()[0]:  # type: ignore[index]
                    if time.monotonic() > end:
                        what = "another run took the study over while the connection was lost"
                        raise StudyError(
                            what, where=self.address.shown, try_="what was measured is kept; run again later"
                        )
                    time.sleep(0.05)
        connection.commit()

    def _drop(self) -> None:
        if self._process != os.getpid():  # closing our copy would end the session of the process we were forked from
            _OTHERS.append(self._connection)
            self._connection = None
            return
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None

    # --------------------------------------------------------------------------------------------------------- errors

    def _passes(self, error: psycopg.Error) -> bool:
        if error.sqlstate is None:  # from the library: no connection, or a lost one
            return isinstance(error, (self._psycopg.OperationalError, self._psycopg.InterfaceError))
        return error.sqlstate.startswith(_PASSING)

    def _said(self, error: psycopg.Error) -> BakeoffError:
        state, where = error.sqlstate or "", self.address.shown
        if state == _FULL:
            what = (
                "the disk of the ledger's database is full; the last result was not kept, everything before it is safe"
            )
            return StepError("disk", what, where=where, try_="free some space there and run again")
        reason = scrubbed(" ".join(str(error).split()), self.address.url, known=os.environ.get("PGPASSWORD"))[:400]
        if state in {_DENIED, _READ_ONLY}:
            what = f"this role may not do that in the ledger's database ({reason})"
            hint = "grant it what docs/how-to/several-machines says, or name another role in the address"
            return StudyError(what, where=where, try_=hint)
        if state in _NO_SCHEMA:
            what = "there is no ledger in this database"
            return StudyError(what, where=where, try_="bakeoff run SPEC --ledger URL makes one")
        if not self._passes(error):
            return StudyError(f"the ledger's database refused ({reason})", where=where)
        what = f"the ledger's database cannot be reached ({reason})"
        hint = "look at address, password (PGPASSWORD or ~/.pgpass) and server, and run again: what was acknowledged is kept"
        return StudyError(what, where=where, try_=hint)


def _library() -> Any:  # noqa: ANN401 - a module
    try:
        import psycopg
    except ImportError as error:
        what = "a ledger in PostgreSQL needs psycopg, which is not installed"
        raise UnavailableError(what, try_="pip install 'bakeoff[postgres]'") from error
    return psycopg


def _defaults(url: str) -> dict[str, str]:
    """Return our connection options as far as the address does not set them itself."""
    return {name: value for name, value in _OPTIONS.items() if f"{name}=" not in url}
