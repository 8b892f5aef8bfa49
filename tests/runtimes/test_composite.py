from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bakeoff.runtimes import composite, loading
from bakeoff.runtimes.composite import PLUGIN
from bakeoff.schema import Artifact, InputColumn, StepError

INPUTS = (InputColumn(name="t", kind="text"),)


def _constant(folder: Path, prior: Sequence[float], classes: tuple[str, ...] = ("a", "b")) -> None:
    folder.mkdir(parents=True)
    artifact = Artifact(
        format="constant", task="text-classification", classes=classes, inputs=INPUTS, meta={"prior": list(prior)}
    )
    (folder / "artifact.json").write_text(artifact.model_dump_json(), encoding="utf-8")


def _ensemble(*members: tuple[str, float], runtime: str = "native") -> Artifact:
    listed = [{"candidate": path, "runtime": runtime, "weight": weight, "path": path} for path, weight in members]
    return Artifact(
        format="ensemble", task="text-classification", classes=("a", "b"), inputs=INPUTS, meta={"members": listed}
    )


def test_weights_are_shares(tmp_path: Path) -> None:
    _constant(tmp_path / "members/0", [0.9, 0.1])
    _constant(tmp_path / "members/1", [0.2, 0.8])
    found = PLUGIN.load(_ensemble(("members/0", 3.0), ("members/1", 1.0)), tmp_path, 1).predict_proba([{}, {}])
    np.testing.assert_allclose(found, [[0.725, 0.275]] * 2)
    assert PLUGIN.load(_ensemble(("members/0", 1.0)), tmp_path, 1).predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize("path", ["../other", "/etc", "members/../../other"])
def test_members_stay_inside(tmp_path: Path, path: str) -> None:
    _constant(tmp_path / "other", [0.5, 0.5])
    folder = tmp_path / "ensemble"
    folder.mkdir()
    with pytest.raises(StepError) as caught:
        PLUGIN.load(_ensemble((path, 1.0)), folder, 1)
    assert caught.value.code == "unsafe"


def test_no_members_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no members"):
        PLUGIN.load(_ensemble(), tmp_path, 1)


def test_a_member_that_fails_closes_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _constant(tmp_path / "members/0", [0.9, 0.1])
    _constant(tmp_path / "members/1", [0.9, 0.1], classes=("x", "y"))
    closed: list[str] = []
    real = loading.load_classifier

    def watched(place: Path, runtime: str, threads: int) -> object:
        classifier = real(place, runtime, threads)
        monkeypatch.setattr(classifier.predictor, "close", lambda: closed.append(place.name))
        return classifier

    monkeypatch.setattr(composite, "load_classifier", watched)
    with pytest.raises(StepError, match="other classes"):
        PLUGIN.load(_ensemble(("members/0", 1.0), ("members/1", 1.0)), tmp_path, 1)
    assert sorted(closed) == ["0", "1"]


def test_an_ensemble_inside_itself_is_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["members"] * 6)
    deep.mkdir(parents=True)
    with pytest.raises(StepError, match="too deeply"):
        PLUGIN.load(_ensemble(("members/0", 1.0)), deep, 1)
