"""Recording: one arm at every fraction with every seed, kept per arm so that an interrupted recording goes on.

Costs are CPU seconds of this process (``time.process_time``) on one thread, so that a busy machine changes them little. Latency is the
p95 of the CPU time of single requests for the same reason: it is what a request takes on an idle core.
"""

from __future__ import annotations

import itertools
import pickle
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bakeoff.search.table import Arm, Prefix, Table

SEEDS = 3
PROBE_ROWS = 60
_REQUESTS = 40


class Model(Protocol):
    """What scikit-learn calls a classifier; ``X`` is one array per row or a list of them, one per view."""

    def fit(self, X: Any, y: NDArray[np.int64]) -> Any:  # noqa: ANN401 - a view is an array, texts, or several of them
        """Learn."""

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401 - likewise
        """Return a class index per row."""


Make = Callable[[Mapping[str, Any], int], Any]
"""(params, seed) → an untrained ``Model``, or a part of a chain."""


class Chain:
    """Parts one after the other: transformers and a classifier, or transformers only."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = list(parts)

    def fit(self, X: Any, y: NDArray[np.int64]) -> Chain:  # noqa: ANN401 - as Model takes it
        """Fit every part on what the ones before it made."""
        self._parts[-1].fit(_through(self._parts[:-1], X, y), y)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the class of every row."""
        found: NDArray[np.int64] = self._parts[-1].predict(_through(self._parts[:-1], X))
        return found

    def fit_transform(self, X: Any, y: NDArray[np.int64]) -> Any:  # noqa: ANN401
        """Fit transformers only."""
        return _through(self._parts, X, y)

    def transform(self, X: Any) -> Any:  # noqa: ANN401
        """Transform."""
        return _through(self._parts, X)


def _through(parts: Sequence[Any], X: Any, y: NDArray[np.int64] | None = None) -> Any:  # noqa: ANN401
    for part in parts:
        X = part.transform(X) if y is None else part.fit_transform(X, y)
    return X


@dataclass(frozen=True)
class Data:
    """Rows of a study: the first ``train`` are for training, all others are judged.

    Args:
        labels: class index of every row.
        train: number of training rows.
        views: representations of every row by name; what the rows are (``rows``) or what a shared step made of them.

    """

    labels: NDArray[np.int64]
    train: int
    views: Mapping[str, Any]

    def take(self, names: Sequence[str], rows: NDArray[np.int64] | slice) -> Any:  # noqa: ANN401 - as Model takes it
        """Return the views of some rows: one array, or a list of arrays when there are several views."""
        found = [self.views[name][rows] for name in names]
        return found[0] if len(found) == 1 else found


def chosen(views: Mapping[str, Any], labels: NDArray[np.int64], train: int, pool: int) -> Data:
    """Draw ``train`` + ``pool`` rows (always the same ones) out of a set."""
    rows = np.random.default_rng(2026).permutation(labels.size)[: train + pool]
    return Data(labels[rows], train, {name: view[rows] for name, view in views.items()})


@dataclass(frozen=True)
class Recipe:
    """An arm and how to make it.

    Args:
        arm: what is recorded.
        make: the model, or what comes after ``first``.
        views: what it reads.
        first: transformers that other arms share: run once per cell, their cost counted in every arm that uses them.
        reads: the params that ``first`` depends on.

    """

    arm: Arm
    make: Make
    views: tuple[str, ...] = ("rows",)
    first: Make | None = None
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What is recorded.

    Args:
        name: of the table.
        task: as in a specification.
        metric: what is maximised.
        classes: labels in the order of their indices.
        train: training rows at fraction 1.
        load: returns the rows without the shared steps' views; ``scratch`` is for downloads.
        recipes: of every arm.
        prefixes: shared steps by view name: (texts) → (vectors, fixed CPU s, CPU s per row, p95 of one request, bytes).
        fractions: of the training rows.
        positive: class index for f1.
        notes: sources and licences.

    """

    name: str
    task: str
    metric: str
    classes: tuple[str, ...]
    train: int
    load: Callable[[Path], Data]
    recipes: tuple[Recipe, ...]
    prefixes: Mapping[str, Callable[[Any], Step]] = field(default_factory=dict)
    fractions: tuple[float, ...] = (1 / 27, 1 / 9, 1 / 3, 1.0)
    positive: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What a shared step made: vectors (n, d), CPU seconds once and per row, p95 seconds of one request, bytes on disk."""

    vectors: NDArray[np.float32]
    cost: Prefix
    latency: float
    size: float


