"""``Frozen``: the rows every stage works on, split once; kept on disk without pickle."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.columns import Values
from bakeoff.data.examples import Examples
from bakeoff.data.split import SPLITS, shuffled
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.base import Language
from bakeoff.schema.errors import StudyError
from bakeoff.schema.profile import Profile
from bakeoff.schema.trial import SplitName

_RECORD, _ARRAYS = "frozen.json", "frozen.npz"
_VERSION = 1


@dataclass(frozen=True)
class Frozen:
    """Cleaned rows in canonical order with their split; arrays run along the rows, row numbers count from 0.

    ``columns``: float64 with NaN for missing, or text with None for missing. ``splits``: index into ``SPLITS``.
    ``copies``: rows of the file that say the same, itself included. ``near``: smallest row of the near-duplicate cluster.
    ``lines``: where the row stands in the file. ``groups``: value of the group column ('' where missing), None without one.
    """

    fingerprint: str
    classes: tuple[str, ...]
    inputs: tuple[InputColumn, ...]
    language: Language
    profile: Profile
    columns: Mapping[str, Values]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]
    keys: NDArray[np.uint64]
    copies: NDArray[np.int32]
    near: NDArray[np.int64]
    lines: NDArray[np.int64]
    groups: list[str] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    def indices(
        self, split: SplitName, fraction: float = 1.0, seed: int = 0, limit: int | None = None
    ) -> NDArray[np.int32]:
        """Return the row numbers of (a part of) a split, ascending.

        ``fraction`` and ``limit`` take a stratified subset: larger ones contain smaller ones of the same ``seed``, and every
        class is present as soon as there is room for all. A fraction of 0 is empty; any other holds at least one row a class.
        """
        rows = np.flatnonzero(self.splits == SPLITS.index(split))
        count = math.ceil(fraction * len(rows) - 1e-9)
        if 0 < count < len(rows):
            count = max(count, len(self.classes))
        count = min(count, len(rows) if limit is None else limit)
        if count < len(rows):
            rows = rows[_interleaved(self.labels[rows], shuffled(self.keys[rows], seed))[:count]]
        return np.sort(rows).astype(np.int32)

    def examples(self, split: SplitName, fraction: float = 1.0, seed: int = 0, limit: int | None = None) -> Examples:
        """Return rows and labels of ``indices`` with the same arguments, in the same order."""
        return self.take(self.indices(split, fraction, seed, limit))

    def take(self, indices: NDArray[np.int32] | Sequence[int]) -> Examples:
        """Return the rows with these numbers, in the order given."""
        picked = np.asarray(indices, dtype=np.int64)
        names = [column.name for column in self.inputs]
        cells = [_cells(self.columns[name], picked) for name in names]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
        return Examples(rows, self.labels[picked])

    def group_of(self, indices: NDArray[np.int32]) -> list[str] | None:
        """Return the group value of each of these rows, None without a group column."""
        return None if self.groups is None else [self.groups[index] for index in indices.tolist()]


def _cells(values: Values, picked: NDArray[np.int64]) -> list[Any]:
    if isinstance(values, np.ndarray):
        return [None if value != value else value for value in values[picked].tolist()]  # noqa: PLR0124 - NaN is not itself
    return [values[index] for index in picked.tolist()]


def _interleaved(labels: NDArray[np.int64], ranks: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Order rows so that every prefix keeps the class shares as nearly as it can, one row of each class first."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(ranks[members], kind="stable")]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = -1.0
    return np.lexsort((ranks, labels, place))


# --- identity ------------------------------------------------------------------------------------------------------


def fingerprint_of(
    columns: Mapping[str, Values], inputs: Sequence[InputColumn], classes: Sequence[str], labels: NDArray[np.int64],
    splits: NDArray[np.int8], groups: Sequence[str] | None,
) -> str:  # fmt: skip
    """Return 32 hex digits of the SHA-256 of rows, labels, inputs, groups and split assignment; nothing about the file."""
    digest = hashlib.sha256(json.dumps([_VERSION, [[c.name, c.kind] for c in inputs], list(classes)]).encode())
    for column in inputs:
        for name, array in _packed(columns[column.name]).items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(labels.astype("<i4").tobytes())
    digest.update(splits.astype("<i1").tobytes())
    if groups is not None:
        digest.update("\x1f".join(groups).encode())
    return digest.hexdigest()[:32]


def _packed(values: Values) -> dict[str, NDArray[Any]]:
    """A column as plain arrays: numbers, or one UTF-8 blob with character offsets and a mask of missing cells."""
    if isinstance(values, np.ndarray):
        return {"number": values.astype("<f8")}
    lengths = np.asarray([0 if cell is None else len(cell) for cell in values], dtype="<i8")
    blob = "".join(cell or "" for cell in values).encode()
    missing = np.asarray([cell is None for cell in values], dtype=np.bool_)
    return {"text": np.frombuffer(blob, dtype=np.uint8), "ends": np.cumsum(lengths).astype("<i8"), "missing": missing}


def _unpacked(arrays: Mapping[str, NDArray[Any]]) -> Values:
    if "number" in arrays:
        return arrays["number"].astype(np.float64)
    text = arrays["text"].tobytes().decode()
    ends = arrays["ends"].tolist()
    return [
        None if gone else text[start:end]
        for start, end, gone in zip([0, *ends], ends, arrays["missing"].tolist(), strict=False)
    ]


# --- on disk -------------------------------------------------------------------------------------------------------


def save_frozen(frozen: Frozen, directory: str | Path) -> None:
    """Write ``frozen.json`` and ``frozen.npz``; each file is complete or absent, whenever this is interrupted."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(frozen, name) for name in ("labels", "splits", "keys", "copies", "near", "lines")
    }
    for index, column in enumerate(frozen.inputs):
        arrays |= {f"column{index}.{name}": array for name, array in _packed(frozen.columns[column.name]).items()}
    if frozen.groups is not None:
        arrays |= {f"groups.{name}": array for name, array in _packed(list(frozen.groups)).items()}
    with (folder / f"{_ARRAYS}.part").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type,unused-ignore]
    (folder / f"{_ARRAYS}.part").replace(folder / _ARRAYS)
    (folder / f"{_RECORD}.part").write_text(json.dumps(_record(frozen), ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / f"{_RECORD}.part").replace(folder / _RECORD)


def _record(frozen: Frozen) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "fingerprint": frozen.fingerprint,
        "classes": frozen.classes,
        "inputs": [column.model_dump() for column in frozen.inputs],
        "language": frozen.language,
        "grouped": frozen.groups is not None,
        "profile": frozen.profile.model_dump(mode="json"),
    }


