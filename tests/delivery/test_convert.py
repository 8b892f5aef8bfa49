"""Another format than the measured one: only with the same answers, and with the rule it was measured with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bakeoff.delivery.convert import RUNTIME_OF, convert
from bakeoff.models.linear import PLUGIN as LINEAR
from bakeoff.runtimes.loading import load_classifier
from bakeoff.schema import StepError
from bakeoff.schema.artifact import Rule
from bakeoff.store.artifacts import write_artifact
from tests.contracts._cases import INPUTS, TASKS, table_rows
from tests.models._contexts import context, topics, variant

ROWS = list(table_rows(60, 3).rows)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    chosen = variant(format="scorecard", bins=6)
    made = LINEAR.build(
        context(folder, table_rows(400, 0), chosen, task=TASKS[1], inputs=INPUTS[TASKS[1]], classes=("ja", "nein"))
    )
    rule = Rule(temperature=1.4, costs=((0.0, 1.0), (3.0, 0.0)))
    write_artifact(folder, made.model_copy(update={"rule": rule}))
    return folder


@pytest.mark.parametrize("target", sorted(RUNTIME_OF))
def test_labels_stay_and_so_does_the_rule(card: Path, tmp_path: Path, target: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}[target])
    found = convert(card, tmp_path, target, "native", ROWS)
    assert (found.artifact.format, found.runtime) == (target, RUNTIME_OF[target])
    assert [number.name for number in found.parity] == ["parity_agreement", "parity_drift"]
    assert found.parity[0].value == 1.0
    before, after = (
        load_classifier(place, name, 1, verify=True) for place, name in ((card, "native"), (tmp_path, found.runtime))
    )
    for one, other in zip(before.predict(ROWS), after.predict(ROWS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_from_onnx_on(card: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "ir").mkdir()
    convert(card, tmp_path / "onnx", "onnx", "native", ROWS)
    found = convert(tmp_path / "onnx", tmp_path / "ir", "openvino", "onnxruntime", ROWS)
    assert found.artifact.format == "openvino"


def test_a_format_that_cannot_express_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "native").mkdir()
    (tmp_path / "out").mkdir()
    rows = topics(120)
    chosen = variant(format="tfidf-linear", units="char", ngrams=[1, 2])
    write_artifact(
        tmp_path / "native", LINEAR.build(context(tmp_path / "native", rows, chosen, classes=("a", "b", "c")))
    )
    for target in ("openvino", "tflite", "stone-tablet"):
        with pytest.raises(StepError) as caught:
            convert(tmp_path / "native", tmp_path / "out", target, "native", rows.rows)
        assert caught.value.code == "unsupported"


def test_other_answers_are_refused(card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A converter that went wrong: every probability turned round."""
    from bakeoff.runtimes import _graphs

    right = _graphs.GraphPredictor.predict_proba
    monkeypatch.setattr(_graphs.GraphPredictor, "predict_proba", lambda self, rows: right(self, rows)[:, ::-1])
    with pytest.raises(StepError) as caught:
        convert(card, tmp_path, "onnx", "native", ROWS)
    assert caught.value.code == "parity"


def test_without_rows_nothing_is_shown(card: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        convert(card, tmp_path, "onnx", "native", [])
    assert caught.value.code == "parity"
