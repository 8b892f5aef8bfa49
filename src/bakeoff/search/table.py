"""A recorded table: what every arm answered at every fidelity with every seed, and what each step cost; replayed in milliseconds.

Does: hold, write and read complete (or partial) records of a study, compactly. Does not: measure, decide, know a planner.

A table file is a zip of ``.npy`` members compressed with LZMA, and one ``meta.json``; nothing in it is ever unpickled. Predicted
labels are kept as deviations from the commonest answer of each row: one bit per answer, and a label where the bit is set.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.errors import DataError

VERSION = 1
_STAMP = (2020, 1, 1, 0, 0, 0)
"""Date of every member, so that the same table is the same file."""


@dataclass(frozen=True)
class Arm:
    """What is trained: a family with one setting.

    Args:
        id: ``family.variant``, unique in the table.
        family: model family.
        params: settings that tell it from the others of its family; numbers or words.
        prefix: name of a step that several arms share (an embedding of every row), None without.
        trains: False when more training rows change nothing.
        simplicity: 0 the simplest to run and explain.

    """

    id: str
    family: str
    params: Mapping[str, Any] = field(default_factory=dict)
    prefix: str | None = None
    trains: bool = True
    simplicity: int = 5


@dataclass(frozen=True)
class Prefix:
    """CPU seconds of a shared step: once, and for each row that passes through it (a row passes once, whoever asks)."""

    fixed: float
    per_row: float


@dataclass(frozen=True)
class Table:
    """A arms × F fidelities × S training seeds × N judged rows.

    Args:
        name: of the study.
        task: of the study.
        metric: what is maximised; any metric of predicted labels.
        classes: labels, in the order of the class indices.
        positive: class index counted as positive, for the metric f1.
        train: training rows at fraction 1.
        fractions: shares of the training rows (F,), ascending, the last is 1.
        arms: (A,).
        actual: class index of every judged row (N,).
        predicted: class indices (A, F, S, N); meaningless where ``known`` is False.
        known: which cells were recorded (A, F, S).
        build: CPU seconds of building, without the prefix (A, F, S).
        predict: CPU seconds of judging one row, without the prefix (A,).
        prefixes: shared steps by name.
        latency: p95 seconds of one request, probed with initial weights and of the final artefact (A, 2); NaN if not measured.
        size: bytes on disk, likewise (A, 2).
        machine: where it was recorded, in words.
        notes: anything a reader should know: sources, versions, thread counts.

    """

    name: str
    task: str
    metric: str
    classes: tuple[str, ...]
    positive: int
    train: int
    fractions: tuple[float, ...]
    arms: tuple[Arm, ...]
    actual: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    known: NDArray[np.bool_]
    build: NDArray[np.float64]
    predict: NDArray[np.float64]
    prefixes: Mapping[str, Prefix]
    latency: NDArray[np.float64]
    size: NDArray[np.float64]
    machine: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the shapes agree.

        Raises:
            DataError: they do not.

        """
        cells = (len(self.arms), len(self.fractions), self.predicted.shape[2] if self.predicted.ndim == 4 else 0)
        shapes = {
            "predicted": (self.predicted.shape, (*cells, self.actual.size)), "known": (self.known.shape, cells),
            "build": (self.build.shape, cells), "predict": (self.predict.shape, cells[:1]),
            "latency": (self.latency.shape, (cells[0], 2)), "size": (self.size.shape, (cells[0], 2)),
        }  # fmt: skip
        wrong = [f"{name} {got}, expected {wanted}" for name, (got, wanted) in shapes.items() if got != wanted]
        if wrong:
            what = "the table's arrays do not fit together"
            raise DataError(what, where=self.name, got="; ".join(wrong))

    @property
    def seeds(self) -> int:
        """Number of training seeds."""
        return int(self.predicted.shape[2])

    @property
    def rows(self) -> int:
        """Number of judged rows."""
        return int(self.actual.size)

    def index(self, name: str) -> int:
        """Return the place of the arm with this id."""
        return next(place for place, arm in enumerate(self.arms) if arm.id == name)

    def save(self, path: Path) -> None:
        """Write the table; the same table is written as the same bytes."""
        consensus = _consensus(self.predicted, self.known, len(self.classes))
        cells = self.predicted[self.known]
        differs = cells != consensus
        arrays = {
            "actual": self.actual, "known": self.known, "consensus": consensus,
            "differs": np.packbits(differs, axis=1), "labels": cells[differs] if len(self.classes) > 2 else np.zeros(0, np.uint8),
            "build": self.build.astype(np.float32), "predict": self.predict.astype(np.float32),
            "latency": self.latency.astype(np.float32), "size": self.size.astype(np.float32),
        }  # fmt: skip
        meta = {
            "version": VERSION, "name": self.name, "task": self.task, "metric": self.metric, "classes": self.classes,
            "positive": self.positive, "train": self.train, "fractions": self.fractions, "arms": [asdict(arm) for arm in self.arms],
            "prefixes": {name: asdict(step) for name, step in self.prefixes.items()}, "machine": self.machine, "notes": self.notes,
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            _member(archive, "meta.json", json.dumps(meta, ensure_ascii=False, sort_keys=True).encode())
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
                _member(archive, f"{name}.npy", buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read a table.

        Raises:
            DataError: the file is no table, or of a version this code does not know.

        """
        try:
            with zipfile.ZipFile(path) as archive:
                meta = json.loads(archive.read("meta.json"))
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                arrays = {name[:-4]: _array(archive.read(name)) for name in names}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, lzma.LZMAError) as error:
            what = "not a recorded table"
            raise DataError(what, where=str(path), got=str(error)) from error
        if meta.get("version") != VERSION:
            what = "a recorded table of another version"
            raise DataError(what, where=str(path), got=str(meta.get("version")), allowed=(str(VERSION),))
        known, consensus, actual = arrays["known"].astype(np.bool_), arrays["consensus"], arrays["actual"]
        differs = np.unpackbits(arrays["differs"], axis=1, count=actual.size).astype(np.bool_)
        cells = np.broadcast_to(consensus, differs.shape).copy()
        cells[differs] = arrays["labels"] if len(meta["classes"]) > 2 else 1 - cells[differs]
        predicted = np.zeros((*known.shape, actual.size), dtype=np.uint8)
        predicted[known] = cells
        return cls(
            name=meta["name"], task=meta["task"], metric=meta["metric"], classes=tuple(meta["classes"]), positive=meta["positive"],
            train=meta["train"], fractions=tuple(meta["fractions"]), arms=tuple(Arm(**arm) for arm in meta["arms"]), actual=actual,
            predicted=predicted, known=known, build=arrays["build"].astype(np.float64), predict=arrays["predict"].astype(np.float64),
            prefixes={name: Prefix(**step) for name, step in meta["prefixes"].items()},
            latency=arrays["latency"].astype(np.float64), size=arrays["size"].astype(np.float64),
            machine=meta["machine"], notes=meta["notes"],
        )  # fmt: skip


def _consensus(predicted: NDArray[np.uint8], known: NDArray[np.bool_], classes: int) -> NDArray[np.uint8]:
    """Return the commonest answer of each row over all recorded cells (N,)."""
    cells = predicted[known]
    votes = np.stack([(cells == label).sum(axis=0) for label in range(classes)])
    found: NDArray[np.uint8] = votes.argmax(axis=0).astype(np.uint8)
    return found


def _member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _STAMP), content, compress_type=zipfile.ZIP_LZMA)


def _array(content: bytes) -> NDArray[Any]:
    found: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return found
