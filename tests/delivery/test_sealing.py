"""Bundles signed, encrypted, both or neither: shipped, opened, verified, served, and refused when a key is wrong or missing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.cli import main
from bakeoff.delivery import rows, sealing, verify
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes import encryption, sealed, signing
from bakeoff.runtimes.keys import DECRYPT, VERIFY, Keys
from bakeoff.schema.contract import Contract
from bakeoff.schema.errors import BundleError, UserError
from bakeoff.serving.model import load, open_bundle
from tests.delivery import making

SECRETS = (
    "model/artifact.json",
    "model/vocabulary.json",
    "model/weights.npz",
    rows.FILE,
    "decision.json",
    "report.html",
)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, and a bundle of each kind; never changed."""
    root = tmp_path_factory.mktemp("vault")
    for name in ("sign", "other"):
        signing.generate(root / name)
    for name in ("secret", "wrong"):
        signing.write_secret(root / name, encryption.new_key().encode())
    for name, sign, secret in (("signed", "sign", None), ("encrypted", None, "secret"), ("both", "sign", "secret")):
        seal = Seal.given(str(root / sign) if sign else None, str(root / secret) if secret else None)
        making.bundle(root / name, seal=seal, report="<html>很好 report</html>")
    return root


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set and take away again, so that what a command exports ends with the test."""
    for name in (VERIFY, DECRYPT, sealing.PASSPHRASE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def keys(vault: Path, verify: str | None = None, decrypt: str | None = None) -> Keys:
    return Keys(str(vault / f"{verify}.pub") if verify else None, str(vault / decrypt) if decrypt else None)


def test_a_signed_bundle_says_who_signed(vault: Path) -> None:
    bundle = vault / "signed" / "bundle"
    (public,) = signing.read_public((vault / "sign.pub").read_bytes(), "")
    known = verify(bundle, quick=True, keys=keys(vault, "sign"))
    assert (known.signature.state, known.signature.signer) == ("trusted", signing.fingerprint(public))
    unknown = verify(bundle, quick=True, keys=Keys())
    assert unknown.signature.state == "untrusted"
    assert f"signed by {signing.fingerprint(public)[:16]}, not checked against a key you trust" in unknown.text()
    assert "未与您信任的公钥核对" in unknown.text("zh")
    assert known.kept
    assert not known.encrypted


def test_an_unsigned_bundle_says_so_and_is_refused_where_a_key_is_given(vault: Path, shipped: Path) -> None:
    assert verify(shipped, quick=True, keys=Keys()).signature.state == "none"
    assert "not signed" in verify(shipped, quick=True, keys=Keys()).text()
    with pytest.raises(BundleError, match="not signed"):
        open_bundle(shipped, keys(vault, "sign"))


def test_another_signer_is_refused(vault: Path) -> None:
    with pytest.raises(BundleError, match="do not trust"):
        open_bundle(vault / "signed" / "bundle", keys(vault, "other"))


def test_what_holds_rows_or_learned_from_them_is_encrypted_and_nothing_else(vault: Path) -> None:
    bundle = vault / "encrypted" / "bundle"
    manifest = sealed.read_manifest(bundle)
    assert {entry.path for entry in manifest.files if entry.path.endswith(".enc")} == {
        f"{name}.enc" for name in SECRETS
    }
    for name in ("README.md", "Dockerfile", "requirements.txt", "contract.json", "sbom.cdx.json", "manifest.json"):
        assert (bundle / name).read_text(encoding="utf-8")
    content = b"".join(path.read_bytes() for path in bundle.rglob("*") if path.is_file())
    for secret in ("很好".encode(), (vault / "secret").read_bytes(), bytes.fromhex((vault / "secret").read_text())):
        assert secret not in content


def test_an_encrypted_bundle_answers_as_the_plain_one(vault: Path, shipped: Path) -> None:
    questions = [{"text": "很好 喜欢"}, {"text": "awful"}]
    one = load(open_bundle(shipped, Keys())).classifier.predict(questions)[1]
    opened = open_bundle(vault / "encrypted" / "bundle", keys(vault, decrypt="secret"))
    assert load(opened).classifier.predict(questions)[1].tolist() == one.tolist()
    report = verify(vault / "both" / "bundle", quick=True, keys=keys(vault, "sign", "secret"))
    assert (report.encrypted, report.signature.state, report.rows, report.kept) == (True, "trusted", 200, True)
    assert "encrypted at rest" in report.text()


def test_nothing_decrypted_touches_a_disk(vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set((vault / "encrypted").rglob("*"))
    opened = open_bundle(vault / "encrypted" / "bundle", keys(vault, decrypt="secret"))
    load(opened)
    assert opened.memory is not None
    plain = [path for path in opened.memory.path.rglob("*") if not path.is_dir()]
    assert plain
    assert all(path.is_symlink() for path in plain)
    assert set((vault / "encrypted").rglob("*")) == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    opened.memory.close()


def test_answers_to_encrypted_rows_stay_in_memory_while_they_are_compared(
    vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is no /dev/shm to put a folder in."""
    monkeypatch.setattr("bakeoff.runtimes.memory._PLACES", (None,))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    real, places, named = subprocess.run, [], []

    def run(*arguments: Any, **given: Any) -> Any:
        done = real(*arguments, **given)
        places.extend(str(Path(f"/proc/self/fd/{descriptor}").readlink()) for descriptor in given.get("pass_fds", ()))
        named.extend(path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink())
        return done

    monkeypatch.setattr(subprocess, "run", run)
    assert verify(vault / "encrypted" / "bundle", quick=True, keys=keys(vault, decrypt="secret")).parity
    assert named == []
    assert places
    assert all(place.startswith("/memfd:") for place in places), places


