"""What a batch costs on this machine: measured when the server starts, and what follows from it.

A memory-bound network is many times cheaper per row in a batch, an encoder hardly, and a linear model not at all. So the
batch size is not a setting: it is the smallest one that is as cheap per row as any, which is also the one with the shortest wait.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import statistics
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson

from bakeoff.schema.errors import BundleError
from bakeoff.serving.computing import Predictor
from bakeoff.serving.model import Opened, Row
from bakeoff.serving.parsing import Reader
from bakeoff.serving.problems import Problem

ROWS = "contract-rows.jsonl.gz"
MOST = 64
"""Largest batch that is tried; what is memory-bound at 64 rows still is, but nobody should wait for more."""
_SAMPLE = 64
_READ = 4 << 20
_AS_GOOD = 1.03
"""A larger batch must be 3 % cheaper per row than a smaller one to be worth the longer wait."""
_GIVE_UP = 2
"""Doublings without such a gain after which larger batches are not tried."""
_REPEATS = 3
_DEAR = 0.02
"""Seconds: a batch that costs more is measured once."""
_PATIENCE = 2.5
"""On a busy machine the clock runs on while others compute: at most this many times the CPU time is waited for."""
_TRIES = 10
"""Full batches of each size that are compared."""
_WORDS = "the room was clean and quiet but service slow 房间 干净 安静 不过 上菜 太慢 "
_NEARLY = 1.1
"""A batch short enough for the event loop may cost this much more per row than a longer one would in a thread."""
_CHEAP = 1e-4
"""Seconds: a row that costs less is read and answered in about the same time, so more cores would not answer more of them."""
INLINE = 1e-3
"""Seconds: a batch cheaper than this is computed on the event loop; handing it to a thread and back would cost as much."""


@dataclass(frozen=True)
class Point:
    """Seconds that a batch of ``rows`` takes: ``wall`` on the clock, ``cpu`` over all threads; the best of a few."""

    rows: int
    wall: float
    cpu: float


@dataclass(frozen=True)
class Curve:
    """Batch costs, smallest batch first.

    ``source`` tells what rows they were measured on (``contract`` or ``made-up``).
    """

    points: tuple[Point, ...]
    source: str

    def batch(self, longest: float = math.inf) -> int:
        """Return the smallest batch that is as cheap per row as any that takes at most ``longest`` [s]; 1: batching does not pay."""
        fitting = [point for point in self.points if point.wall <= longest] or self.points[:1]
        best = min(point.cpu / point.rows for point in fitting)
        return next(point.rows for point in fitting if point.cpu / point.rows <= best * _AS_GOOD)

    def row(self, batch: int) -> float:
        """Return the seconds per row in batches of at most ``batch``."""
        fitting = [point for point in self.points if point.rows <= batch]
        return fitting[-1].wall / fitting[-1].rows

    def inline(self, small: int, batch: int, threads: int = 1) -> bool:
        """Say whether batches of ``small`` rows on the event loop are better than batches of ``batch`` rows in ``threads`` threads."""
        short = all(point.wall <= INLINE for point in self.points if point.rows <= small)
        nearly = self.row(small) <= self.row(batch) * _NEARLY
        return short and nearly and (threads == 1 or self.row(small) <= _CHEAP)

    def document(self) -> dict[str, Any]:
        """Return JSON data."""
        return {"rows_from": self.source, "points": [asdict(point) for point in self.points]}


def measure(
    predictor: Predictor, reader: Reader, opened: Opened, *, most: int, seconds: float,
    cpu: Callable[[], float] = time.process_time,
) -> Curve:  # fmt: skip
    """Measure batches of 1, 2, 4, … rows.

    Args:
        predictor: what computes.
        reader: makes the rows.
        opened: the bundle; its contract rows are used where it has any.
        most: largest batch.
        seconds: CPU time to spend, roughly; at least a batch of one row is measured.
        cpu: clock of the CPU time that computing costs.

    """
    rows, source = sample(reader, opened)
    points: list[Point] = []
    spent, clock = cpu(), time.perf_counter()
    size, best, vain = 1, float("inf"), 0
    while size <= most and vain < _GIVE_UP:
        point = _point(predictor, reader.join([list(islice(cycle(rows), size))]), cpu)
        points.append(point)
        vain = 0 if point.cpu / size < best / _AS_GOOD else vain + 1
        best = min(best, point.cpu / size)
        if cpu() - spent + 2 * point.cpu > seconds or time.perf_counter() - clock > _PATIENCE * seconds:
            break
        size *= 2
    return Curve(tuple(points), source)


def _point(predictor: Predictor, batch: Sequence[Any], cpu: Callable[[], float]) -> Point:
    walls, costs = [], []
    for _ in range(_REPEATS):
        begin, spent = time.perf_counter(), cpu()
        predictor.predict(batch)
        costs.append(cpu() - spent)
        walls.append(time.perf_counter() - begin)
        if costs[-1] > _DEAR:
            break
    return Point(len(batch), min(walls), max(min(costs), 1e-9))


class Tuner:
    """Goes on where the start-up had no time to: under load, tries batches twice as large, and keeps them where they are cheaper.

    The start-up sees a dear batch once, and one moment of a busy machine would decide for as long as the server runs. Both sizes
    take turns, so that a machine that becomes slower or faster meanwhile does so for both.

    Args:
        size: rows of a batch to begin with.
        most: largest batch.
        longest: seconds a batch may take.

    Attributes:
        size: the choice so far; ``learn`` tells what is to be tried next.
        done: nothing is tried any more.

    """

    def __init__(self, size: int, most: int, longest: float) -> None:
        self.size, self._most, self._longest = size, most, longest
        self._costs = _no_costs()
        self.done = size * 2 > most

    def learn(self, rows: int, cpu: float) -> int:
        """Take in what a batch cost; return the size of the next one. Only full batches tell."""
        small, large = self._costs
        if not self.done and rows in {self.size, 2 * self.size}:
            (small if rows == self.size else large).append(cpu / rows)
            if 2 * self.size * min(small, default=0.0) > self._longest:
                self.done = True
            elif min(len(small), len(large)) >= _TRIES:
                self._decide(statistics.median(large) < statistics.median(small) / _AS_GOOD)
                small, large = self._costs
        return 2 * self.size if not self.done and len(large) < len(small) else self.size

    def _decide(self, larger: bool) -> None:  # noqa: FBT001 - the one question
        self._costs = _no_costs()
        if larger:
            self.size *= 2
        self.done = not larger or self.size * 2 > self._most


def _no_costs() -> tuple[deque[float], deque[float]]:
    return deque(maxlen=_TRIES), deque(maxlen=_TRIES)


def sample(reader: Reader, opened: Opened) -> tuple[list[Any], str]:
    """Return rows in the reader's form: of the contract where the bundle has them, else made up.

    Raises:
        BundleError: the contract's rows are damaged.

    """
    found: list[Any] = []
    path = opened.path(ROWS)
    for row in _stored(path) if path is not None else ():
        with contextlib.suppress(Problem):  # the contract's rows are older than the server's limits
            found.append(reader.row({name: value for name, value in row.items() if name in reader.names}, "row"))
    if found:
        return found, "contract"
    values: dict[str, Any] = {"text": _WORDS * 3, "number": 0.5, "category": "a"}
    return [reader.row({column.name: values[column.kind] for column in opened.manifest.inputs}, "row")], "made-up"


def _stored(path: Path) -> list[Row]:
    """Return the first rows of the contract, as they were written."""
    try:
        with gzip.open(path, "rb") as stream:
            lines = stream.read(_READ).splitlines()[:-1][:_SAMPLE]  # the last line may be cut
        return [dict(orjson.loads(line)["row"]) for line in lines]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        what = f"{ROWS} is damaged: {type(error).__name__}"
        raise BundleError(what, where=str(path.parent)) from None
