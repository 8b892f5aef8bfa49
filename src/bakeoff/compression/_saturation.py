"""How large may 8-bit weights be, so that this processor adds their products without loss?

Processors with 8-bit dot products (VNNI, and those of ARM) add in 32 bits. Others add pairs of products of unsigned and signed bytes in 16,
where two of 255 x 127 do not fit: the sum is cut off without a word. Weights within ±64 always fit; the remedy, known as half range or
``reduce_range``, costs one bit of the weights, and is taken where it is needed. Each library is asked for a sum that shows it.
"""

from __future__ import annotations

import functools

import numpy as np

FULL, HALF = 127, 64
LARGEST, WIDTH = 255, 64
"""Of the sums asked for: every value, and how many products are added."""
_CLOSE = 0.99


@functools.cache
def onnxruntime_limit() -> int:
    """Return the largest magnitude of a weight, ``FULL`` or ``HALF``, that ONNX Runtime multiplies exactly here."""
    return FULL if onnxruntime_sum(FULL) > _CLOSE * LARGEST * FULL * WIDTH else HALF


@functools.cache
def openvino_limit() -> int:
    """Return the largest magnitude of a weight, ``FULL`` or ``HALF``, that OpenVINO multiplies exactly here."""
    return FULL if openvino_sum(FULL) > _CLOSE * LARGEST * FULL * WIDTH else HALF


def onnxruntime_sum(weight: int) -> float:
    """Return what ONNX Runtime makes of ``WIDTH`` products of ``LARGEST`` and a weight."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((WIDTH, WIDTH), weight, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["values", "weights"], ["sums"])], "saturation",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, [1, WIDTH])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, WIDTH])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"values": np.full((1, WIDTH), LARGEST, np.uint8)})
    return float(np.asarray(sums).min())


def openvino_sum(weight: int) -> float:
    """Return what OpenVINO makes of ``WIDTH`` products of ``LARGEST`` and a weight."""
    import openvino
    from openvino import opset8 as ops

    values = ops.parameter([1, WIDTH], np.float32, name="values")
    low, high = (ops.constant(np.array([[end]], np.float32)) for end in (0.0, LARGEST))
    weights = ops.convert(ops.constant(np.full((WIDTH, WIDTH), weight, np.int8)), "f32")
    wide = ops.multiply(weights, ops.constant(np.ones((WIDTH, 1), np.float32)))
    narrow = ops.fake_quantize(values, low, high, low, high, LARGEST + 1)
    model = openvino.Model([ops.matmul(narrow, wide, transpose_a=False, transpose_b=True)], [values])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    return float(np.asarray(compiled(np.full((1, WIDTH), LARGEST, np.float32))[0]).min())
