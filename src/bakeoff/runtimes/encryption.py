"""AES-256-GCM at rest, in chunks, so that a file of any size is checked before a byte of it is believed.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015), as Tink and age use it. A file is ``BAKEOFF1``, 16
random bytes of salt, 7 of nonce prefix, then chunks of 1 MiB, each with its tag of 16 bytes. The nonce of a chunk is the prefix,
its number (4 bytes, big-endian) and whether it is the last one; its associated data are the file's path, that number and that
flag. So a chunk that is cut off, repeated, moved, or taken from another file is refused. Every file has its own key: HKDF-SHA256 of
the given one over the bundle's salt and the file's, bound to all the manifest says (``context``), the hashes of files that are not
encrypted included. So files of two bundles cannot be mixed, and nobody without the key can rewrite the manifest around them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bakeoff.schema.base import canonical
from bakeoff.schema.contract import Encryption
from bakeoff.schema.errors import BundleError, UnavailableError, UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUFFIX = ".enc"
CHUNK = 1 << 20
_MAGIC = b"BAKEOFF1"
_SALT, _PREFIX, _TAG, _KEY = 16, 7, 16, 32
_MOST_CHUNKS = 1 << 32
_LARGEST_KEY_FILE = 4096
_TYPED = frozenset(string.printable.encode())


def new_key() -> str:
    """Return a new key as the line of text a key file holds: 64 hexadecimal digits."""
    return secrets.token_hex(_KEY)


def read_key(given: str, where: str = "--encrypt") -> bytes:
    """Return the 32 bytes of a key.

    Args:
        given: a file's path, or ``env:NAME``; either holds 64 hexadecimal digits or base64 (a file also 32 plain bytes).
        where: the flag or variable it was given with; errors name that and not what was given, which may be the key itself.

    Raises:
        UserError: there is no key of that form; what was found is not repeated.

    """
    if given.startswith("env:"):
        value = os.environ.get(given[4:])
        if value is None:
            what = "there is no such environment variable"
            raise UserError(what, where=where, allowed="env: and the name of a variable that is set")
        key = spelled_key(value)
    else:
        try:
            with Path(given).open("rb") as stream:
                content = stream.read(_LARGEST_KEY_FILE)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            what = f"the key file cannot be read: {reason}"
            raise UserError(what, where=where, try_="bakeoff keygen --encryption -o KEYFILE makes one") from None
        key = _raw_key(content) or spelled_key(content.decode("latin-1"))
    if key is None:
        what = "that is no key of 32 bytes"
        raise UserError(
            what, where=where, allowed="64 hexadecimal digits, or base64", try_="bakeoff keygen --encryption -o KEYFILE"
        )
    return key


def _raw_key(content: bytes) -> bytes | None:
    """Return the content of a file if it is a key as it is: 32 bytes that nobody typed. A password of 32 letters is none."""
    typed = all(byte in _TYPED for byte in content)
    return content if len(content) == _KEY and not typed else None


def spelled_key(text: str) -> bytes | None:
    """Return the key that is written there in hexadecimal or base64, None when there is none."""
    for decode in (bytes.fromhex, lambda value: base64.b64decode(value, validate=True)):
        try:
            key = decode(text.strip())
        except ValueError:
            continue
        if len(key) == _KEY:
            return key
    return None


def described(key: bytes) -> Encryption:
    """Return a new description of an encryption with ``key``, with a salt of its own."""
    return Encryption(key=key_id(key), salt=secrets.token_hex(32))


def key_id(key: bytes) -> str:
    """Return 16 hexadecimal digits that tell keys apart and give nothing of them away."""
    return hashlib.sha256(b"bakeoff key\0" + key).hexdigest()[:16]


def context(manifest: bytes) -> bytes:
    """Return what every file's key is bound to: all of the manifest but size and hash of encrypted files, which come after."""
    document: dict[str, Any] = json.loads(manifest)
    files = [{"path": entry["path"]} if entry["path"].endswith(SUFFIX) else entry for entry in document["files"]]
    return canonical({**document, "files": sorted(files, key=lambda entry: str(entry["path"]))}).encode()


