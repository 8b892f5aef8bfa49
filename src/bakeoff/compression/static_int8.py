"""Static int8 for OpenVINO: weights per output channel, activations with ranges seen on calibrate rows, int8 products.

What is not a product with weights (attention, normalisation) runs in bfloat16 where the processor has it: another tenth of the time.

Ranges are fixed beforehand, so an answer does not depend on the rows beside it, and rows can be served in batches; dynamic int8
must go row by row. Every product is also tried with part of the activations' spread moved into the weights (SmoothQuant, Xiao et
al. 2023): whichever share leaves the smallest error on the calibrate rows is kept, none included. Weights of products have 7 bits where
this processor would cut 8-bit sums off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.compression import _openvino
from bakeoff.compression._ranges import Seen, chosen
from bakeoff.compression._saturation import HALF, openvino_limit
from bakeoff.compression.base import CompressContext
from bakeoff.data.transforms.feeds import Feeder
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, PassTraits

_ROWS = 128
"""Calibrate rows looked at; ranges hardly move after a hundred."""
_LEAST_OUTPUTS = 16
"""Products with fewer outputs stay as they are: a classification head costs nothing and decides everything."""
_LEVELS = 256


class StaticInt8:
    """Quantises every product with constant weights, and tables of embeddings row by row."""

    traits = PassTraits(
        label=Words(zh="静态 int8", en="static int8"),
        consumes=("openvino",),
        produces="openvino",
        needs=Needs(modules=("openvino",), extra="openvino"),
    )

    def apply(self, context: CompressContext) -> Artifact:
        """Calibrate and quantise.

        Raises:
            StepError: not an OpenVINO graph, nothing in it to quantise, or no calibrate rows ('unsupported'); a file the library
                cannot read ('error').

        """
        graph = _openvino.read(context, "static int8")
        if not context.calibrate:
            what = "static int8 takes its ranges from calibrate rows, and there are none"
            raise StepError("unsupported", what)
        products = _products(graph)
        if not products:
            what = "the graph holds no matrix product with constant weights to quantise"
            raise StepError("unsupported", what)
        seen = _watch(context, products)
        limit = openvino_limit()
        for product in products:
            _quantise(product, seen[product.get_friendly_name()], limit)
        for table in _tables(graph):
            _shrink(table)
        graph.validate_nodes_and_infer_types()
        found = _openvino.write(context, graph, "static_int8", half=False)
        return found.model_copy(update={"meta": {**found.meta, "weight_bits": 7 if limit == HALF else 8}})


def _products(graph: Any) -> list[Any]:  # noqa: ANN401 - an OpenVINO model
    """Return the matrix products whose second factor is a constant matrix with outputs enough to matter."""
    found = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        shape = node.input_value(1).get_shape()
        if len(shape) == 2 and min(shape) >= _LEAST_OUTPUTS and not node.get_attributes()["transpose_a"]:
            found.append(node)
    return found


def _watch(context: CompressContext, products: Sequence[Any]) -> dict[str, Seen]:
    """Run calibrate rows through the graph as it was and return what went into each product, by the product's name."""
    import openvino

    feeder, graph = Feeder(context.artifact, context.source), _openvino.read(context, "static int8")
    nodes = {node.get_friendly_name(): node for node in graph.get_ordered_ops()}
    names = [product.get_friendly_name() for product in products]
    sources = [nodes[name].input_value(0) for name in names]
    distinct = {(source.get_node().get_friendly_name(), source.get_index()): source for source in sources}
    places = dict(zip(distinct, graph.add_outputs(list(distinct.values())), strict=True))
    compiled = openvino.Core().compile_model(
        graph, "CPU", {"INFERENCE_NUM_THREADS": context.threads, "INFERENCE_PRECISION_HINT": openvino.Type.f32}
    )
    numbers = {key: list(graph.outputs).index(port) for key, port in places.items()}
    inputs = {port.get_any_name(): port.get_element_type().to_dtype() for port in compiled.inputs}
    seen = {key: Seen() for key in distinct}
    request = compiled.create_infer_request()
    for row in context.calibrate[:_ROWS]:
        request.infer(feeder([row], inputs))
        for key, number in numbers.items():
            values = request.get_output_tensor(number).data
            seen[key].add(values.reshape(-1, values.shape[-1]))
    keys = [(source.get_node().get_friendly_name(), source.get_index()) for source in sources]
    return {name: seen[key] for name, key in zip(names, keys, strict=True)}


def _quantise(product: Any, seen: Seen, most: int) -> None:  # noqa: ANN401 - an OpenVINO node
    """Replace a product by one of 8-bit factors, weights within ±``most``."""
    from openvino import opset8 as ops

    constant = product.input_value(1).get_node()
    matrix = constant.get_data().astype(np.float32)  # outputs × inputs
    matrix = matrix if product.get_attributes()["transpose_b"] else matrix.T
    plan = chosen(seen, matrix, most)
    source = product.input_value(0)
    rank = len(source.get_partial_shape())

    def limit(value: float) -> Any:  # noqa: ANN401 - a node
        return ops.constant(np.full([1] * rank, value, dtype=np.float32))

    made: list[Any] = []
    if plan.smooth is not None:
        factor = ops.constant((1.0 / plan.smooth).reshape([1] * (rank - 1) + [-1]))
        made += [factor, ops.multiply(source, factor)]
        source = made[-1].output(0)
    limits = [limit(value) for value in (plan.low, plan.high, plan.low, plan.high)]
    narrow = ops.fake_quantize(source, *limits, _LEVELS)
    weights, scales = ops.constant(plan.weights), ops.constant(plan.scales)
    numbers = ops.convert(weights, "f32")
    wide = ops.multiply(numbers, scales)
    made += [
        *limits,
        narrow,
        weights,
        scales,
        numbers,
        wide,
        ops.matmul(narrow, wide, transpose_a=False, transpose_b=True),
    ]
    _replace(product, made)


def _tables(graph: Any) -> list[Any]:  # noqa: ANN401 - an OpenVINO model
    """Return the look-ups of rows in constant fp32 tables."""
    found = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Gather" or node.input_value(0).get_node().get_type_name() != "Constant":
            continue
        source = node.input_value(0)
        if (
            len(source.get_shape()) == 2
            and source.get_shape()[1] >= _LEAST_OUTPUTS
            and str(source.get_element_type()) == "<Type: 'float32'>"
        ):
            found.append(node)
    return found


def _shrink(look_up: Any) -> None:  # noqa: ANN401 - an OpenVINO node
    """Replace a table by 8-bit rows with a scale each; both are looked up, so the table never exists in fp32."""
    from openvino import opset8 as ops

    table: NDArray[np.float32] = look_up.input_value(0).get_node().get_data().astype(np.float32)
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127.0, np.float32(1e-12))
    rows = np.clip(np.rint(table / scales), -127, 127).astype(np.int8)
    places, axis = look_up.input_value(1), look_up.input_value(2)
    constants = [ops.constant(rows), ops.constant(scales)]
    picked = [ops.gather(constant, places, axis) for constant in constants]
    numbers = ops.convert(picked[0], "f32")
    _replace(look_up, [*constants, *picked, numbers, ops.multiply(numbers, picked[1])])


def _replace(node: Any, made: Sequence[Any]) -> None:  # noqa: ANN401 - OpenVINO nodes
    """Put the last of ``made`` in the place of ``node``; names from its own, as the library's count up over a process's life."""
    for at, new in enumerate(made):
        new.set_friendly_name(f"{node.get_friendly_name()}/int8/{at}")
    node.output(0).replace(made[-1].output(0))


PLUGIN = StaticInt8()
