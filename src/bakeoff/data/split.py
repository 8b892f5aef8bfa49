"""Four disjoint splits: clusters stay together, classes keep their shares, later rows never judge earlier ones.

Who goes where depends on the content of the rows and the seed, not on their order in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.near import components
from bakeoff.data.sizing import Shares
from bakeoff.schema.errors import BakeoffError, DataError
from bakeoff.schema.trial import SplitName

SPLITS: Final[tuple[SplitName, ...]] = ("train", "calibrate", "select", "confirm")
DROPPED: Final = -1
_ATTEMPTS = 20

Codes = NDArray[np.int64]


def shuffled(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return a pseudo-random rank per row from its content key and the seed (splitmix64)."""
    values = keys + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def merge_clusters(clusters: Codes, groups: Sequence[str | None] | None) -> Codes:
    """Join near-duplicate clusters that share a group value (a missing group joins nothing); smallest member's index each."""
    if groups is None:
        return clusters
    first: dict[str, int] = {}
    pairs = [(index, int(cluster)) for index, cluster in enumerate(clusters)]
    pairs += [(index, first.setdefault(group, index)) for index, group in enumerate(groups) if group is not None]
    return components(len(clusters), pairs)


def split_rows(
    labels: Codes, keys: NDArray[np.uint64], clusters: Codes, seed: int, sizes: Shares, classes: Sequence[str]
) -> NDArray[np.int8]:
    """Assign every row to a split (index into ``SPLITS``), stratified by class, clusters whole.

    Raises:
        DataError: a class has too few independent rows to be in all four splits.

    """
    _check_units(labels, clusters, classes)
    for attempt in range(_ATTEMPTS):
        assigned = _stratified(labels, shuffled(keys, seed + 1_000_003 * attempt), clusters, sizes)
        if not _lacking(assigned, labels, len(classes)):
            check_disjoint(assigned, clusters)
            return assigned
    split, label = _lacking(assigned, labels, len(classes))[0]
    raise DataError(
        f"no split by groups puts class '{classes[label]}' into every part (missing in {SPLITS[split]})",
        where="data.split.group",
        try_="collect rows of that class from more groups, merge classes, or remove data.split.group if rows of a group are independent",
    )


def split_by_time(
    labels: Codes,
    times: NDArray[np.float64],
    keys: NDArray[np.uint64],
    clusters: Codes,
    sizes: Shares,
    classes: Sequence[str],
) -> NDArray[np.int8]:
    """Assign rows by time: train the oldest, confirm the newest; rows of equal time stay together.

    A cluster that spans a border keeps only its rows on the side where most of them are; the others become ``DROPPED``.

    Raises:
        DataError: too few distinct times, train lacks a class, or another split holds a single class.

    """
    period = _periods(times, keys, sizes)
    assigned = period.copy()
    order = np.argsort(clusters, kind="stable")
    edges = np.flatnonzero(np.diff(clusters[order])) + 1
    for members in np.split(order, edges):
        if len(members) > 1 and len(set(period[members].tolist())) > 1:
            counts = np.bincount(period[members], minlength=len(SPLITS))
            home = len(SPLITS) - 1 - int(np.argmax(counts[::-1]))
            assigned[members[period[members] != home]] = DROPPED
    _check_time(assigned, labels, classes)
    check_disjoint(assigned, clusters)
    return assigned


def check_disjoint(assigned: NDArray[np.int8], clusters: Codes) -> None:
    """Raise when a cluster reaches into two splits: the promise everything later stands on."""
    kept = assigned != DROPPED
    pairs = np.unique(np.stack([clusters[kept], assigned[kept].astype(np.int64)]), axis=1)
    if pairs.shape[1] != np.unique(clusters[kept]).size:
        raise BakeoffError("two splits share a cluster of rows; this is a defect of the splitter")


def _check_units(labels: Codes, clusters: Codes, classes: Sequence[str]) -> None:
    for label, name in enumerate(classes):
        rows = int(np.count_nonzero(labels == label))
        units = np.unique(clusters[labels == label]).size
        if units < len(SPLITS):
            what = f"class '{name}' has {rows} usable row{'s' * (rows != 1)}" + (
                f" in {units} independent groups" if units < rows else ""
            )
            raise DataError(
                f"{what}, but four splits need at least {len(SPLITS)}",
                where="data.target",
                try_=f"label more rows of '{name}', merge it into another class, or remove its rows from the file",
            )


