"""Artefacts on disk: one directory per step key, complete or not there at all.

Does: make room for a build, put it in place in one rename, read and write ``artifact.json``, refuse files that could run code,
sweep what dead runs left half done, count bytes once where files are hard links of each other.
Does not know: what is in the files.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bakeoff.schema.artifact import Artifact, FileEntry
from bakeoff.schema.errors import StepError, StudyError
from bakeoff.store.unsafe import refuse_unsafe

ARTIFACT_FILE = "artifact.json"
_PARTIAL = ".partial-"
_OLD = ".old-"


class ArtifactStore:
    """The artefact directories of one study.

    Args:
        directory: the folder that holds them; made when first needed.

    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, key: str) -> Path:
        """Return where the artefact of a step is, or would be."""
        return self.directory / key

    def has(self, key: str) -> bool:
        """Whether the artefact of a step is there, complete."""
        return (self.path(key) / ARTIFACT_FILE).is_file()

    def obtain(self, key: str) -> bool:
        """Make sure the artefact of a step is here if it is anywhere, and say whether it is."""
        return self.has(key)

    def fetch(self, key: str) -> None:
        """Fetch the artefact of a step unless it is here or nowhere; of artefacts that nobody shares, there is nothing to fetch."""

    def share(self, key: str) -> None:
        """Let other machines have an artefact that is here; ``store.shared`` does."""

    def share_all(self) -> int:
        """Let other machines have every artefact that is here; return how many were new to them."""
        return 0

    def begin(self, key: str) -> Path:
        """Return a new empty directory to build in; ``commit`` puts it in place, ``sweep`` removes it if its process died."""
        path = self.directory / f"{_PARTIAL}{os.getpid()}-{key}-{secrets.token_hex(4)}"
        path.mkdir(parents=True)
        return path

    def commit(self, partial: Path, key: str) -> Path:
        """Make a finished directory durable and give it its name; an older one of the same key is replaced."""
        for path in (*_walk(partial), partial):
            _sync(path)
        target = self.path(key)
        if target.exists():
            old = self.directory / f"{_OLD}{os.getpid()}-{key}-{secrets.token_hex(4)}"
            target.rename(old)
            partial.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            partial.rename(target)
        _sync(self.directory)
        return target

    def remove(self, key: str) -> None:
        """Delete an artefact; a step that needs it again builds it again."""
        with contextlib.suppress(OSError):
            gone = self.directory / f"{_OLD}{os.getpid()}-{key}-{secrets.token_hex(4)}"
            self.path(key).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of all complete artefacts."""
        if not self.directory.is_dir():
            return ()
        names = (path.name for path in self.directory.iterdir() if not path.name.startswith((_PARTIAL, _OLD)))
        return tuple(sorted(name for name in names if self.has(name)))

    def sweep(self) -> int:
        """Remove what dead processes left half done; return how many directories went."""
        if not self.directory.is_dir():
            return 0
        left = [
            path
            for path in self.directory.iterdir()
            if path.name.startswith((_PARTIAL, _OLD)) and not _owner_lives(path)
        ]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return len(left)

    def disk_usage(self) -> int:
        """Return the bytes all artefacts take; files that are hard links of each other count once."""
        seen: dict[tuple[int, int], int] = {}
        for path in _walk(self.directory) if self.directory.is_dir() else ():
            with contextlib.suppress(OSError):
                state = path.stat()
                seen[state.st_dev, state.st_ino] = state.st_size
        return sum(seen.values())


def write_artifact(directory: Path, artifact: Artifact) -> Artifact:
    """Hash every file of ``directory``, write ``artifact.json``, and return the artefact with its files.

    Raises:
        StepError: code 'unsafe' for a file that could run code when loaded, a link or a special file; 'disk' when there is no room.

    """
    entries = []
    for path in _walk(directory):
        name = path.relative_to(directory).as_posix()
        if name == ARTIFACT_FILE:
            continue
        if path.is_symlink() or not path.is_file():
            what = "an artefact may hold plain files only"
            raise StepError("unsafe", what, where=name, got="a link or a special file")
        refuse_unsafe(path, name)
        entries.append(FileEntry(path=name, sha256=_sha256(path), size=path.stat().st_size))
    complete = artifact.model_copy(update={"files": tuple(entries)})
    try:
        (directory / ARTIFACT_FILE).write_text(complete.model_dump_json(indent=1), encoding="utf-8")
    except OSError as error:
        code = "disk" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "error"
        raise StepError(code, f"the artefact cannot be written: {error.strerror}") from error
    return complete


def read_artifact(directory: Path) -> Artifact:
    """Read ``artifact.json``.

    Raises:
        StudyError: it is missing or malformed.

    """
    try:
        return Artifact.model_validate_json((directory / ARTIFACT_FILE).read_bytes())
    except OSError as error:
        what = "the artefact is not there"
        raise StudyError(what, where=directory.name, try_="bakeoff run builds what is missing") from error
    except ValidationError as error:
        what = f"{ARTIFACT_FILE} is malformed: {error.errors()[0]['msg']}"
        raise StudyError(
            what, where=directory.name, try_="delete this artefact's folder; bakeoff run builds it again"
        ) from error


def link_or_copy(source: Path, target: Path) -> None:
    """Give ``target`` the content of ``source`` without using space where the file system allows it (a hard link)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:
        shutil.copyfile(source, target)


def _walk(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in folders:
            if (path := Path(folder) / name).is_symlink():
                yield path
        for name in sorted(files):
            yield Path(folder) / name


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a directory; the rename is atomic all the same
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _owner_lives(path: Path) -> bool:
    owner = path.name.removeprefix(_PARTIAL).removeprefix(_OLD).partition("-")[0]
    try:
        os.kill(int(owner), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
