"""LiteRT (TFLite) graphs, translated from the small ONNX graphs this package writes.

No TensorFlow is needed: the file is a FlatBuffer of the published schema, and the graphs of scorecards, static embeddings and small
networks are a dozen operators with a dynamic batch. What is not in the table below is refused, not guessed; transformers are not
translated (their traced graphs compute shapes while running, which LiteRT's operators do not follow).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.models._formats import copy_others
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

MODEL = "model.tflite"
_VERSION = 3
_IDENTIFIER = b"TFL3"
_DYNAMIC = -1


def litert_from_onnx(artifact: Artifact, source: Path, out: Path) -> Artifact:
    """Translate an ``onnx`` artefact in ``source`` to a ``tflite`` one in ``out``.

    Raises:
        StepError: a library is missing ('unavailable'), or an operator has no translation ('unsupported').

    """
    try:
        import onnx
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        what = f"{error.name} is not installed"
        raise StepError("unavailable", what, try_="pip install 'bakeoff[litert,onnx]'") from error
    model = str(artifact.meta.get("model", "model.onnx"))
    graph = onnx.shape_inference.infer_shapes(onnx.load(source / model)).graph
    (out / MODEL).write_bytes(_Writer(schema, graph).body())
    copy_others(source, out, {model, f"{model}.data", "artifact.json"})
    meta = {**artifact.meta, "model": MODEL}
    return artifact.model_copy(update={"format": "tflite", "meta": meta, "files": ()})


class _Writer:
    """One ONNX graph, tensor by tensor and operator by operator."""

    def __init__(self, schema: Any, graph: Any) -> None:  # noqa: ANN401 - generated classes
        from onnx import helper, numpy_helper

        self._s = schema
        self._graph = graph
        self._types = {
            np.dtype(np.float32): schema.TensorType.FLOAT32,
            np.dtype(np.int64): schema.TensorType.INT64,
            np.dtype(np.int32): schema.TensorType.INT32,
            np.dtype(np.bool_): schema.TensorType.BOOL,
        }
        self._buffers = [schema.BufferT()]  # the first one is empty by convention
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._constants: dict[str, NDArray[Any]] = {
            item.name: numpy_helper.to_array(item) for item in graph.initializer
        }
        known = [*graph.input, *graph.value_info, *graph.output]
        self._shapes = {item.name: [_size(dim) for dim in item.type.tensor_type.shape.dim] for item in known}
        self._kinds = {
            item.name: np.dtype(helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)) for item in known
        }

    def body(self) -> bytes:
        """Return the file."""
        flatbuffers: Any = importlib.import_module("flatbuffers")  # comes with ai-edge-litert; ships no types

        inputs = [self.of(item.name) for item in self._graph.input]
        for node in self._graph.node:
            self._node(node)
        sub = self._s.SubGraphT()
        sub.name, sub.inputs, sub.outputs = b"bakeoff", inputs, [self.of(item.name) for item in self._graph.output]
        sub.tensors, sub.operators = self._tensors, self._operators
        model = self._s.ModelT()
        model.version, model.description = _VERSION, b"bakeoff"
        model.subgraphs, model.buffers, model.operatorCodes = [sub], self._buffers, self._operator_codes()
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def of(self, name: str) -> int:
        """Return the number of a tensor of the ONNX graph, adding it the first time."""
        if name not in self._names:
            if name in self._constants:
                self._names[name] = self.constant(name, self._constants[name])
            elif name in self._shapes:
                self._names[name] = self._tensor(name, self._shapes[name], self._kinds[name])
            else:
                what = "the shape of a tensor is not known"
                raise StepError("unsupported", what, got=name)
        return self._names[name]

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """Add a constant tensor."""
        buffer = self._s.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        return self._tensor(name, list(values.shape), values.dtype, len(self._buffers) - 1)

    def between(self, name: str, like: str, kind: type[np.generic] | None = None) -> int:
        """Add a tensor between two operators that ONNX has as one, of the shape of ``like``."""
        return self._tensor(name, self._shapes[like], np.dtype(kind) if kind is not None else self._kinds[like])

    def value(self, name: str) -> NDArray[Any]:
        """Return a constant of the ONNX graph.

        Raises:
            StepError: it is computed while running ('unsupported').

        """
        if name not in self._constants:
            what = "a factor or an axis that is no constant has no translation"
            raise StepError("unsupported", what, got=name)
        return self._constants[name]

    def add(self, code: str, inputs: Sequence[int], output: int, options: str | None = None, **fields: Any) -> None:  # noqa: ANN401
        """Add an operator of the schema: ``code`` and ``options`` are its names there."""
        number = getattr(self._s.BuiltinOperator, code)
        made = self._s.OperatorT()
        made.opcodeIndex = self._codes.setdefault(number, len(self._codes))
        made.inputs, made.outputs = list(inputs), [output]
        if options is not None:
            made.builtinOptionsType = getattr(self._s.BuiltinOptions, options)
            made.builtinOptions = getattr(self._s, f"{options}T")()
            for field, value in fields.items():
                setattr(made.builtinOptions, field, value)
        self._operators.append(made)

    def _tensor(self, name: str, shape: Sequence[int], kind: np.dtype[Any], buffer: int = 0) -> int:
        made = self._s.TensorT()
        made.name, made.buffer, made.type = name.encode(), buffer, self._types[kind]
        made.shape = [max(1, size) for size in shape]
        if any(size == _DYNAMIC for size in shape):
            made.shapeSignature = list(shape)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def _node(self, node: Any) -> None:  # noqa: ANN401 - onnx.NodeProto
        from onnx import helper

        write = _OPERATORS.get(node.op_type)
        if write is None or node.domain not in {"", "ai.onnx"}:
            what = "LiteRT has no operator for a node of this graph"
            raise StepError("unsupported", what, got=node.op_type, allowed=sorted(_OPERATORS))
        given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        write(self, list(node.input), node.output[0], given)

    def _operator_codes(self) -> list[Any]:
        found = []
        for number in self._codes:
            code = self._s.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            found.append(code)
        return found


Given = Mapping[str, Any]
Translate = Callable[[_Writer, list[str], str, Given], None]


def _size(dim: Any) -> int:  # noqa: ANN401 - onnx's dimension
    return int(dim.dim_value) if dim.HasField("dim_value") else _DYNAMIC


def _plain(code: str, options: str | None = None) -> Translate:
    def write(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
        del given
        writer.add(code, [writer.of(name) for name in inputs], writer.of(output), options)

    return write


def _softmax(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    del given  # always over the last axis of (n, k)
    writer.add("SOFTMAX", [writer.of(inputs[0])], writer.of(output), "SoftmaxOptions", beta=1.0)


def _gather(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    places = writer.value(inputs[1]).astype(np.int32) if inputs[1] not in writer._shapes else None  # noqa: SLF001 - one module
    at = writer.of(inputs[1]) if places is None else writer.constant(f"{output}:at", places)
    writer.add("GATHER", [writer.of(inputs[0]), at], writer.of(output), "GatherOptions", axis=int(given.get("axis", 0)))


def _product(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    matrix = writer.value(inputs[1]).astype(np.float32)
    if not given.get("transB"):
        matrix = matrix.T  # LiteRT keeps outputs × inputs
    bias = writer.of(inputs[2]) if len(inputs) > 2 else -1
    weights = writer.constant(f"{output}:weights", matrix)
    writer.add("FULLY_CONNECTED", [writer.of(inputs[0]), weights, bias], writer.of(output), "FullyConnectedOptions")


def _reduce(code: str) -> Translate:
    def write(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
        axes = writer.constant(f"{output}:axes", np.atleast_1d(writer.value(inputs[1])).astype(np.int32))
        kept = bool(given.get("keepdims", 1))
        writer.add(code, [writer.of(inputs[0]), axes], writer.of(output), "ReducerOptions", keepDims=kept)

    return write


def _length(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    squares = writer.between(f"{output}:squares", inputs[0])
    total = writer.between(f"{output}:total", output)
    writer.add("SQUARE", [writer.of(inputs[0])], squares)
    axes = writer.constant(f"{output}:axes", np.atleast_1d(writer.value(inputs[1])).astype(np.int32))
    writer.add("SUM", [squares, axes], total, "ReducerOptions", keepDims=bool(given.get("keepdims", 1)))
    writer.add("SQRT", [total], writer.of(output))


def _unsqueeze(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    del given
    axis = writer.constant(f"{output}:axis", np.asarray(int(writer.value(inputs[1]).ravel()[0]), dtype=np.int32))
    writer.add("EXPAND_DIMS", [writer.of(inputs[0]), axis], writer.of(output), "ExpandDimsOptions")


def _not_a_number(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    del given
    same = writer.of(inputs[0])
    writer.add("NOT_EQUAL", [same, same], writer.of(output), "NotEqualOptions")  # only NaN differs from itself


def _sum(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    del given
    total = writer.of(inputs[0])
    for at, name in enumerate(inputs[1:], start=2):
        more = writer.of(output) if at == len(inputs) else writer.between(f"{output}:{at}", output)
        writer.add("ADD", [total, writer.of(name)], more, "AddOptions")
        total = more


def _concat(writer: _Writer, inputs: list[str], output: str, given: Given) -> None:
    parts = [writer.of(name) for name in inputs]
    writer.add("CONCATENATION", parts, writer.of(output), "ConcatenationOptions", axis=int(given["axis"]))


_OPERATORS: dict[str, Translate] = {
    "Add": _plain("ADD", "AddOptions"),
    "Cast": _plain("CAST"),
    "Concat": _concat,
    "Div": _plain("DIV", "DivOptions"),
    "Equal": _plain("EQUAL", "EqualOptions"),
    "Gather": _gather,
    "Gemm": _product,
    "Greater": _plain("GREATER", "GreaterOptions"),
    "IsNaN": _not_a_number,
    "MatMul": _product,
    "Max": _plain("MAXIMUM", "MaximumMinimumOptions"),
    "Mul": _plain("MUL", "MulOptions"),
    "ReduceL2": _length,
    "ReduceSum": _reduce("SUM"),
    "Relu": _plain("RELU"),
    "Sigmoid": _plain("LOGISTIC"),
    "Softmax": _softmax,
    "Sub": _plain("SUB", "SubOptions"),
    "Sum": _sum,
    "Tanh": _plain("TANH"),
    "Unsqueeze": _unsqueeze,
    "Where": _plain("SELECT_V2", "SelectV2Options"),
}
