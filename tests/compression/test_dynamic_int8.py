from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bakeoff.compression.base import CompressContext
from bakeoff.compression.dynamic_int8 import PLUGIN
from bakeoff.runtimes.onnxruntime import PLUGIN as ONNX
from bakeoff.schema import Artifact, InputColumn, StepError

WIDTH, HIDDEN = 12, 64
NAMES = [f"f{at}" for at in range(WIDTH)]
ROWS = [dict(zip(NAMES, map(float, row), strict=True)) for row in np.random.default_rng(1).normal(size=(40, WIDTH))]


def _artifact() -> Artifact:
    columns = [{"name": name, "kind": "number", "fill": 0.0} for name in NAMES]
    return Artifact(
        format="onnx", task="tabular-classification", classes=("n", "y"), licences=("MIT",),
        inputs=tuple(InputColumn(name=name, kind="number") for name in NAMES),
        transform={"kind": "tabular", "columns": columns}, meta={"model": "model.onnx", "batch": 32},
    )  # fmt: skip


def _network(folder: Path, *, products: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(WIDTH, HIDDEN)) / 3, rng.normal(size=(HIDDEN, 2)) / 5
    weights = [numpy_helper.from_array(w.astype(np.float32), name) for w, name in ((first, "w1"), (second, "w2"))]
    nodes = [
        helper.make_node("MatMul", ["features", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["s"]),
        helper.make_node("Softmax", ["s"], ["probabilities"]),
    ]
    if not products:
        nodes, weights = [helper.make_node("Softmax", ["features"], ["probabilities"])], []
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2 if products else WIDTH])], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _apply(source: Path, out: Path, artifact: Artifact | None = None) -> Artifact:
    out.mkdir()
    return PLUGIN.apply(CompressContext(artifact or _artifact(), source, out, [], threads=1))


def test_answers_stay_close_and_the_products_are_integer(tmp_path: Path) -> None:
    _network(tmp_path / "a")
    artifact = _apply(tmp_path / "a", tmp_path / "b")
    before = ONNX.load(_artifact(), tmp_path / "a", 1).predict_proba(ROWS)
    after = ONNX.load(artifact, tmp_path / "b", 1).predict_proba(ROWS)
    assert 0 < np.abs(after - before).max() < 0.05
    kinds = [node.op_type for node in onnx.load(tmp_path / "b/model.onnx").graph.node]
    assert kinds.count("MatMulInteger") == 2
    assert "MatMul" not in kinds


def test_an_answer_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    _network(tmp_path / "a")
    artifact = _apply(tmp_path / "a", tmp_path / "b")
    assert artifact.meta["batch"] == 1
    predictor = ONNX.load(artifact, tmp_path / "b", 1)
    wild = dict.fromkeys(NAMES, 1000.0)
    np.testing.assert_array_equal(predictor.predict_proba([ROWS[0], wild])[0], predictor.predict_proba([ROWS[0]])[0])


def test_weights_are_quantised_per_channel(tmp_path: Path) -> None:
    _network(tmp_path / "a")
    _apply(tmp_path / "a", tmp_path / "b")
    scales = {w.name: w for w in onnx.load(tmp_path / "b/model.onnx").graph.initializer if "scale" in w.name}
    assert any(list(scale.dims) == [HIDDEN] for scale in scales.values())


def test_everything_else_travels(tmp_path: Path) -> None:
    _network(tmp_path / "a")
    (tmp_path / "a/tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a/sub").mkdir()
    (tmp_path / "a/sub/words.json").write_text("[]", encoding="utf-8")
    (tmp_path / "a/artifact.json").write_text("{}", encoding="utf-8")
    artifact = _apply(tmp_path / "a", tmp_path / "b")
    found = sorted(
        path.relative_to(tmp_path / "b").as_posix() for path in (tmp_path / "b").rglob("*") if path.is_file()
    )
    assert found == ["model.onnx", "sub/words.json", "tokenizer.json"]
    assert artifact.licences == ("MIT",)
    assert artifact.meta["compression"] == "dynamic_int8"


def test_a_graph_without_products_is_a_reason(tmp_path: Path) -> None:
    _network(tmp_path / "a", products=False)
    with pytest.raises(StepError) as caught:
        _apply(tmp_path / "a", tmp_path / "b")
    assert caught.value.code == "unsupported"


def test_a_broken_graph_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/model.onnx").write_bytes(b"nonsense")
    with pytest.raises(StepError) as caught:
        _apply(tmp_path / "a", tmp_path / "b")
    assert caught.value.code == "error"
    assert logging.root.manager.disable == logging.NOTSET, "logging works again after a failure"


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        _apply(tmp_path, tmp_path / "b", _artifact().model_copy(update={"format": "lightgbm"}))
    assert caught.value.code == "unsupported"
