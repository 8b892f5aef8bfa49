from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from bakeoff.runtimes._onnx_files import external_files
from bakeoff.runtimes.onnxruntime import PLUGIN
from bakeoff.schema import Artifact, InputColumn, StepError
from bakeoff.schema.artifact import FileEntry

COLUMNS = [{"name": "a", "kind": "number", "fill": None}, {"name": "b", "kind": "number", "fill": None}]


def _artifact(**meta: Any) -> Artifact:
    return Artifact(
        format="onnx", task="tabular-classification", classes=("n", "y"),
        inputs=(InputColumn(name="a", kind="number"), InputColumn(name="b", kind="number")),
        transform={"kind": "tabular", "columns": COLUMNS}, meta={"model": "model.onnx", **meta},
    )  # fmt: skip


def _model(location: str | None = None, nested: bool = False) -> onnx.ModelProto:
    """Softmax of ``features @ weights``; the weights can be declared to lie in another file, in a subgraph too."""
    weights = numpy_helper.from_array(np.array([[1.0, -1.0], [0.5, 2.0]], dtype=np.float32), "weights")
    if location is not None:
        set_external_data(weights, location)
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["s"]),
        helper.make_node("Softmax", ["s"], ["probabilities"]),
    ]
    initializers = [weights]
    if nested:
        branch = helper.make_graph(
            [helper.make_node("Constant", [], ["inner"], value=weights)],
            "branch",
            [],
            [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2, 2])],
        )
        truth = numpy_helper.from_array(np.array(True), "truth")
        nodes.insert(0, helper.make_node("If", ["truth"], ["weights"], then_branch=branch, else_branch=branch))
        initializers = [truth]
    graph = helper.make_graph(nodes, "g", [features], [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _write(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_any_graph_with_a_known_transform_runs(tmp_path: Path) -> None:
    _write(tmp_path, _model())
    predictor = PLUGIN.load(_artifact(), tmp_path, 1)
    found = predictor.predict_proba([{"a": 1.0, "b": "2"}, {"b": 0.0, "a": -1}])
    scores = np.array([[2.0, 3.0], [-1.0, 1.0]])
    np.testing.assert_allclose(found, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), atol=1e-6)
    predictor.close()


def test_rows_are_run_in_pieces(tmp_path: Path) -> None:
    _write(tmp_path, _model())
    rows = [{"a": float(at), "b": -float(at)} for at in range(11)]
    whole = PLUGIN.load(_artifact(batch=100), tmp_path, 1).predict_proba(rows)
    np.testing.assert_allclose(PLUGIN.load(_artifact(batch=4), tmp_path, 1).predict_proba(rows), whole, atol=1e-7)
    assert PLUGIN.load(_artifact(), tmp_path, 1).predict_proba([]).shape == (0, 2)


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, _model("weights.bin"))
    (tmp_path / "weights.bin").write_bytes(np.array([[1.0, -1.0], [0.5, 2.0]], dtype=np.float32).tobytes())
    assert external_files(path) == ("weights.bin",)
    assert PLUGIN.load(_artifact(), tmp_path, 1).predict_proba([{"a": 1.0, "b": 2.0}]).shape == (1, 2)


@pytest.mark.parametrize("nested", [False, True], ids=["initializer", "constant in a branch"])
@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "/etc/passwd",
        "a/../../secret.bin",
        "..\\secret.bin",
        "C:\\secret.bin",
        "",
        "a//b",
        "x\0y",
        "./../s",
    ],
)
def test_external_data_outside_of_the_artefact_is_refused(tmp_path: Path, location: str, nested: bool) -> None:
    folder = tmp_path / "artefact"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    _write(folder, _model(location, nested))
    with pytest.raises(StepError) as caught:
        PLUGIN.load(_artifact(), folder, 1)
    assert caught.value.code == "unsafe"


