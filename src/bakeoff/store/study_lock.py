"""One run at a time on one study folder, by an operating-system lock that dies with its owner."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bakeoff.schema.errors import StudyError

NAME = "study.lock"
_BUSY = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


@contextmanager
def study_lock(directory: Path) -> Iterator[Path]:
    """Hold the study exclusively inside the block. The file stays; only the lock on it counts.

    Raises:
        StudyError: another run holds it (its process id is named), or the folder cannot be written.

    """
    path = directory / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        _take(descriptor, directory)
        _sign(descriptor)
        yield path
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def unwritable(directory: Path, error: OSError) -> StudyError:
    """Return the error for a study folder that cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what = "the disk is full"
        return StudyError(what, where=str(directory), try_="free some space and run again; nothing measured is lost")
    what = f"the study folder cannot be written ({error.strerror or error})"
    return StudyError(
        what, where=str(directory), try_="give yourself write access to it, or choose another folder with --out"
    )


def hold(descriptor: int) -> bool:
    """Lock an open file until its descriptor is closed; return False when another process holds it.

    Raises:
        OSError: the file system cannot lock files.

    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _BUSY:
            raise
        return False
    return True


def _take(descriptor: int, directory: Path) -> None:
    try:
        held = hold(descriptor)
    except OSError as error:
        what = f"the file system cannot lock files ({error.strerror})"
        raise StudyError(what, where=str(directory), try_="keep the study on a local disk") from error
    if held:
        return
    owner = _owner(descriptor)
    here = owner.get("host") in {None, platform.node()}
    place = "" if here else f" on {owner['host']}"
    what = f"another run (pid {owner.get('pid', 'unknown')}{place}) is working on this study"
    raise StudyError(what, where=str(directory), try_="wait for it, or stop it: what it measured is kept")


def _sign(descriptor: int) -> None:
    owner = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()
    with contextlib.suppress(OSError):  # on a full disk the lock itself still holds; only its signature is missing
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner, 0)


def _owner(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
