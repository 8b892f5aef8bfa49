from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from bakeoff.runtimes import loading, sealed
from bakeoff.runtimes.native import PLUGIN as NATIVE
from bakeoff.runtimes.sealed import entries
from bakeoff.schema import Artifact, BundleError, InputColumn, Rule, StepError, UserError


def _constant(folder: Path, **more: object) -> Artifact:
    (folder / "notes.txt").write_text("a file that belongs to it", encoding="utf-8")
    artifact = Artifact(
        format="constant", task="text-classification", classes=("a", "b"), inputs=(InputColumn(name="t", kind="text"),),
        meta={"prior": [0.3, 0.7]}, files=entries(folder), **more,
    )  # fmt: skip
    (folder / loading.ARTIFACT_FILE).write_text(artifact.model_dump_json(), encoding="utf-8")
    return artifact


def test_a_classifier_applies_the_rule(tmp_path: Path) -> None:
    _constant(tmp_path, rule=Rule(costs=((0.0, 9.0), (1.0, 0.0))))
    labels, probabilities = loading.load_classifier(tmp_path, "native", 1, verify=True).predict([{}])
    assert labels.tolist() == [0], "0.3 of a mistake worth 9 is dearer than 0.7 of one worth 1"
    np.testing.assert_allclose(probabilities, [[0.3, 0.7]])


@pytest.mark.parametrize("harm", ["altered", "missing", "longer", "link"])
def test_verify_finds_harm(tmp_path: Path, harm: str) -> None:
    _constant(tmp_path)
    path = tmp_path / "notes.txt"
    if harm == "altered":
        path.write_text("A file that belongs to it", encoding="utf-8")
    elif harm == "longer":
        path.write_text("a file that belongs to it.", encoding="utf-8")
    else:
        path.unlink()
    if harm == "link":
        path.symlink_to(__file__)
    loading.load_classifier(tmp_path, "native", 1)  # not asked to look
    with pytest.raises(BundleError, match="notes"):
        loading.load_classifier(tmp_path, "native", 1, verify=True)


def test_files_that_are_not_listed_are_left_alone(tmp_path: Path) -> None:
    _constant(tmp_path)
    (tmp_path / "extra.log").write_text("x", encoding="utf-8")
    loading.load_classifier(tmp_path, "native", 1, verify=True)


@pytest.mark.parametrize("path", ["../notes.txt", "/etc/passwd", "a/../../b", "a\\b"])
def test_listed_paths_stay_inside(tmp_path: Path, path: str) -> None:
    artifact = _constant(tmp_path)
    listed = artifact.model_copy(update={"files": (artifact.files[0].model_copy(update={"path": path}),)})
    (tmp_path / loading.ARTIFACT_FILE).write_text(listed.model_dump_json(), encoding="utf-8")
    with pytest.raises(BundleError):
        loading.load_classifier(tmp_path, "native", 1, verify=True)


def test_no_description_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing"):
        loading.load_classifier(tmp_path, "native", 1)
    (tmp_path / loading.ARTIFACT_FILE).write_text('{"format": "constant"', encoding="utf-8")
    with pytest.raises(BundleError, match="malformed"):
        loading.load_classifier(tmp_path, "native", 1)


def test_wrong_runtime_and_unknown_runtime(tmp_path: Path) -> None:
    artifact = _constant(tmp_path)
    with pytest.raises(StepError) as caught:
        loading.load_predictor(artifact, tmp_path, "composite", 1)
    assert caught.value.code == "unsupported"
    with pytest.raises(UserError, match="no such runtime"):
        loading.load_predictor(artifact, tmp_path, "abacus", 1)


def test_a_folder_that_cannot_be_looked_into_hides_nothing(tmp_path: Path) -> None:
    """Its full path is longer than the system takes, so what lies in it could not be compared with any list."""
    name, here = "d" * 250, os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(BundleError, match="cannot be looked into"):
        list(sealed.walk(tmp_path))
    with pytest.raises(BundleError, match="cannot be looked into"):
        sealed.problems(tmp_path, ())


def test_third_parties_come_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "bakeoff.runtimes.native:PLUGIN", "bakeoff.runtimes")
    monkeypatch.setattr(loading.importlib.metadata, "entry_points", lambda **_: [point])
    artifact = _constant(tmp_path)
    assert loading.runtime_named("theirs") is NATIVE
    assert loading.load_predictor(artifact, tmp_path, "theirs", 1).predict_proba([{}]).shape == (1, 2)


def test_loading_does_not_search_for_plugins_or_import_models() -> None:
    code = (
        "import sys, bakeoff.runtimes.loading as loading\n"
        "loading.runtime_named('native'); loading.runtime_named('onnxruntime'); loading.runtime_named('composite')\n"
        "print([name for name in sys.modules if name.startswith(('bakeoff.models', 'bakeoff.registry', 'sklearn', 'onnx'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