class Cipher:
    """Encrypts and decrypts the files of one bundle.

    Args:
        key: 32 bytes.
        encryption: as the manifest describes it.
        bound: the ``context``.

    Raises:
        BundleError: it is another key than the one the bundle was encrypted with.
        UnavailableError: the package ``cryptography`` is missing.

    """

    def __init__(self, key: bytes, encryption: Encryption, bound: bytes) -> None:
        if key_id(key) != encryption.key:
            what = "this is not the key that the bundle was encrypted with"
            raise BundleError(what, got=f"key {key_id(key)}", allowed=f"key {encryption.key}")
        self._key, self._bound = key, hashlib.sha256(bytes.fromhex(encryption.salt) + bound).digest()

    def encrypt(self, name: str, source: IO[bytes]) -> Iterator[bytes]:
        """Yield the encrypted file, header first; ``name`` is the path it will be asked for by."""
        salt, prefix = secrets.token_bytes(_SALT), secrets.token_bytes(_PREFIX)
        yield _MAGIC + salt + prefix
        cipher = self._cipher(name, salt)
        number, chunk = 0, source.read(CHUNK)
        while True:
            following = source.read(CHUNK)
            nonce, data = _nonce(prefix, number, last=not following), _data(name, number, last=not following)
            yield cipher.encrypt(nonce, chunk, data)
            if not following:
                return
            number, chunk = number + 1, following

    def decrypt(self, name: str, source: IO[bytes]) -> Iterator[bytes]:
        """Yield the plain chunks, each only after its tag was checked.

        Raises:
            BundleError: altered, truncated, moved, of another bundle, or encrypted with another key.

        """
        from cryptography.exceptions import InvalidTag

        head = source.read(len(_MAGIC) + _SALT + _PREFIX)
        salt, prefix = head[len(_MAGIC) : -_PREFIX], head[-_PREFIX:]
        if not head.startswith(_MAGIC) or len(salt) != _SALT:
            what = "this file is not as it was encrypted"
            raise BundleError(what, where=f"{name}{SUFFIX}")
        cipher = self._cipher(name, salt)
        number, chunk = 0, source.read(CHUNK + _TAG)
        while True:
            following = source.read(CHUNK + _TAG)
            nonce, data = _nonce(prefix, number, last=not following), _data(name, number, last=not following)
            try:
                plain = cipher.decrypt(nonce, chunk, data)
            except (InvalidTag, ValueError):
                what = "this file cannot be decrypted: it, or the manifest it belongs to, was altered"
                raise BundleError(what, where=f"{name}{SUFFIX}") from None
            yield plain
            if not following:
                return
            number, chunk = number + 1, following

    def _cipher(self, name: str, salt: bytes) -> AESGCM:
        try:
            from cryptography.hazmat.primitives import hashes
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError:
            what = "an encrypted bundle needs the package cryptography"
            raise UnavailableError(what, try_="pip install 'bakeoff[deliver]'") from None
        derived = HKDF(hashes.SHA256(), _KEY, self._bound + salt, b"bakeoff file\0" + name.encode())
        return AESGCM(derived.derive(self._key))


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    if number >= _MOST_CHUNKS:
        what = "the file is too large to be encrypted"
        raise BundleError(what, allowed="at most 4 PiB")
    return prefix + number.to_bytes(4, "big") + bytes([last])


def _data(name: str, number: int, *, last: bool) -> bytes:
    return name.encode() + b"\0" + number.to_bytes(4, "big") + bytes([last])


def encrypt_file(cipher: Cipher, name: str, path: Path) -> None:
    """Replace ``path`` by its encrypted twin, named with ``.enc``."""
    target = path.with_name(path.name + SUFFIX)
    with path.open("rb") as source, target.open("wb") as stream:
        _copy(cipher.encrypt(name, source), stream)
    path.unlink()


def _copy(chunks: Iterable[bytes], stream: IO[bytes]) -> None:
    for chunk in chunks:
        stream.write(chunk)
