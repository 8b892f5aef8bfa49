"""Confidence sequences keep their word under continuous looking, and cost little power."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bakeoff.search import sequences
from bakeoff.search.values import row_values
from tests.decision.binomial import upper_bound

ALPHA = 0.05


def pairs(
    random: np.random.Generator, runs: int, rows: int, disagree: float, ahead: float = 0.0
) -> NDArray[np.float64]:
    """Leader minus arm of two candidates that disagree on a share of the rows, the leader ahead by ``ahead`` on average."""
    better = 0.5 + ahead / (2.0 * disagree)
    signs = np.where(random.random((runs, rows)) < better, 1.0, -1.0)
    found: NDArray[np.float64] = (random.random((runs, rows)) < disagree) * signs
    return found


@pytest.mark.parametrize("disagree", [0.01, 0.1, 0.5, 1.0])
def test_equal_candidates_are_told_apart_at_most_as_often_as_stated(disagree: float) -> None:
    """Looking after each of 1,000 rows, 2,000 true ties: the exact upper bound of the rate must stay near alpha (bench-decide: 10,000)."""
    said = sequences.beaten(pairs(np.random.default_rng(1), 2000, 1000, disagree), ALPHA)
    assert upper_bound(int(said.sum()), said.size, 0.99) <= ALPHA + 0.005


def test_a_fixed_sample_test_looked_at_every_row_would_not_keep_it() -> None:
    """What the sequences are for: a paired z test at 5 % on the same ties, looked at 50 times, errs several times as often."""
    ties = pairs(np.random.default_rng(2), 2000, 1000, 0.2)
    rows = np.arange(20, 1001, 20)
    z = np.cumsum(ties, axis=1)[:, rows - 1] / np.sqrt(np.maximum(np.cumsum(ties**2, axis=1)[:, rows - 1], 1.0))
    assert (z.max(axis=1) > NormalDist().inv_cdf(1 - ALPHA)).mean() > 3 * ALPHA
    assert sequences.beaten(ties, ALPHA).mean() <= ALPHA


def test_a_margin_moves_the_null() -> None:
    """Behind by exactly the margin is not beaten; behind by more is."""
    random = np.random.default_rng(3)
    at = sequences.beaten(pairs(random, 2000, 800, 0.3, 0.02), ALPHA, margin=0.02)
    beyond = sequences.beaten(pairs(random, 300, 3000, 0.3, 0.12), ALPHA, margin=0.02)
    assert upper_bound(int(at.sum()), at.size, 0.99) <= ALPHA + 0.005
    assert beyond.mean() > 0.99


def test_half_of_the_clear_losers_are_out_about_when_a_fixed_test_would_have_looked_once() -> None:
    """Median stopping row against the rows a one-sided paired test needs for 80 % power, had it known the difference beforehand."""
    disagree, ahead = 0.2, 0.05
    wealth = sequences.log_wealth(pairs(np.random.default_rng(4), 500, 4000, disagree, ahead))
    crossed = wealth >= -np.log(ALPHA)
    stopped = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, 4001)
    normal = NormalDist()
    fixed = ((normal.inv_cdf(0.95) * disagree**0.5 + normal.inv_cdf(0.8) * (disagree - ahead**2) ** 0.5) / ahead) ** 2
    assert np.median(stopped) < 1.3 * fixed
    assert np.quantile(stopped, 0.8) < 2.5 * fixed


def test_one_of_three_best_arms_is_dropped_at_most_as_often_as_stated() -> None:
    """Twelve arms, three of them best and equal; the leader changes; each of the three is ever out with at most alpha."""
    random = np.random.default_rng(5)
    wrong = 0
    for _ in range(300):
        hard = random.random(600)
        levels = np.array([0.85] * 3 + [0.84] * 3 + [0.75] * 6)[:, None]
        right = (np.where(random.random((12, 600)) < 0.6, hard, random.random((12, 600))) < levels).astype(float)
        out = np.zeros(12, dtype=bool)
        for look in range(50, 601, 50):
            out |= sequences.eliminated(right[:, :look], ALPHA)
        wrong += int(out[0])
    assert upper_bound(wrong, 300, 0.95) <= ALPHA


def test_the_clearly_worse_are_dropped_and_arms_to_come_count() -> None:
    """More rivals in the race, more evidence is asked for; an arm judged on part of the rows is compared there."""
    random = np.random.default_rng(6)
    right = (random.random((4, 1000)) < np.array([0.9, 0.89, 0.7, 0.7])[:, None]).astype(float)
    right[3, 400:] = np.nan
    assert sequences.eliminated(right, ALPHA).tolist() == [False, False, True, True]
    few, many = sequences.doubts(right), sequences.doubts(right, arms=400)
    assert (many >= few).all()
    assert many[2] == pytest.approx(few[2] * 399 / 3)


def test_the_union_bound_never_drops_more_than_the_average_of_capital() -> None:
    """An arm some leader beats at alpha / (K - 1) is out by the average, too."""
    random = np.random.default_rng(7)
    right = (random.random((20, 800)) < np.linspace(0.7, 0.9, 20)[:, None]).astype(float)
    leader = int(right.mean(axis=1).argmax())
    union = sequences.beaten(right[leader] - right, ALPHA / 19)
    assert union.any()
    assert sequences.eliminated(right, ALPHA)[union].all()


@pytest.mark.parametrize("mean", [-0.6, 0.0, 0.3])
def test_intervals_cover_at_every_row_at_once(mean: float) -> None:
    """Both confidence sequences contain the mean at all of 400 rows in at least 1 - alpha of 400 runs."""
    random = np.random.default_rng(8)
    rows = np.clip(random.beta(2.0, 2.0, (400, 400)) * 0.8 - 0.4 + mean, -1.0, 1.0)
    low, high = sequences.bernstein(rows, ALPHA)
    missed = ((low > mean) | (high < mean)).any(axis=1)
    assert upper_bound(int(missed.sum()), 400, 0.95) <= ALPHA
    ends = [sequences.interval(run, ALPHA) for run in rows[:150]]
    assert upper_bound(sum(not lo <= mean <= hi for lo, hi in ends), 150, 0.9) <= ALPHA
    widths = [hi - lo for lo, hi in ends]
    assert np.mean(widths) < np.mean(high[:, -1] - low[:, -1]) < 0.4


def test_the_interval_is_what_the_bets_do_not_exclude() -> None:
    """Just inside its ends no bet is won, just outside one is."""
    rows = pairs(np.random.default_rng(9), 1, 500, 0.4, 0.1)[0]
    low, high = sequences.interval(rows, ALPHA)
    assert sequences.beaten(rows, ALPHA / 2, margin=low - 1e-6)
    assert not sequences.beaten(rows, ALPHA / 2, margin=low + 1e-6)
    assert sequences.beaten(-rows, ALPHA / 2, margin=-high - 1e-6)
    assert sequences.interval(np.zeros(0), ALPHA) == (-1.0, 1.0)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=300),
    st.floats(-0.5, 0.5),
    st.floats(0.001, 0.4),
)
def test_more_rows_never_take_a_proof_back(rows: list[float], margin: float, alpha: float) -> None:
    """Elimination is final: once beaten, beaten; the interval only shrinks; a larger margin proves less."""
    whole, part = np.array(rows), np.array(rows[: max(1, len(rows) // 2)])
    assert sequences.beaten(whole, alpha, margin) >= sequences.beaten(part, alpha, margin)
    assert sequences.beaten(whole, alpha, margin) >= sequences.beaten(whole, alpha, margin + 0.1)
    low, high = sequences.interval(whole, alpha)
    before, after = sequences.interval(part, alpha)
    assert before - 1e-9 <= low
    assert high <= after + 1e-9


def test_wealth_is_the_product_it_says_also_over_thousands_of_rows() -> None:
    """Against a direct computation with logarithms of every factor; missing rows are no bets."""
    rows = pairs(np.random.default_rng(10), 3, 5000, 0.9, 0.6)
    rows[1, ::3] = np.nan
    wealth = sequences.log_wealth(rows, 0.1)
    for row, found in zip(rows, wealth, strict=True):
        gain = np.nan_to_num((row - 0.1) / 1.1)
        logs = np.log1p(sequences.STAKES[:, None] * gain).cumsum(axis=1) - np.log(sequences.STAKES.size)
        assert found == pytest.approx(np.logaddexp.reduce(logs, axis=0), abs=1e-6)


def test_impossible_margins() -> None:
    """Nothing is above the largest possible difference, everything is above less than the smallest."""
    rows = np.zeros(5)
    assert not sequences.beaten(rows, ALPHA, margin=1.0)
    assert sequences.beaten(rows, ALPHA, margin=-1.0 - 1e-9)


def test_large_sample_sequences_of_macro_f1() -> None:
    """Two equal candidates with a rare class, looked at ten times: told apart at most as often as stated; clear losers are out."""
    random = np.random.default_rng(11)
    wrong = 0
    for _ in range(400):
        actual = (random.random(1000) < 0.15).astype(int)
        ours, theirs = (np.where(random.random(1000) < 0.88, actual, 1 - actual) for _ in range(2))
        wrong += any(
            bool(
                sequences.beaten_asymptotically(
                    row_values("macro_f1", actual[:n], ours[:n]) - row_values("macro_f1", actual[:n], theirs[:n]), ALPHA
                )
            )
            for n in range(100, 1001, 100)
        )
    assert upper_bound(wrong, 400, 0.95) <= ALPHA
    poor = np.where(random.random(1000) < 0.7, actual, 1 - actual)
    gap = row_values("macro_f1", actual, ours) - row_values("macro_f1", actual, poor)
    assert sequences.beaten_asymptotically(gap, ALPHA)
    assert not sequences.beaten_asymptotically(gap[:90], ALPHA)
    assert not sequences.beaten_asymptotically(np.zeros(300), ALPHA)
