"""What is written, that it is complete, reproducible, atomic, and that it never takes something else's place."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.data.examples import Examples
from bakeoff.delivery import container, requirements, rows, wheel
from bakeoff.loadgen.gate import spans
from bakeoff.runtimes import sealed
from bakeoff.schema.contract import Contract, Manifest
from bakeoff.schema.decision import Decision, Metric
from bakeoff.schema.errors import BundleError
from tests.delivery import making

EXPECTED = {
    "Dockerfile", "README.md", "contract-rows.jsonl.gz", "contract.json", "decision.json", "kubernetes/base/deployment.yaml",
    "kubernetes/kustomization.yaml", "kubernetes/overlays/canary/gate.yaml", ".dockerignore", "requirements.lock", "model/artifact.json",
    "model/vocabulary.json", "model/weights.npz", "requirements.txt", "sbom.cdx.json",
}  # fmt: skip


def everything(bundle: Path) -> dict[str, str]:
    """Return path → hash of all files."""
    return {
        path.relative_to(bundle).as_posix(): sealed.digest(path) for path in sorted(bundle.rglob("*")) if path.is_file()
    }


def test_the_bundle_is_complete_and_every_hash_is_right(shipped: Path) -> None:
    manifest = Manifest.model_validate_json((shipped / "manifest.json").read_bytes())
    listed = {entry.path: entry for entry in manifest.files}
    assert set(listed) >= EXPECTED
    assert set(everything(shipped)) == {*listed, "manifest.json", "manifest.sha256"}
    for name, entry in listed.items():
        content = (shipped / name).read_bytes()
        assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest.classes == making.CLASSES
    assert manifest.runtime == "native"


def test_files_are_plain_and_readable_by_all(shipped: Path) -> None:
    for path in shipped.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o644, path


def test_the_contract_holds_every_limit_with_the_trials_numbers(shipped: Path) -> None:
    contract = Contract.model_validate_json((shipped / "contract.json").read_bytes())
    assert [promise.name for promise in contract.promises] == ["latency_p95", "macro_f1", "memory", "size"]
    assert contract.promises[1].trial.value == 0.94
    assert (contract.rows, contract.threads, contract.metric) == (200, 1, "macro_f1")
    Decision.model_validate_json((shipped / "decision.json").read_bytes())


def test_the_gates_job_has_the_time_that_its_promises_take(tmp_path: Path) -> None:
    limits = {"requirements.latency.p95": (0.5, "max", "s"), "requirements.throughput.min": (0.02, "min", "1/s")}
    making.bundle(tmp_path, decision=making.decision(making.candidate(), making.METRICS, limits))
    contract = Contract.model_validate_json((tmp_path / "bundle/contract.json").read_bytes())
    _, seconds = spans(contract, contract.rows)
    gate = (tmp_path / "bundle/kubernetes/overlays/canary/gate.yaml").read_text(encoding="utf-8")
    found = re.search(r"activeDeadlineSeconds: (\d+)", gate)
    assert found
    assert int(found[1]) > seconds >= 9000, "a p95 needs 180 requests"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    for number in (1, 2):
        making.bundle(tmp_path / str(number), report="<html>report</html>")
    one, two = everything(tmp_path / "1" / "bundle"), everything(tmp_path / "2" / "bundle")
    assert one == two
    assert "report.html" in one


def test_nothing_of_this_machine_is_in_the_texts(shipped: Path, tmp_path: Path) -> None:
    readable = [
        path for path in shipped.rglob("*") if path.suffix in {".json", ".md", ".yaml", ".txt", ""} and path.is_file()
    ]
    for text in (path.read_text(encoding="utf-8") for path in readable):
        assert str(tmp_path.parent.parent) not in text
        assert os.uname().nodename not in text.split()


def test_shipping_again_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    making.bundle(tmp_path)
    (tmp_path / "bundle" / "stray.txt").write_text("left over")
    making.bundle(tmp_path / "again", out=tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "stray.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "artifact", "bundle"]


@pytest.mark.parametrize("kind", ["folder", "file", "link", "broken bundle"])
def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    else:
        out.mkdir()
        (out / ("manifest.json" if kind == "broken bundle" else "thesis.docx")).write_text("mine")
    before = {path.name: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(BundleError):
        making.bundle(tmp_path / "made", out=out)
    after = {path.name: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {name: after[name] for name in before} == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    making.bundle(tmp_path)
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bakeoff.delivery.bundle.build_wheel", fails)
    with pytest.raises(BundleError, match="No space left"):
        making.bundle(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact"]


def test_an_interrupted_replacement_keeps_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making.bundle(tmp_path)
    before = everything(tmp_path / "bundle")
    rename, calls = Path.rename, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(BundleError):
        making.bundle(tmp_path / "again", out=tmp_path / "bundle")
    assert everything(tmp_path / "bundle") == before


@pytest.mark.parametrize("harm", ["pickle", "altered", "missing", "escape", "link"])
def test_an_unsafe_or_altered_artefact_is_not_shipped(tmp_path: Path, harm: str) -> None:
    artifact = making.tfidf(tmp_path / "artifact")
    folder = tmp_path / "artifact"
    if harm == "pickle":
        (folder / "head.json").write_bytes(pickle.dumps({"a": 1}))
        making.finish(artifact, folder)
    elif harm == "altered":
        (folder / "weights.npz").write_bytes(b"other")
    elif harm == "missing":
        (folder / "weights.npz").unlink()
    else:
        document = json.loads((folder / "artifact.json").read_text())
        document["files"][0]["path"] = "../../etc/passwd" if harm == "escape" else "/etc/hostname"
        (folder / "artifact.json").write_text(json.dumps(document))
    chosen = making.candidate()
    with pytest.raises(BundleError):
        making.ship_(tmp_path, artifact_dir=folder, decision=making.decision(chosen, making.METRICS), candidate=chosen)
    assert not (tmp_path / "bundle").exists()


def test_links_in_the_artefact_store_are_followed_to_their_content(tmp_path: Path) -> None:
    making.tfidf(tmp_path / "artifact")
    (tmp_path / "artifact" / "weights.npz").rename(tmp_path / "elsewhere.npz")
    (tmp_path / "artifact" / "weights.npz").symlink_to(tmp_path / "elsewhere.npz")
    chosen = making.candidate()
    making.ship_(
        tmp_path, artifact_dir=tmp_path / "artifact", decision=making.decision(chosen, making.METRICS), candidate=chosen
    )
    assert not (tmp_path / "bundle" / "model" / "weights.npz").is_symlink()


def test_a_candidate_nobody_evaluated_cannot_be_promised(tmp_path: Path) -> None:
    other = making.candidate("boosting")
    with pytest.raises(BundleError, match="not evaluated") as caught:
        making.bundle(tmp_path, candidate=other)
    assert "linear.char.none.native" in str(caught.value)


def test_a_limit_that_was_not_measured_is_still_a_promise(tmp_path: Path) -> None:
    chosen = making.candidate()
    making.bundle(tmp_path, decision=making.decision(chosen, {"macro_f1": Metric(value=0.9, n=10)}))
    contract = Contract.model_validate_json((tmp_path / "bundle" / "contract.json").read_bytes())
    latency = next(promise for promise in contract.promises if promise.name == "latency_p95")
    assert latency.trial.validity == "refused"


def test_rows_can_be_left_out(tmp_path: Path) -> None:
    making.bundle(tmp_path, rows=False)
    assert not (tmp_path / "bundle" / rows.FILE).exists()
    assert Contract.model_validate_json((tmp_path / "bundle" / "contract.json").read_bytes()).rows == 0


def test_rows_with_personal_data_stay_behind_when_it_is_to_be_masked(tmp_path: Path) -> None:
    confirm = making.reviews(20, 2)
    with_phone = [dict(row) for row in confirm.rows]
    with_phone[3]["text"] += " 电话 13812345678"
    examples = Examples(with_phone, confirm.labels)
    answers = np.zeros(20, np.int64), np.tile([0.6, 0.4], (20, 1))
    for policy, kept in (("mask", 19), ("report", 20)):
        making.bundle(
            tmp_path / policy,
            contract_rows=examples,
            expected=answers,
            spec=making.spec(risk={"personal_data": policy}),
        )
        found = rows.read(tmp_path / policy / "bundle" / rows.FILE, making.CLASSES)
        assert len(found) == kept
        assert any("13812345678" in str(row) for row in found.rows) is (policy == "report")


def test_contract_rows_survive_writing_and_reading(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"a": "很\n\t好\u2028", "b": None}, {"a": "", "b": 1.5}, {"a": "\x00\x1f", "b": -0.0}, {"a": "🙂", "b": 1e-300},
    ]  # fmt: skip
    written = rows.gather(Examples(kinds, np.array([0, 1, 1, 0])), (np.array([1, 1, 0, 0]), np.full((4, 2), 0.5)))
    rows.write(tmp_path / "r.gz", written, making.CLASSES)
    found = rows.read(tmp_path / "r.gz", making.CLASSES)
    assert list(found.rows) == kinds
    np.testing.assert_array_equal(found.actual, written.actual)
    np.testing.assert_array_equal(found.expected, written.expected)


def test_rows_and_answers_must_belong_together() -> None:
    with pytest.raises(BundleError, match="do not belong"):
        rows.gather(making.reviews(5, 1), (np.zeros(4, np.int64), np.zeros((4, 2))))


def test_the_wheel_installs_and_carries_every_module(tmp_path: Path, shipped: Path) -> None:
    path = next((shipped / "wheels").glob("*.whl"))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        record = archive.read(next(name for name in names if name.endswith("RECORD"))).decode()
    assert names == sorted(names)
    assert len(record.splitlines()) == len(names)
    assert "bakeoff/serving/app.py" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(path), "-q"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code = "import bakeoff, bakeoff.serving.__main__ as m; print(bakeoff.__file__); m.parser()"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
    )
    assert str(tmp_path / "site") in out.stdout


def test_wheels_built_twice_are_equal(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert wheel.build_wheel(tmp_path / "a").read_bytes() == wheel.build_wheel(tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("document", "wanted", "unwanted"),
    [
        ({"format": "tfidf-linear"}, {"httptools", "numpy"}, {"scikit-learn", "torch"}),
        ({"format": "tfidf-linear", "transform": {"segmenter": "rjieba"}}, {"rjieba"}, {"torch"}),
        ({"format": "lightgbm"}, {"lightgbm"}, {"torch"}),
        ({"format": "onnx", "transform": {"kind": "hf-tokenizer"}}, {"onnxruntime", "tokenizers"}, {"torch"}),
        ({"format": "transformer"}, {"torch", "safetensors"}, {"lightgbm"}),
        ({"format": "openai-prompt"}, {"httpx"}, {"torch"}),
    ],
)
def test_requirements_name_what_the_format_needs(
    tmp_path: Path, document: dict[str, Any], wanted: set[str], unwanted: set[str]
) -> None:
    (tmp_path / "artifact.json").write_text(json.dumps(document))
    pins = requirements.needed(tmp_path, {})
    assert wanted <= set(pins)
    assert not unwanted & set(pins)


def test_requirements_prefer_the_trials_versions_and_see_into_ensembles(tmp_path: Path) -> None:
    (tmp_path / "member").mkdir()
    (tmp_path / "artifact.json").write_text('{"format": "ensemble"}')
    (tmp_path / "member" / "artifact.json").write_text('{"format": "lightgbm"}')
    pins = requirements.needed(tmp_path, {"lightgbm": "4.0.0", "torch": "2.13.0+cpu"})
    assert pins["lightgbm"] == "4.0.0"
    assert "torch==2.13.0\n" in requirements.lines({"torch": "2.13.0+cpu"})


@pytest.mark.parametrize("study", ["reviews", "Review Sentiment", "评论", "9lives", "a" * 80, "_.-", "x-"])
def test_object_names_are_dns_labels(study: str) -> None:
    name = container.object_name(study, "abc123")
    assert len(name) <= 63
    assert __import__("re").fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)


def test_the_readme_speaks_both_languages_and_quotes_the_contract(shipped: Path) -> None:
    text = (shipped / "README.md").read_text()
    for language in text.split("\n---\n"):  # the bundle's own wheel cannot vouch for the bundle
        assert (
            language.index("bakeoff[deliver]==") < language.index("bakeoff verify .") < language.index("wheels/*.whl")
        )
    assert "宏平均 F1" in text
    assert "macro F1" in text
    assert "≥ 0.8" in text
    assert "bakeoff verify ." in text


def test_copying_a_bundle_keeps_it_whole(shipped: Path, tmp_path: Path) -> None:
    shutil.copytree(shipped, tmp_path / "moved")
    assert sealed.open_sealed(tmp_path / "moved").identity == sealed.open_sealed(shipped).identity
