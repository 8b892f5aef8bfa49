"""Encryption at rest: what comes back is what went in, or nothing does."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.runtimes import encryption
from bakeoff.runtimes.encryption import CHUNK, Cipher
from bakeoff.schema.contract import Encryption
from bakeoff.schema.errors import BundleError, UserError

KEY = bytes(range(32))
DESCRIBED = Encryption(key=encryption.key_id(KEY), salt="5a" * 32)
SEALED = CHUNK + 16
HEAD = 31


def cipher(bound: bytes = b"manifest", described: Encryption = DESCRIBED) -> Cipher:
    return Cipher(KEY, described, bound)


def encrypted(content: bytes, name: str = "model/weights.npz") -> bytes:
    return b"".join(cipher().encrypt(name, io.BytesIO(content)))


def decrypted(content: bytes, name: str = "model/weights.npz", with_: Cipher | None = None) -> bytes:
    return b"".join((with_ or cipher()).decrypt(name, io.BytesIO(content)))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_files_of_any_size_come_back(size: int) -> None:
    content = bytes(size % 251 for _ in range(100)) * (size // 100 + 1)
    sealed = encrypted(content[:size])
    assert decrypted(sealed) == content[:size]
    assert len(sealed) == HEAD + size + 16 * max(1, -(-size // CHUNK))


@settings(max_examples=30)
@given(st.binary(max_size=200), st.integers(0, 10**6), st.integers(1, 255))
def test_every_byte_counts(content: bytes, at: int, other: int) -> None:
    sealed = encrypted(content)
    at %= len(sealed)
    with pytest.raises(BundleError):
        decrypted(sealed[:at] + bytes([sealed[at] ^ other]) + sealed[at + 1 :])


def test_chunks_cannot_be_cut_off_moved_repeated_or_added() -> None:
    sealed = encrypted(bytes(3 * CHUNK))
    head, chunks = sealed[:HEAD], [sealed[HEAD + at * SEALED : HEAD + (at + 1) * SEALED] for at in range(3)]
    assert decrypted(head + b"".join(chunks)) == bytes(3 * CHUNK)
    wrong = [
        chunks[:2], chunks[:1], [], [chunks[1], chunks[0], chunks[2]], [chunks[0], chunks[0], chunks[2]], [*chunks, chunks[2]],
        [*chunks, b"x"], chunks[1:], [chunks[0], chunks[2]], [chunks[0][:-1]],
    ]  # fmt: skip
    for parts in wrong:
        with pytest.raises(BundleError):
            decrypted(head + b"".join(parts))
    for size in range(HEAD):
        with pytest.raises(BundleError):
            decrypted(sealed[:size])


def test_a_file_belongs_to_its_name_its_bundle_and_its_key() -> None:
    sealed = encrypted(b"weights")
    with pytest.raises(BundleError):
        decrypted(sealed, "model/vocabulary.json")
    with pytest.raises(BundleError):
        decrypted(sealed, with_=cipher(bound=b"another manifest"))
    with pytest.raises(BundleError):
        decrypted(sealed, with_=cipher(described=DESCRIBED.model_copy(update={"salt": "5b" * 32})))
    with pytest.raises(BundleError, match="not the key") as caught:
        Cipher(bytes(32), DESCRIBED, b"manifest")
    assert bytes(32).hex() not in str(caught.value)


def test_nothing_is_given_out_before_its_tag_was_checked() -> None:
    sealed = bytearray(encrypted(bytes(2 * CHUNK)))
    sealed[HEAD + SEALED + 5] ^= 1
    parts = cipher().decrypt("model/weights.npz", io.BytesIO(sealed))
    assert next(parts) == bytes(CHUNK)
    with pytest.raises(BundleError):
        next(parts)


def test_two_encryptions_of_one_file_have_nothing_in_common() -> None:
    one, two = encrypted(bytes(100)), encrypted(bytes(100))
    assert one[8:HEAD] != two[8:HEAD]
    assert one[HEAD:] != two[HEAD:]


def test_the_context_is_all_but_what_comes_after_encrypting() -> None:
    entry = {"path": "a.enc", "sha256": "1", "size": 1}
    plain = {"path": "b", "sha256": "2", "size": 2}

    def context(**changes: object) -> bytes:
        return encryption.context(json.dumps({"study": "s", "files": [entry, plain], **changes}).encode())

    assert context() == context(files=[plain, {**entry, "sha256": "9", "size": 9}])
    others = [
        context(study="t"), context(files=[entry]), context(files=[plain]), context(files=[entry, {**plain, "sha256": "3"}]),
        context(files=[{**entry, "path": "c.enc"}, plain]), context(extra=1),
    ]  # fmt: skip
    assert len({context(), *others}) == 7


@pytest.mark.parametrize("form", ["hex", "hex line", "base64", "raw"])
def test_keys_are_read_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    content = {
        "hex": KEY.hex().encode(), "hex line": KEY.hex().upper().encode() + b"\n", "base64": base64.b64encode(KEY) + b"\n", "raw": KEY,
    }[form]  # fmt: skip
    (tmp_path / "key").write_bytes(content)
    assert encryption.read_key(str(tmp_path / "key")) == KEY
    if form != "raw":
        monkeypatch.setenv("SOME_KEY", content.decode())
        assert encryption.read_key("env:SOME_KEY") == KEY


def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ("", "secret words", "ab" * 31, "zz" * 32, "QUJD"):
        (tmp_path / "key").write_text(content)
        monkeypatch.setenv("SOME_KEY", content)
        for given_ in (str(tmp_path / "key"), "env:SOME_KEY"):
            with pytest.raises(UserError, match="no key of 32 bytes") as caught:
                encryption.read_key(given_)
            assert not content or content not in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        encryption.read_key(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="no such environment variable"):
        encryption.read_key("env:NOT_SET_AT_ALL")


def test_new_keys_are_new() -> None:
    assert len({encryption.new_key() for _ in range(20)}) == 20
    assert encryption.key_id(KEY) != encryption.key_id(bytes(32))