def test_a_wrong_or_missing_key_is_a_clear_error(vault: Path) -> None:
    bundle = vault / "encrypted" / "bundle"
    with pytest.raises(BundleError, match="encrypted and no key was given"):
        open_bundle(bundle, Keys())
    with pytest.raises(BundleError, match="not the key"):
        open_bundle(bundle, keys(vault, decrypt="wrong"))
    with pytest.raises(BundleError, match="not the key"):
        verify(bundle, quick=True, keys=keys(vault, decrypt="wrong"))


def test_a_plain_bundle_does_not_pass_for_an_encrypted_one(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = vault / "signed" / "bundle"
    with pytest.raises(BundleError, match="not encrypted, and a key"):
        open_bundle(bundle, keys(vault, decrypt="secret"))
    monkeypatch.setenv(DECRYPT, str(vault / "secret"))
    with pytest.raises(BundleError, match="not encrypted, and a key"):
        open_bundle(bundle)
    monkeypatch.delenv(DECRYPT)
    assert open_bundle(bundle).memory is None


def test_a_key_that_is_given_and_empty_is_refused(
    vault: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from a script whose variable is not set: it must neither check nothing nor leave a bundle open."""
    bundle = str(vault / "signed" / "bundle")
    for flag in ("--key", "--decrypt"):
        assert main(["verify", bundle, "--quick", flag, ""]) == 2
        assert flag in capsys.readouterr().err
    for sign, encrypt in (("", None), (None, ""), (" ", None)):
        with pytest.raises(UserError, match="is empty"):
            Seal.given(sign, encrypt)
    for name in (VERIFY, DECRYPT):
        monkeypatch.setenv(name, "")
        with pytest.raises(UserError, match=name):
            open_bundle(Path(bundle))
        monkeypatch.delenv(name)


def test_a_secret_given_in_place_of_a_path_is_not_repeated() -> None:
    secret, long = "5b" * 32, "x" * 5000
    given: list[Callable[[], object]] = [
        lambda: Seal.given(None, secret), lambda: Keys(decrypt=secret).secret(), lambda: Keys(verify=secret).trusted(),
        lambda: sealing.read_passphrase(secret), lambda: Seal.given(secret, None), lambda: Seal.given(None, f"env:{secret}"),
        lambda: sealing.read_passphrase(f"env:{secret}"), lambda: Keys(decrypt=long).secret(),
    ]  # fmt: skip
    for ask in given:
        with pytest.raises(UserError) as caught:
            ask()
        assert secret not in str(caught.value)
        assert long[:50] not in str(caught.value)
        assert "--" in str(caught.value)


def test_a_manifest_nobody_trusted_signed_is_not_parsed(vault: Path, tmp_path: Path) -> None:
    shutil.copytree(vault / "signed" / "bundle", tmp_path / "bundle")
    (tmp_path / "bundle" / "manifest.json").write_text("no JSON at all")
    with pytest.raises(BundleError, match="do not trust"):
        open_bundle(tmp_path / "bundle", keys(vault, "sign"))


def test_keys_come_through_a_pipe_and_reach_child_processes(vault: Path) -> None:
    """``--decrypt <(gpg -d …)``: read once, yet the process that measures needs the key as well."""
    command = (
        f'exec "{sys.executable}" -m bakeoff.cli verify "{vault}/both/bundle" --quick --json --key <(cat "{vault}/sign.pub") '
        f'--decrypt <(cat "{vault}/secret")'
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["encrypted"] is True


def test_no_plain_byte_of_an_encrypted_bundle_is_written_to_its_destination(
    vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, looked = tmp_path / "out", []
    close = sealing.close

    def look(folder: Path, *rest: Any) -> Any:
        (partial,) = out.iterdir()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (partial, folder)] == [0o700, 0o700]
        assert list(partial.iterdir()) == []
        assert (folder / "model" / "weights.npz").is_file()
        looked.append(folder)
        return close(folder, *rest)

    monkeypatch.setattr(sealing, "close", look)
    making.bundle(tmp_path / "made", seal=Seal.given(None, str(vault / "secret")), out=out / "bundle")
    assert len(looked) == 1
    assert not looked[0].exists()
    assert load(open_bundle(out / "bundle", keys(vault, decrypt="secret"))).opened.memory is not None


@pytest.mark.parametrize("secret", [None, "secret"])
def test_a_bundle_can_be_entered_whatever_the_umask(vault: Path, tmp_path: Path, secret: str | None) -> None:
    before = os.umask(0o077)
    try:
        making.bundle(tmp_path, seal=Seal.given(None, str(vault / secret) if secret else None))
    finally:
        os.umask(before)
    bundle = tmp_path / "bundle"
    for path in (bundle, *bundle.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


def test_encrypted_again_the_secrets_differ_and_the_rest_does_not(vault: Path, tmp_path: Path) -> None:
    seal = Seal.given(None, str(vault / "secret"))
    making.bundle(tmp_path, seal=seal, report="<html>很好 report</html>")
    one, two = vault / "encrypted" / "bundle", tmp_path / "bundle"
    for path in sorted(one.rglob("*")):
        name = path.relative_to(one).as_posix()
        if path.is_file() and name not in {"manifest.json", "manifest.sha256"}:
            assert (path.read_bytes() == (two / name).read_bytes()) is (not name.endswith(".enc")), name


def test_signed_again_the_bytes_are_the_same(vault: Path, tmp_path: Path) -> None:
    making.bundle(tmp_path, seal=Seal.given(str(vault / "sign"), None), report="<html>很好 report</html>")
    for path in (vault / "signed" / "bundle").rglob("*"):
        if path.is_file():
            twin = tmp_path / "bundle" / path.relative_to(vault / "signed" / "bundle")
            assert path.read_bytes() == twin.read_bytes()


def test_a_specification_that_asks_for_encryption_gets_no_plain_bundle(vault: Path, tmp_path: Path) -> None:
    wanted = making.spec(risk={"encrypt": True})
    with pytest.raises(BundleError, match=r"risk\.encrypt"):
        making.bundle(tmp_path, spec=wanted)
    assert not (tmp_path / "bundle").exists()
    making.bundle(tmp_path / "again", spec=wanted, seal=Seal.given(None, str(vault / "secret")))
    assert sealed.read_manifest(tmp_path / "again" / "bundle").encryption is not None


def test_whoever_can_open_it_has_what_that_takes_pinned(vault: Path, shipped: Path) -> None:
    for name in ("signed", "encrypted"):
        assert "cryptography==" in (vault / name / "bundle" / "requirements.txt").read_text()
    assert "cryptography" not in (shipped / "requirements.txt").read_text()


def test_the_readme_says_how_far_it_can_be_trusted(vault: Path, shipped: Path) -> None:
    assert "not signed" in (shipped / "README.md").read_text()
    text = (vault / "both" / "bundle" / "README.md").read_text()
    assert "bakeoff verify . --key signer.pub --decrypt key" in text
    assert "未签名" not in text


def test_a_change_while_the_model_loads_is_noticed(copy: Path) -> None:
    """Whoever may write to the folder could wait until the hashes were compared."""
    opened = open_bundle(copy, Keys())

    def late(*arguments: Any) -> Any:
        from bakeoff.runtimes.loading import load_predictor

        path = copy / "model" / "vocabulary.json"
        content, status = path.read_bytes(), path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return load_predictor(*arguments)

    with pytest.raises(BundleError, match=r"vocabulary\.json changed while"):
        load(opened, loader=late)


def test_records_are_parsed_from_the_bytes_that_were_hashed(copy: Path) -> None:
    found = sealed.open_sealed(copy)
    contract = Contract.model_validate_json((copy / "contract.json").read_bytes())
    (copy / "contract.json").write_text(contract.model_copy(update={"threads": 7}).model_dump_json())
    with pytest.raises(BundleError, match=r"contract\.json"):
        found.read("contract.json")
    with pytest.raises(BundleError, match="has no"):
        found.read("other.json")


def test_a_bundle_from_before_checksums_still_opens(copy: Path) -> None:
    """Version 0.1.0 wrote a manifest and nothing beside it."""
    document = json.loads((copy / "manifest.json").read_text())
    for name in ("checksum", "signer", "encryption", "formats", "weights", "contract", "measured_as"):
        del document[name]
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"manifest\.sha256: not in the manifest"):
        open_bundle(copy, Keys())
    (copy / "manifest.sha256").unlink()
    assert load(open_bundle(copy, Keys())).opened.sealed.signature.state == "none"


# --- the command line


def test_keygen_writes_both_kinds_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "-o", str(tmp_path / "sign"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (public,) = signing.read_public((tmp_path / "sign.pub").read_bytes(), "")
    assert said["fingerprint"] == signing.fingerprint(public)
    assert main(["keygen", "--encryption", "-o", str(tmp_path / "secret"), "--json"]) == 0
    key = encryption.read_key(str(tmp_path / "secret"))
    out = capsys.readouterr().out
    assert json.loads(out)["id"] == encryption.key_id(key)
    assert key.hex() not in out
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
    assert main(["keygen", "-o", str(tmp_path / "sign")]) == 2
    assert main(["keygen", "--encryption", "--passphrase", "env:X", "-o", str(tmp_path / "more")]) == 2
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("how", ["file", "env", "usual"])
def test_a_passphrase_is_read_from_a_file_or_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (tmp_path / "words").write_text("correct horse\n")
    monkeypatch.setenv("WORDS", "correct horse")
    monkeypatch.setenv(sealing.PASSPHRASE, "correct horse" if how == "usual" else "")
    given = {"file": str(tmp_path / "words"), "env": "env:WORDS", "usual": None}[how]
    extra = ["--passphrase", given] if given else []
    assert main(["keygen", "-o", str(tmp_path / "key"), *extra]) == 0
    assert Seal.given(str(tmp_path / "key"), None, given).key is not None
    monkeypatch.setenv(sealing.PASSPHRASE, "")
    with pytest.raises(UserError, match="needs its passphrase"):
        Seal.given(str(tmp_path / "key"), None)
    with pytest.raises(UserError):
        sealing.read_passphrase("env:NOT_SET_AT_ALL")
    with pytest.raises(UserError):
        sealing.read_passphrase(str(tmp_path / "nothing"))


def test_verify_takes_keys_and_speaks_both_languages(vault: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(vault / "both" / "bundle")
    command = ["verify", bundle, "--quick", "--key", str(vault / "sign.pub"), "--decrypt", str(vault / "secret")]
    assert main([*command, "--lang", "zh"]) == 0
    assert "由您信任的" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"]["state"] == "trusted"


def test_verify_refuses_with_exit_code_two(vault: Path, shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(shipped), "--quick", "--key", str(vault / "sign.pub")]) == 2
    assert "not signed" in capsys.readouterr().err


def test_the_server_alone_takes_its_keys_from_the_environment(vault: Path) -> None:
    """As the image starts it; the key is in no command line."""
    code = (
        "import sys, pathlib; from bakeoff.serving.model import load, open_bundle;"
        "print(load(open_bundle(pathlib.Path(sys.argv[1]))).opened.sealed.signature.state)"
    )
    key = (vault / "secret").read_text()
    variables = {**os.environ, DECRYPT: key, VERIFY: (vault / "sign.pub").read_text()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(vault / "both" / "bundle")], env=variables, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.strip() == "trusted"
