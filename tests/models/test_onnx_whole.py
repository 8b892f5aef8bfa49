"""Pre- and post-processing inside of one ONNX file: the same labels as the product's own predictor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts._cases import INPUTS, TASKS, table_rows
from tests.models._contexts import context, topics, variant

from bakeoff import assets
from bakeoff.data.transforms.rule import Classifier
from bakeoff.models._onnx_whole import WHOLE, write_graph
from bakeoff.models.base import Examples, ExportContext
from bakeoff.models.boosting import PLUGIN as BOOSTING
from bakeoff.models.linear import PLUGIN as LINEAR
from bakeoff.runtimes.onnxruntime import PLUGIN as ONNX
from bakeoff.runtimes.onnxruntime import open_session
from bakeoff.schema import Artifact, StepError
from bakeoff.schema.artifact import Rule

pytest.importorskip("onnx")
RULES = [Rule(temperature=1.6), Rule(temperature=0.7, costs=((0.0, 1.0), (6.0, 0.0)))]


def _column(rows: Any, column: dict[str, Any]) -> np.ndarray:
    values = [row[column["name"]] for row in rows]
    if column["kind"] == "number":
        return np.array([[np.nan if value is None else value] for value in values], dtype=np.float32)
    return np.array([[str(value)] for value in values], dtype=object)


@pytest.mark.parametrize("rule", RULES, ids=["temperature", "costs"])
@pytest.mark.parametrize("form", ["scorecard", "lightgbm", "xgboost"])
def test_a_table_goes_in_as_people_write_it(tmp_path: Path, form: str, rule: Rule) -> None:
    plugin = LINEAR if form == "scorecard" else BOOSTING
    train, test = table_rows(500, 0), table_rows(120, 1)
    chosen = variant(format=form, bins=6, rounds=40)
    artifact = plugin.build(
        context(tmp_path / "native", train, chosen, task=TASKS[1], inputs=INPUTS[TASKS[1]], classes=("ja", "nein"))
    )
    (tmp_path / "onnx").mkdir()
    exported = plugin.export(ExportContext(artifact, tmp_path / "native", tmp_path / "onnx", "onnx", 1))
    exported = exported.model_copy(update={"rule": rule, "files": ()})
    path = write_graph(exported, tmp_path / "onnx", tmp_path)
    assert path.name == WHOLE
    session = open_session(path, 1)
    feeds = {column["name"]: _column(test.rows, column) for column in exported.transform["columns"]}
    probabilities, labels = session.run(["probabilities", "label"], feeds)
    chosen_labels, expected = Classifier(ONNX.load(exported, tmp_path / "onnx", 1), exported).predict(test.rows)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert [exported.classes[at] for at in chosen_labels] == list(labels)
    assert len(set(labels)) == 2


def _encoder_graph(folder: Path, words: int, classes: int) -> None:
    """Mean of word vectors times a matrix: small, but fed like any encoder."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {"table": rng.normal(size=(words, 8)), "head": rng.normal(size=(8, classes)) * 3}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=1),
        helper.make_node("Unsqueeze", ["mask", "two"], ["wide"]), helper.make_node("Mul", ["vectors", "wide"], ["kept"]),
        helper.make_node("ReduceMean", ["kept", "one"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["scores"]), helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]  # fmt: skip
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    constants += [numpy_helper.from_array(np.array([at]), name) for name, at in (("one", 1), ("two", 2))]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"])
        for n in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(nodes, "g", inputs, [output], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )


def _word_piece(folder: Path, source: Path) -> Artifact:
    described = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    _encoder_graph(folder, len(described["model"]["vocab"]), 3)
    return Artifact(
        format="onnx", task=TASKS[0], classes=("红", "绿", "蓝"), inputs=context(folder, Examples([], np.zeros(0, np.int64)), variant()).inputs,
        transform={"kind": "hf-tokenizer", "tokenizer": "tokenizer.json", "columns": ["text"], "max_length": 16, "pad_id": 0},
        meta={"model": "model.onnx"}, rule=Rule(temperature=1.3),
    )  # fmt: skip


@pytest.mark.assets
def test_a_text_goes_in_as_it_is(tmp_path: Path) -> None:
    extensions = pytest.importorskip("onnxruntime_extensions")
    import onnxruntime

    source = assets.find("all-minilm-l6-v2")
    if source is None:
        pytest.skip("asset all-minilm-l6-v2 is not fetched")
    artifact = _word_piece(tmp_path, source)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(extensions.get_library_path())
    session = onnxruntime.InferenceSession(str(write_graph(artifact, tmp_path, tmp_path)), options)
    classifier = Classifier(ONNX.load(artifact, tmp_path, 1), artifact)
    texts = [
        "Ad sales boost Time Warner's profit", "这家酒店的早餐很好，房间干净。", "CAFÉ naïve  Straße\tÜBER", "", "?!…—“x”", "a",
        "the quick brown fox jumps over the lazy dog again and again until there are more tokens than sixteen, far more", "2,5 % 𝔘 🙂 x",
    ]  # fmt: skip
    for text in texts:
        chosen, expected = classifier.predict([{"text": text}])
        probabilities, labels = session.run(["probabilities", "label"], {"text": [text]})
        np.testing.assert_allclose(probabilities, expected, atol=1e-5, err_msg=text)
        assert labels[0] == artifact.classes[chosen[0]]


def test_what_cannot_be_inside_is_a_reason(tmp_path: Path) -> None:
    chosen = variant(format="tfidf-linear", units="char", ngrams=[1, 2])
    artifact = LINEAR.build(context(tmp_path / "native", topics(120), chosen, classes=("a", "b", "c")))
    (tmp_path / "onnx").mkdir()
    exported = LINEAR.export(ExportContext(artifact, tmp_path / "native", tmp_path / "onnx", "onnx", 1))
    for wrong, folder in ((artifact, "native"), (exported, "onnx")):
        with pytest.raises(StepError) as caught:
            write_graph(wrong, tmp_path / folder, tmp_path)
        assert caught.value.code == "unsupported"
    from tests.models import tiny

    (tmp_path / "onnx/tokenizer.json").write_text(json.dumps(tiny.tokenizer("Unigram")), encoding="utf-8")
    transform = {
        "kind": "hf-tokenizer",
        "tokenizer": "tokenizer.json",
        "columns": ["text"],
        "max_length": 16,
        "pad_id": 0,
    }
    with pytest.raises(StepError) as caught:
        write_graph(exported.model_copy(update={"transform": transform}), tmp_path / "onnx", tmp_path)
    assert "WordPiece" in str(caught.value)
