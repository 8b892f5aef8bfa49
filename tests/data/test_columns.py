"""What a column is, labels in one spelling, dates, language."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.data.columns import as_numbers, as_times, class_order, inspect, is_dates, language_of, plain_labels
from bakeoff.data.transforms.tabular import LARGEST

LONG = [f"这是第{i}条足够长的中文评论，说的是房间和早餐" for i in range(30)]


@pytest.mark.parametrize(
    ("cells", "kind", "oddity"),
    [
        (["1", "2.5", None, "nan", "1e3"], "number", "none"),
        (["1", "1", "1"], "number", "constant"),
        ([str(i) for i in range(100, 130)], "number", "identifier"),
        (["007", "012", "100"], "category", "none"),
        (["男", "女", None], "category", "none"),
        (["a", "a"], "category", "constant"),
        (["a", None], "category", "none"),
        ([None, None], "category", "empty"),
        ([f"C{i:05d}" for i in range(30)], "category", "identifier"),
        (LONG, "text", "none"),
        ([f"a rather long English sentence, number {i}" for i in range(30)], "text", "none"),
        (["2024-01-02", "2024-02-03 10:00"], "category", "date"),
        (["1_000", "2_000"], "category", "none"),
        (["１２", "３４"], "category", "none"),
    ],
)  # fmt: skip
def test_kinds(cells: list[str | None], kind: str, oddity: str) -> None:
    found = inspect("column", cells)
    assert (found.kind, found.oddity) == (kind, oddity)


def test_an_identifier_among_numbers_needs_a_name_or_no_gaps() -> None:
    scattered = [str(i * i + 7) for i in range(40)]
    assert inspect("amount", scattered).oddity == "none"
    assert inspect("customer_id", scattered).oddity == "identifier"
    assert inspect("订单编号", scattered).oddity == "identifier"


def test_the_only_input_of_a_text_task_is_text_whatever_it_looks_like() -> None:
    assert inspect("text", ["1", "2", "3"], only_text=True).kind == "text"
    assert inspect("text", ["ok", "no"], only_text=True).kind == "text"


def test_numbers_keep_missing_and_infinite_cells_as_nan() -> None:
    values = as_numbers(["1", None, "N/A", "inf", "-", "缺失", "-2.5e-3"])
    assert values is not None
    assert np.array_equal(values, [1, math.nan, math.nan, math.nan, math.nan, math.nan, -0.0025], equal_nan=True)
    assert as_numbers([None, "na"]) is None
    assert as_numbers(["1", "one"]) is None


def test_a_number_that_no_model_is_given_is_missing() -> None:
    values = as_numbers(["1", repr(sys.float_info.max), "-1e39", "1e999", repr(LARGEST)])
    assert values is not None
    assert np.array_equal(values, [1, math.nan, math.nan, math.nan, LARGEST], equal_nan=True)


@given(st.lists(st.floats(-LARGEST, LARGEST), min_size=1, max_size=20))
def test_numbers_written_by_python_are_read_exactly(numbers: list[float]) -> None:
    values = as_numbers([repr(number) for number in numbers])
    assert values is not None
    assert values.tolist() == numbers


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["1.0", "1", "0", None], ["1", "1", "0", None]),
        (["a  b", "a b", "c"], ["a b", "a b", "c"]),
        (["1.0", "v1.0"], ["1.0", "v1.0"]),
        (["1.5", "2.0"], ["1.5", "2"]),
        (["-1.", "+1"], ["-1", "+1"]),
    ],
)
def test_labels_have_one_spelling(cells: list[str | None], labels: list[str | None]) -> None:
    assert plain_labels(cells) == labels


def test_classes_are_ordered_by_number_or_text() -> None:
    assert class_order(["10", "9", "1"]) == ("1", "9", "10")
    assert class_order(["b", "a", "10"]) == ("10", "a", "b")


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2024-01-02", "2024-01-03"),
        ("2024/1/2", "2024/01/10 08:00"),
        ("2024年1月2日", "2024年2月1日"),
        ("2024年1月2日 8时30分", "2024年1月2日 9时"),
        ("2024-01-02T08:00:00Z", "2024-01-02T08:00:01.5Z"),
        ("2024-01-02T08:00:00+08:00", "2024-01-02T01:00:00Z"),
        ("31/12/2023", "01/02/2024"),
        ("12/31/2023", "1/15/2024"),
        ("20231231", "20240101"),
        ("9", "10.5"),
    ],
)
def test_times_are_ordered(earlier: str, later: str) -> None:
    values, bad = as_times([earlier, None, later])
    assert not bad
    assert values[0] < values[2]
    assert math.isnan(values[1])


def test_what_is_no_time_is_pointed_out() -> None:
    values, bad = as_times(["2024-01-02", "tomorrow", "2024-13-40"])
    assert bad == [1, 2]
    assert math.isnan(values[1])
    assert not is_dates(["2024-01-02", "1.2"])
    assert not is_dates([])


@pytest.mark.parametrize(
    ("texts", "language"),
    [(["酒店很好"], "zh"), (["The hotel was fine"], "en"), (["用 Python 和 PyTorch 训练模型，效果不错，推荐"], "zh"),
     (["see 图 1 of the long report on hotels"], "en"),
     ([], "en"), (["123"], "en")],
)  # fmt: skip
def test_language(texts: list[str], language: str) -> None:
    assert language_of(texts) == language