def grid(
    family: str, make: Make, *, views: tuple[str, ...] = ("rows",), prefix: str | None = None, simplicity: int = 5,
    first: Make | None = None, reads: tuple[str, ...] = (), **axes: Sequence[Any],
) -> tuple[Recipe, ...]:  # fmt: skip
    """Return one recipe per point of the product of ``axes``; a setting's values, joined, are its name."""
    return listed(family, make, [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())],
                  views=views, prefix=prefix, simplicity=simplicity, first=first, reads=reads)  # fmt: skip


def listed(  # noqa: PLR0913 - keyword-only fields of what is made
    family: str, make: Make, settings: Iterable[Mapping[str, Any]], *, views: tuple[str, ...] = ("rows",), prefix: str | None = None,
    simplicity: int = 5, first: Make | None = None, reads: tuple[str, ...] = (), trains: bool = True,
) -> tuple[Recipe, ...]:  # fmt: skip
    """Return one recipe per setting; the keywords are fields of ``Arm`` and ``Recipe``."""
    return tuple(
        Recipe(Arm(f"{family}.{_spelt(params)}", family, dict(params), prefix, trains, simplicity), make, views, first, reads)
        for params in settings
    )  # fmt: skip


def _spelt(params: Mapping[str, Any]) -> str:
    return "-".join(str(value).replace(".", "_").replace(" ", "") for value in params.values()) or "only"


def order_of(seed: int, train: int) -> NDArray[np.int64]:
    """Return the training rows in the order in which this seed hands them out; a fraction takes the first ones."""
    return np.random.default_rng([seed, 20]).permutation(train)


def size_of(model: object) -> int:
    """Return the bytes of a fitted model, serialised; of its files where it says so itself."""
    return int(model.size()) if hasattr(model, "size") else len(pickle.dumps(model, protocol=5))


def p95(model: Model, data: Data, views: Sequence[str], requests: int = _REQUESTS) -> float:
    """Return the 95th percentile of the CPU seconds of one-row requests, warmed up."""
    took = []
    for number in range(requests + 3):
        at = data.train + number % (data.labels.size - data.train)
        row = data.take(views, slice(at, at + 1))
        start = time.process_time()
        model.predict(row)
        took.append(time.process_time() - start)
    return float(np.percentile(took[3:], 95))


@dataclass(frozen=True)
class Record:
    """What one arm left: predicted (F, S, N), build (F, S), CPU s per judged row, latency (2,), size (2,), known (F, S)."""

    predicted: NDArray[np.uint8]
    build: NDArray[np.float64]
    predict: float
    latency: NDArray[np.float64]
    size: NDArray[np.float64]
    known: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write it in one step: a file is whole or absent."""
        temporary = path.with_suffix(".part.npz")
        np.savez_compressed(temporary, predicted=self.predicted, build=self.build, predict=self.predict, latency=self.latency,
                            size=self.size, known=self.known)  # fmt: skip
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read it."""
        with np.load(path, allow_pickle=False) as found:
            return cls(
                found["predicted"],
                found["build"],
                float(found["predict"]),
                found["latency"],
                found["size"],
                found["known"],
            )


def record(study: Study, recipe: Recipe, data: Data) -> Record:
    """Train, judge and time one arm everywhere; the shared steps' part of latency and size is added by ``table_of``.

    An arm that does not train is built and run once, and its answers and costs stand in every cell.
    """
    cells = (len(study.fractions), SEEDS)
    predicted = np.zeros((*cells, data.labels.size - data.train), dtype=np.uint8)
    build, judging = np.zeros(cells), np.zeros(cells)
    latency, size = np.zeros(2), np.zeros(2)
    if recipe.arm.trains:
        whole = _cell(study, recipe, data, (-1, 0))[0]
        latency[0], size[0] = p95(whole, data, recipe.views), size_of(whole)
    for at, seed in itertools.product(range(cells[0]), range(SEEDS)) if recipe.arm.trains else [(cells[0] - 1, 0)]:
        whole, build[at, seed], predicted[at, seed], judging[at, seed] = _cell(study, recipe, data, (at, seed))
        if seed == 0 and at == cells[0] - 1:
            latency[1], size[1] = p95(whole, data, recipe.views), size_of(whole)
    if not recipe.arm.trains:
        latency[0], size[0] = latency[1], size[1]
        predicted[:], build[:], judging[:] = predicted[-1, 0], build[-1, 0], judging[-1, 0]
        whole.close()
    return Record(
        predicted,
        build,
        float(np.median(judging[-1])) / predicted.shape[2],
        latency,
        size,
        np.ones(cells, dtype=np.bool_),
    )


