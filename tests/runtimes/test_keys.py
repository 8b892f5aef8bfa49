"""Where keys are found, and that only where they are travels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bakeoff.runtimes import encryption, signing
from bakeoff.runtimes.keys import DECRYPT, VERIFY, Keys
from bakeoff.schema.errors import UserError

KEY = "5b" * 32


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VERIFY, DECRYPT):
        monkeypatch.delenv(name, raising=False)


def test_nothing_given_is_nobody_trusted_and_no_key() -> None:
    keys = Keys.given()
    assert (keys.trusted(), keys.secret(), keys.variables()) == ((), None, {})


@pytest.mark.parametrize("form", ["key", "file", "variable"])
def test_the_environment_stands_for_what_was_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("ELSEWHERE", KEY)
    monkeypatch.setenv(DECRYPT, {"key": KEY, "file": str(tmp_path / "key"), "variable": "env:ELSEWHERE"}[form])
    assert Keys.given().secret() == bytes.fromhex(KEY)


def test_what_is_given_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DECRYPT, "00" * 32)
    (tmp_path / "key").write_text(KEY)
    assert Keys.given(decrypt=str(tmp_path / "key")).secret() == bytes.fromhex(KEY)


def test_public_keys_come_from_a_file_or_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = signing.generate(tmp_path / "key")
    assert Keys(verify=str(tmp_path / "key.pub")).trusted() == (public,)
    for value in (str(tmp_path / "key.pub"), (tmp_path / "key.pub").read_text()):
        monkeypatch.setenv(VERIFY, value)
        assert Keys.given().trusted() == (public,)
    with pytest.raises(UserError, match="cannot be read"):
        Keys(verify=str(tmp_path / "nothing")).trusted()


def test_a_pipe_is_read_once_and_handed_on() -> None:
    read, write = os.pipe()
    os.write(write, KEY.encode())
    os.close(write)
    keys = Keys.given(decrypt=f"/dev/fd/{read}")
    os.close(read)
    assert keys.secret() == keys.secret() == bytes.fromhex(KEY)
    code = "from bakeoff.runtimes.keys import Keys; print(Keys.given().secret().hex())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **keys.variables()}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == KEY
    assert KEY not in str(keys.variables())


def test_a_variable_holds_no_key_of_plain_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 letters are a password that somebody chose, from a variable or from a file."""
    word = "correct horse battery staple 123"
    assert len(word) == 32
    (tmp_path / "key").write_text(word)
    monkeypatch.setenv("ELSEWHERE", word)
    for given in (str(tmp_path / "key"), "env:ELSEWHERE"):
        with pytest.raises(UserError, match="no key of 32 bytes"):
            Keys(decrypt=given).secret()
    monkeypatch.setenv(DECRYPT, word)
    with pytest.raises(UserError) as caught:
        Keys.given().secret()
    assert word not in str(caught.value)
    monkeypatch.setenv("ELSEWHERE", "\x01" * 32)
    with pytest.raises(UserError, match="no key of 32 bytes"):
        Keys(decrypt="env:ELSEWHERE").secret()


def test_given_and_empty_is_not_the_same_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for verify, decrypt in (("", None), (None, ""), (None, " ")):
        with pytest.raises(UserError, match="empty"):
            Keys.given(verify, decrypt)
    for name in (VERIFY, DECRYPT):
        monkeypatch.setenv(name, "")
        with pytest.raises(UserError, match=name):
            Keys.given()
        monkeypatch.delenv(name)


def test_children_are_told_where_the_key_is_not_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.chdir(tmp_path)
    keys = Keys(verify="signer.pub", decrypt="key")
    assert keys.variables() == {VERIFY: str(tmp_path / "signer.pub"), DECRYPT: str(tmp_path / "key")}
    monkeypatch.setenv(VERIFY, "before")
    monkeypatch.setenv(DECRYPT, "before")
    keys.export()
    monkeypatch.chdir("/")
    assert KEY not in os.environ.values()
    assert Keys.given().secret() == encryption.read_key(str(tmp_path / "key"))
    assert Keys(decrypt="env:ELSEWHERE").variables() == {DECRYPT: "env:ELSEWHERE"}
