"""Ed25519 signatures over a manifest: key files, a DSSE envelope, and what a check found.

``manifest.sig`` is a DSSE envelope (https://github.com/secure-systems-lab/dsse) around an in-toto statement v1 whose only subject
is ``manifest.json`` with its SHA-256, so that tools of that family can read it. OpenSSF model signing wraps its own statement the
same way, but its tool takes ECDSA keys and certificates only; ours are Ed25519 (RFC 8032), which need no randomness to sign.
The file has exactly one right spelling for a manifest and a key, and any other byte is refused.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from bakeoff.schema.base import Record, canonical
from bakeoff.schema.errors import BundleError, UnavailableError, UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "manifest.sig"
_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "urn:bakeoff:bundle:1"
_LARGEST_KEY = 64 << 10
_BEGIN = b"-----BEGIN "


class SignatureState(Record):
    """What is known of a bundle's signature."""

    state: Literal["none", "untrusted", "trusted"] = Field(
        "none",
        description="'none': not signed; 'untrusted': sound, by a key nobody trusts yet; 'trusted': by a key that was given.",
    )
    signer: str = Field("", description="SHA-256 of the signer's public key.")


def fingerprint(public: bytes) -> str:
    """Return what names a public key: SHA-256 of its 32 bytes, 64 hexadecimal digits."""
    return hashlib.sha256(public).hexdigest()


def generate(path: Path, passphrase: bytes | None = None) -> bytes:
    """Write a new private key (PKCS #8 PEM, mode 0600) to ``path`` and its public half to ``path`` + ``.pub``; return the public key.

    Raises:
        UserError: one of the files exists already or cannot be written.

    """
    serialization, ed25519 = _library()
    private = ed25519.Ed25519PrivateKey.generate()
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = private.public_key()
    shown = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_secret(path, pem)
    try:
        write_secret(path.with_name(f"{path.name}.pub"), shown, mode=0o644)
    except BaseException:
        path.unlink()  # half a pair would be in the way of the next try, and never overwritten
        raise
    return raw(public)


