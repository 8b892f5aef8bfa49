"""Small pieces every graph writer here shares: one model with a dynamic batch, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

MODEL = "model.onnx"
OPSET, OPSET_ML, IR = 18, 5, 9
"""Old enough for the ONNX Runtime releases of the last two years, new enough for TreeEnsemble (ai.onnx.ml 5)."""
OUTPUT = "probabilities"


class Graph:
    """Collects nodes and constants, then writes one checked model."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def constant(self, name: str, values: Any) -> str:  # noqa: ANN401 - anything NumPy takes
        """Add a constant and return its name."""
        self._constants[name] = np.asarray(values)
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node with one output and return the output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def link(self, scores: str, link: str) -> None:
        """Add what turns scores (n, c) into ``probabilities`` (n, k); see ``runtimes.native.linked``."""
        if link == "softmax":
            self.add("Softmax", [scores], OUTPUT, axis=1)
            return
        positive = self.add("Sigmoid", [scores], "positive")
        if link == "sigmoid":
            negative = self.add("Sub", [self.constant("one", np.float32(1.0)), positive], "negative")
            self.add("Concat", [negative, positive], OUTPUT, axis=1)
            return
        floored = self.add("Max", [positive, self.constant("tiny", np.float32(np.finfo(np.float32).tiny))], "floored")
        total = self.add("ReduceSum", [floored, self.constant("classes_axis", np.array([1]))], "total", keepdims=1)
        self.add("Div", [floored, total], OUTPUT)

    def write(self, path: Path, inputs: Sequence[ValueInfoProto], classes: int) -> None:
        """Check the graph and write it to ``path``."""
        import onnx
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(values, name) for name, values in self._constants.items()]
        output = helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self.nodes, "bakeoff", list(inputs), [output], constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="bakeoff")
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))


def tensor(name: str, dtype: str, *shape: str | int) -> ValueInfoProto:
    """Describe a graph input: ``dtype`` is ``FLOAT`` or ``INT64``; a named dimension is dynamic."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, getattr(TensorProto, dtype), list(shape))
