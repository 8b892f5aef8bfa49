"""What the planner takes next, and when it stops: properties, and worlds in which the answer is plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.search.planner import Look, Move, Option, Rules, plan_move, sights_of, weigh
from bakeoff.search.surrogate import Field, field_of

ROWS = 800


def field(count: int = 4, family: str = "linear") -> Field:
    return field_of([family] * count, [{"C": float(number)} for number in range(count)], [True] * count, 6000.0)


def look(arm: int, accuracy: float, *, share: float = 1.0, seed: int = 0, rows: int = ROWS, noise: int = 0) -> Look:
    """A look whose right answers are the easiest rows, a few of them swapped."""
    values = (np.arange(rows) < round(accuracy * rows)).astype(float)
    swapped = np.random.default_rng(noise + arm).permutation(rows)[:20]
    values[swapped] = 1.0 - values[swapped]
    return Look(arm, share, seed, np.arange(rows), values)


def option(arm: int, seconds: float = 1.0, share: float = 1.0, rows: int = ROWS, seed: int = 0) -> Option:
    return Option(arm, share, seed, rows, seconds)


def move(world: Field, looks: list[Look], options: list[Option], **rules: float) -> Move:
    return plan_move(world, looks, options, Rules(**rules), judged=ROWS)


def test_the_first_look_is_the_cheapest() -> None:
    found = move(field(), [], [option(0, 3.0), option(1, 1.0), option(2, 2.0), option(3, 0.5, share=0.1)])
    assert found.option == option(3, 0.5, share=0.1)


def test_every_family_is_looked_at_once_however_bad_the_first_one_was() -> None:
    world = field_of(["a", "b", "c"], [{}, {}, {}], [True] * 3, 6000.0)
    found = move(world, [look(0, 0.99)], [option(1, 9.0), option(2, 5.0)])
    assert found.option == option(2, 5.0)


def test_a_cheaper_twin_always_wins() -> None:
    world = field_of(["a", "a", "a"], [{"C": 1}, {"C": 2}, {"C": 2}], [True] * 3, 6000.0)
    for seconds in (1.5, 4.0, 50.0):
        found = move(world, [look(0, 0.8)], [option(1, seconds), option(2, 1.0)], patience=0.0)
        assert found.option is not None
        assert found.option.arm == 2


def test_a_leader_known_from_part_of_the_rows_is_completed_before_the_end() -> None:
    world = field(2)
    looks = [look(0, 0.90, share=0.3), look(1, 0.60, share=1.0)]
    found = move(world, looks, [option(0, 100.0)], least=10.0)
    assert found.rule is None
    assert found.option == option(0, 100.0)


def test_it_stops_confident_when_nobody_left_can_be_better_by_more_than_the_zone() -> None:
    world = field(3)
    looks = [look(arm, accuracy, rows=ROWS) for arm, accuracy in ((0, 0.95), (1, 0.6), (2, 0.6))]
    found = move(world, looks, [option(1, seed=1), option(2, seed=1)], zone=0.01)
    assert found.option is None
    assert found.rule == "confident"
    assert found.state.p_good >= 0.95


def test_it_stops_when_the_next_step_costs_more_than_it_is_worth() -> None:
    world = field(6)
    looks = [look(0, 0.80), look(1, 0.795)]
    options = [option(arm, 10.0) for arm in range(2, 6)]
    assert move(world, looks, options, worth=1e6, price=1e-6, patience=0.0).option is not None
    stopped = move(world, looks, options, worth=1.0, price=1.0, patience=0.0)
    assert stopped.option is None
    assert stopped.rule == "priced"


def test_it_stops_when_nothing_is_left_to_look_at() -> None:
    assert move(field(2), [look(0, 0.8), look(1, 0.8)], [], zone=1e-6).rule == "exhausted"


def test_a_leader_that_is_sure_enough_stops_as_confident_even_when_nothing_is_left() -> None:
    assert move(field(2), [look(0, 0.95), look(1, 0.6)], []).rule == "confident"


def test_an_arm_that_cannot_be_completed_does_not_lead() -> None:
    """The dear arm looks best on a part, and no option would complete it: the choice stays with who can be shipped."""
    found = move(field(2), [look(0, 0.95, share=0.3), look(1, 0.8)], [option(0, 5.0, share=0.5)])
    assert found.state.leader == 1


def test_equal_arms_are_not_told_apart() -> None:
    """Two arms of equal accuracy with independent mistakes: nearly even chances, whichever has the luckier rows."""
    rng = np.random.default_rng(1)
    better = []
    for _ in range(30):
        looks = [Look(arm, 1.0, 0, np.arange(ROWS), (rng.random(ROWS) < 0.8).astype(float)) for arm in range(2)]
        found = weigh(field(2), looks, Rules(zone=0.0001), judged=ROWS)
        better.append(found.p_better[1 - found.leader])
    assert np.mean(np.array(better) < 0.025) < 0.2


def test_other_seeds_of_the_same_training_do_not_pass_for_more_rows() -> None:
    once, _ = sights_of(field(2), [look(0, 0.8), look(1, 0.8)])
    thrice, _ = sights_of(field(2), [look(0, 0.8), *[look(1, 0.8, seed=seed) for seed in range(3)]])
    assert thrice.noise[1] > 0.5 * once.noise[1]


def test_an_arm_judged_on_few_hard_rows_is_compared_on_those_rows() -> None:
    hard = np.arange(400, 800)
    whole, part = look(0, 0.8), Look(1, 1.0, 0, hard, look(0, 0.8).values[hard])
    found, _ = sights_of(field(2), [whole, part])
    assert found.score[1] == pytest.approx(found.score[0])


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 1000))
def test_permuting_arms_permutes_the_answer(order: list[int], noise: int) -> None:
    def asked(places: list[int]) -> tuple[int, float]:
        back = {arm: place for place, arm in enumerate(places)}
        world = field_of(["a"] * 4, [{"C": float(arm)} for arm in places], [True] * 4, 6000.0)
        looks = [look(arm, 0.7 + 0.02 * arm, noise=noise) for arm in (0, 1)]
        looks = [Look(back[one.arm], one.share, one.seed, one.rows, one.values) for one in looks]
        found = move(world, looks, [option(back[2], 1.0), option(back[3], 1.7)])
        return places[found.state.leader], round(found.gain, 9)

    assert asked(list(range(4))) == asked(order)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.5, 0.95), st.sampled_from([0.1, 1.0])), min_size=1, max_size=12)
)
def test_more_evidence_never_leaves_the_incumbent_with_fewer_rows(seen: list[tuple[int, float, float]]) -> None:
    """The incumbent is the best arm judged in full: once there is one, there is always one, on as many rows."""
    looks: list[Look] = []
    before = 0
    for number, (arm, accuracy, share) in enumerate(seen):
        looks.append(look(arm, accuracy, share=share, seed=number, noise=number))
        state = weigh(field(), looks, Rules(), judged=ROWS)
        whole = {one.arm: one.rows.size for one in looks if one.share >= 1.0}
        if not whole:
            continue
        incumbent = max(whole, key=lambda place: state.belief.mean[place])
        assert whole[incumbent] >= before
        before = whole[incumbent]
