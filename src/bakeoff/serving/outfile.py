"""A file of answers that survives being killed: blocks are made durable one by one, and a note beside it says how far it got.

While it grows the file is called ``NAME.part`` and the note ``NAME.part.json``; only when it is complete does it get its name, in
one step, and the note becomes ``NAME.done.json``: what the answers depend on stays known.
After a kill at any moment what lies beyond the note is cut off and computed again, so no row is lost or there twice. The growing
file is locked by who writes it: a second writer would cut off what the first one has just written.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bakeoff.schema.errors import UserError
from bakeoff.store.study_lock import hold


@dataclass(frozen=True)
class Note:
    """How far the file got: ``rows`` answered, ``bytes`` written, ``failed`` rows, and what made it (``identity``)."""

    rows: int
    bytes: int
    failed: int
    identity: dict[str, Any]


class Growing:
    """A file of answers that is being written.

    Args:
        target: its final name.
        identity: everything the answers depend on; a file begun with another identity is not gone on with.
        resume: go on where an earlier run stopped, if there is one.

    Raises:
        UserError: it cannot be written, another run is writing it, or the earlier run cannot be gone on with.

    """

    def __init__(self, target: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.target = target
        self._part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._identity = identity
        self._file = self._opened()
        try:
            self._alone()
            self.start = self._now = (resume and self._found()) or Note(0, 0, 0, identity)
            self._file.truncate(self.start.bytes)
            self._file.seek(self.start.bytes)
        except BaseException:
            self._file.close()
            raise

    def append(self, block: bytes, rows: int, failed: int) -> None:
        """Add the answers of the next ``rows`` rows, of which ``failed`` could not be answered; durable when this returns."""
        self._file.write(block)
        self._file.flush()
        os.fsync(self._file.fileno())
        was = self._now
        self._now = Note(was.rows + rows, was.bytes + len(block), was.failed + failed, self._identity)
        self._write()

    def finish(self) -> Note:
        """Give the file its name; nothing else is left behind."""
        self._part.replace(self.target)  # before it is closed: the lock goes with the descriptor
        if self._note.exists():
            self._note.replace(_done(self.target))
        _sync(self.target.parent)
        self._file.close()
        return self._now

    @staticmethod
    def complete(target: Path, identity: dict[str, Any]) -> Note | None:
        """Return the note of a file that is complete, None when there is no such file.

        Raises:
            UserError: it holds the answers to another input, bundle or format, or nothing says to which.

        """
        if not target.exists() or target.with_name(f"{target.name}.part").exists():
            return None
        for place in (_done(target), target.with_name(f"{target.name}.part.json")):  # killed between the two renames
            try:
                note = Note(**json.loads(place.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            if note.identity == identity:
                return note
        what = "the file is complete, but not of this input, bundle and options (or nothing says so)"
        raise UserError(what, where=str(target), try_="--force to replace it, or another name with -o")

    def close(self) -> None:
        """Leave the file as it is, to be gone on with."""
        self._file.close()

    def _opened(self) -> BinaryIO:
        try:
            return os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise UserError(what, where=str(self.target.parent)) from None

    def _alone(self) -> None:
        """Lock the file, and see that it is still the one of that name: whoever held it may just have finished it."""
        try:
            alone = hold(self._file.fileno())
        except OSError:  # no locks on this file system: as before there were any
            return
        with contextlib.suppress(FileNotFoundError):
            if alone and os.path.samestat(self._part.stat(), os.fstat(self._file.fileno())):
                return
        what = "another run is writing this file"
        raise UserError(what, where=str(self._part), try_="wait for it, or give another name with -o")

    def _found(self) -> Note | None:
        """Return the note of an earlier run.

        Raises:
            UserError: it belongs to another input, bundle or format, or the file is shorter than it says.

        """
        try:
            note = Note(**json.loads(self._note.read_text(encoding="utf-8")))
            size = self._part.stat().st_size
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            what = "the note of the earlier run cannot be read"
            raise UserError(what, where=str(self._note), try_="start again without --resume") from None
        if not size:  # there was none
            return None
        other = sorted(name for name in self._identity if note.identity.get(name) != self._identity[name])
        if other:
            what = f"the earlier run was made with another {', '.join(other)}"
            raise UserError(
                what, where=str(self._part), try_="start again without --resume, or give what was given then"
            )
        if size < note.bytes:
            what = "the file is shorter than its note says"
            raise UserError(what, where=str(self._part), try_="start again without --resume")
        return note

    def _write(self) -> None:
        fresh = self._note.with_name(f"{self._note.name}.new")
        with fresh.open("w", encoding="utf-8") as stream:
            json.dump(asdict(self._now), stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._note)
        _sync(self._note.parent)


def _sync(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _done(target: Path) -> Path:
    return target.with_name(f"{target.name}.done.json")
