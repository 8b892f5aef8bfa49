"""Where a graph can be cut, found from its topology alone: no name of a layer, no list of architectures.

A cut splits the nodes, in the order they run, into those before and those after. What must cross it are the tensors made before
and used after. Three kinds are told apart: inputs of the graph are passed along; tensors that follow from the inputs without any weights to speak
of (attention masks, positions, shapes) are computed again on the other side; the rest is sent. Between two layers that is the hidden
state, and an attention mask where it takes its shape from the hidden state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bakeoff.schema.errors import StepError

_CHEAP_WEIGHTS = 4096
"""Bytes of weights a tensor may depend on and still be computed again rather than sent."""
_REAL_WEIGHTS = 8
"""Two cuts are worth looking at when an eighth of the largest matrix lies between them: a normalisation's weights are far less."""
_WIDEST = 4
_ONLY_SHAPES = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class Cut:
    """A place between two nodes: the number of nodes before it, and what is sent and passed along over it."""

    at: int
    sent: tuple[str, ...]
    passed: tuple[str, ...]
    width: int
    """How many of ``sent`` depend on the values of weights, not only on shapes and inputs."""

    @property
    def crossing(self) -> tuple[str, ...]:
        """Everything that reaches the other side."""
        return self.sent + self.passed


@dataclass(frozen=True)
class _Cone:
    """What a tensor follows from: graph inputs alone (None when it cannot be computed again cheaply), and bytes of weights."""

    origins: frozenset[str] | None
    size: int


