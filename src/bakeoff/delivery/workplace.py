"""Where a bundle is put together: beside its destination, in one piece or not at all, and in memory what is to be encrypted.

Folders here are open to their owner alone until they are finished. Each is held by a lock, not by a process number: a number is used
again and means nothing to another container, while a lock ends with whoever held it, however that ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bakeoff.runtimes import sealed
from bakeoff.schema.errors import BundleError

_FILE, _FOLDER = 0o644, 0o755
_MEMORY = Path("/dev/shm")  # noqa: S108 - only folders of mode 0700 are made there
_SPARE = 64 << 20
_PLAIN = "bakeoff-ship-"
_PARTIAL, _OLD = ".partial", ".partial.old"


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` that takes its place when everything went well, and vanishes otherwise.

    What a run that was killed left behind is cleared away first; a bundle that it had just moved aside is put back.

    Raises:
        BundleError: there is something else at this place, or it cannot be written.

    """
    _may_replace(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep_beside(out)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_PARTIAL, dir=out.parent))
    except OSError as error:
        what = f"the bundle cannot be written there: {error.strerror}"
        raise BundleError(what, where=str(out), try_="another folder") from error
    try:
        with _held(folder):
            yield folder
            _finish(folder)
            _swap(folder, out)
    except OSError as error:
        what = f"the bundle could not be written: {error.strerror}"
        raise BundleError(what, where=str(out)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plain(folder: Path, need: int | None) -> Iterator[Path]:
    """Yield where the files may lie as they are; what is in it at the end is moved to ``folder``.

    Args:
        folder: of the bundle.
        need: bytes that will be encrypted before the end; None: nothing will, so ``folder`` itself is given.

    What is to be encrypted never lies in the destination: it is kept in memory (``/dev/shm``) where there is room for it,
    else in the system's temporary folder, for its owner alone, and removed.

    """
    if need is None:
        yield folder
        return
    _sweep_plain()
    place = Path(tempfile.mkdtemp(prefix=_PLAIN, dir=_memory(need)))
    try:
        with _held(place):
            yield place
            for path in place.iterdir():
                shutil.move(path, folder / path.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _memory(need: int) -> Path | None:
    """Return the file system in memory if ``need`` bytes and as much again (the encrypted twin) fit, None if not."""
    with contextlib.suppress(OSError):
        if os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free > 2 * need + _SPARE:
            return _MEMORY
    return None


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder as long as this goes on; some network file systems cannot, and their folders are never swept either."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _abandoned(folder: Path) -> bool:
    """Whether nobody holds the folder any more."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _sweep_beside(out: Path) -> None:
    begin = f".{out.name}."
    found = [path for path in out.parent.iterdir() if path.name.startswith(begin)]
    for path in sorted(found):
        if path.name.endswith(_OLD) and _abandoned(path):
            if out.exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(out)
    for path in found:
        if path.name.endswith(_PARTIAL) and _abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _sweep_plain() -> None:
    for place in (_MEMORY, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            for path in place.iterdir():
                if path.name.startswith(_PLAIN) and path.lstat().st_uid == os.getuid() and _abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)


def _may_replace(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        what = "there is a file or a link at this place, not a folder"
        raise BundleError(what, where=str(out), try_="another folder")
    if out.is_dir() and any(out.iterdir()):
        try:
            sealed.read_manifest(out)
        except BundleError:
            what = "the folder holds something that is not a bundle; it is left alone"
            raise BundleError(what, where=str(out), try_="an empty or a new folder") from None


def _swap(folder: Path, out: Path) -> None:
    old = folder.with_name(folder.name.removesuffix(_PARTIAL) + _OLD)
    with contextlib.ExitStack() as stack:
        if out.exists():
            stack.enter_context(_held(out))
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Write everything through to the disk, readable for whoever may enter, whatever the umask and the folder it was made in."""
    for path in folder.rglob("*"):
        path.chmod(_FOLDER if path.is_dir() else _FILE)
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    folder.chmod(_FOLDER)