def load_frozen(directory: str | Path) -> Frozen:
    """Read what ``save_frozen`` wrote and check it against its fingerprint.

    Raises:
        StudyError: missing, incomplete, of another version, or altered.

    """
    folder = Path(directory)
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        with (folder / _ARRAYS).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        frozen = _restored(record, arrays)
    except FileNotFoundError as error:
        raise StudyError(
            "no frozen data here",
            where=str(error.filename),
            try_="run the study again; nothing already measured is lost",
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"the frozen data is damaged: {error}",
            where=str(folder),
            try_="run the study again; nothing already measured is lost",
        ) from None
    actual = fingerprint_of(frozen.columns, frozen.inputs, frozen.classes, frozen.labels, frozen.splits, frozen.groups)
    if actual != frozen.fingerprint:
        raise StudyError(
            "the frozen data was altered: it does not match its fingerprint",
            where=str(folder),
            got=actual,
            allowed=frozen.fingerprint,
        )
    return frozen


def _restored(record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Frozen:
    if record["version"] != _VERSION:
        message = f"version {record['version']}, this program reads {_VERSION}"
        raise ValueError(message)
    inputs = tuple(InputColumn.model_validate(item) for item in record["inputs"])
    groups = _unpacked(_under(arrays, "groups.")) if record["grouped"] else None
    return Frozen(
        fingerprint=record["fingerprint"],
        classes=tuple(record["classes"]),
        inputs=inputs,
        language=record["language"],
        profile=Profile.model_validate(record["profile"]),
        columns={column.name: _unpacked(_under(arrays, f"column{index}.")) for index, column in enumerate(inputs)},
        groups=None if groups is None else [str(group) for group in groups],
        **{name: arrays[name] for name in ("labels", "splits", "keys", "copies", "near", "lines")},
    )


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
