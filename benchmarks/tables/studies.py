"""The studies by name, their rows with the shared steps' views, and the machine in words."""

from __future__ import annotations

import functools
import platform
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.search.table import Prefix
from benchmarks.tables import images, tabular, text
from benchmarks.tables.recording import Data, Step, Study

_BY_NAME = {study.name: study for study in (*images.STUDIES, *tabular.STUDIES, *text.STUDIES)}
_ORDER = ("digits", "thyroid", "credit", "zh-reviews", "fashion", "en-topics", "zh-few")
ALL: tuple[Study, ...] = tuple(_BY_NAME[name] for name in _ORDER)


def find(name: str) -> Study:
    """Return the study of this name."""
    return _BY_NAME[name]


@functools.lru_cache(maxsize=2)
def _rows(name: str, scratch: Path) -> Data:
    return find(name).load(scratch)


@functools.lru_cache(maxsize=4)
def rows_of(name: str, scratch: Path, views: frozenset[str]) -> Data:
    """Return the rows of a study with the views asked for; a shared step's view must have been made."""
    data = _rows(name, scratch)
    made = {view: load_step(name, view, scratch).vectors for view in sorted(views - set(data.views))}
    return Data(data.labels, data.train, {**data.views, **made})


def actual_of(name: str, scratch: Path) -> NDArray[np.int64]:
    """Return the class index of every judged row."""
    data = _rows(name, scratch)
    return data.labels[data.train :]


def make_step(name: str, view: str, scratch: Path) -> str:
    """Run a shared step over all rows, once, and keep what it made; return a line for people."""
    path = scratch / name / f"{view}.step.npz"
    start = time.process_time()
    if not path.exists():
        made = find(name).prefixes[view](_rows(name, scratch).views["rows"])
        temporary = path.with_suffix(".part.npz")
        np.savez(
            temporary,
            vectors=made.vectors,
            fixed=made.cost.fixed,
            per_row=made.cost.per_row,
            latency=made.latency,
            size=made.size,
        )
        temporary.replace(path)
    made = load_step(name, view, scratch)
    return f"{name} step {view}: {1000 * made.cost.per_row:.2f} ms a row, {time.process_time() - start:.1f} s now"


def load_step(name: str, view: str, scratch: Path) -> Step:
    """Return what a shared step made."""
    with np.load(scratch / name / f"{view}.step.npz", allow_pickle=False) as found:
        cost = Prefix(float(found["fixed"]), float(found["per_row"]))
        return Step(found["vectors"], cost, float(found["latency"]), float(found["size"]))


def steps_of(name: str, scratch: Path) -> dict[str, Step]:
    """Return the shared steps that have been made."""
    return {
        view: load_step(name, view, scratch)
        for view in find(name).prefixes
        if (scratch / name / f"{view}.step.npz").exists()
    }


def machine() -> str:
    """Return the processor and the interpreter in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")),
            model,
        )
    return f"{model}, one thread per arm, two arms at a time; {platform.system()}, Python {platform.python_version()}"
