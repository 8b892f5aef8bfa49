from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bakeoff.compression import bfloat16, static_int8
from bakeoff.compression._ranges import Seen, chosen
from bakeoff.compression.base import CompressContext
from bakeoff.models._formats import convert_onnx
from bakeoff.runtimes.loading import load_predictor
from bakeoff.schema import Artifact, InputColumn, StepError

pytest.importorskip("openvino")

WIDTH, HIDDEN = 32, 64
NAMES = [f"f{at}" for at in range(WIDTH)]
_TABLE = np.random.default_rng(1).normal(size=(80, WIDTH)) * np.where(np.arange(WIDTH) == 3, 20.0, 1.0)
ROWS = [dict(zip(NAMES, map(float, row), strict=True)) for row in _TABLE]


def _openvino(folder: Path) -> Artifact:
    """Two layers; one column is twenty times as wide as the others, as in real transformers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source, out = folder / "onnx", folder / "ir"
    source.mkdir()
    out.mkdir()
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(size=(WIDTH, HIDDEN)) / 6, "w2": rng.normal(size=(HIDDEN, 2)) / 8}
    weights["w1"][3] /= 20.0
    nodes = [
        helper.make_node("MatMul", ["features", "w1"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["s"]), helper.make_node("Softmax", ["s"], ["probabilities"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), source / "model.onnx"
    )
    columns = [{"name": name, "kind": "number", "fill": 0.0} for name in NAMES]
    artifact = Artifact(
        format="onnx", task="tabular-classification", classes=("n", "y"), inputs=tuple(InputColumn(name=n, kind="number") for n in NAMES),
        transform={"kind": "tabular", "columns": columns}, meta={"model": "model.onnx", "batch": 32},
    )  # fmt: skip
    return convert_onnx(artifact, source, out, "openvino")


def _apply(plugin: object, artifact: Artifact, folder: Path, rows: object = ROWS) -> Artifact:
    (folder / "out").mkdir()
    return plugin.apply(CompressContext(artifact, folder / "ir", folder / "out", rows, threads=1))  # type: ignore[attr-defined]


def test_answers_stay_close_and_weights_are_eight_bits(tmp_path: Path) -> None:
    artifact = _openvino(tmp_path)
    small = _apply(static_int8.PLUGIN, artifact, tmp_path)
    before = load_predictor(artifact, tmp_path / "ir", "openvino", 1).predict_proba(ROWS)
    after = load_predictor(small, tmp_path / "out", "openvino", 1).predict_proba(ROWS)
    assert 0 < np.abs(after - before).max() < 0.02
    assert (tmp_path / "out/model.bin").stat().st_size < 0.5 * (tmp_path / "ir/model.bin").stat().st_size
    assert small.meta["compression"] == "static_int8"


def test_a_wild_neighbour_changes_nothing(tmp_path: Path) -> None:
    small = _apply(static_int8.PLUGIN, _openvino(tmp_path), tmp_path)
    predictor = load_predictor(small, tmp_path / "out", "openvino", 1)
    wild = dict.fromkeys(NAMES, 1000.0)
    np.testing.assert_array_equal(predictor.predict_proba([ROWS[0], wild])[0], predictor.predict_proba([ROWS[0]])[0])


def test_the_spread_of_one_column_is_moved_into_the_weights() -> None:
    """With one wide column, plain quantisation is coarse for all the others; the plan with the smaller error is taken."""
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(200, 16)) * np.where(np.arange(16) == 5, 100.0, 1.0)).astype(np.float32)
    matrix = rng.normal(size=(8, 16)).astype(np.float32)
    matrix[:, 5] /= 100.0
    seen = Seen()
    seen.add(vectors)
    plan = chosen(seen, matrix)
    assert plan.smooth is not None
    even = Seen()
    even.add(rng.normal(size=(200, 16)).astype(np.float32))
    assert abs(chosen(even, matrix).low) < abs(plan.low) * 100


def test_zero_is_a_level_of_its_own() -> None:
    seen = Seen()
    seen.add(np.random.default_rng(0).uniform(-0.3, 2.7, size=(50, 16)).astype(np.float32))
    plan = chosen(seen, np.eye(16, dtype=np.float32))
    step = (plan.high - plan.low) / 255
    assert plan.low / step == pytest.approx(round(plan.low / step), abs=1e-6)


def test_without_calibrate_rows_there_is_no_range(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        _apply(static_int8.PLUGIN, _openvino(tmp_path), tmp_path, [])
    assert caught.value.code == "unsupported"


def test_a_table_without_products_is_a_reason(tmp_path: Path) -> None:
    artifact = _openvino(tmp_path)
    path = tmp_path / "ir/model.xml"
    path.write_text(path.read_text(encoding="utf-8").replace('type="MatMul"', 'type="Nonsense"'), encoding="utf-8")
    with pytest.raises(StepError) as caught:
        _apply(static_int8.PLUGIN, artifact, tmp_path)
    assert caught.value.code in {"error", "unsupported"}


def test_bfloat16_halves_the_file_and_hardly_moves_an_answer(tmp_path: Path) -> None:
    artifact = _openvino(tmp_path)
    small = _apply(bfloat16.PLUGIN, artifact, tmp_path)
    before = load_predictor(artifact, tmp_path / "ir", "openvino", 1).predict_proba(ROWS)
    after = load_predictor(small, tmp_path / "out", "openvino", 1).predict_proba(ROWS)
    assert np.abs(after - before).max() < 0.02
    assert (tmp_path / "out/model.bin").stat().st_size < 0.6 * (tmp_path / "ir/model.bin").stat().st_size
    assert small.meta["precision"] == "bf16"
    assert "bucket" not in small.meta  # a table has no padding


@pytest.mark.parametrize("plugin", [bfloat16.PLUGIN, static_int8.PLUGIN], ids=["bfloat16", "static_int8"])
def test_an_answer_does_not_depend_on_the_rows_beside_it(tmp_path: Path, plugin: object) -> None:
    pytest.importorskip("transformers")
    from bakeoff.models.base import ExportContext
    from bakeoff.models.encoder import PLUGIN as ENCODER
    from tests.models import tiny

    native = ENCODER.build(tiny.context(tiny.write_encoder(tmp_path / "weights"), tmp_path / "native"))
    (tmp_path / "ir").mkdir()
    artifact = ENCODER.export(ExportContext(native, tmp_path / "native", tmp_path / "ir", "openvino", 1))
    rows = [{"text": row["text"] * (1 + at % 3)} for at, row in enumerate(tiny.rows(24, 3).rows)]
    small = _apply(plugin, artifact, tmp_path, rows)
    predictor = load_predictor(small, tmp_path / "out", "openvino", 1)
    alone = np.concatenate([predictor.predict_proba([row]) for row in rows])
    np.testing.assert_array_equal(predictor.predict_proba(rows), alone)
