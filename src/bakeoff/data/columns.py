"""What each column is: text, number, category, date, identifier, constant; the language; labels in one spelling."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bakeoff.data import personal
from bakeoff.data.read import Cells
from bakeoff.data.transforms.tabular import LARGEST
from bakeoff.schema.artifact import ColumnKind

Values = NDArray[np.float64] | Cells
Oddity = Literal["none", "constant", "identifier", "date", "empty"]
_MISSING = frozenset({"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "缺失", "空", "无"})
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")
_ID_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|no|num|index|idx|key|rowid|pk|unnamed_\d+)$|id$|编号|序号|单号|流水号|主键", re.IGNORECASE
)
_DATE = re.compile(
    r"^(?P<a>\d{1,4})[-/.年](?P<b>\d{1,2})[-/.月](?P<c>\d{1,4})日?"
    r"(?:[T\s]*(?P<h>\d{1,2})(?:[:时点](?P<m>\d{1,2})?)(?:[:分](?P<s>\d{1,2})?(?:\.\d+)?)?秒?(?P<z>Z|[+-]\d{2}:?\d{2})?)?$"
)
_COMPACT = re.compile(r"^(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])$")
_TEXT_LENGTH, _TEXT_DISTINCT = 12.0, 0.3
_READ = 500
_ZH_SHARE = 0.2
_SAMPLE = 5_000
_ID_ROWS = 20
_PHONE_DIGITS = 11


@dataclass(frozen=True)
class ColumnFacts:
    """One input column as it will be used: ``values`` float64 with NaN for missing, or cells with None for missing."""

    name: str
    kind: ColumnKind
    values: Values
    oddity: Oddity = "none"


def inspect(name: str, cells: Cells, *, only_text: bool = False) -> ColumnFacts:
    """Decide what a column is.

    Args:
        name: its name (an identifier is recognised by name and content together).
        cells: its cells.
        only_text: it is the one input of a text task, so it is text whatever it looks like.

    """
    filled = [cell for cell in cells if cell is not None]
    if not filled:
        return ColumnFacts(name, "category", list(cells), "empty")
    numbers = None if only_text or _personal_numbers(filled) else as_numbers(cells)
    if numbers is not None:
        return ColumnFacts(name, "number", numbers, _odd_number(name, numbers))
    distinct = len(set(filled))
    if not only_text and is_dates(filled):
        return ColumnFacts(name, "category", list(cells), "date")
    kind: ColumnKind = "text" if only_text or _is_text(filled, distinct) else "category"
    if distinct == 1:
        return ColumnFacts(name, kind, list(cells), "constant" if len(filled) == len(cells) else "none")
    same = kind == "category" and distinct == len(filled) and len(filled) >= _ID_ROWS
    return ColumnFacts(name, kind, list(cells), "identifier" if same else "none")


def as_numbers(cells: Cells) -> NDArray[np.float64] | None:
    """Return the column as float64 with NaN for what is missing or too large, None where some cell is not a number.

    Codes with a leading zero (``007``, postal codes) are not numbers.
    """
    out = np.full(len(cells), np.nan)
    known: dict[str, float] = {}
    for index, cell in enumerate(cells):
        if cell is None:
            continue
        value = known.get(cell)
        if value is None:
            parsed = number(cell)
            if parsed is None:
                return None
            value = known[cell] = parsed
        out[index] = value
    return out if np.isfinite(out).any() else None


def number(cell: str) -> float | None:
    """Return the number a cell holds, NaN where it says that it is missing, None where it is something else.

    A number beyond ``LARGEST`` is NaN too: models would be given none, so neither may a row that is stored or sent have it.
    """
    if cell.lower() in _MISSING:
        return math.nan
    if (len(cell) > 1 and cell[0] == "0" and cell[1].isdigit()) or "_" in cell or not cell.isascii():
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if -LARGEST <= value <= LARGEST else math.nan


def _personal_numbers(filled: Sequence[str]) -> bool:
    """Phone, card and identity numbers are names of people written in digits, not quantities."""
    sample = [cell for cell in filled[:200] if cell.lower() not in _MISSING]
    if min((len(cell) for cell in sample), default=0) < _PHONE_DIGITS:
        return False
    return sum(1 for cell in sample if personal.find(cell)) >= 0.8 * len(sample)


def _odd_number(name: str, values: NDArray[np.float64]) -> Oddity:
    found = values[~np.isnan(values)]
    if found.size == values.size and np.all(found == found[0]):
        return "constant"
    whole = found.size >= _ID_ROWS and bool(np.all(found == np.floor(found)))
    if not whole or np.unique(found).size != values.size:
        return "none"
    dense = found.max() - found.min() + 1 == found.size
    return "identifier" if dense or _ID_NAME.search(name) else "none"


def _is_text(filled: Sequence[str], distinct: int) -> bool:
    sample = filled[:_SAMPLE]
    length = sum(len(cell) for cell in sample) / len(sample)
    wordy = sum(1 for cell in sample if " " in cell or _CJK.search(cell)) / len(sample)
    return length >= _TEXT_LENGTH and wordy >= 0.5 and distinct >= _TEXT_DISTINCT * len(filled)


# --- labels --------------------------------------------------------------------------------------------------------


def plain_label(label: str) -> str:
    """Write a label in one way: white space folded, ``1.0`` as ``1``."""
    text = " ".join(label.split())
    if re.fullmatch(r"[-+]?\d+\.0*", text):
        text = text.split(".", 1)[0]
    return text


def plain_labels(cells: Cells) -> Cells:
    """Write a target column in one way; ``1.0`` becomes ``1`` only where every label is a number."""
    folded = [None if cell is None else " ".join(cell.split()) for cell in cells]
    if all(cell is None or _is_number(cell) for cell in set(folded)):
        table = {cell: plain_label(cell) for cell in set(folded) if cell is not None}
        return [None if cell is None else table[cell] for cell in folded]
    return folded


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels: by number where all are numbers, else by text."""
    distinct = set(labels)
    if all(_is_number(label) for label in distinct):
        return tuple(sorted(distinct, key=lambda label: (float(label), label)))
    return tuple(sorted(distinct))