@pytest.mark.parametrize("nested", [False, True], ids=["initializer", "constant in a branch"])
@pytest.mark.parametrize("location", ["*/_ORT_MEM_ADDR_/*", "*/_ORT_NATIVE_ENDIAN_MEM_ADDR_/*"])
def test_a_tensor_at_an_address_in_memory_is_refused(tmp_path: Path, location: str, nested: bool) -> None:
    """A name like that is a plain path: a file may lie there, so that all else is as it must be."""
    path = _write(tmp_path, _model(location, nested))
    (tmp_path / location).parent.mkdir(parents=True)
    (tmp_path / location).write_bytes(bytes(16))
    with pytest.raises(ValueError, match="address in memory"):
        external_files(path)
    with pytest.raises(StepError, match="address in memory") as caught:
        PLUGIN.load(_artifact(), tmp_path, 1)
    assert caught.value.code == "unsafe"


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize("beyond", [1 << 32, 1 << 34, 7 << 32])
def test_a_field_number_that_onnx_cuts_to_another_one_hides_nothing(tmp_path: Path, beyond: int) -> None:
    """Protocol buffers keep 32 bits of a tag: with one bit more, the same field looks like another to a reader that keeps them all."""
    graph = _model("../outside.bin").graph.SerializeToString()
    plain = _model()
    plain.ClearField("graph")
    body = plain.SerializeToString() + _varint(7 << 3 | 2 | beyond) + _varint(len(graph)) + graph
    (tmp_path / "model.onnx").write_bytes(body)
    with pytest.raises(ValueError, match="out of range"):
        external_files(tmp_path / "model.onnx")
    with pytest.raises(StepError) as caught:
        PLUGIN.load(_artifact(), tmp_path, 1)
    assert caught.value.code == "unsafe"


def test_external_data_that_the_artefact_does_not_list_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, _model("weights.bin"))
    (tmp_path / "weights.bin").write_bytes(np.array([[1.0, -1.0], [0.5, 2.0]], dtype=np.float32).tobytes())
    listed = [FileEntry(path=name, sha256="", size=1) for name in ("model.onnx", "weights.bin")]
    PLUGIN.load(_artifact().model_copy(update={"files": tuple(listed)}), tmp_path, 1).close()
    with pytest.raises(StepError, match="does not list"):
        PLUGIN.load(_artifact().model_copy(update={"files": tuple(listed[:1])}), tmp_path, 1)


def test_links_out_of_the_artefact_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "artefact"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    _write(folder, _model("weights.bin"))
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(StepError) as caught:
        PLUGIN.load(_artifact(), folder, 1)
    assert caught.value.code == "unsafe"
    (folder / "weights.bin").unlink()
    (folder / "model.onnx").rename(tmp_path / "model.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(StepError) as caught:
        PLUGIN.load(_artifact(), folder, 1)
    assert caught.value.code == "unsafe"


@pytest.mark.parametrize("name", ["../model.onnx", "/model.onnx"])
def test_a_graph_outside_of_the_artefact_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "artefact"
    folder.mkdir()
    _write(tmp_path, _model())
    with pytest.raises(StepError) as caught:
        PLUGIN.load(_artifact(model=name), folder, 1)
    assert caught.value.code == "unsafe"


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_the_scanner_reads_any_bytes_without_harm(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "model.onnx"
    path.write_bytes(body)
    try:
        found = external_files(path)
    except ValueError:
        return
    assert isinstance(found, tuple)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_scanner_finds_what_onnx_finds(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text("abc/._", min_size=1, max_size=8), max_size=4, unique=True))
    model = _model(None)
    for at, name in enumerate(names):
        tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), f"t{at}")
        set_external_data(tensor, name, offset=at, length=8)
        tensor.ClearField("raw_data")
        model.graph.initializer.append(tensor)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_files(path) == tuple(names)


@pytest.mark.parametrize("body", [b"", b"not a model", b"\xff" * 40, b"\x08"])
def test_a_file_that_is_no_model_is_a_reason(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(body)
    with pytest.raises(StepError):
        PLUGIN.load(_artifact(), tmp_path, 1)


def test_a_truncated_model_is_a_reason(tmp_path: Path) -> None:
    whole = _model().SerializeToString()
    for size in range(1, len(whole), 7):
        (tmp_path / "model.onnx").write_bytes(whole[:size])
        with pytest.raises(StepError):
            PLUGIN.load(_artifact(), tmp_path, 1)


def test_an_unknown_transform_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, _model())
    artifact = _artifact().model_copy(update={"transform": {"kind": "smell"}})
    with pytest.raises(StepError) as caught:
        PLUGIN.load(artifact, tmp_path, 1)
    assert caught.value.code == "unsupported"
