"""From a specification and a file to ``Frozen``: rows cleaned, put in canonical order and split once and for all."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.data import personal
from bakeoff.data.clean import Cleaned, clean
from bakeoff.data.columns import ColumnFacts, Values, as_times, class_order, inspect, language_of, plain_labels
from bakeoff.data.examples import Examples
from bakeoff.data.frozen import Frozen, fingerprint_of, load_frozen, save_frozen
from bakeoff.data.near import near_clusters
from bakeoff.data.profile import Facts, build_profile
from bakeoff.data.read import Cells, Table, read_table
from bakeoff.data.sizing import needed_rows, shares
from bakeoff.data.split import DROPPED, SPLITS, merge_clusters, split_by_time, split_rows
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.base import Language
from bakeoff.schema.errors import DataError
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec

__all__ = ["SPLITS", "Examples", "Frozen", "check_names", "load_frozen", "prepare", "prepare_table", "save_frozen"]

_MOST_CLASSES = 1_000
_TEXT_TASK = "text-classification"


def prepare(spec: Spec, base_dir: str | Path) -> Frozen:
    """Read the data a specification names, clean it, split it and profile it.

    Args:
        spec: the specification; ``data.file`` is taken relative to ``base_dir``.
        base_dir: folder of the specification.

    The result depends on the content of the file and the specification's data section, seed, metric and floor; not on paths,
    not on the order of the rows.

    Raises:
        DataError: the file cannot be read, or nothing can be decided from what is in it.

    """
    path = Path(spec.data.file).expanduser()
    table = read_table(path if path.is_absolute() else Path(base_dir) / path, spec.data.format, spec.data.encoding)
    return prepare_table(spec, table)


def prepare_table(spec: Spec, table: Table) -> Frozen:
    """Clean, split and profile a table that is already read; see ``prepare``."""
    columns = _input_columns(spec, table)
    used = _masked(spec, _without_odd(spec, table, columns))
    labels = plain_labels(table.column(spec.data.target, "data.target"))
    groups = table.column(spec.data.split.group, "data.split.group") if spec.data.split.group else None
    times, moments = _times(spec, table)
    cleaned = clean(used, labels, [cells for cells in (groups, moments) if cells is not None], times)
    classes = _classes(spec, table, labels, cleaned)
    rows = _take(used, labels, groups, times, cleaned, classes)
    near = (
        near_clusters(_texts(rows.columns, used))
        if any(column.kind == "text" for column in used)
        else np.arange(len(rows.labels))
    )
    splits = _split(spec, rows, merge_clusters(near, rows.groups), classes)
    dropped = int(np.count_nonzero(splits == DROPPED))
    frozen = _frozen(spec, table, used, classes, rows, near, splits)
    facts = Facts(table=table, columns=columns, cleaned=cleaned, dropped=dropped)
    profile = build_profile(spec, frozen, facts)
    _forbid(spec, table, profile)
    return replace(frozen, profile=profile)


def _forbid(spec: Spec, table: Table, profile: Profile) -> None:
    """Refuse a file with personal data where the specification forbids it; only kinds that a checksum or form makes certain count."""
    certain = [count for count in profile.personal_data if count.kind in personal.CERTAIN]
    if spec.risk.personal_data == "forbid" and certain:
        found = ", ".join(
            f"{personal.said(count.kind).en} in {count.rows} rows of {', '.join(count.columns)}" for count in certain
        )
        raise DataError(
            "personal data found, which risk.personal_data forbids",
            where=table.where,
            got=found,
            try_="remove it from the file, or set risk.personal_data: mask",
        )


# --- columns -------------------------------------------------------------------------------------------------------


def _input_columns(spec: Spec, table: Table) -> list[ColumnFacts]:
    """Inspect every column the specification lets candidates see."""
    data = spec.data
    taken = {data.target, data.split.group, data.split.time, *data.ignore}
    for name in (*data.ignore,):
        table.column(name, "data.ignore")
    table.column(data.target, "data.target")
    if data.input in {"*", ("*",)}:
        names = [name for name in table.columns if name not in taken]
    else:
        names = list(dict.fromkeys([data.input] if isinstance(data.input, str) else data.input))
    if not names:
        raise DataError(
            "no input column is left",
            where=table.where,
            got=f"columns {', '.join(table.columns)}"[:200],
            try_="name one in data.input",
        )
    text_task = spec.task == _TEXT_TASK
    found = [inspect(name, table.column(name, "data.input"), only_text=text_task and len(names) == 1) for name in names]
    return _with_text(found, table) if text_task else found


def _with_text(found: list[ColumnFacts], table: Table) -> list[ColumnFacts]:
    """A text task needs a text: where none of several columns is one, the longest column of words is taken for it."""
    if any(column.kind == "text" for column in found):
        return found
    words = [column for column in found if column.kind == "category" and column.oddity in {"none", "identifier"}]
    if not words:
        seen = ", ".join(
            f"{column.name} ({column.kind if column.oddity == 'none' else column.oddity})" for column in found
        )
        raise DataError(
            "no column holds text",
            where=table.where,
            got=seen[:200],
            try_="name the text in data.input, or set task: tabular-classification",
        )
    longest = max(words, key=lambda column: sum(len(cell) for cell in column.values if isinstance(cell, str)))
    return [
        inspect(column.name, table.columns[column.name], only_text=True) if column is longest else column
        for column in found
    ]


def _without_odd(spec: Spec, table: Table, columns: Sequence[ColumnFacts]) -> list[ColumnFacts]:
    """Leave out constants, identifiers and dates that nobody asked for by name; ones asked for stay."""
    if spec.data.input not in {"*", ("*",)}:
        return list(columns)
    used = [column for column in columns if column.oddity == "none"]
    if not used:
        raise DataError(
            "no usable input column: all are empty, constant, identifiers or dates",
            where=table.where,
            got=", ".join(f"{column.name} ({column.oddity})" for column in columns)[:200],
            try_="name the columns to use in data.input",
        )
    return used


def _masked(spec: Spec, columns: list[ColumnFacts]) -> list[ColumnFacts]:
    if spec.risk.personal_data != "mask":
        return columns
    return [
        replace(column, values=personal.mask_column(column.name, column.values))
        if isinstance(column.values, list)
        else column
        for column in columns
    ]


def _times(spec: Spec, table: Table) -> tuple[NDArray[np.float64] | None, Cells | None]:
    name = spec.data.split.time
    if not name:
        return None, None
    cells = table.column(name, "data.split.time")
    times, bad = as_times(cells)
    if bad:
        raise DataError(
            f"{len(bad)} cells of the time column '{name}' are neither date nor number",
            where=f"{table.where}:{table.lines[bad[0]]}",
            got=cells[bad[0]],
            allowed="2024-05-01, 2024/5/1 13:30, 2024年5月1日, 20240501 or a number",
            try_="mend those cells, or remove data.split.time",
        )
    return times, cells


# --- rows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """The used rows in canonical order."""

    columns: Mapping[str, Values]
    labels: NDArray[np.int64]
    groups: list[str | None] | None
    times: NDArray[np.float64] | None
    keys: NDArray[np.uint64]
    copies: NDArray[np.int32]
    rows: NDArray[np.int64]


def _take(
    columns: Sequence[ColumnFacts],
    labels: Cells,
    groups: Cells | None,
    times: NDArray[np.float64] | None,
    cleaned: Cleaned,
    classes: Sequence[str],
) -> _Rows:
    order, code = cleaned.used, {label: index for index, label in enumerate(classes)}
    return _Rows(
        columns={column.name: _pick(column.values, order) for column in columns},
        labels=np.asarray([code[labels[row] or ""] for row in order], dtype=np.int64),
        groups=None if groups is None else [groups[row] for row in order],
        times=None if times is None else times[order],
        keys=cleaned.keys,
        copies=cleaned.copies,
        rows=order,
    )


def _pick(values: Values, order: NDArray[np.int64]) -> Values:
    return values[order] if isinstance(values, np.ndarray) else [values[row] for row in order.tolist()]


def _classes(spec: Spec, table: Table, labels: Cells, cleaned: Cleaned) -> tuple[str, ...]:
    names = [labels[row] or "" for row in cleaned.used]
    classes = class_order(names)
    where = f"{table.where}, column '{spec.data.target}'"
    if not names:
        what = "every text carries two labels" if cleaned.conflicting_rows else "no row has both a label and an input"
        raise DataError(what, where=where, got=f"{len(table)} rows read", try_="check data.target and data.input")
    if len(classes) == 1:
        raise DataError(
            "only one class, so there is nothing to decide",
            where=where,
            got=classes[0],
            try_="add rows of the other class, or correct data.target",
        )
    if len(classes) > _MOST_CLASSES or (len(classes) > len(names) / 4 and len(names) >= 20):
        raise DataError(
            f"{len(classes)} classes for {len(names)} rows: this is not a column of classes",
            where=where,
            got=", ".join(classes[:3])[:120],
            try_="name the label column in data.target; numbers to be predicted must first be cut into classes",
        )
    check_names(spec, classes)
    return classes


def check_names(spec: Spec, classes: Sequence[str]) -> None:
    """Check that the labels a specification names (positive, labels, value.errors) occur in the data.

    Raises:
        DataError: one does not; near labels are suggested.

    """
    named = [("data.positive", spec.data.positive), *(("data.labels", label) for label in spec.data.labels)]
    named += [("value.errors", side.strip()) for key in spec.value.errors for side in key.split("->", 1)]
    for where, label in named:
        if label is not None and label not in classes:
            near = difflib.get_close_matches(label, classes, n=1, cutoff=0.4)
            raise DataError(
                "no row has this label", where=where, got=label, allowed=list(classes), try_=near[0] if near else None
            )


def _texts(columns: Mapping[str, Values], used: Sequence[ColumnFacts]) -> list[str]:
    cells = [columns[column.name] for column in used if column.kind == "text"]
    return ["\n".join(str(cell) for cell in row if cell is not None) for row in zip(*cells, strict=True)]


def _split(spec: Spec, rows: _Rows, clusters: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int8]:
    sizes = shares(len(rows.labels), needed_rows(spec, rows.labels, classes))
    if rows.times is not None:
        return split_by_time(rows.labels, rows.times, rows.keys, clusters, sizes, classes)
    return split_rows(rows.labels, rows.keys, clusters, spec.seed, sizes, classes)


def _frozen(
    spec: Spec,
    table: Table,
    used: Sequence[ColumnFacts],
    classes: tuple[str, ...],
    rows: _Rows,
    near: NDArray[np.int64],
    splits: NDArray[np.int8],
) -> Frozen:
    keep = np.flatnonzero(splits != DROPPED)
    columns = {name: _pick(values, keep) for name, values in rows.columns.items()}
    inputs = tuple(InputColumn(name=column.name, kind=column.kind) for column in used)
    groups = None if rows.groups is None else [rows.groups[row] or "" for row in keep.tolist()]
    labels, kept = rows.labels[keep], splits[keep]
    return Frozen(
        fingerprint=fingerprint_of(columns, inputs, classes, labels, kept, groups),
        classes=classes,
        inputs=inputs,
        language=_language(spec, columns, used),
        profile=None,  # type: ignore[arg-type] # filled in by prepare_table, which needs this object to compute it
        columns=columns,
        labels=labels,
        splits=kept,
        keys=rows.keys[keep],
        copies=rows.copies[keep],
        near=_renumbered(near[keep]),
        lines=np.asarray(table.lines, dtype=np.int64)[rows.rows[keep]],
        groups=groups,
    )


def _renumbered(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Name each cluster by its smallest row that is left."""
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _language(spec: Spec, columns: Mapping[str, Values], used: Sequence[ColumnFacts]) -> Language:
    if spec.data.language != "auto":
        return spec.data.language
    kinds = [kind for kind in ("text", "category") if any(column.kind == kind for column in used)][:1]
    cells = [cell for column in used if column.kind in kinds for cell in list(columns[column.name])[:2000]]
    return language_of(cell for cell in cells if isinstance(cell, str))