def _stratified(labels: Codes, ranks: NDArray[np.uint64], clusters: Codes, sizes: Shares) -> NDArray[np.int8]:
    count = int(labels.max()) + 1
    totals = np.bincount(labels, minlength=count).astype(np.float64)
    target = np.outer(sizes.as_tuple(), totals)
    assigned = np.full(len(labels), DROPPED, dtype=np.int8)
    members = np.bincount(clusters, minlength=len(labels))[clusters]
    current = _place_clusters(assigned, np.flatnonzero(members > 1), labels, ranks, clusters, target)
    for label in range(count):
        rows = np.flatnonzero((members == 1) & (labels == label))
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        quota = _quota(target[:, label] - current[:, label], current[:, label], len(rows))
        assigned[rows] = np.repeat(np.arange(len(SPLITS), dtype=np.int8), quota)
    return assigned


def _place_clusters(
    assigned: NDArray[np.int8],
    rows: Codes,
    labels: Codes,
    ranks: NDArray[np.uint64],
    clusters: Codes,
    target: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Put clusters of several rows, largest first, where they disturb the class shares least; return rows per split and class."""
    current = np.zeros_like(target)
    if not len(rows):
        return current
    order = rows[np.argsort(clusters[rows], kind="stable")]
    units = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
    units.sort(key=lambda unit: (-len(unit), int(ranks[unit].min())))
    scale = 1.0 / np.maximum(target.sum(axis=0), 1.0) ** 2
    for unit in units:
        vector = np.bincount(labels[unit], minlength=target.shape[1]).astype(np.float64)
        worse = ((2.0 * vector * (current - target) + vector**2) * scale).sum(axis=1)
        home = int(np.argmin(np.round(worse, 12)))
        assigned[unit] = home
        current[home] += vector
    return current


def _quota(wanted: NDArray[np.float64], present: NDArray[np.float64], rows: int) -> NDArray[np.int64]:
    """Share ``rows`` out in proportion to what is wanted (largest remainder), at least one to a split that has none yet."""
    wanted = np.maximum(wanted, 0.0)
    wanted = wanted if wanted.sum() > 0 else np.full(len(wanted), 1.0)
    exact = wanted / wanted.sum() * rows
    quota = np.floor(exact).astype(np.int64)
    for index in np.argsort(-(exact - quota), kind="stable")[: rows - int(quota.sum())]:
        quota[index] += 1
    for index in np.flatnonzero((quota == 0) & (present == 0)):
        giver = int(np.argmax(quota))
        if quota[giver] > 1:
            quota[giver] -= 1
            quota[index] += 1
    return np.asarray(quota, dtype=np.int64)


def _lacking(assigned: NDArray[np.int8], labels: Codes, count: int) -> list[tuple[int, int]]:
    table = np.zeros((len(SPLITS), count), dtype=np.int64)
    kept = assigned != DROPPED
    np.add.at(table, (assigned[kept], labels[kept]), 1)
    return [(int(split), int(label)) for split, label in np.argwhere(table == 0)]


def _periods(times: NDArray[np.float64], keys: NDArray[np.uint64], sizes: Shares) -> NDArray[np.int8]:
    """Cut the time line at the proportions, each cut moved to the nearest change of time."""
    order = np.lexsort((keys, times))
    ordered = times[order]
    changes = np.flatnonzero(np.diff(ordered) > 0) + 1
    cuts: list[int] = []
    for share in np.cumsum(sizes.as_tuple())[:-1]:
        later = changes[changes > (cuts[-1] if cuts else 0)]
        if not len(later):
            raise DataError(
                "too few distinct times for four splits",
                where="data.split.time",
                got=f"{len(changes) + 1} distinct times",
                allowed="at least 4",
                try_="use a finer time column, or remove data.split.time",
            )
        remaining = len(SPLITS) - 2 - len(cuts)  # keep a change for each cut still to come
        later = later[: len(later) - remaining] if len(later) > remaining else later[:1]
        cuts.append(int(later[np.argmin(np.abs(later - share * len(times)))]))
    period = np.empty(len(times), dtype=np.int8)
    period[order] = np.searchsorted(np.asarray(cuts), np.arange(len(times)), side="right").astype(np.int8)
    return period


def _check_time(assigned: NDArray[np.int8], labels: Codes, classes: Sequence[str]) -> None:
    for split, label in _lacking(assigned, labels, len(classes)):
        if split == 0:
            raise DataError(
                f"class '{classes[label]}' does not occur in the oldest rows, which train on time",
                where="data.split.time",
                try_=f"collect older rows of '{classes[label]}', merge or remove the class, or remove data.split.time",
            )
    for split, name in enumerate(SPLITS):
        present = np.unique(labels[assigned == split])
        if len(present) < 2:
            raise DataError(
                f"the rows of the {name} period are all of one class",
                where="data.split.time",
                got=classes[int(present[0])] if len(present) else "no rows",
                try_="take rows over a longer time, or remove data.split.time",
            )
