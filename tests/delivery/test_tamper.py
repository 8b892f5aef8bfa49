"""Tampering in every way the benchmark knows, a slice of it: refused before a runtime is called; the sound bundle is not."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bakeoff
from bakeoff.delivery import sealing
from bakeoff.delivery.sealing import Seal
from bakeoff.runtimes import encryption, sealed, signing
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.errors import BundleError
from bakeoff.serving.model import open_bundle
from benchmarks import _tampering as tampering
from benchmarks._tampering import Sample
from tests.delivery import making
from tests.serving.running import running

KINDS = ("unsigned", "signed", "encrypted")
SRC = Path(bakeoff.__file__).parent
POISON = """
import os
from pathlib import Path
Path(os.environ["POISONED"]).write_text(__file__)
"""
SAFE = "import sys; del sys.path[0]; from bakeoff.serving.__main__ import main; sys.exit(main())"
"""The server as ``python -P`` starts it."""


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


@pytest.mark.parametrize(
    "name",
    ["numpy.py", "numpy.pyw", "bakeoff/__init__.PY", "model/__pycache__/x.cpython-311.pyc", "_json.pyd", "json.abi3.so", "onnx.dll"],
)  # fmt: skip
def test_a_file_that_python_would_import_is_refused(samples: dict[str, Sample], name: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(samples["unsigned"].bundle, bundle)
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text(POISON)
    tampering.relist(bundle)
    with pytest.raises(BundleError, match=f"Python would import: {name}"):
        open_bundle(bundle, Keys())


def test_it_is_refused_though_a_trusted_key_signed_it(samples: dict[str, Sample], tmp_path: Path) -> None:
    sample, bundle = samples["signed"], tmp_path / "bundle"
    shutil.copytree(sample.bundle, bundle, ignore=shutil.ignore_patterns("manifest.*"))
    (bundle / "numpy.py").write_text(POISON)
    sealing.close(bundle, sealed.read_manifest(sample.bundle), Seal.given(str(sample.bundle.parent / "sign"), None))
    with pytest.raises(BundleError, match="Python would import"):
        open_bundle(bundle, sample.keys)


def cli(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a verb with ``folder`` as current folder, as the installed program does: it is not on the path of that one."""
    environment = {**os.environ, "PYTHONPATH": str(SRC.parent), "POISONED": str(folder.parent / "poisoned")}
    command = [sys.executable, "-P", "-m", "bakeoff.cli", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "verb", [["verify", ".", "--quick"], ["serve", ".", "--port", "0"], ["load", "."]], ids=" ".join
)
def test_a_bundle_that_is_opened_from_inside_runs_nothing(copy: Path, verb: list[str]) -> None:
    (copy / "numpy.py").write_text(POISON)
    tampering.relist(copy)
    done = cli(copy, *verb)
    assert done.returncode == 2
    assert "Python would import" in done.stderr
    assert not (copy.parent / "poisoned").exists()


@pytest.mark.parametrize(
    "verb", [["verify", "--quick"], ["load", "--scenario", "closed", "--seconds", "0.2"]], ids=" ".join
)
def test_the_current_folder_is_on_no_path(shipped: Path, tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "numpy.py").write_text(POISON)
    done = cli(tmp_path / "here", *verb, shipped)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "poisoned").exists()


def test_the_current_folder_is_on_no_workers_path(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POISONED", str(tmp_path / "poisoned"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "numpy.py").write_text(POISON)
    with running(shipped, tmp_path / "here", "--compute", "processes", script=SAFE) as server:
        assert server.client.post("/v1/predict", json={"rows": [{"text": "很好"}]}).status_code == 200
    assert not (tmp_path / "poisoned").exists()


def test_every_python_that_is_started_leaves_the_current_folder_out() -> None:
    """``-P``, in each command of ours: the current folder may be a bundle that a stranger wrote."""
    commands = [
        (path.relative_to(SRC).as_posix(), node)
        for path in sorted(SRC.rglob("*.py"))
        if "sys.executable" in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.List | ast.Tuple) and node.elts and ast.unparse(node.elts[0]) == "sys.executable"
    ]
    assert len(commands) >= 9
    assert [name for name, node in commands if ast.unparse(node.elts[1]) != "'-P'"] == []


@pytest.mark.parametrize("name", ["whole.onnx", "model/other.onnx"])
def test_a_graph_that_says_how_large_it_becomes_is_refused_wherever_it_lies(copy: Path, name: str) -> None:
    """Also the one beside the model, which ``verify`` compares."""
    helper = pytest.importorskip("onnx").helper
    filled = helper.make_node("ConstantOfShape", ["s"], ["y"])
    size, said = helper.make_tensor("s", 7, [1], [1 << 40]), helper.make_tensor_value_info("y", 1, None)
    (copy / name).write_bytes(
        helper.make_model(helper.make_graph([filled], "g", [], [said], [size])).SerializeToString()
    )
    tampering.relist(copy)
    with pytest.raises(BundleError, match=f"{name} makes tensors far larger"):
        open_bundle(copy, Keys())
