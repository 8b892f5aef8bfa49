from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bakeoff.report import numbers

UNITS = ["s", "B", "1/s", "share", "CNY", "rows", "", "tokens", "macro_f1"]


@pytest.mark.parametrize(
    ("value", "unit", "name", "expected"),
    [
        (0.0123, "s", "", "12.3 ms"),
        (0.00004, "s", "", "40.0 µs"),
        (402.0, "s", "", "6.70 min"),
        (90_000.0, "s", "", "25.0 h"),
        (31_557_600.0, "s", "", "365 d"),
        (23_100_000, "B", "", "23.1 MB"),
        (412.0, "B", "", "412 B"),
        (812.0, "1/s", "", "812/s"),
        (200_000 / 86_400, "1/s", "", "2.31/s"),
        (3 / 86_400, "1/s", "", "3.00/d"),
        (4_825.4, "CNY", "", "CNY 4,825"),
        (0.06606, "CNY", "", "CNY 0.0661"),
        (-400.0, "CNY", "", "CNY −400"),
        (0.0, "CNY", "", "CNY 0"),
        (0.8453, "share", "macro_f1", "0.845"),
        (0.8453, "", "macro_f1", "0.845"),
        (0.0042, "macro_f1", "", "0.004"),
        (0.8453, "share", "", "84.5 %"),
        (0.0042, "share", "", "0.42 %"),
        (8_976.0, "rows", "", "8,976"),
        (37.25, "tokens", "", "37.2 tokens"),
        (math.inf, "s", "", "∞ d"),
        (math.nan, "", "", "?"),
    ],
)
def test_a_number_is_written_with_its_unit(value: float, unit: str, name: str, expected: str) -> None:
    assert numbers.quantity(value, unit, name) == expected


def test_a_limit_is_written_as_somebody_chose_it() -> None:
    assert numbers.exact(0.05, "s") == "50 ms"
    assert numbers.exact(0.82, "", "macro_f1") == "0.82"
    assert numbers.exact(300.0, "B") == "300 B"
    assert numbers.exact(0.002, "CNY") == "CNY 0.002"


def test_an_interval_shares_unit_and_decimals_with_its_value() -> None:
    assert numbers.interval(0.00081, 0.0012, 0.00092, "s") == "[810, 1,200]"
    assert numbers.interval(0.8271, 0.8635, 0.8453, "", "macro_f1") == "[0.827, 0.864]"


def test_a_sampled_probability_is_never_called_certain() -> None:
    assert numbers.chance(1.0) == "> 99.9 %"
    assert numbers.chance(0.0) == "< 0.1 %"
    assert numbers.chance(0.964) == "96.4 %"


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.024, "1.02×"), (2.437, "2.4×"), (26.35, "26×"), (1_234.0, "1,234×"), (math.inf, "∞")]
)
def test_a_ratio(factor: float, expected: str) -> None:
    assert numbers.times(factor) == expected


@given(st.floats(1e-5, 1e15), st.sampled_from(["s", "B", "1/s", "", "tokens"]))
@example(999.6e-6, "s")
@example(0.9996, "s")
def test_three_significant_digits_survive(value: float, unit: str) -> None:
    if unit in {"B", "tokens"}:
        value = float(max(1, round(value)))  # nobody measures a part of a byte
    form = numbers.scale(value, unit)
    back = float(form.write(value, bare=True).replace(",", "")) / form.factor
    assert back == pytest.approx(value, rel=5.1e-3)


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(UNITS))
def test_every_float_can_be_written(value: float, unit: str) -> None:
    assert numbers.quantity(value, unit)
    assert "e+" not in numbers.quantity(value, unit)
    assert "nan" not in numbers.quantity(value, unit)


@given(st.floats(1e-6, 1e12), st.floats(0.5, 1.0), st.floats(1.0, 2.0), st.sampled_from(["s", "B", "1/s", "CNY", ""]))
def test_an_interval_holds_its_value_as_printed(value: float, down: float, up: float, unit: str) -> None:
    low, high = numbers.interval(value * down, value * up, value, unit)[1:-1].split(", ")
    middle = numbers.scale(value, unit).write(value, bare=True)
    assert float(low.replace(",", "")) <= float(middle.replace(",", "")) <= float(high.replace(",", ""))
