"""The small real study that several benchmarks run: 1,500 Chinese reviews, cheap families, a minute or less."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bakeoff import assets

ROWS = 1500


def write_study(folder: Path, **changes: Any) -> Path:  # noqa: ANN401 - sections of a YAML file
    """Write data and specification into ``folder``; ``changes`` replace top-level sections. Return the specification."""
    source = assets.require("chinese-reviews") / "reviews.csv"
    with source.open(encoding="utf-8", newline="") as stream:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    chosen = random.Random(0).sample(rows, 2 * ROWS)  # half of the raw rows repeat another one
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(chosen)
    spec = {
        "name": "small", "task": "text-classification", "preset": "quick",
        "data": {"file": "reviews.csv", "input": "text", "target": "label", "positive": "正面"},
        "requirements": {"quality": {"metric": "macro_f1", "floor": 0.7}, "latency": {"p95": "50ms"}, "memory": {"max": "1GiB"}},
        "traffic": {"volume": "200k/day", "peak": "20/s"},
        "candidates": {"include": ["linear.*", "embedding_head.wordllama.*", "ensemble.*"]},
        "budget": {"time": "5m"}, **changes,
    }  # fmt: skip
    path = folder / "bakeoff.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    return path


def bakeoff(*words: str | Path, check: bool = True) -> tuple[int, dict[str, Any]]:
    """Run one verb with ``--json`` in a process of its own; return its exit code and document."""
    command = [sys.executable, "-m", "bakeoff.cli", *map(str, words), "--json"]
    quiet = {"BAKEOFF_COST_BOOK": "off"} | os.environ  # a benchmark teaches this machine nothing unless it says so
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if check and done.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}
