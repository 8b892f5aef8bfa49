"""Total cost: every line by hand, ranges, value, shared draws, break-even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.economics import break_even_volume, default_book, draw_costs, estimate, parts, typical, uniforms, worth_of
from bakeoff.economics.capacity import YEAR
from bakeoff.schema import CostEstimate
from tests.economics.usages import make_spec, make_usage, measured, remote_usage

BOOK = default_book()
HOURS = YEAR / 3600


def _line(found: CostEstimate, name: str) -> float:
    return next(line.value for line in found.lines if line.name == name)


def test_every_line_by_hand() -> None:
    spec = make_spec(costs={"people": 300, "label": 0.5, "hardware": ["cloud-2c"], "retrain": "3mo", "refresh": "10%"})
    found = estimate(spec, make_usage(), BOOK)
    machine = BOOK.machine("cloud-2c")
    assert _line(found, "machines") == pytest.approx(HOURS * machine.price.typical)  # 2 × 60/s ≥ 40/s: one machine
    assert _line(found, "training") == pytest.approx(600 / 3600 * machine.price.typical)
    assert _line(found, "build") == pytest.approx(48 * 300)
    assert _line(found, "upkeep") == pytest.approx(4 * 12 * 300)
    assert _line(found, "labels") == 0.0
    assert _line(found, "retraining") == pytest.approx(3 * (800 * 0.5 + 600 / 3600 * machine.price.typical))
    assert found.total == pytest.approx(sum(line.value for line in found.lines))
    assert found.replicas == 1
    assert found.capacity == pytest.approx(120.0)
    assert found.utilisation == pytest.approx(200_000 / 86400 / 120.0)
    assert found.per_1000 == pytest.approx(found.total / (200_000 * 365.25) * 1000)


def test_cheapest_machine_that_fits_is_taken() -> None:
    costs = {"hardware": ["cloud-8c", "cloud-2c"]}
    small = estimate(make_spec(costs=costs), make_usage(), BOOK)
    assert "2-core" in small.lines[0].basis.en
    large = estimate(make_spec(costs=costs), make_usage(memory=measured("memory", 20e9)), BOOK)
    assert "8-core" in large.lines[0].basis.en
    none = estimate(make_spec(costs=costs), make_usage(memory=measured("memory", 90e9)), BOOK)
    assert "does not really fit" in none.lines[0].basis.en
    assert "放不下" in none.lines[0].basis.zh


def test_ranges_hold_the_value_and_widen_with_the_book() -> None:
    found = estimate(make_spec(), make_usage(), BOOK)
    assert found.low < found.total < found.high
    assert all(line.low <= line.value <= line.high for line in found.lines)
    sure = BOOK.machine("local").price.model_copy(update={"low": 0.5, "typical": 0.5, "high": 0.5})
    local = BOOK.machine("local").model_copy(update={"price": sure})
    narrow = estimate(make_spec(), make_usage(), BOOK.model_copy(update={"machines": {"local": local}}))
    assert narrow.lines[0].high == pytest.approx(narrow.lines[0].low)


def test_interval_of_the_total_covers_95_percent_of_other_draws() -> None:
    found = estimate(make_spec(), make_usage(), BOOK)
    drawn = draw_costs(make_spec(), make_usage(), BOOK, uniforms(20_000, 7))
    inside = ((drawn >= found.low) & (drawn <= found.high)).mean()
    assert inside == pytest.approx(0.95, abs=0.03)


def test_value_from_confusion_and_prices() -> None:
    spec = make_spec(value={"per_correct": 0.01, "errors": {"neg->pos": 0.1}})
    confusion = np.array([[0.4, 0.1], [0.05, 0.45]])
    found = estimate(spec, make_usage(), BOOK, confusion, {(0, 1): 0.1})
    requests = 200_000 * 365.25
    assert found.value == pytest.approx(requests * (0.01 * 0.85 - 0.1 * 0.1))
    assert found.net == pytest.approx(found.value - found.total)
    assert found.net_low is not None
    assert found.net_low < found.net < found.net_high
    assert estimate(make_spec(), make_usage(), BOOK, confusion).value is None


def test_worth_of_draws_of_confusions() -> None:
    spec = make_spec(value={"per_correct": 1.0})
    draws = np.stack([np.eye(2) / 2, np.full((2, 2), 0.25)])
    assert worth_of(spec, draws, {(0, 1): 2.0}) == pytest.approx([1.0, 0.5 - 0.5])


def test_prompted_model_has_tokens_and_no_training() -> None:
    spec = make_spec(traffic={"volume": "1k/day", "horizon": "12mo"}, costs={"retrain": "1mo"})
    found = estimate(spec, remote_usage(input_price=2.0, output_price=8.0), BOOK)
    expected = 1000 * 365.25 * (200 * 2.0 + 2 * 8.0) / 1e6
    assert _line(found, "tokens") == pytest.approx(expected)
    assert next(line for line in found.lines if line.name == "tokens").provenance == "quoted"
    assert _line(found, "training") == 0.0
    assert _line(found, "retraining") == 0.0
    assumed = estimate(spec, remote_usage(), BOOK)
    assert next(line for line in assumed.lines if line.name == "tokens").provenance == "assumed"
    assert _line(assumed, "tokens") == pytest.approx(1000 * 365.25 * (200 * 2.0 + 2 * 8.0) / 1e6)
    assert "tokens" not in {line.name for line in estimate(spec, make_usage(), BOOK).lines}


def test_foreign_prices_are_exchanged() -> None:
    yuan = estimate(make_spec(costs={"people": 0}), make_usage(), BOOK)
    dollars = estimate(make_spec(costs={"people": 0}, value={"currency": "USD"}), make_usage(), BOOK)
    assert dollars.total * BOOK.exchange["USD"].typical == pytest.approx(yuan.total)


def test_candidates_share_their_price_draws() -> None:
    drawn = uniforms(500, 1)
    a = draw_costs(make_spec(), make_usage(), BOOK, drawn)
    b = draw_costs(make_spec(), make_usage(candidate="twin"), BOOK, drawn)
    assert np.array_equal(a, b)


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 1000), st.floats(0, 1), st.floats(1, 500))
def test_parts_under_other_traffic_equal_parts_made_for_it(peak: float, growth: float, capacity: float) -> None:
    usage = make_usage(capacity=measured("capacity", capacity))
    volume = {"volume": 1.0, "horizon": "24mo"}
    before = parts(make_spec(traffic={**volume, "peak": 10.0}), usage, BOOK, typical())
    other = make_spec(traffic={**volume, "peak": peak, "growth": growth})
    assert before.under(other).money(other) == pytest.approx(parts(other, usage, BOOK, typical()).money(other))


def test_break_even_between_an_api_and_own_hardware() -> None:
    spec, own, remote = make_spec(), make_usage(), remote_usage()
    volume = break_even_volume(spec, own, remote, BOOK)
    assert volume is not None
    for factor, own_wins in ((0.8, False), (1.25, True)):
        traffic = spec.traffic.model_copy(
            update={"volume": volume * factor, "peak": spec.traffic.peak_rate * volume * factor / spec.traffic.volume}
        )
        there = spec.model_copy(update={"traffic": traffic})
        costs = [float(draw_costs(there, usage, BOOK, typical())[0]) for usage in (own, remote)]
        assert (costs[0] < costs[1]) == own_wins
    assert break_even_volume(spec, own, make_usage(), BOOK) is None


def test_unmeasured_throughput_is_said_and_counts_one_machine() -> None:
    found = estimate(make_spec(), make_usage(capacity=None), BOOK)
    assert found.replicas is None
    assert found.capacity is None
    assert "not measured" in found.lines[0].basis.en
    assert _line(found, "machines") == pytest.approx(HOURS * BOOK.machine("local").price.typical)


def test_basis_is_said_in_both_languages() -> None:
    found = estimate(make_spec(costs={"retrain": "6mo"}), make_usage(), BOOK)
    assert all(line.basis.zh and line.basis.en and line.basis.zh != line.basis.en for line in found.lines)
    assert found.book_date == BOOK.date
