"""Rows with the same actual and predicted class taken together: every metric but the area under the curve depends on these counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakeoff.tasks.scoring import Statistic, statistic


@dataclass(frozen=True)
class Cells:
    """The cells (m,) of a confusion table that occur: actual and predicted class, number of rows, and each row's cell (n,)."""

    actual: NDArray[np.int64]
    predicted: NDArray[np.int64]
    counts: NDArray[np.float64]
    of_row: NDArray[np.int64]


def cells(actual: ArrayLike, predicted: ArrayLike) -> Cells:
    """Return the cells of predictions (n,) against actual classes (n,), ordered by actual, then predicted class."""
    truth, guess = np.asarray(actual, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    width = int(max(truth.max(initial=0), guess.max(initial=0))) + 1
    codes = truth * width + guess
    table = np.bincount(codes, minlength=width * width)
    there = np.flatnonzero(table)
    place = np.zeros(table.size, dtype=np.int64)
    place[there] = np.arange(there.size)
    return Cells(there // width, there % width, table[there].astype(np.float64), place[codes])


def over_cells(metric: str, found: Cells, positive: int | None = None) -> Statistic:
    """Return a metric of labels as sums over cells; the many candidates with the same cells share one."""
    return _over(metric, tuple(found.actual.tolist()), tuple(found.predicted.tolist()), positive)


@lru_cache(maxsize=256)
def _over(metric: str, actual: tuple[int, ...], predicted: tuple[int, ...], positive: int | None) -> Statistic:
    return statistic(metric, actual, predicted, None, positive)
