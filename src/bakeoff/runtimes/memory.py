"""Files that exist in memory only: what was encrypted at rest is opened from here and never touches a disk.

Each file is an anonymous memory file (``memfd_create``, Linux 3.17 or newer), sealed against change once written. A private
folder holds one link per file to ``/proc/self/fd/N``, because every library that loads a model wants a path. Only this process
and what it forks can follow the links; to others the folder shows names and no content.

A process that is killed cannot remove its folder. Each is locked for as long as its process lives, so whoever makes the next one
removes those that nobody holds. A lock, unlike a process id, is not reused and means the same in every container.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

from bakeoff.schema.errors import UnavailableError

_held: dict[str, str] = {}
"""Path of every link of ours and where it leads: the only links a bundle may be read through."""
_PREFIX, _ATTEMPTS = "bakeoff-memory-", 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACES = ("/dev/shm", None)  # noqa: S108 - None: the usual temporary folder; only links are put there, under a private name


class MemoryFolder:
    """A folder of links to files in memory; gone when closed or collected.

    Raises:
        UnavailableError: this system has no anonymous memory files.

    """

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").is_dir():
            what = "this system cannot keep files in memory only, so an encrypted bundle cannot be opened here"
            raise UnavailableError(what, allowed="Linux 3.17 or newer with /proc", try_="ship without --encrypt")
        sweep()
        self.path, lock = _private_folder()
        self._descriptors: dict[str, int] = {}
        self._close = weakref.finalize(self, _remove, self.path, self._descriptors, lock, os.getpid())

    def write(self, name: str, chunks: Iterable[bytes]) -> Path:
        """Keep a file; ``name`` is relative with forward slashes and was checked before. Return its path."""
        descriptor = os.memfd_create("bakeoff", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._descriptors[name] = descriptor
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                left = left[os.write(descriptor, left) :]
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = f"/proc/self/fd/{descriptor}"
        path.symlink_to(target)
        _held[str(path)] = target
        return path

    def close(self) -> None:
        """Let go of every file; what a library has mapped or read stays with it."""
        self._close()


def is_held(path: Path) -> bool:
    """Whether ``path`` is a link of ours that still leads where we pointed it."""
    target = _held.get(str(path))
    return target is not None and str(path.readlink()) == target


def sweep() -> None:
    """Remove the folders of this user's processes that are gone."""
    for place in _PLACES:
        for folder in Path(place or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):  # another user's, or removed meanwhile
                lock = os.open(folder, _FOLDER)
                try:
                    if os.fstat(lock).st_uid == os.geteuid() and _locked(lock):
                        shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)


def _private_folder() -> tuple[Path, int]:
    """Return a new folder and the descriptor that keeps it locked."""
    for place in _PLACES:
        with contextlib.suppress(OSError):
            for _ in range(_ATTEMPTS):
                folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
                lock = os.open(folder, _FOLDER)
                if _locked(lock) and folder.is_dir():
                    return folder, lock
                os.close(lock)  # somebody swept it before it was locked
    what = "there is no folder to put links to the decrypted files in"
    raise UnavailableError(what, try_="set TMPDIR to a folder that can be written")


def _locked(descriptor: int) -> bool:
    """Lock a folder until its descriptor is closed everywhere; False when another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(folder: Path, descriptors: dict[str, int], lock: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child: the folder is its parent's
    for name, descriptor in descriptors.items():
        _held.pop(str(folder / name), None)
        with contextlib.suppress(OSError):
            os.close(descriptor)
    descriptors.clear()
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
