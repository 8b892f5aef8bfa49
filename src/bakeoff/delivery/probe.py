"""Runs a bundle's model alone in a process: answers to the contract rows, memory, latency and rate, as evaluation measures them.

``python -m bakeoff.delivery.probe BUNDLE FD --expected SHA256 --requests N``; ``verify`` starts it, so that the memory measured is the model's
and not the command line's. It writes one npz to the open file FD: predicted, probabilities, latency, and ``probed``, a JSON document
(measurements, noisy). A file without a name, so that answers to encrypted rows need no folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Row
from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery import rows as contract_rows
from bakeoff.delivery.whole import WHOLE, WholeSeen, compare
from bakeoff.evaluation.load import measure_throughput
from bakeoff.evaluation.measuring import peak_memory
from bakeoff.evaluation.timing import Protocol, measure_latency, time_requests, warm_up
from bakeoff.schema.base import Record, canonical
from bakeoff.schema.contract import Contract
from bakeoff.schema.errors import BakeoffError
from bakeoff.schema.measurement import Measurement
from bakeoff.serving.model import load, open_bundle

_CHUNK = 256
_SECONDS = 60.0
_LOAD_SECONDS = 3.0
_REPEATS = 2


class Probed(Record):
    """What one process measured; ``noisy`` when neighbours were seen on the machine while it timed."""

    measurements: tuple[Measurement, ...]
    noisy: bool
    whole: WholeSeen | None = None


def protocol(contract: Contract, requests: int) -> Protocol:
    """Return how requests are timed: as in the final of a study, with the limits of the contract."""
    prefix = "latency_"
    limits = {
        promise.name.removeprefix(prefix): promise.limit
        for promise in contract.promises
        if promise.name.startswith(prefix)
    }
    rate = next((promise.limit for promise in contract.promises if promise.name == "throughput"), None)
    return Protocol(
        requests=requests, fewest=requests, seconds=_SECONDS, repeats=_REPEATS, limits=limits, least_rate=rate,
        load_seconds=_LOAD_SECONDS if rate else 0.0,
    )  # fmt: skip


def timings(
    classifier: Classifier, rows: Sequence[Row], contract: Contract, requests: int
) -> tuple[Probed, NDArray[np.float64]]:
    """Time single requests, then look at memory, then at the rate; return measurements and latencies [s] (n,)."""
    plan = protocol(contract, requests)
    warm_up(classifier, rows)
    timed = time_requests(classifier, rows, plan, contract.threads)
    memory = _memory()
    rate, _ = measure_throughput(classifier, rows, timed, plan, contract.confidence)
    found = (*measure_latency(timed, plan, contract.confidence), memory, rate)
    return Probed(measurements=found, noisy=not timed.busyness.quiet), timed.latency


def answers(classifier: Classifier, rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return class indices (n,) and probabilities (n, k) of all rows, in chunks."""
    parts = [classifier.predict(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([labels for labels, _ in parts]), np.concatenate([shares for _, shares in parts])


def _memory() -> Measurement:
    peak = float(peak_memory())
    return Measurement(
        name="memory", value=peak, low=peak, high=peak, n=1, unit="B", remark="peak resident", remark_zh="常驻内存峰值"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return 0, or the error's exit code with the reason on standard error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=int, help="descriptor of the file to write")
    parser.add_argument("--expected", required=True, help="SHA-256 of the manifest that was opened before")
    parser.add_argument("--requests", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        served = load(open_bundle(given.bundle, expected=given.expected))
        opened, classifier = served.opened, served.classifier
        path = opened.path(contract_rows.FILE)
        stored = contract_rows.read(path, opened.artifact.classes, most=opened.contract.rows) if path else None
        rows = stored.rows if stored else []
        probed = Probed(measurements=(_memory(),), noisy=False)
        arrays: dict[str, Any] = {}
        if rows and given.requests:
            probed, arrays["latency"] = timings(classifier, rows, opened.contract, given.requests)
        if rows:
            arrays["predicted"], arrays["probabilities"] = answers(classifier, rows)
        if opened.path(WHOLE) is not None:  # last, so that what was measured is the model's alone
            seen = compare(opened.sealed.read(WHOLE), opened.artifact, stored, opened.contract.threads)
            probed = probed.model_copy(update={"whole": seen})
        arrays["probed"] = np.frombuffer(canonical(probed).encode(), np.uint8)
        with os.fdopen(given.out, "wb") as out:
            np.savez(out, **arrays)
        classifier.close()
    except BakeoffError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