def _cell(
    study: Study, recipe: Recipe, data: Data, cell: tuple[int, int]
) -> tuple[Any, float, NDArray[np.uint8], float]:
    """Return the model, CPU seconds of building, answers for the pool, CPU seconds of judging; fraction -1 is the probe's few rows."""
    at, seed = cell
    count = PROBE_ROWS if at < 0 else max(2, round(study.fractions[at] * data.train))
    rows = order_of(seed, data.train)[:count]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an arm did not converge is part of what it is
        first = _first(study, recipe, data, rows, cell)
        start = time.process_time()
        model = recipe.make(recipe.arm.params, seed)
        model.fit(first.train, data.labels[rows])
        built = time.process_time()
        answers = model.predict(first.pool) if at >= 0 else np.zeros(0)
        judged = time.process_time()
    whole = Chain([first.part, model]) if first.part else model
    return whole, first.build + built - start, answers.astype(np.uint8), first.judge + judged - built


@dataclass(frozen=True)
class _First:
    """What the transformers that several arms share made of a cell's rows and of the pool, and its CPU seconds."""

    part: Any
    train: Any
    pool: Any
    build: float
    judge: float


_KEPT: dict[tuple[Any, ...], _First] = {}
"""Of one setting at a time: arms that share it stand beside each other in a study."""


def _first(study: Study, recipe: Recipe, data: Data, rows: NDArray[np.int64], cell: tuple[int, int]) -> _First:
    train, pool = data.take(recipe.views, rows), data.take(recipe.views, slice(data.train, None))
    if recipe.first is None:
        return _First(None, train, pool, 0.0, 0.0)
    setting = (study.name, *(f"{name}={recipe.arm.params[name]}" for name in recipe.reads))
    for key in [key for key in _KEPT if key[0] != setting]:
        del _KEPT[key]
    if (setting, cell) not in _KEPT:
        start = time.process_time()
        part = recipe.first(recipe.arm.params, cell[1])
        made = part.fit_transform(train, data.labels[rows])
        built = time.process_time()
        judged = part.transform(pool) if cell[0] >= 0 else None
        _KEPT[setting, cell] = _First(part, made, judged, built - start, time.process_time() - built)
    return _KEPT[setting, cell]


def table_of(study: Study, data: Data, records: Mapping[str, Record], steps: Mapping[str, Step], machine: str) -> Table:
    """Assemble the table; arms without a record have no known cell."""
    arms = [recipe.arm for recipe in study.recipes]
    shape = (len(study.fractions), SEEDS)
    none = Record(np.zeros((*shape, data.labels.size - data.train), np.uint8), np.full(shape, np.nan), np.nan,
                  np.full(2, np.nan), np.full(2, np.nan), np.zeros(shape, np.bool_))  # fmt: skip
    found = [records.get(arm.id, none) for arm in arms]
    before = [steps.get(arm.prefix or "") for arm in arms]
    shared = [(step.latency, step.size) if step else (0.0, 0.0) for step in before]
    return Table(
        name=study.name, task=study.task, metric=study.metric, classes=study.classes, positive=study.positive, train=study.train,
        fractions=study.fractions, arms=tuple(arms), actual=data.labels[data.train :].astype(np.uint8),
        predicted=np.stack([one.predicted for one in found]), known=np.stack([one.known for one in found]),
        build=np.stack([one.build for one in found]), predict=np.array([one.predict for one in found]),
        prefixes={name: step.cost for name, step in steps.items()},
        latency=np.stack([one.latency + more[0] for one, more in zip(found, shared, strict=True)]),
        size=np.stack([one.size + more[1] for one, more in zip(found, shared, strict=True)]),
        machine=machine, notes=study.notes,
    )  # fmt: skip
