"""Signatures: sound ones are believed, everything else is refused, and the envelope is what other tools read."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from bakeoff.runtimes import signing
from bakeoff.schema.errors import BundleError, UserError

MANIFEST = b'{"files": []}\n'


@pytest.fixture(scope="module")
def key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="module")
def public(key: ed25519.Ed25519PrivateKey) -> bytes:
    return signing.raw(key.public_key())


def name(public: bytes) -> str:
    return base64.b64encode(public).decode()


def test_a_key_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    public = signing.generate(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert signing.read_public((tmp_path / "key.pub").read_bytes(), "here") == (public,)
    assert signing.raw(signing.read_private(tmp_path / "key").public_key()) == public
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(UserError, match="never overwritten"):
        signing.generate(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


def test_half_a_pair_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("somebody's")
    with pytest.raises(UserError, match="never overwritten"):
        signing.generate(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    assert (tmp_path / "key.pub").read_text() == "somebody's"
    (tmp_path / "key.pub").unlink()
    signing.generate(tmp_path / "key")


def test_a_passphrase_protects_the_key(tmp_path: Path) -> None:
    signing.generate(tmp_path / "key", b"correct horse")
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    signing.read_private(tmp_path / "key", b"correct horse")
    with pytest.raises(UserError, match="needs its passphrase"):
        signing.read_private(tmp_path / "key")
    with pytest.raises(UserError, match="passphrase is wrong"):
        signing.read_private(tmp_path / "key", b"battery staple")


def test_other_kinds_of_keys_are_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "ec").write_bytes(other.private_bytes(serialization.Encoding.PEM, *form))
    with pytest.raises(UserError, match="another kind of key"):
        signing.read_private(tmp_path / "ec")
    pem = other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UserError, match="another kind of key"):
        signing.read_public(pem, "here")
    for content in (b"", b"nothing", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(UserError, match="no public key"):
            signing.read_public(content, "here")
    with pytest.raises(UserError, match="cannot be read"):
        signing.read_private(tmp_path / "nothing")


def test_a_private_key_is_no_public_key(tmp_path: Path) -> None:
    signing.generate(tmp_path / "key")
    with pytest.raises(UserError, match="not the private key"):
        signing.read_public((tmp_path / "key").read_bytes(), "here")


def test_who_signed_is_said(key: ed25519.Ed25519PrivateKey, public: bytes) -> None:
    envelope = signing.sign(MANIFEST, key)
    assert envelope == signing.sign(MANIFEST, key)
    trusted = signing.check(MANIFEST, envelope, name(public), (public,))
    assert (trusted.state, trusted.signer) == ("trusted", hashlib.sha256(public).hexdigest())
    assert signing.check(MANIFEST, envelope, name(public), ()).state == "untrusted"
    assert signing.check(MANIFEST, None, None, ()).state == "none"


def test_one_of_several_trusted_keys_is_enough(key: ed25519.Ed25519PrivateKey, public: bytes, tmp_path: Path) -> None:
    signing.generate(tmp_path / "other")
    pem = (tmp_path / "other.pub").read_bytes() + key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    both = signing.read_public(pem, "here")
    assert len(both) == 2
    assert signing.check(MANIFEST, signing.sign(MANIFEST, key), name(public), both).state == "trusted"


@pytest.mark.parametrize("trusted", [True, False])
def test_every_byte_of_manifest_and_envelope_counts(
    key: ed25519.Ed25519PrivateKey, public: bytes, *, trusted: bool
) -> None:
    envelope = signing.sign(MANIFEST, key)
    keys = (public,) if trusted else ()
    for at in range(len(envelope)):
        for bit in (1, 32):  # 32 turns a capital letter into a small one
            changed = envelope[:at] + bytes([envelope[at] ^ bit]) + envelope[at + 1 :]
            with pytest.raises(BundleError):
                signing.check(MANIFEST, changed, name(public), keys)
    for changed in (MANIFEST + b" ", MANIFEST[:-1], b""):
        with pytest.raises(BundleError):
            signing.check(changed, envelope, name(public), keys)


def test_the_wrong_people_are_refused(key: ed25519.Ed25519PrivateKey, public: bytes) -> None:
    other = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    theirs = signing.raw(other.public_key())
    envelope, forged = signing.sign(MANIFEST, key), signing.sign(MANIFEST, other)
    with pytest.raises(BundleError, match="not signed"):
        signing.check(MANIFEST, None, None, (public,))
    with pytest.raises(BundleError, match="signature is missing"):
        signing.check(MANIFEST, None, name(public), ())
    with pytest.raises(BundleError, match="not in the manifest"):
        signing.check(MANIFEST, envelope, None, ())
    with pytest.raises(BundleError, match="do not trust"):
        signing.check(MANIFEST, forged, name(theirs), (public,))
    with pytest.raises(BundleError, match="another signer"):
        signing.check(MANIFEST, envelope, name(theirs), (public,))
    with pytest.raises(BundleError, match="does not belong"):
        signing.check(MANIFEST, forged, name(public), ())
    for signer in ("", "x", name(public)[:-4], name(public) + "\n", "A" * 44):
        with pytest.raises(BundleError):
            signing.check(MANIFEST, envelope, signer, ())


def test_the_envelope_is_dsse_around_an_in_toto_statement(key: ed25519.Ed25519PrivateKey) -> None:
    """Written again from the two specifications, not from our code."""
    envelope = json.loads(signing.sign(MANIFEST, key))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    assert kind == "application/vnd.in-toto+json"
    encoded = b" ".join([b"DSSEv1", b"28", kind.encode(), str(len(payload)).encode(), payload])
    (signed,) = envelope["signatures"]
    key.public_key().verify(base64.b64decode(signed["sig"]), encoded)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [
        {"name": "manifest.json", "digest": {"sha256": hashlib.sha256(MANIFEST).hexdigest()}}
    ]
    assert {"predicateType", "predicate"} <= set(statement)
