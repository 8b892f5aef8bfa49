"""Luck is taken off a lead: little off a clear one, most off a slim one, nothing without a rival; P(best) then keeps its word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.decision.shrink import shrunk
from benchmarks._stats import reliability, wilson
from benchmarks._studies import chosen, raced, right_answers, spec_of, view


def _draws(means: list[float], spread: float, seed: int = 0, draws: int = 4000) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.array(means)[:, None] + spread * random.standard_normal((len(means), draws))


def test_one_contender_is_left_alone() -> None:
    drawn = _draws([0.9, 0.5, 0.4], 0.01)
    assert shrunk(drawn, np.arange(3)) is drawn
    assert np.array_equal(shrunk(drawn[:1], np.arange(1)), drawn[:1])


@pytest.mark.parametrize(("lead", "least", "most"), [(0.002, 0.0, 0.6), (0.03, 0.6, 0.95)])
def test_a_slim_lead_shrinks_and_a_clear_one_hardly(lead: float, least: float, most: float) -> None:
    drawn = _draws([0.85 + lead, 0.85], 0.006)
    moved = shrunk(drawn, np.arange(2))
    kept = (moved[0] - moved[1]).mean() / (drawn[0] - drawn[1]).mean()
    assert least < kept < most + 0.05
    assert moved.mean() == pytest.approx(drawn.mean(), abs=1e-9)


@given(seed=st.integers(0, 1000), arms=st.integers(2, 9))
def test_order_on_average_stays_and_the_order_of_candidates_does_not_matter(seed: int, arms: int) -> None:
    """Equal uncertainty: nobody overtakes; a permutation of the rows permutes the answer."""
    random = np.random.default_rng(seed)
    drawn = _draws(list(0.8 + 0.01 * random.standard_normal(arms)), 0.01, seed, 500)
    moved = shrunk(drawn, np.arange(arms))
    turned = random.permutation(arms)
    assert shrunk(drawn[turned], np.arange(arms)) == pytest.approx(moved[turned], abs=1e-12)
    before, after = drawn.mean(axis=1), moved.mean(axis=1)
    lead = before.argmax()
    assert after.max() <= before.max() + 1e-12
    assert after[lead] >= after.max() - 1e-3


def test_forms_of_an_arm_move_together() -> None:
    drawn = _draws([0.86, 0.85], 0.01)
    forms = np.stack([drawn[0], drawn[0] - 0.004, drawn[1]])
    moved = shrunk(forms, np.array([0, 0, 1]))
    assert moved[0] - moved[1] == pytest.approx(np.full(4000, 0.004), abs=1e-12)


def test_stated_confidence_is_kept() -> None:
    """240 planted studies, half of them raced: of those stated with about 90, 95 and 99 % as many are right, as far as 240 can tell."""
    random, spec, good, best = np.random.default_rng(0), spec_of(), [], []
    for number in range(240):
        apart, rows = float(random.choice([0.003, 0.01, 0.03])), int(random.choice([300, 1000]))
        if number % 2:
            views, truth = raced(random, 12, apart, rows, 4)
            accuracy = truth.accuracy
        else:
            accuracy = 0.85 + apart * random.standard_normal(int(random.choice([2, 5, 10])))
            actual, right = random.integers(0, 2, rows), right_answers(random, accuracy, rows)
            views = [view(f"arm{place:02d}", row, actual, place % 5) for place, row in enumerate(right)]
        _, choice = chosen(views, spec, number)
        assert choice.recommended is not None
        loss = accuracy.max() - accuracy[choice.recommended]
        good.append((float(choice.p_good[choice.recommended]), bool(loss <= 0.005)))
        best.append((float(choice.p_best[choice.recommended]), bool(loss <= 0.0)))
    assert all(row["safe"] for row in reliability(good))
    assert all(row["safe"] for row in reliability(best) if row["runs"] >= 10)
    assert sum(row["runs"] for row in reliability(good)) > 50


@pytest.mark.parametrize("same", [True, False])
def test_neither_of_two_equal_best_is_declared_better(same: bool) -> None:
    random, spec, clear = np.random.default_rng(1), spec_of(), 0
    for number in range(150):
        accuracy = np.array([0.86, 0.86, 0.82])
        actual, right = random.integers(0, 2, 800), right_answers(random, accuracy, 800)
        if same:
            right[1] = right[0]
        _, choice = chosen([view(f"arm{place}", row, actual, place) for place, row in enumerate(right)], spec, number)
        clear += choice.outcome == "winner"
        assert choice.recommended in set(choice.ties.tolist())
    assert wilson(clear, 150)[0] <= 0.05
    if same:
        assert clear == 0
