"""The append-only file behind the ledger: checksummed records, made durable before they are acknowledged.

Layout: one header line (``bakeoff-journal VERSION CHECKSUM``), then records. A record is a fixed head (marker, number, three
lengths, digest) and three sections: ``head`` (JSON: what the record is), ``text`` (JSON document) and ``blob`` (arrays).
The digest is BLAKE2b over number, lengths and sections, so a flipped bit anywhere in a record is noticed.

Does: write whole records or nothing, find every intact record in a file that was cut, torn or altered anywhere.
Does not know: what a record means, or that there is a second copy in SQLite.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bakeoff.schema.errors import StudyError

VERSION = 1
MARK = b"\xf5\x0aBKOF\x0d\xfa"
"""Starts every record; bytes that UTF-8 text cannot contain, so damage in one record does not hide the next."""
_HEAD = struct.Struct("<8sQIIQ16s")
_NUMBERS = struct.Struct("<QIIQ")
_NAME = b"bakeoff-journal"
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True)
class Record:
    """One intact record: its number (unique, growing), its three sections, and 16 bytes of digest over all of them."""

    number: int
    head: bytes
    text: bytes
    blob: bytes
    digest: bytes

    @classmethod
    def of(cls, number: int, head: bytes, text: bytes, blob: bytes) -> Record:
        """Make a record with its digest."""
        return cls(number, head, text, blob, digest(number, head, text, blob))

    def encoded(self) -> bytes:
        """Return the bytes that stand in the file."""
        sizes = len(self.head), len(self.text), len(self.blob)
        return b"".join([_HEAD.pack(MARK, self.number, *sizes, self.digest), self.head, self.text, self.blob])


@dataclass(frozen=True)
class Scan:
    """What a journal file holds.

    Args:
        records: intact records in file order.
        end: bytes up to and including the last intact record; what follows is a torn tail.
        damaged: spans (start, stop) before ``end`` that are no intact record.
        sound: whether the header is intact.

    """

    records: tuple[Record, ...]
    end: int
    damaged: tuple[tuple[int, int], ...]
    sound: bool


def digest(number: int, head: bytes, text: bytes, blob: bytes) -> bytes:
    """Return 16 bytes of BLAKE2b over a record's number, lengths and sections."""
    found = hashlib.blake2b(_NUMBERS.pack(number, len(head), len(text), len(blob)), digest_size=16)
    for section in (head, text, blob):
        found.update(section)
    return found.digest()


def header(version: int = VERSION) -> bytes:
    """Return the header line; its own checksum tells a newer version from a damaged one."""
    body = _NAME + b" %d " % version
    return body + hashlib.blake2b(body, digest_size=8).hexdigest().encode() + b"\n"


def scan(data: bytes, where: str) -> Scan:
    """Find every intact record in the bytes of a journal file, whatever happened to it.

    Raises:
        StudyError: the header is intact and names a version newer than this one.

    """
    sound = _check(data, where)
    at = len(header()) if sound else 0
    records: list[Record] = []
    damaged: list[tuple[int, int]] = []
    end = at
    while (start := data.find(MARK, at)) >= 0:
        record = _read(data, start)
        if record is None:
            at = start + 1
            continue
        if start > end:
            damaged.append((end, start))
        records.append(record)
        at = end = start + _HEAD.size + len(record.head) + len(record.text) + len(record.blob)
    if not sound and damaged and damaged[0][0] == 0:
        damaged = damaged[1:]  # the header itself: it is written anew, nothing was in it
    return Scan(tuple(records), end, tuple(damaged), sound)


def _check(data: bytes, where: str) -> bool:
    line, newline, _ = data[:128].partition(b"\n")
    fields = line.split(b" ")
    if not newline or len(fields) != 3 or fields[0] != _NAME or not fields[1].isdigit():
        return False
    version = int(fields[1])
    if header(version) != line + b"\n":
        return False
    if version > VERSION:
        what = (
            f"the ledger was written by a newer version of Bakeoff (format {version}, this one reads up to {VERSION})"
        )
        raise StudyError(what, where=where, try_="install the newer version")
    return True


def _read(data: bytes, start: int) -> Record | None:
    if start + _HEAD.size > len(data):
        return None
    _, number, head, text, blob, expected = _HEAD.unpack_from(data, start)
    first = start + _HEAD.size
    if first + head + text + blob > len(data):
        return None
    second, third = first + head, first + head + text
    sections = data[first:second], data[second:third], data[third : third + blob]
    found = Record.of(number, *sections)
    return found if found.digest == expected else None


class JournalFile:
    """An open journal file, closed with the object at the latest. Appending needs the descriptor to be writable; the caller holds the lock.

    Args:
        path: the file; it is created, with its header, when ``create``.
        create: make the file when there is none.

    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.writable = True
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            self.descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.writable = False
        self._close = weakref.finalize(self, os.close, self.descriptor)
        self.end = 0

    def size(self) -> int:
        """Return the file's length in bytes."""
        return os.fstat(self.descriptor).st_size

    def read(self) -> bytes:
        """Return the whole file."""
        size, chunks, at = self.size(), [], 0
        while at < size and (chunk := os.pread(self.descriptor, size - at, at)):
            chunks.append(chunk)
            at += len(chunk)
        return b"".join(chunks)

    def append(self, records: Iterable[Record]) -> None:
        """Write the records after the last intact one and make them durable; on any fault nothing is left behind.

        Raises:
            OSError: the disk is full or failing; the file is as it was before.

        """
        data = b"".join(record.encoded() for record in records)
        if self.end == 0:
            data = header() + data
        try:
            _write(self.descriptor, data, self.end)
            os.fsync(self.descriptor)
        except BaseException:
            self.cut(self.end)
            raise
        self.end += len(data)

    def cut(self, end: int) -> None:
        """Forget everything after byte ``end``."""
        with contextlib.suppress(OSError):  # a tail that cannot be cut is no record, and is cut at the next opening
            os.ftruncate(self.descriptor, end)
            os.fsync(self.descriptor)

    def close(self) -> None:
        """Close the file, which also gives up a lock on it; closing twice does nothing."""
        self._close()


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        at += written
        view = view[written:]
