"""Which rows go into which batch: shuffled, yet texts of similar length together, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_POOL = 32


def bucketed(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return one epoch of batches: every row exactly once, ``size`` rows each (the last may be smaller).

    Rows are shuffled, cut into pools of 32 batches, sorted by length inside each pool, and the batches shuffled again:
    the order stays random enough to train with while padding falls to a few per cent.

    Args:
        lengths: tokens of each row.
        size: rows of a batch.
        rng: the only source of randomness.

    """
    order = rng.permutation(len(lengths)).astype(np.int64)
    known = np.asarray(lengths)
    pool = size * _POOL
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(known[rows], kind="stable")]
        batches.extend(rows[at : at + size] for at in range(0, len(rows), size))
    return [batches[at] for at in rng.permutation(len(batches))]


def padding_share(lengths: Sequence[int], batches: Sequence[NDArray[np.int64]]) -> float:
    """Return the share of computed tokens that is padding."""
    known = np.asarray(lengths)
    computed = sum(int(known[batch].max()) * len(batch) for batch in batches)
    return 1.0 - float(known.sum()) / computed if computed else 0.0


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return n / (k · count) per class, 0 for a class without rows (King & Zeng 2001; scikit-learn's ``balanced``)."""
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    weights = np.zeros(classes, dtype=np.float64)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights
