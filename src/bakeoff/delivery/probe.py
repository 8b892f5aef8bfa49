"""Runs a bundle's model alone in a process: answers to the contract rows, resident memory, seconds of single requests.

``python -m bakeoff.delivery.probe BUNDLE OUT --requests N --rounds R``; ``verify`` starts it, so that the memory measured is
the model's and not the command line's. It writes ``OUT`` (npz): predicted, probabilities, latency, cpu, memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from bakeoff.data.examples import Row
from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery import rows as contract_rows
from bakeoff.schema.errors import BakeoffError
from bakeoff.serving.model import load, open_bundle

_CHUNK = 32
_WARM = 10

Floats = NDArray[np.float64]


def measure(classifier: Classifier, rows: Sequence[Row], requests: int, clock: Callable[[], float]) -> tuple[Floats, Floats]:
    """Time ``requests`` single-row requests one after another, rows taken in turn; return wall and cpu seconds (n,)."""
    wall, cpu = np.empty(requests), np.empty(requests)
    for index in range(_WARM):
        classifier.predict([rows[index % len(rows)]])
    for index in range(requests):
        row = rows[index % len(rows)]
        started, busy = clock(), time.process_time()
        classifier.predict([row])
        wall[index], cpu[index] = clock() - started, time.process_time() - busy
    return wall, cpu


def answers(classifier: Classifier, rows: Sequence[Row]) -> tuple[NDArray[np.int64], Floats]:
    """Return class indices (n,) and probabilities (n, k) of all rows, in chunks."""
    parts = [classifier.predict(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([labels for labels, _ in parts]), np.concatenate([shares for _, shares in parts])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 0, or 2 with the reason on standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    try:
        served = load(open_bundle(given.bundle), given.threads)
        classes = served.opened.artifact.classes
        path = given.bundle / contract_rows.FILE
        rows = contract_rows.read(path, classes).rows if path.is_file() else []
        memory = psutil.Process().memory_info().rss
        found: dict[str, NDArray[np.generic]] = {}
        if rows:
            found["latency"], found["cpu"] = measure(served.classifier, rows, given.requests, time.perf_counter)
            memory = max(memory, psutil.Process().memory_info().rss)
            found["predicted"], found["probabilities"] = answers(served.classifier, rows)
        np.savez(given.out, memory=np.asarray(float(memory)), **found)  # type: ignore[arg-type]  # keyword arrays
        served.classifier.close()
    except BakeoffError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
