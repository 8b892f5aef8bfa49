"""The delivered artefact against its trial. Bars: the same label on every confirm row, p95 within 15 % in one run.

Ships the recommended candidate of build/demo/study (a small study when the demo has not run) and verifies the bundle. The p95 of the
trial's artefact is measured again in the same run, interleaved with the bundle's, because machines drift between runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bakeoff.data.examples import Row
from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery.rows import FILE, read
from bakeoff.runtimes.loading import load_classifier
from bakeoff.store.archive import Archive
from benchmarks import finish
from benchmarks._small import bakeoff, write_study

DEMO = Path("build/demo/study")
BAR = 0.15


def main() -> int:
    """Ship, verify, print."""
    with tempfile.TemporaryDirectory() as name:
        study = DEMO
        if not (DEMO / "decision.json").exists():
            study = Path(name) / "study"
            bakeoff("run", write_study(Path(name)), "--out", study)
        bundle = Path(name) / "bundle"
        bakeoff("ship", study, "-o", bundle)
        _, found = bakeoff("verify", bundle)
        figures = compare(study, bundle)
    same = found["same_labels"] == found["rows"]
    print(f"labels: {found['same_labels']} of {found['rows']} rows the same as in the trial")
    print(
        f"p95: trial's artefact {1000 * figures['trial']:.2f} ms, bundle {1000 * figures['bundle']:.2f} ms, ratio {figures['ratio']:.3f}"
    )
    finish(
        "delivered",
        rows=found["rows"],
        rows_same=found["same_labels"],
        p95=figures,
        met=same and abs(figures["ratio"] - 1) <= BAR,
    )
    return 0


def compare(study: Path, bundle: Path) -> dict[str, float]:
    """Time the trial's artefact and the bundle's model in turns, one request at a time; return both p95 [s] and their ratio."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    steps = [row.result for row in Archive(study).evidence().results if row.result.candidate == manifest["candidate"]]
    key = next(step.inputs[-1] for step in reversed(steps) if step.kind == "time" and step.purpose == "final")
    places = {"trial": study / "artifacts" / key, "bundle": bundle / "model"}
    classifiers = {name: load_classifier(place, manifest["runtime"], 1) for name, place in places.items()}
    rows = read(bundle / FILE, manifest["classes"]).rows[:200]
    spent: dict[str, list[float]] = {name: [] for name in places}
    for number in range(4):
        for name in sorted(places, reverse=bool(number % 2)):
            spent[name] += _timed(classifiers[name], rows)
    p95 = {name: float(np.quantile(values, 0.95)) for name, values in spent.items()}
    return {**p95, "ratio": p95["bundle"] / p95["trial"], "requests": float(len(spent["trial"]))}


def _timed(classifier: Classifier, rows: Sequence[Row]) -> list[float]:
    found = []
    for row in rows:
        begin = time.perf_counter()
        classifier.predict([row])
        found.append(time.perf_counter() - begin)
    return found


if __name__ == "__main__":
    sys.exit(main())