class Graph:
    """A loaded ONNX model, looked at as nodes that make and use tensors.

    Args:
        model: an ``onnx.ModelProto`` with its weights inside.

    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - onnx has no types
        self.model = model
        constants = {at for at, node in enumerate(model.graph.node) if _is_tensor(node)}
        self.nodes: Sequence[Any] = [node for at, node in enumerate(model.graph.node) if at not in constants]
        self.weights: dict[str, Any] = {item.name: item for item in model.graph.initializer}
        self.weights |= {model.graph.node[at].output[0]: _as_weight(model.graph.node[at]) for at in sorted(constants)}
        self.inputs = tuple(item.name for item in model.graph.input if item.name not in self.weights)
        self.outputs = tuple(item.name for item in model.graph.output)
        if model.graph.sparse_initializer:
            what = "a graph with sparse weights cannot be split"
            raise StepError("unsupported", what)
        self._uses = [tuple(dict.fromkeys(_read(node))) for node in self.nodes]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of each weight."""
        return {name: _bytes(tensor) for name, tensor in self.weights.items()}

    @cached_property
    def makers(self) -> dict[str, int]:
        """Number of the node that makes each tensor; constants and weights have none."""
        return {name: at for at, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def _last_use(self) -> dict[str, int]:
        found = {name: at for at, names in enumerate(self._uses) for name in names}
        return found | dict.fromkeys(self.outputs, len(self.nodes))

    @cached_property
    def _cones(self) -> dict[str, _Cone]:
        """What each tensor that is no weight follows from."""
        found = {name: _Cone(frozenset((name,)), 0) for name in self.inputs}
        for names, node in zip(self._uses, self.nodes, strict=True):
            above = [found[name] for name in names if name not in self.weights]
            size = sum(self.sizes[name] for name in names if name in self.weights) + sum(cone.size for cone in above)
            if any(cone.origins is None for cone in above) or size > _CHEAP_WEIGHTS:
                cone = _Cone(None, 0 if node.op_type in _ONLY_SHAPES else size)
            else:
                cone = _Cone(frozenset().union(*(cone.origins or () for cone in above)), size)
            found |= dict.fromkeys(node.output, cone)
        return found

    def cut(self, at: int) -> Cut:
        """Return what crosses between node ``at - 1`` and node ``at``."""
        sent: list[str] = []
        passed: set[str] = set()
        for name, last in self._last_use.items():
            if name in self.weights or last < at:
                continue
            if name in self.inputs:
                passed.add(name)
            elif self.makers[name] < at:
                origins = self._cones[name].origins
                if origins is None:
                    sent.append(name)
                else:
                    passed |= origins
        width = sum(self._cones[name].size > _CHEAP_WEIGHTS for name in sent)
        return Cut(at, tuple(sorted(sent, key=self.makers.__getitem__)), tuple(sorted(passed)), width)

    def candidates(self, least: int) -> list[Cut]:
        """Return the places where the fewest tensors with content are sent, in order; wider ones only while there are fewer than ``least``.

        Of neighbours with no weights to speak of between them one is kept, the last of those that send least: an addition stays
        with the normalisation behind it, which runtimes fuse.

        Raises:
            StepError: the graph has no place to cut it ('unsupported').

        """
        everywhere = [self.cut(at) for at in range(1, len(self.nodes))]
        for width in range(1, _WIDEST + 1):
            found = self._apart([cut for cut in everywhere if 1 <= cut.width <= width])
            if len(found) >= least:
                return found
        what = f"the graph cannot be cut in {least + 1}: there are only {len(found)} places where at most {_WIDEST} tensors cross"
        raise StepError("unsupported", what, try_="fewer shards")

    def _apart(self, cuts: Sequence[Cut]) -> list[Cut]:
        matrices = [self._weight_between(at, at + 1) for at, node in enumerate(self.nodes) if node.op_type != "Gather"]
        least = max(matrices, default=0) / _REAL_WEIGHTS
        groups: list[list[Cut]] = []
        for cut in cuts:
            if groups and self._weight_between(groups[-1][-1].at, cut.at) < least:
                groups[-1].append(cut)
            else:
                groups.append([cut])
        if groups and self._weight_between(groups[-1][-1].at, len(self.nodes)) == 0:
            groups.pop()  # nothing but arithmetic would be left for a stage
        return [min(group, key=lambda cut: (len(cut.sent), -cut.at)) for group in groups]

    def _weight_between(self, start: int, stop: int) -> int:
        return sum(self.sizes[name] for names in self._uses[start:stop] for name in names if name in self.weights)

    def part(self, given: Iterable[str], wanted: Iterable[str]) -> Part:
        """Return the smallest part that makes ``wanted`` from ``given``; graph inputs are always at hand."""
        at_hand = {*given, *self.inputs}
        wanted = [name for name in wanted if name not in at_hand]
        nodes: set[int] = set()
        inputs: set[str] = set()
        weights: set[str] = set()
        open_ = list(wanted)
        while open_:
            name = open_.pop()
            if name in at_hand:
                inputs.add(name)
            elif name in self.weights:
                weights.add(name)
            elif (maker := self.makers[name]) not in nodes:
                nodes.add(maker)
                open_.extend(self._uses[maker])
        size = sum(self.sizes[name] for name in weights)
        return Part(tuple(sorted(nodes)), tuple(sorted(inputs)), tuple(wanted), tuple(sorted(weights)), size)


@dataclass(frozen=True)
class Part:
    """Nodes by number with the tensors they take and give, and the weights they use (``size`` bytes)."""

    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    size: int


def build(graph: Graph, part: Part, described: Mapping[str, Any]) -> Any:  # noqa: ANN401 - onnx has no types
    """Return a part as a model of its own.

    Args:
        graph: the whole.
        part: of it.
        described: ``onnx.ValueInfoProto`` of every tensor that crosses a cut; inputs and outputs of the whole describe themselves.

    """
    import onnx

    whole = graph.model
    known = {**described, **{item.name: item for item in (*whole.graph.input, *whole.graph.output)}}
    made = onnx.ModelProto(ir_version=whole.ir_version, producer_name="bakeoff")
    made.opset_import.extend(whole.opset_import)
    made.functions.extend(whole.functions)
    made.graph.name = "stage"
    made.graph.node.extend(graph.nodes[at] for at in part.nodes)
    made.graph.initializer.extend(graph.weights[name] for name in part.weights)
    made.graph.input.extend(known[name] for name in part.inputs)
    made.graph.output.extend(known[name] for name in part.outputs)
    return made


def _is_tensor(node: Any) -> bool:  # noqa: ANN401 - onnx has no types
    return node.op_type == "Constant" and [attribute.name for attribute in node.attribute] == ["value"]


def _as_weight(node: Any) -> Any:  # noqa: ANN401 - onnx has no types
    """Return the tensor of a ``Constant`` node as a weight: some exporters write all weights that way."""
    import onnx

    weight = onnx.TensorProto()
    weight.CopyFrom(node.attribute[0].t)
    weight.name = node.output[0]
    return weight


def _read(node: Any) -> Iterator[str]:  # noqa: ANN401 - onnx has no types
    """Yield the tensors a node uses, those that bodies of its loops and branches take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            inside = {item.name for item in (*body.input, *body.initializer)} | {
                name for one in body.node for name in one.output
            }
            for one in body.node:
                yield from (name for name in _read(one) if name not in inside)
            yield from (item.name for item in body.output if item.name not in inside)


def _bytes(tensor: Any) -> int:  # noqa: ANN401 - onnx has no types
    import onnx

    count = 1
    for size in tensor.dims:
        count *= size
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(count * kind.itemsize)
