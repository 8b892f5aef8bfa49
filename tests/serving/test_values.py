"""Rows as arrays, and models of numbers, whose rows are never mappings: the same answers, the same strictness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.data.transforms.tabular import LARGEST, Table, TableFeeder
from bakeoff.schema.artifact import InputColumn
from bakeoff.serving.limits import Limits
from bakeoff.serving.parsing import Reader
from bakeoff.serving.problems import Problem
from tests.serving.running import Running

ROW = [round(0.01 * index, 2) for index in range(64)]
NAMED = {f"x{index}": value for index, value in enumerate(ROW)}


def predict(server: Running, document: Any) -> Any:
    """Ask."""
    return server.client.post("/v1/predict", json=document)


def test_arrays_objects_and_tensors_get_the_same_answer(numbers: Running) -> None:
    plain = predict(numbers, {"values": [ROW, ROW[::-1]]}).json()["predictions"]
    named = predict(numbers, {"rows": [NAMED, dict(zip(NAMED, ROW[::-1], strict=True))]}).json()["predictions"]
    assert plain == named
    assert plain[0]["probabilities"] != plain[1]["probabilities"]
    for data in (ROW + ROW[::-1], [ROW, ROW[::-1]]):
        tensor = {"name": "values", "shape": [2, 64], "datatype": "FP32", "data": data}
        outputs = numbers.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).json()["outputs"]
        assert outputs[0]["data"] == [one["label"] for one in plain]
        shares = [share for one in plain for share in one["probabilities"].values()]
        assert outputs[1]["data"] == pytest.approx(shares, abs=1e-6)


def test_a_missing_number_is_filled_as_in_training(numbers: Running) -> None:
    gone = predict(numbers, {"values": [[None, *ROW[1:]]]}).json()
    absent = predict(numbers, {"rows": [{name: value for name, value in NAMED.items() if name != "x0"}]}).json()
    filled = predict(numbers, {"values": [[0.0, *ROW[1:]]]}).json()
    assert gone["predictions"] == absent["predictions"] == filled["predictions"]


@pytest.mark.parametrize(
    ("row", "where"),
    [
        (ROW[:-1], "values[1]"), ([*ROW, 1.0], "values[1]"), ({}, "values[1]"), ("x" * 64, "values[1]"), (None, "values[1]"),
        ([*ROW[:-1], "1.0"], "values[1].x63"), ([True, *ROW[1:]], "values[1].x0"), ([[1.0], *ROW[1:]], "values[1].x0"),
        ([None] * 64, "values[1]"),
    ],
)  # fmt: skip
def test_arrays_are_checked_as_objects_are(numbers: Running, row: Any, where: str) -> None:
    answer = predict(numbers, {"values": [ROW, row]})
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == where


@pytest.mark.parametrize("number", [1e39, -1e39, 10**39, 1e308])
def test_a_number_that_the_model_cannot_be_given_is_refused_and_not_taken_for_missing(
    numbers: Running, mixed: Running, number: float
) -> None:
    beyond = [*ROW[:-1], number]
    tensor = {"name": "values", "shape": [2, 64], "datatype": "FP64", "data": [*ROW, *beyond]}
    column = {"name": "age", "shape": [1], "datatype": "FP64", "data": [number]}
    for answer in (
        predict(numbers, {"values": [ROW, beyond]}), predict(numbers, {"values": [[None, *beyond[1:]]]}),
        predict(numbers, {"row": {"x0": number}}), predict(mixed, {"row": {"age": number}}), predict(mixed, {"values": [[number, None, None]]}),
        numbers.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}),
        mixed.client.post("/v2/models/reviews/infer", json={"inputs": [column]}),
    ):  # fmt: skip
        assert answer.status_code == 422
        assert "must be a number that single precision holds" in answer.text
    assert predict(numbers, {"values": [ROW, beyond]}).json()["error"]["where"] == "row 1"
    assert predict(numbers, {"values": [ROW, [*ROW[:-1], 3.4e38]]}).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1, 63]}, {"shape": [64]}, {"shape": [2, 64]}, {"shape": [True, 64]}, {"shape": [0, 64]}, {"datatype": "BYTES"},
        {"data": ROW[:-1]}, {"data": "x"}, {"extra": 1},
        {"data": ["x", *ROW[1:]]}, {"data": [ROW[:-1]]}, {"data": [[True, *ROW[1:]]]}, {"data": ["x"]},
    ],
)  # fmt: skip
def test_a_matrix_that_breaks_the_protocol_is_refused(numbers: Running, changes: dict[str, Any]) -> None:
    tensor = {"name": "values", "shape": [1, 64], "datatype": "FP64", "data": ROW, **changes}
    assert numbers.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).status_code == 400


def test_columns_of_every_kind_can_be_given_as_arrays(mixed: Running) -> None:
    by_name = predict(mixed, {"rows": [{"age": 41, "city": "上海", "note": None}]}).json()
    assert predict(mixed, {"values": [[41, "上海", None]]}).json() == by_name
    assert predict(mixed, {"values": [["41", "上海", None]]}).status_code == 422


def test_texts_can_be_given_as_arrays(texts: Running) -> None:
    assert predict(texts, {"values": [["很好"]]}).json() == predict(texts, {"texts": ["很好"]}).json()


CELLS = st.none() | st.floats(-LARGEST, LARGEST) | st.integers(-(10**20), 10**20)


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_a_matrix_is_the_table_of_the_same_rows(rows: list[tuple[float | None, ...]]) -> None:
    names = ("a", "b", "c")
    columns = [{"name": name, "kind": "number", "fill": fill} for name, fill in (("c", 1.5), ("a", None))]
    feeder = TableFeeder({"kind": "tabular", "columns": columns})
    table = Table(names, np.array(rows, dtype=np.float64))
    found = feeder.matrix([dict(zip(names, row, strict=True)) for row in rows])
    np.testing.assert_array_equal(feeder.matrix(table), found)
    np.testing.assert_array_equal(feeder.matrix(table[:1]), found[:1])
    np.testing.assert_array_equal(feeder.matrix(list(table)), found)


@given(row=st.lists(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3), max_size=4))
def test_a_row_of_numbers_is_taken_or_refused_but_never_breaks(row: list[Any]) -> None:
    reader = Reader([InputColumn(name=name, kind="number") for name in "abc"], Limits())
    fine = (
        len(row) == 3
        and all(value is None or type(value) is float for value in row)
        and any(v is not None for v in row)
    )
    try:
        found = reader.positional([row], "values")
    except Problem as problem:
        assert problem.status == 422  # noqa: PT017 - both outcomes are looked at
        assert not fine or any(value in {float("inf"), float("-inf")} for value in row)
    else:
        assert fine
        assert reader.join([found])[0].keys() == {"a", "b", "c"}
