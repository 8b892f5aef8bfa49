from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.data.transforms import tabular
from bakeoff.schema import InputColumn

INPUTS = (
    InputColumn(name="n", kind="number"),
    InputColumn(name="c", kind="category"),
    InputColumn(name="t", kind="text"),
)
ROWS = [
    {"n": 1.0, "c": "x", "t": "same"},
    {"n": 3.0, "c": "y", "t": "same"},
    {"n": 8.0, "c": "y", "t": "same"},
    {"n": 2.0, "c": "x", "t": "other"},
    {"n": 5.0, "c": "y", "t": None},
    {"n": 4.0, "c": "once", "t": ""},
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        ("2.5", 2.5),
        (" -3e2 ", -300.0),
        ("1,234.5", 1234.5),
        (np.float32(0.5), 0.5),
        ("", math.nan),
        (None, math.nan),
        ("abc", math.nan),
        ("1,2,x", math.nan),
        (",", math.nan),
        (float("nan"), math.nan),
        (float("inf"), math.nan),
        ("inf", math.nan),
        (1e300, math.nan),
        (10**400, math.nan),
        ([1], math.nan),
        ({}, math.nan),
    ],
)
def test_numbers(value: object, expected: float) -> None:
    np.testing.assert_equal(tabular.number_of(value), expected)


@given(st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans(), st.lists(st.integers(), max_size=2)))
def test_any_cell_becomes_a_finite_float32_or_nan(value: object) -> None:
    number = np.float32(tabular.number_of(value))
    assert np.isfinite(number) or np.isnan(number)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (" a ", "a"), (1, "1"), (1.0, "1"), ("", None), (None, None), (float("nan"), None)],
)
def test_categories(value: object, expected: str | None) -> None:
    assert tabular.category_of(value) == expected


def test_words_that_look_missing_but_are_values_are_kept() -> None:
    """Credit data says 'none' for no guarantor: that is an answer."""
    assert tabular.category_of("none") == "none"
    assert tabular.category_of("NaN") is None


def test_fit_codes_by_frequency_and_drops_what_never_repeats() -> None:
    transform = tabular.fit(ROWS, INPUTS)
    assert json.loads(json.dumps(transform)) == transform
    number, category, words = transform["columns"]
    assert number == {"name": "n", "kind": "number", "fill": 3.5}
    assert category == {"name": "c", "kind": "category", "values": ["y", "x"]}
    assert words["values"] == ["same"]
    unique = [{"c": str(at)} for at in range(9)]
    assert tabular.fit(unique, [INPUTS[1]]) == {"kind": "tabular", "columns": [], "dropped": ["c"]}


def test_the_table() -> None:
    transform = tabular.fit([*ROWS, {"n": None}], INPUTS)
    rows = [{"n": "2", "c": "x", "t": "same"}, {"c": "once"}, {"n": None, "c": "never", "t": 5}, {}]
    nan = math.nan
    expected = [[2, 1, 0], [nan, nan, nan], [nan, nan, nan], [nan, nan, nan]]
    found = tabular.feeder(transform, None)(rows)["features"]  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert found.dtype == np.float32


def test_a_column_that_was_never_missing_is_filled_later() -> None:
    feeder = tabular.TableFeeder(tabular.fit(ROWS, INPUTS))
    np.testing.assert_array_equal(feeder.matrix([{}, {"n": "x"}, {"n": 9}])[:, 0], [3.5, 3.5, 9])


def test_many_values_keep_the_most_frequent() -> None:
    rows = [{"c": f"v{at}"} for at in range(400) for _ in range(2 + (at % 3 == 0))]
    column = tabular.fit(rows, [INPUTS[1]])["columns"][0]
    assert len(column["values"]) == tabular.MAX_VALUES
    assert column["values"][:134] == sorted(f"v{at}" for at in range(0, 400, 3))


def test_codes_do_not_depend_on_the_order_of_rows() -> None:
    assert tabular.fit(ROWS, INPUTS)["columns"][1:] == tabular.fit(ROWS[::-1], INPUTS)["columns"][1:]


def test_no_rows_make_an_empty_table() -> None:
    assert tabular.TableFeeder(tabular.fit(ROWS, INPUTS)).matrix([]).shape == (0, 3)
    assert tabular.fit([], INPUTS)["columns"] == [{"name": "n", "kind": "number", "fill": None}]
