"""A metric as one value per row whose mean is the metric.

Does: linearise any statistic of ``scoring``. Does not know: candidates, rows' order, decisions.

For a ratio metric ``T`` the value of row i is ``T + IF_i`` (von Mises 1947; Hampel 1974): the first-order effect of giving row i a little more
weight. Their mean is ``T`` exactly and their variance over n is the delta method's; exact for accuracy, where a row is right or wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bakeoff.tasks.scoring import Statistic


def influence(found: Statistic, counts: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the linearised row values (n,) of a statistic at equal weights; ``counts`` (n,) says how many rows each row stands for."""
    columns = found.columns.astype(np.float64)
    weights = np.full(len(columns), 1.0 / len(columns)) if counts is None else counts / counts.sum()
    means = weights @ columns
    top, bottom = columns[:, 0::2], columns[:, 1::2]
    under = means[1::2]
    defined = under > 0
    under = np.where(defined, under, 1.0)
    ratios = np.where(defined, means[0::2] / under, 0.0)
    parts = np.where(defined, (top - ratios * bottom) / under, 0.0)
    effect = parts.sum(axis=1) if found.metric == "roc_auc" else parts.mean(axis=1)
    values: NDArray[np.float64] = float(found.finish(means)) + effect
    return values
