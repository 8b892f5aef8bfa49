from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bakeoff.delivery.shards.cuts import Graph
from bakeoff.schema import StepError
from tests.shards.making import LAYERS


@pytest.fixture(scope="module")
def model(whole: Path) -> onnx.ModelProto:
    return onnx.load(whole / "model.onnx")


def test_an_encoder_is_cut_between_its_sublayers(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    cuts = graph.candidates(1)
    # after the embeddings, and after attention and feed-forward of every layer; the last one has the head behind it
    assert LAYERS <= len(cuts) <= 2 * LAYERS + 1
    for cut in cuts:
        assert cut.width == 1
        assert len(cut.sent) <= 2, "the hidden state, and at most a mask that takes its shape from it"
        assert set(cut.passed) <= {"input_ids", "attention_mask"}


def test_names_do_not_matter(model: onnx.ModelProto) -> None:
    """Layers are found from what is connected to what."""
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    keep = {item.name for item in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {}

    def new(name: str) -> str:
        return name if name in keep or not name else names.setdefault(name, f"t{len(names)}")

    for node in renamed.graph.node:
        node.name = ""
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for weight in renamed.graph.initializer:
        weight.name = new(weight.name)
    before = [(cut.at, len(cut.sent)) for cut in Graph(model).candidates(1)]
    assert [(cut.at, len(cut.sent)) for cut in Graph(renamed).candidates(1)] == before


def test_weights_go_to_the_part_that_uses_them(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    cut = graph.candidates(1)[2]
    first, second = graph.part((), cut.sent), graph.part(cut.sent, graph.outputs)
    shared = set(first.weights) & set(second.weights)
    assert sum(graph.sizes[name] for name in shared) < 2048, "constants of masks and shapes only"
    assert first.size + second.size >= 0.98 * sum(graph.sizes.values())
    table = max(graph.sizes, key=graph.sizes.__getitem__)
    assert (table in first.weights) != (table in second.weights)


def _graph(nodes: list[Any], weights: dict[str, np.ndarray], inputs: list[str], output: str) -> Graph:
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    return Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]))


def _square(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32)


def test_what_a_branch_takes_from_outside_crosses_the_cut() -> None:
    """The bodies of ``If`` read tensors that are no inputs of the node."""
    body = helper.make_graph(
        [helper.make_node("Add", ["early", "early"], ["inside"])], "body", [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["early"]),
        helper.make_node("MatMul", ["early", "w2"], ["late"]),
        helper.make_node("ReduceSum", ["late"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
    ]
    graph = _graph(nodes, {"w1": _square(0), "w2": _square(1)}, ["x"], "y")
    assert graph.cut(2).sent == ("early", "late")
    assert graph.part(("early", "late"), ("y",)).inputs == ("early", "late")


def test_constants_written_as_nodes_are_weights() -> None:
    node = helper.make_node("Constant", [], ["w1"], value=numpy_helper.from_array(_square(0)))
    nodes = [node, helper.make_node("MatMul", ["x", "w1"], ["a"]), helper.make_node("MatMul", ["a", "w2"], ["y"])]
    graph = _graph(nodes, {"w2": _square(1)}, ["x"], "y")
    assert graph.sizes == {"w1": 16384, "w2": 16384}
    assert [cut.sent for cut in graph.candidates(1)] == [("a",)]


def test_what_follows_from_inputs_alone_is_not_sent() -> None:
    nodes = [
        helper.make_node("Sign", ["mask"], ["wide"]),
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Mul", ["a", "wide"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Mul", ["c", "wide"], ["y"]),
    ]
    graph = _graph(nodes, {"w1": _square(0), "w2": _square(1)}, ["x", "mask"], "y")
    cut = graph.cut(3)
    assert (cut.sent, cut.passed) == (("b",), ("mask",))
    assert graph.part(cut.sent, ("y",)).nodes == (0, 3, 4), "the mask is computed again"


def test_a_graph_that_cannot_be_cut_is_refused() -> None:
    graph = _graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": _square(0)}, ["x"], "y")
    with pytest.raises(StepError, match="cannot be cut") as caught:
        graph.candidates(1)
    assert caught.value.code == "unsupported"
