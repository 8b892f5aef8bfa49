"""API keys: who may ask. A key is shown once, when it is made; its file holds hashes only.

Does: make, list and revoke keys; recognise a key in a request; notice that the file has changed.
Does not know: what a client may do (every key may ask everything), passwords, sessions.

A key is 256 random bits, so one SHA-256 is enough at rest: slow hashes protect what people choose, not what cannot be guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from bakeoff.schema.base import Record
from bakeoff.schema.errors import UserError
from bakeoff.serving.problems import Problem

VARIABLE = "BAKEOFF_API_KEYS"
"""Environment variable that names the file of keys where no flag does."""
_PREFIX = "bk_"
_BEARER = b"bearer "
_LARGEST = 1 << 20


class Key(Record):
    """One key as its file has it."""

    name: str = Field(
        min_length=1, max_length=64, description="Who holds it; shown in metrics and traces, never secret."
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the whole key.")
    created: str = Field(description="UTC time, ISO 8601.")


_FILE = TypeAdapter(tuple[Key, ...])


class Keys:
    """The keys a server accepts, read again when their file changes.

    Args:
        path: file written by ``add``.

    Raises:
        UserError: there is no such file, it is damaged, or no key is in it.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = (0, 0)
        self._names: dict[bytes, str] = {}
        self.refresh()
        if not self._names:
            what = "there is no API key in this file, so nobody could ask"
            raise UserError(what, where=str(path), try_=f"bakeoff keys add NAME --file {path}")

    def refresh(self) -> None:
        """Read the file if it changed; the server calls this about once a second, so that a revoked key ends soon.

        Raises:
            UserError: the file is gone or damaged; the keys known so far stay, so that a slip of the hand stops no service.

        """
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._names = {bytes.fromhex(key.sha256): key.name for key in read(self._path)}
        self._stamp = stamp

    def client(self, authorization: bytes | None, api_key: bytes | None = None) -> str:
        """Return the name of the key in ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

        Raises:
            Problem: 401: no key, or one that is not known. It says nothing about which keys exist.

        """
        given = api_key
        if not given and authorization is not None and authorization[:7].lower() == _BEARER:
            given = authorization[7:].strip()
        # looked up by hash: how long that takes tells nothing about the keys themselves
        name = self._names.get(hashlib.sha256(given).digest()) if given else None
        if name is None:
            what = "this server needs an API key" if not given else "this API key is not known here"
            allowed = "Authorization: Bearer KEY, or X-API-Key: KEY"
            raise Problem(401, what, allowed=allowed, headers=((b"www-authenticate", b"Bearer"),))
        return name


def read(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file.

    Raises:
        UserError: there is no such file, or it is damaged.

    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        return _FILE.validate_json(content)
    except FileNotFoundError:
        what = "no such file of API keys"
        raise UserError(what, where=str(path), try_=f"bakeoff keys add NAME --file {path}") from None
    except OSError as error:
        what = f"the API keys cannot be read: {error.strerror}"
        raise UserError(what, where=str(path)) from None
    except ValidationError:
        what = "this is not a file of API keys"
        raise UserError(what, where=str(path), try_="another --file") from None


def add(path: Path, name: str) -> str:
    """Make a key, add its hash to the file (made with mode 0600 if it is not there) and return the key: it is nowhere else.

    Raises:
        UserError: the name is taken or unusable, or the file cannot be written.

    """
    if not name.isprintable() or not 0 < len(name) <= 64:
        what = "a key's name must be 1 to 64 printable characters"
        raise UserError(what, got=name)
    keys = read(path) if path.exists() else ()
    if any(key.name == name for key in keys):
        what = "there is a key of this name already"
        raise UserError(what, got=name, where=str(path), try_="another name, or revoke it first")
    secret = _PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), created=created)
    _write(path, [*keys, key])
    return secret


def revoke(path: Path, name: str) -> None:
    """Take a key out of the file; running servers notice within seconds.

    Raises:
        UserError: there is no key of this name.

    """
    keys = read(path)
    if all(key.name != name for key in keys):
        what = "there is no key of this name"
        raise UserError(what, got=name, where=str(path), allowed=[key.name for key in keys])
    _write(path, [key for key in keys if key.name != name])


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino


def _write(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file in one step, so that a server never reads half of it; who may read it stays as it was."""
    text = json.dumps([key.model_dump() for key in keys], ensure_ascii=False, indent=1) + "\n"
    try:
        path = path.resolve()  # a link stays a link
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if path.exists():
                was = path.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), was.st_uid, was.st_gid)
        Path(name).replace(path)
    except OSError as error:
        what = f"the API keys cannot be written: {error.strerror}"
        raise UserError(what, where=str(path)) from None
