"""Weights are as large as this processor multiplies without loss, and no larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bakeoff.compression import dynamic_int8, static_int8
from bakeoff.compression._saturation import (
    FULL,
    HALF,
    LARGEST,
    WIDTH,
    onnxruntime_limit,
    onnxruntime_sum,
    openvino_limit,
    openvino_sum,
)
from tests.compression import test_dynamic_int8 as dynamic
from tests.compression import test_static_int8 as static

LIMITS = [(FULL, 8), (HALF, 7)]


def test_libraries_on_one_processor_agree() -> None:
    pytest.importorskip("openvino")
    assert onnxruntime_limit() in {FULL, HALF}
    assert openvino_limit() in {FULL, HALF}
    flags = Path("/proc/cpuinfo")
    if flags.exists() and "avx2" in (found := flags.read_text(encoding="utf-8").split()):
        exact = any("vnni" in flag for flag in found)
        assert onnxruntime_limit() == (FULL if exact else HALF)


@pytest.mark.parametrize(("limit", "bits"), LIMITS)
def test_dynamic_weights_keep_to_the_limit(
    limit: int, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_int8, "onnxruntime_limit", lambda: limit)
    dynamic._network(tmp_path / "a")
    artifact = dynamic._apply(tmp_path / "a", tmp_path / "b")
    weights = [numpy_helper.to_array(one) for one in onnx.load(tmp_path / "b/model.onnx").graph.initializer]
    largest = max(int(np.abs(one.astype(np.int64)).max()) for one in weights if one.dtype == np.int8 and one.ndim == 2)
    assert 0.9 * limit <= largest <= limit
    assert artifact.meta["weight_bits"] == bits


@pytest.mark.parametrize(("limit", "bits"), LIMITS)
def test_static_weights_keep_to_the_limit(
    limit: int, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(static_int8, "openvino_limit", lambda: limit)
    artifact = static._apply(static_int8.PLUGIN, static._openvino(tmp_path), tmp_path)
    graph = openvino.Core().read_model(str(tmp_path / "out/model.xml"))
    constants = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Constant"]
    weights = [node.get_data() for node in constants if "int8_t" in repr(node.get_element_type())]
    assert weights
    assert {int(np.abs(one.astype(np.int64)).max()) for one in weights} == {limit}
    assert artifact.meta["weight_bits"] == bits


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_largest_weights_allowed_are_multiplied_exactly(name: str) -> None:
    """As large as they get on both sides."""
    pytest.importorskip(name)
    limit, found = (onnxruntime_limit(), onnxruntime_sum) if name == "onnxruntime" else (openvino_limit(), openvino_sum)
    assert found(limit) == pytest.approx(LARGEST * limit * WIDTH, rel=1e-4)
    assert found(HALF) == pytest.approx(LARGEST * HALF * WIDTH, rel=1e-4), "on any processor"
