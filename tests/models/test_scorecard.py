from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts._cases import INPUTS, MALFORMED, TASKS, table_rows
from tests.models._contexts import context, variant

from bakeoff.data.transforms.tabular import bins_of
from bakeoff.models import _scorecard as card
from bakeoff.models.base import Examples, ExportContext
from bakeoff.models.linear import PLUGIN
from bakeoff.runtimes.native import PLUGIN as NATIVE
from bakeoff.runtimes.onnxruntime import PLUGIN as ONNX
from bakeoff.schema import Artifact, InputColumn, StepError

PARAMS = {"format": "scorecard", "bins": 8, "C": 1.0}
COLUMNS = INPUTS[TASKS[1]]


def _build(out: Path, train: Examples, **more: object) -> Artifact:
    return PLUGIN.build(context(out, train, variant(**PARAMS), task=TASKS[1], inputs=COLUMNS, **more))


def test_points_and_probabilities_tell_the_same_story(tmp_path: Path) -> None:
    """The rounded points give the exact log-odds back to within half a point per column."""
    artifact = _build(tmp_path, table_rows(800, 0), classes=("no", "yes"))
    points = artifact.meta["points"]["yes"]
    row = {"age": 30.0, "income": 7000.0, "city": "广州", "note": "ok"}
    probability = NATIVE.load(artifact, tmp_path, 1).predict_proba([row])[0, 1]
    exact = 600 - 20 / np.log(2) * (np.log(50) + np.log(probability / (1 - probability)))
    by_column = {entry["column"]: entry["points"] for entry in points["columns"]}
    assert set(by_column) >= {"age", "income", "city"}

    def holds(label: str, value: float) -> bool:
        low, _, rest = label.partition(" < ")
        if rest:
            return float(low) < value <= float(rest.split(" ≤ ")[1])
        return value <= float(label.split(" ≤ ")[1]) if "≤" in label else value > float(label.split(" > ")[1])

    total = points["base"] + by_column["city"]["city = 广州"] + by_column.get("note", {}).get("note = ok", 0)
    for name in ("age", "income"):
        found = [worth for label, worth in by_column[name].items() if label != "missing" and holds(label, row[name])]
        assert len(found) == 1
        total += found[0]
    assert abs(total - exact) <= 0.5 * (len(by_column) + 1) + 0.05 * 20


def test_more_points_mean_less_risk(tmp_path: Path) -> None:
    artifact = _build(tmp_path, table_rows(800, 0), classes=("no", "yes"))
    age = next(entry for entry in artifact.meta["points"]["yes"]["columns"] if entry["column"] == "age")
    worth = [points for label, points in age["points"].items() if label != "missing"]
    assert worth == sorted(worth), "the young default more often, so points rise with age"


@pytest.mark.parametrize("swap", [False, True], ids=["event second", "event first"])
def test_the_rarer_class_is_the_event_wherever_it_stands(tmp_path: Path, swap: bool) -> None:
    train = table_rows(800, 0)
    labels = 1 - train.labels if swap else train.labels
    artifact = _build(tmp_path, Examples(train.rows, labels), classes=("no", "yes"))
    rare = int(np.bincount(labels).argmin())
    assert list(artifact.meta["points"]) == [artifact.classes[rare]]
    found = NATIVE.load(artifact, tmp_path, 1).predict_proba(train.rows)
    assert (found.argmax(axis=1) == labels).mean() > 0.75
    np.testing.assert_allclose(found.mean(axis=0), np.bincount(labels) / len(labels), atol=0.02)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_onnx_graph_agrees(tmp_path: Path, classes: int) -> None:
    train = table_rows(700, 0)
    labels = train.labels + (np.arange(700) % 5 == 0) * (classes - 2)
    names = ("x", "y", "z")[:classes]
    artifact = _build(tmp_path / "native", Examples(train.rows, labels), classes=names)
    (tmp_path / "onnx").mkdir()
    exported = PLUGIN.export(ExportContext(artifact, tmp_path / "native", tmp_path / "onnx", "onnx", 1))
    rows = [*table_rows(200, 1).rows, *MALFORMED]
    expected = NATIVE.load(artifact, tmp_path / "native", 1).predict_proba(rows)
    np.testing.assert_allclose(ONNX.load(exported, tmp_path / "onnx", 1).predict_proba(rows), expected, atol=1e-5)
    assert expected.shape == (len(rows), classes)
    if classes > 2:
        assert len(artifact.meta["points"]) == classes


