"""Contract rows: the confirm rows with what each really was and what the trial answered, one JSON object a line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Examples, Row
from bakeoff.schema.errors import BundleError

FILE = "contract-rows.jsonl.gz"
_DIGITS = 7
_LARGEST, _LARGEST_ROW = 1 << 30, 16 << 20
"""Bytes of all rows and of one, unpacked: more is no table of ours, however little it is when packed."""


@dataclass(frozen=True)
class ContractRows:
    """``rows`` with class indices ``actual`` and ``expected`` int64 (n,) and the trial's ``probabilities`` float64 (n, k)."""

    rows: Sequence[Row]
    actual: NDArray[np.int64]
    expected: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)


def gather(
    examples: Examples,
    expected: tuple[NDArray[np.generic], NDArray[np.generic]],
    clean: Callable[[Row], Row] | None = None,
) -> ContractRows:
    """Pair rows with the trial's answers.

    Args:
        examples: rows and their class indices (n,).
        expected: class indices (n,) and probabilities (n, k) the trial gave.
        clean: takes personal data out of a row. Rows it changes stay behind: the trial's answer is to the row as it was.

    Raises:
        BundleError: rows and answers differ in number.

    """
    labels, probabilities = np.asarray(expected[0], np.int64), np.asarray(expected[1], np.float64)
    if not len(examples) == len(labels) == len(probabilities):
        what = "the trial's answers do not belong to these rows"
        raise BundleError(what, got=f"{len(examples)} rows, {len(labels)} labels, {len(probabilities)} probabilities")
    kept = [index for index, row in enumerate(examples.rows) if clean is None or dict(clean(row)) == dict(row)]
    return ContractRows(
        [examples.rows[index] for index in kept], examples.labels[kept], labels[kept], probabilities[kept]
    )


def write(path: Path, rows: ContractRows, classes: Sequence[str]) -> None:
    """Write the rows, compressed, without a time stamp."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as stream:
        answers = zip(rows.rows, rows.actual.tolist(), rows.expected.tolist(), rows.probabilities, strict=True)
        for row, actual, expected, probabilities in answers:
            record = {
                "row": dict(row),
                "actual": classes[actual],
                "label": classes[expected],
                "probabilities": [round(float(value), _DIGITS) for value in probabilities],
            }
            stream.write(json.dumps(record, ensure_ascii=False, sort_keys=True).encode() + b"\n")


def read(path: Path, classes: Sequence[str], most: int | None = None) -> ContractRows:
    """Read what ``write`` wrote.

    Args:
        path: the file.
        classes: labels, in the order of the probabilities.
        most: rows that may be there, as the contract says; unpacking stops at the first one too many.

    Raises:
        BundleError: the file is damaged, or unpacks to more than it may.

    """
    index = {label: position for position, label in enumerate(classes)}
    rows: list[Row] = []
    actual: list[int] = []
    expected: list[int] = []
    probabilities: list[list[float]] = []
    try:
        for record in _records(path, most):
            rows.append(record["row"])
            actual.append(index[record["actual"]])
            expected.append(index[record["label"]])
            probabilities.append(record["probabilities"])
        found = np.asarray(probabilities, np.float64).reshape(len(rows), len(classes))
    except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        what = f"{FILE} is damaged or unpacks to more than it may: {type(error).__name__}"
        raise BundleError(what, where=str(path.parent)) from None
    return ContractRows(rows, np.asarray(actual, np.int64), np.asarray(expected, np.int64), found)


def _records(path: Path, most: int | None) -> Iterator[dict[str, Any]]:
    """Unpack one line after the other, so that a small file cannot become a large one in memory."""
    number = size = 0
    with gzip.open(path, "rb") as stream:
        while line := stream.readline(_LARGEST_ROW + 1):
            number, size = number + 1, size + len(line)
            if len(line) > _LARGEST_ROW or size > _LARGEST or (most is not None and number > most):
                message = "it unpacks to more than it may"
                raise ValueError(message)
            yield json.loads(line)
