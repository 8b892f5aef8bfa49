"""The figures of benchmarks/int8.py are computed as its page says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.int8 import _figures, _why, paired


def test_the_interval_is_of_the_rows_that_differ() -> None:
    before = np.array([True] * 900 + [False] * 100)
    after = before.copy()
    after[:6] = False  # six rows lost, two won
    after[-2:] = True
    lost, low, high = paired(before, after)
    assert lost == pytest.approx(0.4)
    assert low == pytest.approx(0.4 - 1.96 * 100 * np.std((before * 1.0 - after), ddof=1) / 1000**0.5)
    assert high - lost == pytest.approx(lost - low)
    assert paired(before, before) == (0.0, 0.0, 0.0)


def test_int8_must_beat_the_fastest_fp32() -> None:
    labels = np.zeros(4, dtype=np.int64)
    spent = {
        "fp32 slow": [40.0, 44.0], "fp32 fast": [20.0, 22.0], "static_int8": [10.0, 11.0], "dynamic_int8": [20.0, 20.0], "bfloat16": [10.0, 10.0],
    }  # fmt: skip
    found = _figures("x", spent, dict.fromkeys(spent, labels), labels)
    assert found["fp32"] == "fp32 fast"
    assert found["passes"]["static_int8"]["ratio"] == pytest.approx(2.0)
    assert found["passes"]["dynamic_int8"]["ratio_high"] == pytest.approx(1.1)
    assert found["accuracy"]["static_int8"] == 1.0


def test_what_stays_below_the_bar_says_why() -> None:
    item = {"ratio": 1.8, "points_lost": 0.1}
    found = {"passes": {"static_int8": item}, "us_per_row": {"static_int8": 400.0}, "us_tokenising": 100.0}
    said = _why("x", found, item)
    assert "static_int8 is 1.80 times as fast, below 2.5" in said
    assert "Tokenising is 100 of its 400 µs a row (25 %)" in said
    assert "loses more" in _why("x", found, None)
    assert "met" in _why("x", found, {"ratio": 2.6, "points_lost": 0.0})