def write_secret(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Create a file nobody else can read from its first byte on; never overwrite one.

    Raises:
        UserError: it exists already or cannot be written.

    """
    descriptor = None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
    except FileExistsError:
        what = "the file exists already, and a key is never overwritten"
        raise UserError(what, where=str(path), try_="another name with -o") from None
    except OSError as error:
        if descriptor is not None:
            path.unlink(missing_ok=True)  # a full disk leaves no empty key behind
        what = f"the key cannot be written there: {error.strerror}"
        raise UserError(what, where=str(path)) from None


def read_private(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Return the Ed25519 key in a PEM file.

    Raises:
        UserError: no such file, another kind of key, or the passphrase is missing or wrong.

    """
    serialization, ed25519 = _library()
    content = _content(path)
    try:
        key = serialization.load_pem_private_key(content, passphrase)
    except TypeError:
        wanted = "the key needs its passphrase" if passphrase is None else "the key has no passphrase"
        raise UserError(wanted, where=str(path), try_="--passphrase FILE or --passphrase env:NAME") from None
    except ValueError:
        what = "no private key can be read there, or the passphrase is wrong"
        raise UserError(what, where=str(path), try_="bakeoff keygen -o KEY makes one") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        what = "this is another kind of key"
        raise UserError(what, where=str(path), got=type(key).__name__, allowed="Ed25519") from None
    return cast("Ed25519PrivateKey", key)


def read_public(pem: bytes, where: str) -> tuple[bytes, ...]:
    """Return the 32 bytes of every Ed25519 public key in PEM text; several stand one below the other.

    Raises:
        UserError: there is none, or one of another kind.

    """
    serialization, ed25519 = _library()
    blocks = [_BEGIN + block for block in pem.split(_BEGIN)[1:]]
    if not blocks:
        what = "there is no public key in PEM there"
        raise UserError(what, where=where, try_="the file that bakeoff keygen wrote, with .pub at its end")
    found = []
    for block in blocks:
        try:
            key = serialization.load_pem_public_key(block)
        except ValueError:
            what = "there is no public key in PEM there"
            raise UserError(what, where=where, try_="the .pub file, not the private key") from None
        if not isinstance(key, ed25519.Ed25519PublicKey):
            what = "this is another kind of key"
            raise UserError(what, where=where, got=type(key).__name__, allowed="Ed25519")
        found.append(raw(key))
    return tuple(found)


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the content of ``manifest.sig``: the same manifest and key give the same bytes."""
    return _envelope(manifest, raw(key.public_key()), key.sign(_pae(_statement(manifest))))


def check(manifest: bytes, envelope: bytes | None, signer: str | None, trusted: tuple[bytes, ...]) -> SignatureState:
    """Say who signed these exact bytes.

    Args:
        manifest: content of ``manifest.json``.
        envelope: content of ``manifest.sig``, None when there is no such file.
        signer: the public key that the manifest names, base64.
        trusted: public keys of which one must have signed; empty: any key will do, and the state says so.

    Raises:
        BundleError: not signed although a key was given, by another key, or the signature does not belong to these bytes.

    """
    if trusted and envelope is None:
        raise distrusted(envelope, trusted)
    if envelope is None and signer is None:
        return SignatureState()
    if envelope is None or signer is None:
        what = f"the signature is missing: {SIGNATURE}" if envelope is None else f"{SIGNATURE}: not in the manifest"
        raise BundleError(what)
    public = next((key for key in trusted if _genuine(manifest, envelope, key)), None)
    if public is not None:
        if base64.b64encode(public).decode() != signer:
            what = "the manifest names another signer than the one that signed it"
            raise BundleError(what)
        return SignatureState(state="trusted", signer=fingerprint(public))
    named = _named(signer)
    if not _genuine(manifest, envelope, named):
        what = "the signature does not belong to this manifest: one of them was altered"
        raise BundleError(what, where=SIGNATURE)
    if trusted:
        what = "the bundle is signed by a key that you do not trust"
        raise BundleError(what, got=fingerprint(named), allowed=[fingerprint(key) for key in trusted])
    return SignatureState(state="untrusted", signer=fingerprint(named))


def distrusted(envelope: bytes | None, trusted: tuple[bytes, ...]) -> BundleError:
    """Return the error for bytes that none of ``trusted`` signed. Who signed them instead would stand in what is not believed."""
    if envelope is None:
        what = "the bundle is not signed, and a key was given that it must be signed with"
        return BundleError(what, try_="ship it with --sign KEY, or leave --key out")
    what = "the bundle is signed by a key that you do not trust, or was altered since it was signed"
    return BundleError(what, allowed=[fingerprint(key) for key in trusted])


def is_signed_by(manifest: bytes, envelope: bytes | None, trusted: tuple[bytes, ...]) -> bool:
    """Whether one of the keys signed these exact bytes; nothing of the manifest is parsed."""
    return envelope is not None and any(_genuine(manifest, envelope, key) for key in trusted)


def raw(public: object) -> bytes:
    """Return the 32 bytes of a public key."""
    return bytes(public.public_bytes_raw())  # type: ignore[attr-defined]


def _named(signer: str) -> bytes:
    try:
        public = base64.b64decode(signer, validate=True)
    except ValueError:
        public = b""
    if len(public) != 32 or base64.b64encode(public).decode() != signer:
        what = "the manifest names a signer that is no public key"
        raise BundleError(what)
    return public


def _genuine(manifest: bytes, envelope: bytes, public: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    _, ed25519 = _library()
    signature = _signature_in(envelope)
    if signature is None or envelope != _envelope(manifest, public, signature):
        return False
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, _pae(_statement(manifest)))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signature_in(envelope: bytes) -> bytes | None:
    """Find the 64 bytes in an envelope; whether all the rest is right, its spelling tells."""
    _, found, rest = envelope.partition(b'"sig":"')
    try:
        signature = base64.b64decode(rest.split(b'"', 1)[0], validate=True) if found else b""
    except ValueError:
        return None
    return signature if len(signature) == 64 else None


def _statement(manifest: bytes) -> bytes:
    subject = {"name": "manifest.json", "digest": {"sha256": hashlib.sha256(manifest).hexdigest()}}
    statement = {
        "_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": _PREDICATE, "predicate": {},
    }  # fmt: skip
    return canonical(statement).encode()


def _pae(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is really signed."""
    return b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(payload), payload)


def _envelope(manifest: bytes, public: bytes, signature: bytes) -> bytes:
    signed = {"keyid": fingerprint(public), "sig": base64.b64encode(signature).decode()}
    payload = base64.b64encode(_statement(manifest)).decode()
    return canonical({"payload": payload, "payloadType": _TYPE, "signatures": [signed]}).encode() + b"\n"


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST_KEY)
    except OSError as error:
        what = f"the key cannot be read: {error.strerror}"
        raise UserError(
            what, where="--sign", allowed="a file"
        ) from None  # not what was given: it may be the key itself


def _library() -> tuple[Any, Any]:
    """Return the two modules of the optional library that are used here."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        what = "signatures and encryption need the package cryptography"
        raise UnavailableError(what, try_="pip install 'bakeoff[deliver]'") from None
    return serialization, ed25519
