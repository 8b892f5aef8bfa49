"""Rows taken together by actual and predicted class: every metric of labels says the same of cells as of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.tasks.cells import cells, over_cells
from bakeoff.tasks.influence import influence
from bakeoff.tasks.scoring import METRICS, score, statistic


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "roc_auc"])
@given(rows=st.integers(1, 50), classes=st.integers(2, 5), seed=st.integers(0, 10_000))
def test_cells_score_as_their_rows(metric: str, rows: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    actual = random.integers(classes, size=rows)
    predicted = np.where(random.random(rows) < 0.7, actual, random.integers(classes, size=rows))
    table = cells(actual, predicted)
    assert table.counts.sum() == rows
    assert np.array_equal(table.actual[table.of_row], actual)
    assert np.array_equal(table.predicted[table.of_row], predicted)
    found = over_cells(metric, table)
    assert float(found.finish(table.counts @ found.columns)) == pytest.approx(
        score(metric, actual, predicted), abs=1e-6
    )
    whole = influence(statistic(metric, actual, predicted))
    assert influence(found, table.counts)[table.of_row] == pytest.approx(whole, abs=1e-6)
