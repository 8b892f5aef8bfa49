"""Writing the CSV files that data assets produce: UTF-8, comma, Unix line ends, a header."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write rows below a header and return how many there were."""
    count = 0
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def whole_number(text: str) -> str:
    """``20000.0`` as ``20000``; anything else unchanged."""
    return text.removesuffix(".0")
