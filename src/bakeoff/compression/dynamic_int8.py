"""Dynamic int8: weights of matrix products and embeddings as 8-bit integers, activations quantised while running.

Scales of activations are taken from the whole batch, so an answer would depend on the rows beside it; the artefact says
``batch: 1`` and the runtime then runs row by row. On a CPU that costs little: there is no padding either. Weights have 7 bits where this
processor would cut 8-bit sums off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bakeoff.compression._saturation import HALF, onnxruntime_limit
from bakeoff.compression.base import CompressContext
from bakeoff.models._formats import copy_others
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, PassTraits

_KINDS = ["MatMul", "Gather", "Attention", "EmbedLayerNormalization"]
_QUANTISED = frozenset(
    {"MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "QAttention", "DequantizeLinear"}
)


class DynamicInt8:
    """ONNX Runtime's dynamic quantisation, per channel, without calibration rows."""

    traits = PassTraits(
        label=Words(zh="动态 int8", en="dynamic int8"),
        consumes=("onnx",),
        produces="onnx",
        needs=Needs(modules=("onnxruntime", "onnx"), extra="onnx"),
    )

    def apply(self, context: CompressContext) -> Artifact:
        """Quantise the graph and copy everything else.

        Raises:
            StepError: there is nothing in the graph to quantise ('unsupported'), or the library refuses it ('error').

        """
        if context.artifact.format != "onnx":
            what = "dynamic int8 works on ONNX graphs"
            raise StepError("unsupported", what, got=context.artifact.format)
        model = str(context.artifact.meta.get("model", "model.onnx"))
        copy_others(context.source, context.out, {model, f"{model}.data", "artifact.json"})
        bits = 7 if onnxruntime_limit() == HALF else 8
        _quantise(context.source / model, context.out / model, reduce=bits == 7)
        meta = {**context.artifact.meta, "compression": "dynamic_int8", "weight_bits": bits, "batch": 1}
        return context.artifact.model_copy(update={"meta": meta, "files": ()})


def _quantise(source: Path, target: Path, *, reduce: bool) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    try:
        with _quiet():
            quantize_dynamic(
                source,
                target,
                op_types_to_quantize=_KINDS,
                per_channel=True,
                reduce_range=reduce,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
    except Exception as error:  # the library raises whatever its passes raise
        what = f"quantisation failed: {str(error)[:300]}"
        raise StepError("error", what) from error
    graph = onnx.load(target, load_external_data=False).graph
    if not any(node.op_type in _QUANTISED for node in graph.node):
        what = "the graph holds no matrix product or embedding with constant weights to quantise"
        raise StepError("unsupported", what)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from advising on pre-processing through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


PLUGIN = DynamicInt8()