# --- dates ---------------------------------------------------------------------------------------------------------


def is_dates(filled: Sequence[str]) -> bool:
    """Whether (a sample of) the cells all read as dates, not as plain numbers."""
    sample = filled[:200]
    return (
        bool(sample)
        and all(_DATE.match(cell) for cell in sample)
        and all(_moment(cell, day_first=_day_first(sample)) is not None for cell in sample)
    )


def as_times(cells: Cells) -> tuple[NDArray[np.float64], list[int]]:
    """Return the column as an order (seconds since 1970 for dates, the number itself for numbers; NaN where missing).

    Also returns the indices of cells that are neither.
    """
    filled = [cell for cell in cells if cell is not None]
    day_first = _day_first(filled)
    compact = bool(filled) and all(_COMPACT.match(cell) for cell in filled[:200])
    out, bad = np.full(len(cells), np.nan), []
    for index, cell in enumerate(cells):
        if cell is None:
            continue
        value = _moment(cell, day_first=day_first, compact=compact)
        if value is None:
            bad.append(index)
        else:
            out[index] = value
    return out, bad


def _day_first(cells: Sequence[str]) -> bool:
    """12/31/2024 or 31/12/2024: whichever part ever exceeds 12 is the day; the day where neither does."""
    for cell in cells:
        found = _DATE.match(cell)
        if found and len(found["a"]) <= 2 and int(found["b"]) > 12:
            return False
    return True


def _moment(cell: str, *, day_first: bool, compact: bool = False) -> float | None:
    if compact and _COMPACT.match(cell):
        cell = f"{cell[:4]}-{cell[4:6]}-{cell[6:]}"
    found = _DATE.match(cell)
    if not found:
        return number(cell) if _is_number(cell) else None
    first, second, third = int(found["a"]), int(found["b"]), int(found["c"])
    if len(found["a"]) == 4:
        year, month, day = first, second, third
    else:
        year, month, day = (third, second, first) if day_first else (third, first, second)
        year += 2000 if year < 100 else 0
    clock = [int(found[part] or 0) for part in ("h", "m", "s")]
    try:
        moment = dt.datetime(year, month, day, *clock, tzinfo=dt.UTC)  # type: ignore[misc,arg-type,unused-ignore]
    except ValueError:
        return None
    return moment.timestamp() - _offset(found["z"])


def _offset(zone: str | None) -> float:
    if not zone or zone == "Z":
        return 0.0
    digits = zone[1:].replace(":", "")
    return (-1.0 if zone[0] == "-" else 1.0) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


# --- language ------------------------------------------------------------------------------------------------------


def language_of(texts: Iterable[str]) -> Literal["zh", "en"]:
    """Return 'zh' where at least a fifth of the letters are Chinese characters, else 'en'.

    A Chinese character says as much as a whole word, so mixed technical Chinese still counts as Chinese.
    """
    joined = "".join(text[:_READ] for text in texts)  # one giant row must not outvote the others
    letters = len(_LETTER.findall(joined))
    return "zh" if letters and len(_CJK.findall(joined)) / letters >= _ZH_SHARE else "en"
