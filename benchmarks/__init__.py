"""The numbers Bakeoff promises, each a command: ``make bench-NAME`` runs ``benchmarks/NAME.py``.

Each prints lines for people, and one JSON object as its last line. A missed bar is a figure, not a failure: the exit
code is 0 whenever the measurement itself could be made.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Median, lower and upper quartile, smallest and largest of repeated measurements, in the values' own unit."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    figures = {"median": middle, "q1": low, "q3": high, "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in figures.items()}


def finish(name: str, **figures: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print the last line: one JSON object with the benchmark's name and figures."""
    print(json.dumps({"benchmark": name, **figures}, ensure_ascii=False), flush=True)
