"""How large may 8-bit weights be, so that this processor adds their products without loss?

Processors with 8-bit dot products (VNNI, and those of ARM) add in 32 bits. Others add pairs of products of unsigned and signed bytes in 16,
where two of 255 x 127 do not fit: the sum is cut off without a word. Weights within ±64 always fit; the remedy, known as half range or
``reduce_range``, costs one bit of the weights, and is taken where it is needed. Each library is asked for a product that shows it.
"""

from __future__ import annotations

import functools

import numpy as np

FULL, HALF = 127, 64
_WIDTH = 64
_EXACT = 255.0 * FULL * _WIDTH
_CLOSE = 0.99


@functools.cache
def onnxruntime_limit() -> int:
    """Return the largest magnitude of a weight, ``FULL`` or ``HALF``, that ONNX Runtime multiplies exactly here."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((_WIDTH, _WIDTH), FULL, np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["values", "weights"], ["sums"])], "saturation",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, [1, _WIDTH])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, _WIDTH])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"values": np.full((1, _WIDTH), 255, np.uint8)})
    return _limit(float(np.asarray(sums).min()))


@functools.cache
def openvino_limit() -> int:
    """Return the largest magnitude of a weight, ``FULL`` or ``HALF``, that OpenVINO multiplies exactly here."""
    import openvino
    from openvino import opset8 as ops

    def level(value: float) -> object:
        return ops.constant(np.array([[value]], np.float32))

    values = ops.parameter([1, _WIDTH], np.float32, name="values")
    narrow = ops.fake_quantize(values, level(0.0), level(255.0), level(0.0), level(255.0), 256)
    weights = ops.convert(ops.constant(np.full((_WIDTH, _WIDTH), FULL, np.int8)), "f32")
    wide = ops.multiply(weights, ops.constant(np.ones((_WIDTH, 1), np.float32)))
    model = openvino.Model([ops.matmul(narrow, wide, transpose_a=False, transpose_b=True)], [values])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    sums = compiled(np.full((1, _WIDTH), 255, np.float32))[0]
    return _limit(float(np.asarray(sums).min()))


def _limit(found: float) -> int:
    return FULL if found > _CLOSE * _EXACT else HALF
