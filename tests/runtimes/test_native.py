from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, softmax
from tests.contracts._cases import INPUTS, TASKS, table_rows
from tests.models._contexts import context, variant

from bakeoff.data.transforms.tabular import bins_of
from bakeoff.models.base import Examples
from bakeoff.models.boosting import PLUGIN as BOOSTING
from bakeoff.runtimes.native import PLUGIN, linked
from bakeoff.schema import Artifact, InputColumn, StepError

SCORES = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 4)), elements=st.floats(-800, 800))


@given(SCORES)
def test_links_equal_scipy(scores: np.ndarray) -> None:
    np.testing.assert_allclose(linked(scores, "softmax"), softmax(scores, axis=1), atol=1e-12)
    np.testing.assert_allclose(linked(scores[:, :1], "sigmoid")[:, 1], expit(scores[:, 0]), atol=1e-12)


@given(SCORES)
def test_one_against_the_rest_is_always_a_distribution(scores: np.ndarray) -> None:
    found = linked(scores, "ovr")
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_bins_are_closed_on_the_right() -> None:
    edges = np.array([1.0, 2.0], dtype=np.float32)
    values = np.array([0.0, 1.0, 1.5, 2.0, 9.0, np.nan], dtype=np.float32)
    np.testing.assert_array_equal(bins_of(values, edges, 7), [0, 0, 1, 1, 2, 7])
    np.testing.assert_array_equal(bins_of(np.array([0.0, 3.0, np.nan], dtype=np.float32), None, 4), [0, 3, 4])


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = table_rows(200, 0)
    built = BOOSTING.build(
        context(tmp_path, train, variant(format="lightgbm"), task=TASKS[1], inputs=INPUTS[TASKS[1]], classes=("n", "y"))
    )
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(StepError) as caught:
        PLUGIN.load(built, tmp_path, 1)
    assert caught.value.code == "unavailable"
    assert "lightgbm" in str(caught.value)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    artifact = Artifact(format="onnx", task=TASKS[0], classes=("a", "b"), inputs=(InputColumn(name="t", kind="text"),))
    with pytest.raises(StepError, match="does not load"):
        PLUGIN.load(artifact, tmp_path, 1)


def test_threads_do_not_change_answers(tmp_path: Path) -> None:
    train = table_rows(300, 0)
    for form in ("lightgbm", "xgboost"):
        out = tmp_path / form
        chosen = variant(format=form)
        built = BOOSTING.build(context(out, train, chosen, task=TASKS[1], inputs=INPUTS[TASKS[1]], classes=("n", "y")))
        one, two = (PLUGIN.load(built, out, threads).predict_proba(train.rows) for threads in (1, 2))
        np.testing.assert_array_equal(one, two)


def test_extra_and_reordered_columns_are_ignored(tmp_path: Path) -> None:
    train = table_rows(300, 0)
    chosen = variant(format="xgboost")
    built = BOOSTING.build(context(tmp_path, train, chosen, task=TASKS[1], inputs=INPUTS[TASKS[1]], classes=("n", "y")))
    predictor = PLUGIN.load(built, tmp_path, 1)
    turned = Examples([{"extra": 1, **dict(reversed(list(row.items())))} for row in train.rows], train.labels)
    np.testing.assert_array_equal(predictor.predict_proba(turned.rows), predictor.predict_proba(train.rows))
