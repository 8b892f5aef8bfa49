"""Folders on any file system fsspec knows (a shared disk, S3, GCS, SFTP, memory), addressed by what is in them.

A file is stored once under its SHA-256. A folder is a list of files, itself stored under its SHA-256: the folder's *key*. A name is a
small file that says which folder it means. Files go up before the list, the list before the name: what can be found is complete.
Two machines that put the same folder at once write the same bytes to the same places. What comes down is checked against its hash.

Does: put, get and name folders; try again when the connection fails; replace what turned out damaged when it is put again.
Does not know: what is in the folders, or whether anybody still needs them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from bakeoff.schema.artifact import FileEntry
from bakeoff.schema.base import Record, canonical
from bakeoff.schema.errors import StudyError, UnavailableError
from bakeoff.store.addresses import misread, scrubbed, without_password

_Out = TypeVar("_Out")
_VERSION = 1
_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2", "memory"})
"""File systems on which an upload appears whole or not at all and folders need not be made; elsewhere a rename makes it so."""
_TRIES = 4
_PAUSE = 0.25
"""Seconds before the second try; twice as long before each further one."""
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR, errno.EISDIR})
"""What a name that this file system cannot hold ends in."""
_FINAL = (PermissionError, NotADirectoryError, IsADirectoryError, ImportError, TypeError)


class DamagedError(StudyError):
    """Something stored is missing or not what it should be: making it again mends it, trying again does not."""


class FolderList(Record):
    """What a folder holds, sorted by path; its canonical JSON is what a folder's key is the SHA-256 of."""

    version: int = _VERSION
    files: tuple[FileEntry, ...]


class _Named(Record):
    """What a name means; the name is in it, so that a file that was moved or copied is not believed."""

    version: int = _VERSION
    name: str
    folder: str = Field(pattern=_KEY.pattern)


