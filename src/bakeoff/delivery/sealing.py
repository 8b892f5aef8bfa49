"""Closes a bundle: encrypts what is to be kept from others, lists every file with its hash, and signs the list."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.delivery import rows as contract_rows
from bakeoff.runtimes import encryption, sealed, signing
from bakeoff.runtimes._onnx_files import external_files
from bakeoff.runtimes.shards.plan import STAGES
from bakeoff.schema.base import Record
from bakeoff.schema.contract import Manifest
from bakeoff.schema.errors import BundleError, UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "BAKEOFF_KEY_PASSPHRASE"  # noqa: S105 - the name of the variable that holds one
_SECRET = frozenset({contract_rows.FILE, "decision.json", "report.html"})
"""What is encrypted beside ``model/``: all that holds the user's rows or what was learned from them."""


@dataclass(frozen=True)
class Seal:
    """How a bundle is closed; by default it is neither signed nor encrypted.

    Args:
        key: who signs.
        secret: 32 bytes to encrypt with.

    """

    key: Ed25519PrivateKey | None = None
    secret: bytes | None = None

    @classmethod
    def given(cls, sign: str | None, encrypt: str | None, passphrase: str | None = None) -> Seal:
        """Read the keys named on a command line: files, or ``env:NAME`` for all but the signing key.

        Raises:
            UserError: one of them cannot be read or is of another kind.

        """
        for flag, value in (("--sign", sign), ("--encrypt", encrypt)):
            if (
                value is not None and not value.strip()
            ):  # an unset variable of a script: the bundle must not go out open
                what = "a key was given and is empty"
                raise UserError(what, where=flag, try_="a key, or leave it out altogether")
        return cls(
            None if sign is None else signing.read_private(Path(sign), read_passphrase(passphrase)),
            None if encrypt is None else encryption.read_key(encrypt, "--encrypt"),
        )


def read_passphrase(given: str | None) -> bytes | None:
    """Return the passphrase in a file or in ``env:NAME``; what ``BAKEOFF_KEY_PASSPHRASE`` says when none is given.

    Raises:
        UserError: there is none.

    """
    if given is None:
        return os.environ[PASSPHRASE].encode() if os.environ.get(PASSPHRASE) else None
    if given.startswith("env:"):
        found = os.environ.get(given[4:], "").encode()
    else:
        try:
            found = Path(given).read_bytes().rstrip(b"\r\n")
        except OSError as error:
            what = f"the passphrase cannot be read: {error.strerror}"
            raise UserError(what, where="--passphrase", allowed="a file, or env:NAME") from None
    if not found:
        what = "the passphrase is empty"
        raise UserError(what, where="--passphrase", allowed="a file, or env:NAME")
    return found


def close(folder: Path, manifest: Manifest, seal: Seal) -> Manifest:
    """Encrypt, list, and sign what is in ``folder``; nothing may be written to it afterwards.

    The same folder and seal give the same bytes, except where something is encrypted: salts and nonces are new each time.
    """
    if seal.secret is not None:
        _only_alone(folder / "model")
    changes: dict[str, object] = {"checksum": True}
    if seal.key is not None:
        changes["signer"] = base64.b64encode(signing.raw(seal.key.public_key())).decode()
    if seal.secret is not None:
        changes["encryption"] = encryption.described(seal.secret)
    manifest = manifest.model_copy(update=changes)
    if seal.secret is not None and manifest.encryption is not None:
        secret = {name for name, _ in sealed.walk(folder) if name.startswith("model/") or name in _SECRET}
        planned = [
            entry.model_copy(update={"path": entry.path + encryption.SUFFIX}) if entry.path in secret else entry
            for entry in sealed.entries(folder)
        ]
        bound = encryption.context(_bytes(manifest.model_copy(update={"files": tuple(planned)})))
        cipher = encryption.Cipher(seal.secret, manifest.encryption, bound)
        for name in sorted(secret):
            encryption.encrypt_file(cipher, name, folder / name)
    manifest = manifest.model_copy(update={"files": sealed.entries(folder)})
    content = _bytes(manifest)
    (folder / sealed.MANIFEST).write_bytes(content)
    (folder / sealed.CHECKSUM).write_bytes(sealed.checksum_line(content))
    if seal.key is not None:
        (folder / signing.SIGNATURE).write_bytes(signing.sign(content, seal.key))
    return manifest


def _only_alone(model: Path) -> None:
    """Refuse to encrypt graphs that keep weights in files beside them: runtimes look for those on a disk only.

    Stages of a split model are opened from memory, weights and all.
    """
    for path in sorted(model.rglob("*.onnx")):
        if external_files(path) and not path.is_relative_to(model / STAGES):
            what = "a graph that keeps its weights in other files cannot be opened from memory, so it is not encrypted"
            raise BundleError(what, got=path.relative_to(model).as_posix(), try_="ship without --encrypt")


def _bytes(record: Record) -> bytes:
    return record.model_dump_json(indent=2).encode() + b"\n"
