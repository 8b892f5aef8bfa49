"""Reading named members out of wheels and source distributions, without installing or importing anything.

Nothing is ever unpacked wholesale: a recipe names the members it wants, and where each one goes. Links, devices and
targets outside the folder are refused, so an archive cannot choose where it writes.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

from bakeoff.schema.errors import BakeoffError, UserError

_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(path: Path, *, sha256: str, size: int, where: str) -> None:
    """Refuse an archive that is not, byte for byte, the pinned one.

    Raises:
        UserError: size or hash differ.

    """
    found = path.stat().st_size
    if found != size:
        raise UserError(f"{path.name} has the wrong size", where=where, got=found, allowed=f"{size} bytes")
    digest = sha256_of(path)
    if digest != sha256:
        raise UserError(
            f"{path.name} is not the archive this recipe was written for",
            where=where,
            got=digest,
            allowed=f"sha256 {sha256}",
            try_="do not use it; check the package index it came from",
        )


def inside(folder: Path, name: str) -> Path:
    """Path of ``name`` below ``folder``.

    Raises:
        BakeoffError: the name is absolute, climbs out with ``..``, or is spelt with backslashes or a drive.

    """
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name:
        raise BakeoffError("a file name that leaves its folder", where=str(folder), got=name)
    return folder.joinpath(*parts.parts)


class Archive:
    """A wheel (zip) or a source distribution (tar.gz) opened for reading.

    Use as a context manager. Only regular files are visible.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._zip: zipfile.ZipFile | None = None
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            UserError: it is neither a zip nor a gzipped tar.

        """
        try:
            if zipfile.is_zipfile(self._path):
                self._zip = self._stack.enter_context(zipfile.ZipFile(self._path))
            else:
                self._tar = self._stack.enter_context(tarfile.open(self._path, "r:gz"))
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
            raise UserError("not a readable archive", where=self._path.name, got=str(error)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._stack.close()

    def names(self) -> list[str]:
        """Names of the regular files, in the archive's order."""
        if self._zip is not None:
            return [info.filename for info in self._zip.infolist() if not info.is_dir() and not _is_link(info)]
        assert self._tar is not None  # noqa: S101 - one of the two is open inside the context
        return [member.name for member in self._tar.getmembers() if member.isreg()]

    def open(self, name: str) -> IO[bytes]:
        """Stream of one regular file.

        Raises:
            UserError: there is no such regular file.

        """
        if self._zip is not None and name in self._zip.namelist():
            info = self._zip.getinfo(name)
            if not info.is_dir() and not _is_link(info):
                return self._zip.open(info)
        if self._tar is not None and name in self._tar.getnames():
            member = self._tar.getmember(name)
            stream = self._tar.extractfile(member) if member.isreg() else None
            if stream is not None:
                return stream
        raise UserError("the archive does not hold the file", where=self._path.name, got=name)

    def read(self, name: str) -> bytes:
        """Bytes of one regular file."""
        with self.open(name) as stream:
            return stream.read()

    def extract(self, name: str, folder: Path, as_: str) -> Path:
        """Copy one regular file to ``folder / as_`` and return that path."""
        target = inside(folder, as_)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.open(name) as stream, target.open("xb") as file:
            shutil.copyfileobj(stream, file, _CHUNK)
        return target


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def extract_all(path: Path, members: dict[str, str], out: Path) -> None:
    """Copy members of one archive to the given names below ``out``."""
    with Archive(path) as archive:
        for member, name in members.items():
            archive.extract(member, out, name)


def join_only_members(paths: list[Path], suffix: str, target: Path) -> None:
    """Join the one member with this suffix of each archive into one file, deleting each archive once it is used up.

    Args:
        paths: the archives, in order.
        suffix: ending of the wanted member's name.
        target: the file to write.

    Raises:
        UserError: an archive holds no such member, or several.

    """
    with target.open("xb") as file:
        for path in paths:
            with Archive(path) as archive:
                found = [name for name in archive.names() if name.endswith(suffix)]
                if len(found) != 1:
                    raise UserError(f"expected one *{suffix} member", where=path.name, got=found)
                with archive.open(found[0]) as stream:
                    shutil.copyfileobj(stream, file, _CHUNK)
            path.unlink()  # half of the disk space a large model needs would otherwise be its own parts
