"""OpenVINO and LiteRT run the graphs ONNX Runtime runs, and say why when they cannot."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bakeoff.models._formats import convert_onnx
from bakeoff.runtimes._graphs import bucketed
from bakeoff.runtimes.loading import load_predictor
from bakeoff.schema import Artifact, InputColumn, StepError

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")

NAMES = [f"f{at}" for at in range(6)]
RUNTIMES = {"openvino": "openvino", "tflite": "litert"}
ROWS = [dict(zip(NAMES, map(float, row), strict=True)) for row in np.random.default_rng(1).normal(size=(70, 6))]


def _artifact(**meta: Any) -> Artifact:
    return Artifact(
        format="onnx", task="tabular-classification", classes=("a", "b", "c"),
        inputs=tuple(InputColumn(name=name, kind="number") for name in NAMES),
        transform={"kind": "tabular", "columns": [{"name": name, "kind": "number", "fill": 0.0} for name in NAMES]},
        meta={"model": "model.onnx", **meta},
    )  # fmt: skip


def _network(folder: Path, *extra: onnx.NodeProto) -> Artifact:
    """Two layers with a bias, a softmax: the usual small network."""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(size=(6, 32)), "b1": rng.normal(size=32), "w2": rng.normal(size=(32, 3)) / 4}
    nodes = [
        helper.make_node("Gemm", ["features", "w1", "b1"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["s"]), *extra,
        helper.make_node("Softmax", ["t" if extra else "s"], ["probabilities"], axis=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return _artifact(batch=32)


def _converted(tmp_path: Path, target: str) -> tuple[Artifact, Path, np.ndarray]:
    source, out = tmp_path / "onnx", tmp_path / target
    source.mkdir()
    out.mkdir()
    artifact = _network(source)
    expected = load_predictor(artifact, source, "onnxruntime", 1).predict_proba(ROWS)
    return convert_onnx(artifact, source, out, target), out, expected


@pytest.mark.parametrize("target", RUNTIMES)
def test_the_same_answers_as_onnx(tmp_path: Path, target: str) -> None:
    artifact, out, expected = _converted(tmp_path, target)
    assert artifact.format == target
    predictor = load_predictor(artifact, out, RUNTIMES[target], 1)
    np.testing.assert_allclose(predictor.predict_proba(ROWS), expected, atol=1e-5)
    np.testing.assert_allclose(predictor.predict_proba(ROWS[:1]), expected[:1], atol=1e-5)
    assert predictor.predict_proba([]).shape == (0, 3)
    predictor.close()
    with pytest.raises(StepError):
        predictor.predict_proba(ROWS)


@pytest.mark.parametrize("target", RUNTIMES)
def test_threads_do_not_get_in_each_others_way(tmp_path: Path, target: str) -> None:
    artifact, out, expected = _converted(tmp_path, target)
    predictor = load_predictor(artifact, out, RUNTIMES[target], 1)
    wrong: list[int] = []

    def ask(start: int) -> None:
        for at in range(start, start + 40):
            size = 1 + at % 7
            found = predictor.predict_proba(ROWS[at % 60 : at % 60 + size])
            if not np.allclose(found, expected[at % 60 : at % 60 + size], atol=1e-5):
                wrong.append(at)

    threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 13, 29, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere"])
def test_a_graph_outside_of_the_artefact_is_refused(tmp_path: Path, target: str, name: str) -> None:
    artifact, out, _ = _converted(tmp_path, target)
    outside = artifact.model_copy(update={"meta": {**artifact.meta, "model": name}})
    with pytest.raises(StepError) as caught:
        load_predictor(outside, out, RUNTIMES[target], 1)
    assert caught.value.code == "unsafe"


def test_the_weights_of_openvino_stay_in_the_artefact_too(tmp_path: Path) -> None:
    artifact, out, _ = _converted(tmp_path, "openvino")
    outside = artifact.model_copy(update={"meta": {**artifact.meta, "weights": "../model.bin"}})
    with pytest.raises(StepError) as caught:
        load_predictor(outside, out, "openvino", 1)
    assert caught.value.code == "unsafe"


def test_what_litert_cannot_say_is_a_reason(tmp_path: Path) -> None:
    artifact = _network(tmp_path, helper.make_node("Erf", ["s"], ["t"]))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StepError) as caught:
        convert_onnx(artifact, tmp_path, out, "tflite")
    assert caught.value.code == "unsupported"
    assert "Erf" in str(caught.value)


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_broken_file_is_a_reason(tmp_path: Path, target: str, keep: int) -> None:
    artifact, out, _ = _converted(tmp_path, target)
    path = out / str(artifact.meta["model"])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StepError):
        load_predictor(artifact, out, RUNTIMES[target], 1)


def test_a_row_is_padded_to_a_length_of_its_own() -> None:
    ids = np.array([[1, 2, 9, 9, 9], [1, 2, 3, 4, 5], [1, 9, 9, 9, 9]])
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    found = {tuple(places): feeds for places, feeds in bucketed({"input_ids": ids, "attention_mask": mask}, 4, 9)}
    assert set(found) == {(0, 2), (1,)}
    np.testing.assert_array_equal(found[0, 2]["input_ids"], [[1, 2, 9, 9], [1, 9, 9, 9]])
    np.testing.assert_array_equal(found[1,]["input_ids"], [[1, 2, 3, 4, 5, 9, 9, 9]])
    np.testing.assert_array_equal(found[1,]["attention_mask"], [[1, 1, 1, 1, 1, 0, 0, 0]])
