"""What the data says before anything is trained: columns, classes, repeats, leaks, personal data, and what to do about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bakeoff.data import personal
from bakeoff.data.advice import advise
from bakeoff.data.clean import Cleaned
from bakeoff.data.columns import ColumnFacts
from bakeoff.data.frozen import Frozen
from bakeoff.data.leaks import Leak, find_leaks
from bakeoff.data.read import Table
from bakeoff.data.sizing import needed_rows
from bakeoff.data.split import SPLITS
from bakeoff.schema.profile import ColumnProfile, PersonalDataCount, Profile, Split
from bakeoff.schema.spec import Spec

_TOP = 5
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Facts:
    """What ``prepare`` knows beyond the frozen rows: the table as read and what cleaning and splitting left out."""

    table: Table
    columns: Sequence[ColumnFacts]
    cleaned: Cleaned
    dropped: int


def build_profile(spec: Spec, frozen: Frozen, facts: Facts) -> Profile:
    """Profile frozen rows. Label noise and the score of a careless split take seconds and are added by ``data.noise``."""
    cleaned, table = facts.cleaned, facts.table
    sizes = np.bincount(frozen.near, minlength=len(frozen))
    found = _personal(facts.columns)
    leaks = find_leaks(frozen, spec.data.target)
    counts = np.bincount(frozen.labels, minlength=len(frozen.classes))
    profile = Profile(
        data=frozen.fingerprint,
        file_sha256=table.sha256,
        encoding=table.encoding,
        language=frozen.language,
        rows_read=len(table) + len(table.ragged),
        rows_used=len(frozen),
        exact_duplicates=cleaned.exact_duplicates,
        conflicting_rows=cleaned.conflicting_rows,
        near_duplicate_rows=int(sizes[sizes > 1].sum()),
        unusable_rows=cleaned.unusable_rows + len(table.ragged) + facts.dropped,
        classes=frozen.classes,
        class_counts=tuple(counts.tolist()),
        columns=tuple(_column(column, found) for column in facts.columns),
        split=Split(**{name: int(np.count_nonzero(frozen.splits == index)) for index, name in enumerate(SPLITS)}),
        grouped_by=spec.data.split.group,
        ordered_by=spec.data.split.time,
        personal_data=_counted(found),
        leakage_suspects=tuple(leak.column for leak in leaks if leak.suspect),
        rows_to_prove_floor=needed_rows(spec, frozen.labels, frozen.classes),
    )
    return profile.model_copy(update={"advice": advise(spec, profile, _noticed(frozen, facts, leaks))})


@dataclass(frozen=True)
class Noticed:
    """What advice is given on besides the profile's own numbers."""

    twins: float
    largest_cluster: int
    ragged: tuple[int, ...]
    dropped: int
    repeats_kept: bool
    unused: tuple[tuple[str, str], ...]
    odd_but_used: tuple[tuple[str, str], ...]
    leaks: tuple[Leak, ...]
    smallest: dict[str, int]


def _noticed(frozen: Frozen, facts: Facts, leaks: Sequence[Leak]) -> Noticed:
    used = {column.name for column in frozen.inputs}
    odd = [(column.name, column.oddity) for column in facts.columns if column.oddity != "none"]
    table = np.zeros((len(SPLITS), len(frozen.classes)), dtype=np.int64)
    np.add.at(table, (frozen.splits, frozen.labels), 1)
    return Noticed(
        twins=twin_share(frozen.copies, frozen.near),
        largest_cluster=int(np.bincount(frozen.near).max()),
        ragged=facts.table.ragged,
        dropped=facts.dropped,
        repeats_kept=facts.cleaned.repeats_kept,
        unused=tuple(pair for pair in odd if pair[0] not in used),
        odd_but_used=tuple(pair for pair in odd if pair[0] in used),
        leaks=tuple(leaks),
        smallest=dict(zip(frozen.classes, table[3].tolist(), strict=True)),
    )


def twin_share(copies: NDArray[np.int32], near: NDArray[np.int64]) -> float:
    """Return the share of test rows that would have a twin in training, had the file been split 80/20 at random.

    Expectation over all random splits: a row with m - 1 (near) copies finds none in training with chance 0.2^(m - 1).
    """
    sizes = np.bincount(near, weights=copies, minlength=len(near))[near]
    return float(np.average(1.0 - _HELD_OUT ** (sizes - 1.0), weights=copies))


# --- columns -------------------------------------------------------------------------------------------------------


def _column(column: ColumnFacts, found: dict[str, dict[str, NDArray[np.bool_]]]) -> ColumnProfile:
    values = column.values
    if isinstance(values, np.ndarray):
        known = values[~np.isnan(values)]
        return ColumnProfile(
            name=column.name,
            kind=column.kind,
            missing=int(values.size - known.size),
            distinct=int(np.unique(known).size),
            low=float(known.min()) if known.size else None,
            high=float(known.max()) if known.size else None,
        )
    filled = [cell for cell in values if cell is not None]
    base = ColumnProfile(
        name=column.name, kind=column.kind, missing=len(values) - len(filled), distinct=len(set(filled))
    )
    if column.kind == "text" and filled:
        lengths = np.asarray([len(cell) for cell in filled])
        return base.model_copy(
            update={"mean_length": round(float(lengths.mean()), 1), "p95_length": float(np.percentile(lengths, 95))}
        )
    top = [] if column.name in found or column.oddity == "identifier" else Counter(filled).most_common(_TOP)
    return base.model_copy(update={"top": tuple((cell[:40], count) for cell, count in top)})


def _personal(columns: Sequence[ColumnFacts]) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return column → kind → mask of the rows that hold personal data of that kind."""
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for column in columns:
        values = column.values
        if isinstance(values, np.ndarray):
            continue
        if personal.is_name_column(column.name, values):
            found.setdefault(column.name, {})["person_name"] = np.asarray([cell is not None for cell in values])
        known: dict[str, frozenset[str]] = {}
        for row, cell in enumerate(values):
            if cell is None:
                continue
            if cell not in known:
                known[cell] = frozenset(match.kind for match in personal.find(cell))
            for kind in known[cell]:
                masks = found.setdefault(column.name, {})
                masks.setdefault(kind, np.zeros(len(values), dtype=np.bool_))[row] = True
    return found


def _counted(found: dict[str, dict[str, NDArray[np.bool_]]]) -> tuple[PersonalDataCount, ...]:
    kinds = [kind for kind in personal.KINDS if any(kind in masks for masks in found.values())]
    return tuple(
        PersonalDataCount(
            kind=kind,
            rows=int(np.any([masks[kind] for masks in found.values() if kind in masks], axis=0).sum()),
            columns=tuple(name for name, masks in found.items() if kind in masks),
        )
        for kind in kinds
    )