class Objects:
    """A place for folders, by URL.

    Args:
        url: anything fsspec opens: ``file:///mnt/shared/bakeoff``, ``s3://bucket/prefix``, ``memory://x``, or a plain path.
            Credentials are the driver's own business (environment, profile files); a password in the URL is never shown.

    Raises:
        UnavailableError: fsspec or the driver of this kind of URL is not installed.
        StudyError: the URL means nothing to fsspec.

    """

    def __init__(self, url: str) -> None:
        self.url, self.shown = url, without_password(url)
        if misread(url):
            what = "the password in this address cannot be told from the rest of it"
            raise StudyError(
                what, where=self.shown, try_="leave it out: the driver's own configuration or environment may hold it"
            )
        self._files, self._root = _opened(url, self.shown)
        protocols = {self._files.protocol} if isinstance(self._files.protocol, str) else set(self._files.protocol)
        self._whole = bool(protocols & _WHOLE)
        self._local = bool(protocols & {"file", "local"})
        self._distrusted: set[str] = set()

    # ------------------------------------------------------------------------------------------------------- folders

    def put_folder(self, folder: Path, *, again: bool = False) -> str:
        """Store every file below ``folder`` and return the folder's key; what is there already is not sent again.

        Args:
            folder: of plain files.
            again: send all of it all the same: somebody found something of it damaged.

        Raises:
            StudyError: the place cannot be written, or ``folder`` holds a link or a special file.

        """
        entries = []
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                what = "only plain files can be stored"
                raise StudyError(what, where=str(path), got="a link or a special file")
            if path.is_file():
                entry = FileEntry(
                    path=path.relative_to(folder).as_posix(), sha256=_sha256(path), size=path.stat().st_size
                )
                self._distrusted |= {self._object(entry.sha256)} if again else set()
                self._put_file(path, entry)
                entries.append(entry)
        text = canonical(FolderList(files=tuple(entries))).encode()
        key = hashlib.sha256(text).hexdigest()
        self._distrusted |= {self._object(key)} if again else set()
        self._put_bytes(self._object(key), text)
        return key

    def get_folder(self, key: str, into: Path) -> Path:
        """Make ``into`` the folder with this key; it appears whole and checked, or not at all. One that is there stays as it is.

        Raises:
            DamagedError: something of it is missing or damaged.
            StudyError: the place cannot be read.

        """
        if into.is_dir():
            return into
        partial = into.with_name(f".{into.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        reason = ""
        try:
            partial.mkdir(parents=True)
            for entry in self.listing(key).files:
                self._get_file(entry, partial)
            partial.rename(into)
        except OSError as error:  # also where somebody else was faster: the same content is there
            reason = f" ({error.strerror or error})"
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if not into.is_dir():
            what = f"the folder could not be put in place{reason}"
            raise StudyError(what, where=str(into), try_="look at the rights and the space there")
        return into

    def listing(self, key: str) -> FolderList:
        """Return what the folder with this key holds.

        Raises:
            DamagedError: it is not there, or damaged.
            StudyError: the place cannot be read.

        """
        if not _KEY.fullmatch(key):
            what = "not a folder's key"
            raise StudyError(what, got=key, allowed="64 hexadecimal digits")
        text = self._get_bytes(key)
        try:
            found = FolderList.model_validate_json(text)
        except ValidationError as error:
            what = "this is a file, not a folder"
            raise DamagedError(what, where=self.shown, got=key) from error
        if found.version > _VERSION:
            what = "the folder was stored by a newer version of Bakeoff"
            raise StudyError(what, where=self.shown, got=key, try_="install the newer version")
        _check_files(found.files, self.shown)
        return found

    # --------------------------------------------------------------------------------------------------------- names

    def name(self, name: str, key: str) -> None:
        """Let ``name`` mean the folder with this key from now on; whoever comes last is right.

        Args:
            name: letters, digits, ``_ - .`` and ``/`` between parts, e.g. ``artifacts/3f2a…``.
            key: what ``put_folder`` returned.

        """
        self._send(self._name(name), canonical(_Named(name=name, folder=key)).encode())

    def named(self, name: str) -> str | None:
        """Return the key of the folder a name means, None when it means none."""
        path = self._name(name)
        try:
            data = self._try(lambda: self._files.cat_file(path))
        except FileNotFoundError:
            return None
        try:
            found = _Named.model_validate_json(data)
        except ValidationError:
            return None  # torn or foreign: as if it had never been written; whoever needs it writes it again
        return found.folder if found.name == name else None

    def names(self, prefix: str) -> tuple[str, ...]:
        """Return the last parts of all names below ``prefix``, sorted."""
        folder = f"{self._root}/names/{prefix}"
        self._files.invalidate_cache()
        try:
            found = self._try(lambda: self._files.ls(folder, detail=False))
        except FileNotFoundError:
            return ()
        ends = (PurePosixPath(str(path)).name for path in found)
        return tuple(sorted(end.removesuffix(".json") for end in ends if end.endswith(".json")))

    # ------------------------------------------------------------------------------------------------------ transport

    def _object(self, sha256: str) -> str:
        return f"{self._root}/objects/{sha256[:2]}/{sha256}"

    def _name(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            what = "not a name for a folder"
            raise StudyError(what, got=name, allowed="letters, digits, _ - . and / between parts")
        return f"{self._root}/names/{name}.json"

    def _has(self, path: str, size: int) -> bool:
        """Whether the object is there in full length and was not found damaged; a torn upload is none."""
        if path in self._distrusted:
            return False
        self._files.invalidate_cache()
        try:
            return bool(self._try(lambda: self._files.info(path))["size"] == size)
        except FileNotFoundError:
            return False

    def _put_file(self, source: Path, entry: FileEntry) -> None:
        target = self._object(entry.sha256)
        if not self._has(target, entry.size):
            self._place(target, lambda path: self._files.put_file(str(source), path))
            self._distrusted.discard(target)

    def _put_bytes(self, target: str, data: bytes) -> None:
        if not self._has(target, len(data)):
            self._send(target, data)
            self._distrusted.discard(target)

    def _send(self, target: str, data: bytes) -> None:
        self._place(target, lambda path: self._files.pipe_file(path, data))

    def _place(self, target: str, write: Callable[[str], object]) -> None:
        """Write so that ``target`` appears whole: in one go where the file system does so by itself, else beside it, then renamed."""
        if self._whole:
            try:
                self._try(lambda: write(target))
            except FileNotFoundError as error:  # no such bucket
                raise self._refused(error) from None
            return
        partial = f"{target}.{os.getpid()}-{secrets.token_hex(4)}.partial"
        try:
            self._try(lambda: self._files.makedirs(target.rpartition("/")[0], exist_ok=True))
            self._try(lambda: write(partial))
            if self._local:
                _sync(partial)
            self._try(lambda: self._move(partial, target))
        except BaseException:
            with contextlib.suppress(Exception):
                self._files.rm_file(partial)
            raise

    def _move(self, partial: str, target: str) -> None:
        """Rename; some file systems do not rename onto a file that is there, which then has to go first."""
        try:
            self._files.mv(partial, target)
        except Exception:
            if not self._files.exists(target):
                raise
            self._files.rm_file(target)
            self._files.mv(partial, target)

    def _get_bytes(self, sha256: str) -> bytes:
        data = b""
        for _ in range(2):  # a damaged transfer looks like a damaged object, until it is asked for again
            try:
                data = bytes(self._try(lambda: self._files.cat_file(self._object(sha256))))
            except FileNotFoundError as error:
                raise self._missing(sha256) from error
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
        raise self._damaged(sha256)

    def _get_file(self, entry: FileEntry, folder: Path) -> None:
        target = folder / entry.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()  # before asking the place: what fails here is the name's fault
            target.unlink()
        except OSError as error:
            if error.errno not in _NO_NAME:
                raise
            what = "a stored folder names a file that cannot be here"
            raise DamagedError(what, where=self.shown, got=entry.path[:100]) from error
        for _ in range(2):
            try:
                self._try(lambda: self._files.get_file(self._object(entry.sha256), str(target)))
            except FileNotFoundError as error:
                raise self._missing(entry.path) from error
            if target.is_file() and target.stat().st_size == entry.size and _sha256(target) == entry.sha256:
                return
        raise self._damaged(entry.sha256)

    def _missing(self, what: str) -> StudyError:
        return DamagedError("a stored file is missing", where=self.shown, got=what, try_="run again: it is made again")

    def _damaged(self, sha256: str) -> StudyError:
        """Remember an object whose content is not what its name says, so that whoever makes it again replaces it."""
        self._distrusted.add(self._object(sha256))
        what = "a stored file is damaged: its content is not what its name says"
        return DamagedError(what, where=self.shown, got=sha256, try_="run again: it is made again")

    def _try(self, work: Callable[[], _Out]) -> _Out:
        """Do something with the file system, again a few times when it fails for a reason that may pass.

        Raises:
            FileNotFoundError: it is not there.
            StudyError: the place cannot be reached, written or read.

        """
        pause = _PAUSE
        for left in reversed(range(_TRIES)):
            try:
                return work()
            except FileNotFoundError:
                raise
            except Exception as error:  # noqa: BLE001 - drivers raise what their libraries raise
                if left == 0 or isinstance(error, _FINAL):
                    raise self._refused(error) from None  # the chain could show a password
            time.sleep(pause)
            pause *= 2
        raise AssertionError  # the last try returns or raises

    def _refused(self, error: Exception) -> StudyError:
        reason = scrubbed(f"{type(error).__name__}: {error}", self.url)
        what = f"the place for artefacts cannot be used ({reason[:300]})"
        return StudyError(
            what, where=self.shown, try_="look at the address, the credentials and the connection; then run again"
        )


def folder_key(entries: Iterable[FileEntry]) -> tuple[str, bytes]:
    """Return the key of the folder that holds these files, and the list it is the hash of."""
    ordered = sorted(entries, key=lambda entry: PurePosixPath(entry.path))
    text = canonical(FolderList(files=tuple(ordered))).encode()
    return hashlib.sha256(text).hexdigest(), text


def _opened(url: str, shown: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        what = "artefacts by URL need fsspec, which is not installed"
        raise UnavailableError(what, try_="pip install 'bakeoff[objects]'") from error
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        what = f"the driver for this kind of address is not installed ({error})"
        raise UnavailableError(what, where=shown, try_="install the package it names") from error
    except Exception as error:  # noqa: BLE001 - drivers raise what their libraries raise
        what = f"not an address for artefacts ({scrubbed(str(error), url)[:300]})"
        raise StudyError(what, where=shown, try_="--artifacts s3://bucket/prefix or file:///shared/folder") from None
    return files, root.rstrip("/")


def _check_files(files: Sequence[FileEntry], where: str) -> None:
    """Refuse a list that leads outside of the folder, or that no folder can be."""
    paths: set[PurePosixPath] = set()
    for entry in files:
        path = PurePosixPath(entry.path)
        outside = path.is_absolute() or ".." in path.parts or any(sign in entry.path for sign in "\\\0")
        if not path.parts or outside or ":" in path.parts[0]:
            what = "a stored folder names a file outside of itself"
            raise DamagedError(what, where=where, got=entry.path)
        if path in paths or not _KEY.fullmatch(entry.sha256):
            what = "a stored folder names a file twice, or one that nothing is stored of"
            raise DamagedError(what, where=where, got=entry.path)
        paths.add(path)
    both = next((path for path in paths if not paths.isdisjoint(path.parents)), None)
    if both is not None:
        what = "a stored folder names something as a file and as a folder"
        raise DamagedError(what, where=where, got=str(both))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