def test_missing_has_its_own_bin_only_where_it_was_seen(tmp_path: Path) -> None:
    artifact = _build(tmp_path, table_rows(800, 0), classes=("no", "yes"))
    by_column = {entry["column"]: entry["points"] for entry in artifact.meta["points"]["yes"]["columns"]}
    assert "missing" in by_column["income"]
    assert "missing" not in by_column["age"]


def test_rare_categories_share_a_bin(tmp_path: Path) -> None:
    artifact = _build(tmp_path, table_rows(600, 0), classes=("no", "yes"))
    by_column = {entry["column"]: entry["points"] for entry in artifact.meta["points"]["yes"]["columns"]}
    assert any("kleinstadt" in label and "∈" in label for label in by_column["city"])


def test_weight_of_evidence_by_hand() -> None:
    bins = np.array([0] * 10 + [1] * 10)
    event = np.array([True] * 8 + [False] * 2 + [True] * 2 + [False] * 8)
    woe, value = card.weight_of_evidence(bins, event, 2)
    high = np.log((8.5 / 10.5) / (2.5 / 10.5))
    np.testing.assert_allclose(woe, [high, -high, 0.0])
    assert value == pytest.approx(2 * (6 / 10.5) * high)


@given(
    st.lists(st.tuples(st.floats(-50, 50, width=32), st.booleans()), min_size=60, max_size=200),
    st.lists(st.integers(-40, 40), min_size=2, max_size=7, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_monotone_only_drops_cuts_and_keeps_information(rows: list[tuple[float, bool]], cuts: list[int]) -> None:
    values = np.array([value for value, _ in rows], dtype=np.float32)
    event = np.array([flag for _, flag in rows])
    edges = np.array(sorted(cuts), dtype=np.float32)
    kept = card.monotone(values, event, edges)
    assert set(kept) <= set(edges)
    if len(kept) < len(edges):
        bins = bins_of(values, kept, 0)
        rates = [event[bins == at].mean() for at in range(len(kept) + 1) if (bins == at).any()]
        steps = np.diff(rates)
        assert (steps >= 0).all() or (steps <= 0).all()
        before = card.weight_of_evidence(bins_of(values, edges, 0), event, len(edges) + 1)[1]
        after = card.weight_of_evidence(bins, event, len(kept) + 1)[1]
        assert after >= 0.8 * before - 1e-9


def test_a_u_shape_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-3, 3, 4000).astype(np.float32)
    event = rng.random(4000) < np.where(np.abs(values) > 2, 0.8, 0.1)
    edges = np.array([-2.0, 2.0], dtype=np.float32)
    np.testing.assert_array_equal(card.monotone(values, event, edges), edges)


def test_columns_that_tell_nothing_are_refused(tmp_path: Path) -> None:
    rows = [{"age": 1.0} for _ in range(100)]
    train = Examples(rows, np.arange(100) % 2)
    with pytest.raises(StepError, match="no input column"):
        PLUGIN.build(
            context(tmp_path, train, variant(**PARAMS), task=TASKS[1], inputs=(InputColumn(name="age", kind="number"),))
        )


def test_the_card_is_readable_json(tmp_path: Path) -> None:
    _build(tmp_path, table_rows(300, 0), classes=("no", "yes"))
    record = json.loads((tmp_path / card.CARD).read_text(encoding="utf-8"))
    assert {column["name"] for column in record["columns"]} >= {"age", "income", "city"}
    for column in record["columns"]:
        assert column["edges"] is None or len(column["weights"]) == len(column["edges"]) + 1
