"""Tampering in every way the benchmark knows, a slice of it: refused before a runtime is called; the sound bundle is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bakeoff.delivery import sealing
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes import encryption, sealed, signing
from bakeoff.runtimes.keys import Keys
from benchmarks import _tampering as tampering
from benchmarks._tampering import Sample
from tests.delivery import making

KINDS = ("unsigned", "signed", "encrypted")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    root = tmp_path_factory.mktemp("samples")
    signing.generate(root / "sign")
    signing.write_secret(root / "secret", encryption.new_key().encode())
    flags = {
        "unsigned": (Seal(), Keys()),
        "signed": (Seal.given(str(root / "sign"), None), Keys(verify=str(root / "sign.pub"))),
        "encrypted": (Seal.given(None, str(root / "secret")), Keys(decrypt=str(root / "secret"))),
    }
    making.bundle(root)
    manifest = sealed.read_manifest(root / "bundle")
    for name in (
        "kubernetes",
        "wheels",
        "manifest.json",
        "manifest.sha256",
    ):  # what is large or much, and takes only time
        path = root / "bundle" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = {}
    for name, (seal, keys) in flags.items():
        shutil.copytree(root / "bundle", root / name)
        sealing.close(root / name, manifest, seal)
        found[name] = Sample(name, root / name, keys)
    return found


def let_in(found: dict[str, bool]) -> list[str]:
    return [name for name, refused in found.items() if not refused]


@pytest.mark.parametrize("kind", KINDS)
def test_the_sound_bundle_is_let_in(samples: dict[str, Sample], kind: str) -> None:
    """Otherwise everything below would pass for nothing."""
    assert not tampering.refused(samples[kind].bundle, samples[kind].keys)


@pytest.mark.parametrize("kind", KINDS)
def test_one_other_byte_anywhere_is_refused(samples: dict[str, Sample], kind: str, tmp_path: Path) -> None:
    shutil.copytree(samples[kind].bundle, tmp_path / "bundle")
    count = 4 * len(tampering.files(tmp_path / "bundle"))
    found = tampering.mutate(tmp_path / "bundle", samples[kind].keys, count)
    assert set(found.values()) == {4}
    assert not tampering.refused(tmp_path / "bundle", samples[kind].keys)


def test_no_path_leads_out(samples: dict[str, Sample], tmp_path: Path) -> None:
    """The hostile entry has a right hash and a right checksum: only the path is wrong."""
    bundle = tmp_path / "bundle"
    shutil.copytree(samples["unsigned"].bundle, bundle)
    before = {name: (bundle / name).read_bytes() for name in ("manifest.json", "manifest.sha256")}
    paths = tampering.paths()
    assert len(paths) >= 200
    found = {}
    for path in paths:
        tampering.listed_at(path)(bundle)
        found[path] = tampering.refused(bundle, Keys())
        for name, content in before.items():
            (bundle / name).write_bytes(content)
    assert let_in(found) == []


@pytest.mark.parametrize("kind", KINDS)
def test_files_added_removed_renamed_swapped_linked_or_cut_are_refused(
    samples: dict[str, Sample], kind: str, tmp_path: Path
) -> None:
    every = list(tampering.changes(samples[kind].bundle))
    assert len({name for name, _ in every}) == len(every) > 150
    (tmp_path / "work").mkdir()
    chosen = every[KINDS.index(kind) :: 3] + every[-12:]
    assert let_in(tampering.on_copies(samples[kind], iter(chosen), tmp_path / "work")) == []


def test_ciphertext_listed_anew_is_still_refused(samples: dict[str, Sample], tmp_path: Path) -> None:
    found = tampering.on_copies(
        samples["encrypted"], tampering.encrypted_changes(samples["encrypted"].bundle), tmp_path
    )
    assert len(found) > 20
    assert let_in(found) == []


@pytest.mark.parametrize("kind", ["signed", "encrypted"])
def test_a_forged_manifest_is_refused_where_there_is_a_key(
    samples: dict[str, Sample], kind: str, tmp_path: Path
) -> None:
    assert let_in(tampering.on_copies(samples[kind], tampering.forgeries(), tmp_path)) == []


def test_an_unsigned_bundle_cannot_tell_a_forged_manifest(samples: dict[str, Sample], tmp_path: Path) -> None:
    """Said in the threat model; were this ever to fail, the model must be rewritten."""
    found = tampering.on_copies(samples["unsigned"], tampering.forgeries(), tmp_path)
    assert "a plain model in place of the encrypted one" in let_in(found)  # so what refuses it elsewhere is the key
    assert "README.md rewritten and listed again" in let_in(found)


def test_files_of_two_encrypted_bundles_cannot_be_mixed(samples: dict[str, Sample], tmp_path: Path) -> None:
    sample = samples["encrypted"]
    twin = tmp_path / "bundle"
    shutil.copytree(samples["unsigned"].bundle, twin)
    manifest = sealed.read_manifest(twin)
    for name in ("manifest.json", "manifest.sha256"):
        (twin / name).unlink()
    sealing.close(twin, manifest, Seal(secret=sample.keys.secret()))
    assert not tampering.refused(twin, sample.keys)
    for path in (sample.bundle / "model").iterdir():
        shutil.copyfile(path, twin / "model" / path.name)
    tampering.relist(twin)
    assert tampering.refused(twin, sample.keys)


def test_an_older_signed_manifest_does_not_cover_newer_files(samples: dict[str, Sample], tmp_path: Path) -> None:
    sample = samples["signed"]
    shutil.copytree(sample.bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "README.md").write_text("other")
    tampering.relist(tmp_path / "bundle")
    shutil.copyfile(sample.bundle / "manifest.sig", tmp_path / "bundle" / "manifest.sig")
    assert tampering.refused(tmp_path / "bundle", sample.keys)
    assert tampering.refused(tmp_path / "bundle", Keys())
