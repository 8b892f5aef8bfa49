"""Counting how often something was right, with the interval the runs support."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._stats import reliability, share, upper_bound, wilson


def test_wilson_is_the_textbook_interval() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(50, 50)[1] == 1.0
    assert share(8, 10)["share"] == 0.8


def test_upper_bound_is_the_rule_of_three() -> None:
    assert upper_bound(0, 300, 0.95) == pytest.approx(3 / 300, rel=0.01)
    assert upper_bound(5, 5) == 1.0


def test_what_is_said_rightly_is_met_and_what_is_not_is_not() -> None:
    random = np.random.default_rng(0)
    stated = random.choice([0.9, 0.95, 0.985], size=6000)
    honest = [(float(value), bool(random.random() < value)) for value in stated]
    boastful = [(float(value), bool(random.random() < value - 0.06)) for value in stated]
    timid = [(float(value), True) for value in stated]
    assert all(row["met"] and row["safe"] for row in reliability(honest))
    assert not any(row["met"] or row["safe"] for row in reliability(boastful))
    assert [row["met"] for row in reliability(timid)] == [False, False, True]
    assert all(row["safe"] for row in reliability(timid))
    assert sum(row["runs"] for row in reliability(honest)) == 6000


def test_certainty_counts_for_the_highest_level_and_nothing_is_nothing() -> None:
    assert reliability([(1.0, True)])[2]["runs"] == 1
    assert not any(row["met"] or row["safe"] for row in reliability([]))
