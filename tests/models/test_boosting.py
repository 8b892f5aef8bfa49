from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from tests.contracts._cases import INPUTS, MALFORMED, TASKS, profile_of, spec_of, table_rows
from tests.models._contexts import context, variant

from bakeoff.data.transforms import tabular
from bakeoff.models._onnx_tabular import below
from bakeoff.models.base import Examples, ExportContext
from bakeoff.models.boosting import PLUGIN, row_weights
from bakeoff.runtimes.native import PLUGIN as NATIVE
from bakeoff.runtimes.onnxruntime import PLUGIN as ONNX
from bakeoff.schema import Artifact, InputColumn, StepError

COLUMNS = INPUTS[TASKS[1]]
FORMATS = ["lightgbm", "xgboost"]


def _build(out: Path, form: str, train: Examples, calibrate: Examples | None = None, **more: Any) -> Artifact:
    params = {"format": form, **more.pop("params", {})}
    more.setdefault("inputs", COLUMNS)
    return PLUGIN.build(context(out, train, variant(**params), task=TASKS[1], calibrate=calibrate, **more))


def _many_codes(count: int, seed: int, classes: int) -> tuple[Examples, tuple[InputColumn, ...]]:
    """Rows that make trees split on large category sets, on negative numbers, and send missing values both ways."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 40, count)
    number, other = rng.normal(size=count), rng.normal(size=count).round(1)
    gone = rng.random(count) < 0.2
    score = np.sin(codes * 2.0) * 2 + np.where(gone, 1.5, number) + other
    labels = np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))
    rows = [
        {"code": f"c{code}", "number": None if lost else float(value), "other": float(more)}
        for code, value, more, lost in zip(codes, number, other, gone, strict=True)
    ]
    inputs = (
        InputColumn(name="code", kind="category"),
        InputColumn(name="number", kind="number"),
        InputColumn(name="other", kind="number"),
    )
    return Examples(rows, labels.astype(np.int64)), inputs


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_onnx_graph_agrees(tmp_path: Path, form: str, classes: int) -> None:
    train, inputs = _many_codes(900, 0, classes)
    test, _ = _many_codes(300, 1, classes)
    names = ("a", "b", "c")[:classes]
    artifact = _build(tmp_path / "native", form, train, test, inputs=inputs, classes=names)
    (tmp_path / "onnx").mkdir()
    exported = PLUGIN.export(ExportContext(artifact, tmp_path / "native", tmp_path / "onnx", "onnx", 1))
    unknown = [{"code": "never", "number": 1.0}, {"code": None, "other": -3.5}, {"code": "c3", "number": "0.25"}]
    rows = [*test.rows, *unknown, *MALFORMED]
    expected = NATIVE.load(artifact, tmp_path / "native", 1).predict_proba(rows)
    found = ONNX.load(exported, tmp_path / "onnx", 1).predict_proba(rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (expected[: len(test)].argmax(axis=1) == test.labels).mean() > 0.7


@pytest.mark.parametrize("form", FORMATS)
def test_early_stopping_watches_calibrate(tmp_path: Path, form: str) -> None:
    stopped = _build(tmp_path / "a", form, table_rows(400, 0), table_rows(150, 1))
    fixed = _build(tmp_path / "b", form, table_rows(400, 0), table_rows(5, 1))
    probe = _build(tmp_path / "c", form, table_rows(400, 0), table_rows(150, 1), probe=True)
    assert 1 <= stopped.meta["rounds"] < 500
    assert fixed.meta["rounds"] == 200
    assert probe.meta["rounds"] == 150


def test_the_file_holds_exactly_the_rounds_kept(tmp_path: Path) -> None:
    first = _build(tmp_path / "l", "lightgbm", table_rows(400, 0), table_rows(150, 1))
    body = (tmp_path / "l" / first.meta["model"]).read_text(encoding="utf-8")
    assert lightgbm.Booster(model_str=body).num_trees() == first.meta["rounds"]
    assert len(re.findall(r"^Tree=", body, flags=re.MULTILINE)) == first.meta["rounds"]
    second = _build(tmp_path / "x", "xgboost", table_rows(400, 0), table_rows(150, 1))
    booster = xgboost.Booster()
    booster.load_model(bytearray((tmp_path / "x" / second.meta["model"]).read_bytes()))
    assert booster.num_boosted_rounds() == second.meta["rounds"]


def test_the_text_file_says_nothing_of_the_machine(tmp_path: Path) -> None:
    one = _build(tmp_path / "a", "lightgbm", table_rows(300, 0))
    body = (tmp_path / "a" / one.meta["model"]).read_text(encoding="utf-8")
    assert "num_threads" not in body
    assert "seed" not in body


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_is_refused_before_the_library_sees_it(tmp_path: Path, form: str) -> None:
    """Both libraries end the process on a truncated model; the hash in the artefact keeps them from reading one."""
    artifact = _build(tmp_path, form, table_rows(300, 0))
    path = tmp_path / artifact.meta["model"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StepError, match="not as it was built"):
        NATIVE.load(artifact, tmp_path, 1)


@pytest.mark.parametrize("form", FORMATS)
def test_class_weights_raise_the_rare_class(tmp_path: Path, form: str) -> None:
    train = table_rows(600, 0)
    keep = np.flatnonzero((train.labels == 0) | (np.arange(600) % 6 == 0))
    rare = Examples([train.rows[at] for at in keep], train.labels[keep])
    means = []
    for name, balanced in (("plain", False), ("weighted", True)):
        artifact = _build(tmp_path / name, form, rare, params={"balanced": balanced})
        means.append(NATIVE.load(artifact, tmp_path / name, 1).predict_proba(train.rows)[:, 1].mean())
    assert means[1] > means[0]


def test_row_weights_by_hand() -> None:
    weights = row_weights(np.array([0, 0, 0, 1]), balanced=True)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2.0])
    assert row_weights(np.array([0, 1]), balanced=False) is None


@pytest.mark.parametrize("form", FORMATS)
def test_a_value_that_was_never_missing_in_training_is_filled(tmp_path: Path, form: str) -> None:
    train = table_rows(400, 0)
    artifact = _build(tmp_path, form, train)
    age = next(column for column in artifact.transform["columns"] if column["name"] == "age")
    middle = float(np.median(np.array([row["age"] for row in train.rows], dtype=np.float32)))
    assert age["fill"] == pytest.approx(middle)
    predictor = NATIVE.load(artifact, tmp_path, 1)
    with_median = predictor.predict_proba([{**train.rows[0], "age": age["fill"]}])
    np.testing.assert_array_equal(predictor.predict_proba([{**train.rows[0], "age": None}]), with_median)


@pytest.mark.parametrize("form", FORMATS)
def test_one_class_and_no_columns_are_reasons(tmp_path: Path, form: str) -> None:
    train = table_rows(100, 0)
    with pytest.raises(StepError, match="one class"):
        _build(tmp_path / "a", form, Examples(train.rows, np.zeros(100, dtype=np.int64)))
    unique = Examples([{"id": f"u{at}"} for at in range(100)], train.labels)
    with pytest.raises(StepError, match="no input column"):
        _build(tmp_path / "b", form, unique, inputs=(InputColumn(name="id", kind="category"),))


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1e-35, 1.0, 123456.789, -7.000000001, 1e30, 0.0])
def test_below_splits_float32_values_like_the_exact_threshold(threshold: float) -> None:
    cut = np.float32(below(threshold))
    near = [np.nextafter(cut, np.float32(-np.inf)), cut, np.nextafter(cut, np.float32(np.inf))]
    for value in near:
        assert (value <= cut) == (float(value) <= threshold)


def test_uneven_classes_add_weighted_settings() -> None:
    def names(counts: tuple[int, int]) -> list[str]:
        return [found.name for found in PLUGIN.variants(spec_of(TASKS[1]), profile_of(TASKS[1], counts))]

    assert names((500, 500)) == ["lightgbm", "xgboost"]
    assert names((800, 200)) == ["lightgbm", "xgboost", "lightgbm-weighted", "xgboost-weighted"]


def test_xgboost_and_lightgbm_predict_what_the_libraries_predict(tmp_path: Path) -> None:
    """Our transform and loading add nothing: the same table through the plain library gives the same numbers."""
    train = table_rows(400, 0)
    artifact = _build(tmp_path, "lightgbm", train)
    table = tabular.TableFeeder(artifact.transform).matrix(train.rows).astype(np.float64)
    plain = lightgbm.Booster(model_str=(tmp_path / artifact.meta["model"]).read_text(encoding="utf-8")).predict(table)
    np.testing.assert_array_equal(NATIVE.load(artifact, tmp_path, 1).predict_proba(train.rows)[:, 1], plain)
