"""Measures one graph alone in a process: ``python -m bakeoff.delivery.shards.measure GRAPH IN OUT``.

``IN`` (npz) holds micro-batches as ``NUMBER/TENSOR``. ``OUT`` gets what the graph makes of them, and one JSON line on standard output says CPU
seconds of one pass and the bytes of memory that loading and running added at the peak.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.evaluation.measuring import peak_memory
from bakeoff.runtimes.shards.stage import mapped, open_graph

_REPEATS = 3


def load(path: Path) -> list[dict[str, NDArray[Any]]]:
    """Read micro-batches that ``save`` wrote."""
    found: dict[int, dict[str, NDArray[Any]]] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            number, _, name = key.partition("/")
            found.setdefault(int(number), {})[name] = stored[key]
    return [found[number] for number in sorted(found)]


def save(path: Path, batches: Sequence[dict[str, NDArray[Any]]]) -> None:
    """Write micro-batches."""
    arrays = {f"{number}/{name}": value for number, batch in enumerate(batches) for name, value in batch.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    graph, source, target = map(Path, arguments or sys.argv[1:])
    batches = load(source)
    import onnxruntime  # noqa: F401 - the library itself is no part of the graph's memory

    before = peak_memory()
    weights = graph.with_name(f"{graph.name}.data")
    content = {path.name: mapped(path) for path in (graph, weights)}
    session = open_graph(content, 1)
    names = [item.name for item in session.get_outputs()]
    wanted = [item.name for item in session.get_inputs()]
    spent = []
    made: list[dict[str, NDArray[Any]]] = []
    for repeat in range(_REPEATS + 1):  # the first time around warms up
        begin = time.process_time()
        for batch in batches:
            found = session.run(names, {name: batch[name] for name in wanted})
            if not repeat:
                made.append({**batch, **dict(zip(names, found, strict=True))})
        if repeat:
            spent.append(time.process_time() - begin)
    memory = peak_memory() - before
    save(target, made)
    print(json.dumps({"seconds": statistics.median(spent), "memory": memory}))  # noqa: T201 - read by whoever started this
    return 0


if __name__ == "__main__":
    sys.exit(main())
