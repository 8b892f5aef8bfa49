"""Times the pieces of a graph on real rows: every piece between two neighbouring candidates, and whole batches of several sizes.

CPU seconds of one thread, so that neighbours on the machine do not decide where a graph is cut.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.delivery.shards.cuts import Cut, Graph, Part, build
from bakeoff.runtimes.onnxruntime import open_session

Tensors = dict[str, NDArray[Any]]

_LARGEST = (1 << 31) - (1 << 20)
"""Bytes of weights that a graph may hold inside: protobuf writes 2 GiB at most, and the nodes are in it too."""
SIZES = (1, 2, 4, 8, 16, 32)
_REPEATS = 3
_NEAR = 0.03
_FRAME_SECONDS = 2e-4
"""What passing one micro-batch on costs a stage, measured on loopback."""
_TYPES = {
    "tensor(float)": "FLOAT", "tensor(double)": "DOUBLE", "tensor(float16)": "FLOAT16", "tensor(int64)": "INT64",
    "tensor(int32)": "INT32", "tensor(int8)": "INT8", "tensor(uint8)": "UINT8", "tensor(bool)": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Timed:
    """CPU seconds a row of each piece, and bytes a row that cross each cut (pieces are one more than cuts)."""

    seconds: tuple[float, ...]
    sent: tuple[float, ...]


def opened(model: Any, weights: int) -> Any:  # noqa: ANN401 - onnx has no types
    """Open a graph with so many bytes of weights; from what protobuf cannot write on they lie in a file beside it for as long as it takes.

    ``model`` is as it was afterwards, so no second copy of a large one is needed.
    """
    import onnx

    if weights < _LARGEST:
        return open_session(model.SerializeToString(), 1)
    with TemporaryDirectory(prefix="bakeoff-shards-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data")
        try:
            return open_session(path, 1)
        finally:
            onnx.load_external_data_for_model(model, folder)  # saving has taken the weights out


def describe(graph: Graph, cuts: Sequence[Cut], feeds: Tensors) -> dict[str, Any]:
    """Return an ``onnx.ValueInfoProto`` for every tensor that is sent over a cut, found by running the whole graph twice.

    A dimension that is the same for two batches of different shape is fixed; the others get names.
    """
    import onnx

    names = list(dict.fromkeys(name for cut in cuts for name in cut.sent))
    outputs = graph.model.graph.output
    own = len(outputs)
    outputs.extend(onnx.ValueInfoProto(name=name) for name in names if name not in graph.outputs)
    try:
        session = opened(graph.model, sum(graph.sizes.values()))
    finally:
        del outputs[own:]
    types = {item.name: item.type for item in session.get_outputs()}
    shapes = []
    for rows, width in ((2, 7), (3, 5)):
        small = {name: _shaped(value, rows, width) for name, value in feeds.items()}
        shapes.append([found.shape for found in session.run(names, small)])
    described = {}
    for name, first, second in zip(names, *shapes, strict=True):
        dims = [
            one if one == other and at > 1 else f"{name}_{at}"
            for at, (one, other) in enumerate(zip(first, second, strict=True))
        ]
        kind = getattr(onnx.TensorProto, _TYPES[types[name]])
        described[name] = onnx.helper.make_tensor_value_info(name, kind, dims)
    return described


def _shaped(value: NDArray[Any], rows: int, width: int) -> NDArray[Any]:
    """Return the first rows, cut or repeated to ``width`` columns."""
    return value[:rows] if value.ndim == 1 else value[:rows, np.arange(width) % value.shape[1]]


def pieces(graph: Graph, cuts: Sequence[Cut]) -> list[Part]:
    """Return the parts between neighbouring cuts, the first from the inputs and the last to the outputs."""
    given: list[tuple[str, ...]] = [(), *(cut.sent for cut in cuts)]
    wanted: list[tuple[str, ...]] = [*(cut.sent for cut in cuts), graph.outputs]
    return [graph.part(one, other) for one, other in zip(given, wanted, strict=True)]


def time_pieces(graph: Graph, cuts: Sequence[Cut], described: Mapping[str, Any], batches: Sequence[Tensors]) -> Timed:
    """Run every piece on every batch, in turns, and return each one's median CPU seconds a row."""
    parts = pieces(graph, cuts)
    sessions = [opened(build(graph, part, described), part.size) for part in parts]
    rows = sum(_rows(batch) for batch in batches)
    spent = np.zeros((_REPEATS + 1, len(parts)))
    sent = np.zeros(len(cuts))
    for repeat in range(_REPEATS + 1):  # the first time around warms up
        for batch in batches:
            tensors = dict(batch)
            for number, (part, session) in enumerate(zip(parts, sessions, strict=True)):
                feeds = {name: tensors[name] for name in part.inputs}
                begin = time.process_time()
                found = session.run(list(part.outputs), feeds)
                spent[repeat, number] += time.process_time() - begin
                tensors |= dict(zip(part.outputs, found, strict=True))
            if not repeat:
                sent += [sum(tensors[name].nbytes for name in cut.crossing) for cut in cuts]
    seconds = np.median(spent[1:], axis=0) / rows
    return Timed(tuple(map(float, seconds)), tuple(map(float, sent / rows)))


def batch_curve(graph: Graph, batches: Mapping[int, Sequence[Tensors]]) -> dict[int, float]:
    """Return CPU seconds a row of the whole graph by rows of a batch."""
    session = opened(graph.model, sum(graph.sizes.values()))
    spent: dict[int, list[float]] = {size: [] for size in batches}
    for repeat in range(_REPEATS + 1):
        for size, pieces_ in batches.items():
            begin = time.process_time()
            for piece in pieces_:
                session.run(None, piece)
            if repeat:
                spent[size].append(time.process_time() - begin)
    rows = {size: sum(_rows(piece) for piece in pieces_) for size, pieces_ in batches.items()}
    return {size: float(np.median(values)) / rows[size] for size, values in spent.items()}


def micro_batch(curve: Mapping[int, float]) -> int:
    """Return the smallest size that is within 3 % of the fastest, the cost of passing a micro-batch on included: smaller ones fill stages sooner."""
    whole = {size: seconds + _FRAME_SECONDS / size for size, seconds in curve.items()}
    fastest = min(whole.values())
    return min(size for size, seconds in whole.items() if seconds <= (1 + _NEAR) * fastest)


def _rows(batch: Tensors) -> int:
    return len(next(iter(batch.values())))
