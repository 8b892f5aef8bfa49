"""Folders on their way between the coordinator and the nodes, addressed by what is in them, checked on arrival, kept where they arrived.

They travel through a place both sides reach (``store.objects``, any fsspec URL), or, where none is named, in pieces through Ray's own
object store. Either way a node fetches a folder once and every job after it finds it there.

Does: pack, fetch, check, keep. Does not know: what is in the folders.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakeoff.schema.base import content_key
from bakeoff.schema.errors import StepError

PIECE = 8 << 20
"""Bytes that travel at once."""
_REMEMBERED = 256 << 20
"""Bytes of what passes through, mostly artefacts, that are kept to be sent again."""
_UNUSED = 14 * 86400.0
"""Seconds after which a folder nobody used is removed from a node."""


@dataclass(frozen=True)
class Parcel:
    """A folder by its content.

    Args:
        key: content address of names and hashes.
        files: name, SHA-256 and number of pieces of every file; empty when it lies at ``url``.
        pieces: references of Ray objects (bytes), file after file.
        url: where it lies, None when it travels in pieces.

    """

    key: str
    files: tuple[tuple[str, str, int], ...] = ()
    pieces: tuple[Any, ...] = field(default=(), repr=False)
    url: str | None = None


class Sender:
    """Makes parcels; the same folder is sent once a run, as long as it is remembered.

    Args:
        url: where folders are put, None to send them in pieces.
        put: makes a Ray object of bytes and returns its reference.
        most: bytes in pieces that are remembered, apart from what is to be kept; Ray holds what is referred to.

    """

    def __init__(self, url: str | None, put: Callable[[bytes], Any], most: int = _REMEMBERED) -> None:
        self._url, self._put, self._most = url, put, most
        self._sent: dict[tuple[Any, ...], Parcel] = {}
        self._passing: dict[tuple[Any, ...], int] = {}
        self._guard = threading.Lock()

    def send(self, folder: Path, *, keep: bool = True, again: bool = False) -> Parcel:
        """Return the parcel of a folder of plain files.

        Args:
            folder: what is sent.
            keep: remember the parcel for good; else it goes when others have been sent since.
            again: what was sent did not arrive as it was: send it anew.

        """
        seen = (
            str(folder),
            tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _files(folder)),
        )
        found = None if again else self._sent.get(seen)
        found = found or self._packed(folder, again=again)
        with self._guard:
            self._sent[seen] = found
            if not keep and found.url is None:
                self._passing.pop(seen, None)
                self._passing[seen] = sum(size for _, size, _ in seen[1])
            while sum(self._passing.values()) > self._most:
                oldest = next(iter(self._passing))
                del self._passing[oldest], self._sent[oldest]
        return found

    def _packed(self, folder: Path, *, again: bool) -> Parcel:
        if self._url is not None:
            from bakeoff.store.objects import Objects

            return Parcel(key=Objects(self._url).put_folder(folder, again=again), url=self._url)
        files, pieces = [], []
        for path in _files(folder):
            digest, count = hashlib.sha256(), 0
            for piece in read_pieces(path):
                digest.update(piece)
                pieces.append(self._put(piece))
                count += 1
            files.append((path.relative_to(folder).as_posix(), digest.hexdigest(), count))
        return Parcel(key=content_key("parcel", files), files=tuple(files), pieces=tuple(pieces))


class Depot:
    """The folders a node has; any number of processes may use it at once.

    Args:
        directory: where they are kept.
        get: returns the bytes behind a reference.

    """

    def __init__(self, directory: Path, get: Callable[[Any], bytes]) -> None:
        self._directory, self._get = directory, get

    def fetch(self, parcel: Parcel) -> Path:
        """Return the folder, fetched and checked if it was not there; it is for reading only.

        Raises:
            StepError: what arrived is not what was sent.
            StudyError: the place it lies at cannot be read.

        """
        target = self._directory / parcel.key
        if not target.is_dir():
            self._directory.mkdir(parents=True, exist_ok=True)
            if parcel.url is not None:
                from bakeoff.store.objects import Objects

                Objects(parcel.url).get_folder(parcel.key, target)
            else:
                self._unpack(parcel, target)
        os.utime(target)
        return target

    def sweep(self) -> None:
        """Remove what nobody has used for two weeks, and what processes that are gone left half done."""
        for path in self._directory.glob("*") if self._directory.is_dir() else ():
            if time.time() - path.stat().st_mtime > _UNUSED:
                shutil.rmtree(path, ignore_errors=True)

    def _unpack(self, parcel: Parcel, target: Path) -> None:
        partial = self._directory / f".{parcel.key}.{os.getpid()}-{secrets.token_hex(4)}.partial"
        references = iter(parcel.pieces)
        try:
            partial.mkdir()
            for name, sha256, count in parcel.files:
                digest = hashlib.sha256()
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                with (partial / name).open("wb") as file:
                    for _ in range(count):
                        piece = self._get(next(references))
                        digest.update(piece)
                        file.write(piece)
                if digest.hexdigest() != sha256:
                    what = "a file changed on its way to the node"
                    raise StepError("error", what, where=name, zh=f"文件 {name} 在传往节点的途中发生了变化")
            if not target.is_dir():
                partial.rename(target)
        except OSError:
            if not target.is_dir():  # else somebody else was faster: the same content is there
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def read_pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's content, at most ``PIECE`` bytes at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".partial")]
