import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from bakeoff.schema.errors import DataError
from bakeoff.search.replay import Book, Replay
from bakeoff.search.table import Arm, Prefix, Table
from benchmarks import ROOT, _search_runs, search
from benchmarks._peers import TRIALS, Walk, asha, capped, eta_of, exhaustive, halving, random_search, shuffled
from benchmarks._peers_frugal import frugal, scaled
from benchmarks._search_figures import (
    Run,
    against,
    at,
    booted,
    mean,
    met,
    of_added,
    of_study,
    of_twins,
    overall,
    reaches,
    reliability,
    share,
)
from benchmarks._search_runs import PEERS, Added, Study, Timed, cost_of, steps, time_plan, twinned

FRACTIONS = (1 / 27, 1 / 9, 1 / 3, 1.0)
ROWS = 400
SLOW_LIMIT = 0.05
OPTUNA = [name for name in PEERS if name.startswith("optuna")]
QUICK = [name for name in PEERS if name not in OPTUNA]


def world(seed: int = 0) -> Table:
    """Twenty arms of four families; heads share an embedding and do not all train; networks are slow, dear and good."""
    random = np.random.default_rng(seed)
    arms = [Arm("base.majority", "base", {}, trains=False)]
    arms += [
        Arm(f"line.{c}-{unit}", "line", {"C": c, "unit": unit}) for c in (0.1, 1.0, 10.0) for unit in ("char", "word")
    ]
    arms += [Arm(f"head.{c}", "head", {"C": c}, prefix="embedding") for c in (0.1, 1.0, 10.0)]
    arms += [Arm("head.nearest", "head", {"C": 0.0}, prefix="embedding", trains=False)]
    arms += [Arm(f"net.{w}-{r}", "net", {"width": w, "rate": r}) for w in (16, 32, 64) for r in (0.01, 0.02, 0.03)]
    level = {"base": 0.5, "line": 0.78, "head": 0.81, "net": 0.86}
    price = {"base": 0.01, "line": 0.4, "head": 0.2, "net": 9.0}
    shape = (len(arms), len(FRACTIONS), 2)
    build = np.array(
        [[[price[arm.family] * (1 + 0.1 * place) * part] * 2 for part in FRACTIONS] for place, arm in enumerate(arms)]
    )
    chance = np.array([level[arm.family] + 0.01 * random.standard_normal() for arm in arms])
    grown = chance[:, None] - 0.02 * (np.power(FRACTIONS, -0.5) - 1.0) * np.array([arm.trains for arm in arms])[:, None]
    actual = random.integers(0, 2, ROWS).astype(np.uint8)
    right = random.random((*shape, ROWS)) < grown[:, :, None, None]
    right = np.where(np.array([arm.trains for arm in arms])[:, None, None, None], right, right[:, -1:, :1])
    predicted = np.where(right, actual, 1 - actual).astype(np.uint8)
    latency = np.array([[0.08 if arm.family == "net" and arm.params["width"] == 64 else 0.002] * 2 for arm in arms])
    return Table(
        "world", "text-classification", "accuracy", ("no", "yes"), 1, 540, FRACTIONS, tuple(arms), actual, predicted,
        np.ones(shape, dtype=np.bool_), build, np.full(len(arms), 2e-4), {"embedding": Prefix(1.5, 0.003)}, latency, np.ones((len(arms), 2)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def book() -> Book:
    return Book(world())


def fresh(book: Book, seed: int = 3, limit: float | None = None) -> Replay:
    return Replay(book, seed, 300, 200, limit)


def every_peer():
    return pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, id=name) for name in OPTUNA)])


def searched(name: str, replay: Replay, budget: float, seed: int):
    if name in OPTUNA:
        pytest.importorskip("optuna")
    return PEERS[name](replay, budget, seed)


# ------------------------------------------------------------------------------------------------------------ the bill


def test_everything_once_costs_what_the_book_says(book):
    replay = fresh(book)
    for arm in range(len(book.table.arms)):
        replay.look(arm, 3)
    assert replay.spent == pytest.approx(book.cost_of_all(300), abs=1e-6)
    assert cost_of(book, 300, np.ones(len(book.table.arms), dtype=np.bool_)) == pytest.approx(
        book.cost_of_all(300), abs=1e-9
    )


def test_a_look_taken_again_is_free(book):
    replay = fresh(book)
    first = replay.look(12, 1)
    spent = replay.spent
    again = replay.look(12, 1)
    assert replay.spent == spent
    assert np.array_equal(first.values, again.values)


def test_more_rows_cost_only_the_news(book):
    replay = fresh(book)
    replay.look(3, 3, rows=100)
    before = replay.spent
    assert replay.price(3, 3, 0, 250) == pytest.approx(150 * 2e-4, abs=1e-12)
    replay.look(3, 3, rows=250)
    assert replay.spent - before == pytest.approx(150 * 2e-4, abs=1e-12)
    assert replay.price(3, 3, 0, 200) == 0.0


def test_a_shared_step_is_paid_once_whoever_asks(book):
    replay = fresh(book)
    build = book.table.build
    replay.look(7, 3)
    assert replay.spent == pytest.approx(build[7, 3, 0] + 300 * 2e-4 + 1.5 + 0.003 * (540 + 300), abs=1e-9)
    before = replay.spent
    replay.look(8, 3)
    assert replay.spent - before == pytest.approx(build[8, 3, 0] + 300 * 2e-4, abs=1e-9)


def test_a_shared_step_grows_with_the_rows_that_pass_through_it(book):
    replay = fresh(book)
    replay.look(7, 1)
    before = replay.spent
    replay.look(7, 3)
    assert replay.spent - before == pytest.approx(book.table.build[7, 3, 0] + 300 * 2e-4 + 0.003 * (540 - 60), abs=1e-9)


def test_an_arm_that_does_not_train_is_built_once_for_all_shares(book):
    replay = fresh(book)
    replay.look(10, 0)
    before = replay.spent
    replay.look(10, 3)
    assert replay.spent == before


def test_the_confirm_rows_are_paid_apart(book):
    replay = fresh(book)
    replay.look(3, 3)
    before = replay.spent
    replay.look(3, 3, split="confirm")
    assert replay.spent - before == pytest.approx(200 * 2e-4, abs=1e-12)


def test_wrong_prices_are_predicted_but_true_ones_paid(book):
    blurred, exact = Timed(book, 3, 300, 200, blur=0.5), fresh(book)
    assert blurred.price(12, 3, 0, 300) != pytest.approx(exact.price(12, 3, 0, 300), rel=1e-3)
    blurred.look(12, 3)
    exact.look(12, 3)
    assert blurred.spent == pytest.approx(exact.spent, abs=1e-12)


# ----------------------------------------------------------------------------------------------------------- the peers


@every_peer()
def test_a_peer_says_the_same_again(book, name):
    first, second = fresh(book), fresh(book)
    assert searched(name, first, 15.0, 5) == searched(name, second, 15.0, 5)
    assert first.bills == second.bills


@pytest.mark.parametrize("name", ["exhaustive-shuffled", "random", "halving", "asha", "flaml-cfo", "optuna-tpe"])
def test_a_peer_that_draws_lots_draws_others_with_another_seed(book, name):
    trails = [searched(name, fresh(book), 30.0, seed) for seed in range(4)]
    assert any(trail != trails[0] for trail in trails[1:])


@every_peer()
@pytest.mark.parametrize("budget", [0.5, 15.0])
def test_a_peer_exceeds_its_budget_by_one_look_at_most(book, name, budget):
    replay = fresh(book)
    trail = searched(name, replay, budget, 1)
    costs = [cost for cost, _ in trail]
    assert costs == sorted(costs)
    assert costs[-1] == replay.spent
    assert all(cost < budget for cost in costs[:-1])


@every_peer()
def test_a_peer_never_pays_for_an_arm_that_breaks_the_limit(book, name):
    replay = fresh(book, limit=SLOW_LIMIT)
    trail = searched(name, replay, 20.0, 2)
    slow = {place for place, arm in enumerate(book.table.arms) if arm.params.get("width") == 64}
    assert replay.wasted == 0.0
    assert not slow & {bill[0] for bill in replay.bills}
    assert not slow & {arm for _, arm in trail}


@every_peer()
def test_a_peer_never_looks_at_what_was_not_recorded(name):
    table = world()
    known = table.known.copy()
    known[[2, 14]] = False
    known[5, :2] = False
    partial = Book(replace(table, known=known))
    replay = fresh(partial)
    searched(name, replay, 20.0, 2)
    looks = {(bill[0], bill[1]) for bill in replay.bills}
    assert not {arm for arm, _ in looks} & {2, 14}
    assert not {(5, FRACTIONS[0]), (5, FRACTIONS[1])} & looks


@pytest.mark.parametrize("peer", [exhaustive, shuffled])
def test_exhaustive_search_ends_with_the_best_observed_arm(book, peer):
    replay = fresh(book)
    trail = peer(replay, math.inf, 0)
    scores = [fresh(book).look(arm, 3).values.mean() for arm in range(len(book.table.arms))]
    assert len(trail) == len(book.table.arms)
    assert trail[-1] == (pytest.approx(book.cost_of_all(300)), int(np.argmax(scores)))


@pytest.mark.parametrize("peer", [halving, asha, capped])
def test_who_goes_on_long_enough_looks_at_everything_and_agrees_with_exhaustive_search(book, peer):
    best = exhaustive(fresh(book), math.inf, 0)[-1][1]
    replay = fresh(book)
    assert peer(replay, math.inf, 0)[-1][1] == best
    assert {bill[0] for bill in replay.bills if bill[1] == 1.0} == set(range(len(book.table.arms)))


def test_random_search_repeats_itself_for_nothing_and_stops(book):
    replay = fresh(book)
    trail = random_search(replay, math.inf, 0)
    arms = [bill[0] for bill in replay.bills]
    assert len(arms) == len(set(arms)) == len(trail) <= TRIALS * len(book.table.arms)


def test_halving_keeps_one_in_eta(book):
    replay = fresh(book)
    halving(replay, math.inf, 0)
    shares = [bill[1] for bill in replay.bills]
    assert [sum(1 for _ in group) for _, group in itertools.groupby(shares)][:3] == [20, 6, 2]
    assert eta_of(FRACTIONS) == 3
    assert eta_of((1 / 8, 1 / 4, 1 / 2, 1.0)) == 2


def test_asha_promotes_only_from_the_best_third_of_a_rung(book):
    replay = fresh(book)
    walk = asha(replay, 25.0, 1)
    climbed = [bill for bill in replay.bills if bill[1] > FRACTIONS[0]]
    first = replay.bills.index(climbed[0])
    assert first == 3
    scores = {bill[0]: fresh(book).look(bill[0], 0).values.mean() for bill in replay.bills[:3]}
    assert climbed[0][0] == max(scores, key=lambda arm: scores[arm])
    assert len(walk) == len(replay.bills)


def test_cheapest_first_looks_at_the_cheaper_half_before_anything_else(book):
    replay = fresh(book)
    capped(replay, math.inf, 0)
    prices = [fresh(book).price(arm, 0, 0, 300) for arm in range(len(book.table.arms))]
    cheap = {arm for arm, price in enumerate(prices) if price <= np.median(prices)}
    assert cheap == {bill[0] for bill in replay.bills[: len(cheap)]}


def test_cost_frugal_search_starts_every_family_at_its_cheapest_arm_and_smallest_share(book):
    replay = fresh(book)
    frugal(replay, 30.0, 0)
    first: dict[str, tuple[int, float]] = {}
    for bill in replay.bills:
        first.setdefault(book.table.arms[bill[0]].family, (bill[0], bill[1]))
    for family, (arm, part) in first.items():
        mine = [place for place, one in enumerate(book.table.arms) if one.family == family]
        assert part == FRACTIONS[0]
        assert arm == min(mine, key=lambda place: fresh(book).price(place, 0, 0, 300))


def test_the_incumbent_is_the_best_at_the_highest_share_seen(book):
    walk = Walk(fresh(book), math.inf)
    walk.look(12, 0)
    small = walk.look(1, 0)
    full = walk.look(0, 3)
    assert full < small
    assert walk.trail[-1][1] == 0
    loose = Walk(fresh(book), math.inf, fullest=False)
    loose.look(1, 0)
    loose.look(0, 3)
    assert loose.trail[-1][1] == 1


def test_settings_are_ranked_numbers_and_one_column_a_word(book):
    place = scaled([arm for arm in book.table.arms if arm.family == "line"])
    assert sorted(set(place[:, 0])) == [0.0, 0.5, 1.0]
    assert place.shape == (6, 3)
    assert (place[:, 1:].sum(axis=1) == 1.0).all()


@pytest.mark.parametrize("flat", [False, True])
def test_what_is_suggested_is_exactly_a_row_of_the_table(book, flat):
    optuna = pytest.importorskip("optuna")
    from benchmarks._peers_optuna import Space

    space = Space(Walk(fresh(book), math.inf), flat=flat)
    others = {"line.C": 0, "line.unit": "'char'", "head.C": 0, "net.width": 0, "net.rate": 0}
    ranks = {"C": [0.1, 1.0, 10.0], "width": [16, 32, 64], "rate": [0.01, 0.02, 0.03]}
    for place, arm in enumerate(book.table.arms):
        mine = dict(others) if flat else {}
        for name, value in arm.params.items():
            kinds = [0.0, *ranks["C"]] if arm.family == "head" else ranks.get(name, [])
            mine[f"{arm.family}.{name}"] = repr(value) if name == "unit" else kinds.index(value)
        assert space.suggest(optuna.trial.FixedTrial({"family": arm.family, **mine})) == place


def test_a_setting_that_nobody_has_becomes_the_nearest_arm(book):
    optuna = pytest.importorskip("optuna")
    from benchmarks._peers_optuna import Space

    table = book.table
    missing = table.index("net.32-0.02")
    known = table.known.copy()
    known[missing] = False
    space = Space(Walk(fresh(Book(replace(table, known=known))), math.inf), flat=False)
    found = space.suggest(optuna.trial.FixedTrial({"family": "net", "net.width": 1, "net.rate": 1}))
    assert table.arms[found].id in {"net.16-0.02", "net.64-0.02", "net.32-0.01", "net.32-0.03"}


# --------------------------------------------------------------------------------------------------------- the figures


def a_run(regret: float, stated: float = 0.96, cost: float = 10.0, **peers) -> Run:
    return Run(
        "a",
        0,
        cost,
        100.0,
        100.0,
        regret,
        stated,
        separated=False,
        rule="confident",
        moves=3,
        planner=0.1,
        wasted=0.0,
        arm="x",
        peers=peers,
    )


@pytest.mark.parametrize(("hits", "of"), [(0, 5), (7, 10), (199, 200), (200, 200)])
def test_shares_have_wilson_intervals(hits, of):
    low, high = proportion_confint(hits, of, method="wilson")
    assert share(hits, of) == {
        "value": hits / of,
        "low": pytest.approx(low, abs=1e-6),
        "high": pytest.approx(high, abs=1e-6),
        "n": of,
    }


def test_a_share_of_nothing_says_nothing():
    assert share(0, 0) == {"value": None, "n": 0}


def test_a_bootstrap_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = booted([values], mean)
    half = 1.96 * values.std() / 20
    assert found["value"] == pytest.approx(values.mean())
    assert (found["low"], found["high"]) == (
        pytest.approx(values.mean() - half, abs=0.02),
        pytest.approx(values.mean() + half, abs=0.02),
    )


def test_regret_is_read_off_a_trajectory_at_a_cost(book):
    trail = [(1.0, 1), (5.0, 12), (9.0, 12), (20.0, 3)]
    best = book.truth.max()
    found = steps(book, trail, 100.0, np.ones(20, dtype=np.bool_))
    expected = [best - book.truth[1], best - book.truth[12], best - book.truth[3]]
    assert [cost for cost, _ in found] == [0.0, 0.05, 0.20]
    assert [lost for _, lost in found] == pytest.approx(expected)
    assert at(found, 0.04) == pytest.approx(expected[0])
    assert at(found, 0.05) == pytest.approx(expected[1])
    assert at(found, 0.9) == pytest.approx(expected[2])


def test_the_cost_to_be_as_good_is_where_the_mean_regret_first_falls_low_enough():
    two = [[(0.0, 0.2), (0.1, 0.0)], [(0.0, 0.2), (0.3, 0.04), (0.5, 0.0)]]
    assert reaches(two, 0.1) == pytest.approx(0.1, abs=2e-4)
    assert reaches(two, 0.02) == pytest.approx(0.3, abs=2e-4)
    assert reaches(two, 0.0) == pytest.approx(0.5, abs=2e-4)
    assert reaches([[(0.0, 0.2)]], 0.1) is None


def test_a_peer_is_read_at_our_cost_in_the_same_replay():
    runs = [
        a_run(0.0, cost=10.0, asha=[(0.0, 0.3), (0.2, 0.0)]),
        a_run(0.01, cost=30.0, asha=[(0.0, 0.3), (0.2, 0.02)]),
    ]
    found = against(runs, "asha")
    assert found["regret"]["value"] == pytest.approx((0.3 + 0.02) / 2)
    assert found["more_than_ours"]["value"] == pytest.approx(0.16 - 0.005)
    assert found["ratio"] == pytest.approx(32.0)
    assert found["needs"] is None


def test_reliability_bins_stated_confidence():
    runs = [a_run(0.0, 0.90)] * 9 + [a_run(0.02, 0.90)] + [a_run(0.0, 0.95)] * 20 + [a_run(0.004, 1.0)]
    found = reliability(runs)
    assert found["90"]["right"]["value"] == pytest.approx(0.9)
    assert found["95"] == {"stated": pytest.approx(0.95), "right": share(20, 20)}
    assert found["99"]["right"]["n"] == 1
    assert found["from_95"]["right"]["n"] == 21
    assert found["all"]["right"]["n"] == 31


def test_bars_are_missed_when_they_are_missed():
    good = [a_run(0.0, stated, cost=8.0, asha=[(0.0, 0.1)]) for stated in (0.9, 0.95, 0.99) for _ in range(50)]
    bad = [replace(one, cost=50.0, regret=0.2, wasted=1.0, planner=5.0) for one in good]
    quiet, loud = (
        of_twins([(False, True)] * 40, [replace(good[0], separated=True)]),
        of_twins([(True, True)] * 40, good),
    )
    cheap, dear = of_added([Added("a", "net", 1.0, 2.0, 0.0)]), of_added([Added("a", "net", 3.0, 2.0, 0.0)])
    fine = met(overall({"a": of_study(good)}, good), cheap, quiet, 10.0)
    poor = met(overall({"a": of_study(bad)}, bad), dear, loud, 90.0)
    assert {name for name, is_met in fine.items() if not is_met} == {
        "calibrated"
    }  # all were right, more often than was stated at 90 %
    assert not any(poor.values())


def test_who_never_declares_anything_better_says_nothing_about_twins():
    runs = [a_run(0.0)] * 5
    added, twins = of_added([Added("a", "net", 1.0, 2.0, 0.0)]), of_twins([(False, True)] * 40, runs)
    assert not met(overall({"a": of_study(runs)}, runs), added, twins, 1.0)["twins"]


def test_a_twin_is_the_best_arm_again(book):
    both = Book(twinned(book.table))
    best = int(book.truth.argmax())
    assert both.truth[-1] == both.truth[best] == both.truth.max()
    assert both.table.arms[-1].id != both.table.arms[best].id
    assert len({repr(arm.params) for arm in both.table.arms if arm.family == "net"}) == 10


def test_planning_is_timed_on_as_many_arms_as_asked_for():
    found = time_plan(arms=30, looks=12, repeats=3)
    assert len(found) == 3
    assert min(found) > 0.0


def test_a_replay_of_ours_and_of_a_peer(tmp_path):
    path = tmp_path / "world.table"
    world().save(path)
    _search_runs.book_of.cache_clear()
    found = _search_runs.run(Study(path, SLOW_LIMIT), [0, 1], ["exhaustive"])
    assert [one.study for one in found] == ["world@limit"] * 2
    for one in found:
        assert one.cost > 0.0
        assert one.wasted == 0.0
        assert one.whole < one.everything
        assert 0.0 <= one.stated <= 1.0
        assert one.regret >= 0.0
        assert at(one.peers["exhaustive"], 2.0) >= 0.0


def test_a_family_added_to_a_finished_study_keeps_what_was_seen(tmp_path):
    path = tmp_path / "world.table"
    world().save(path)
    _search_runs.book_of.cache_clear()
    (found,) = _search_runs.add_family(Study(path), "net", [0])
    book = Book(world())
    nets = np.array([arm.family == "net" for arm in book.table.arms])
    assert found.own == pytest.approx(cost_of(book, ROWS, nets), rel=1e-5)
    assert found.extra > 0.0
    assert found.regret >= 0.0


def test_tables_recorded_in_part_are_left_out(tmp_path, capsys):
    whole, part = tmp_path / "whole.table", tmp_path / "part.table"
    table = world()
    known = table.known.copy()
    known[3] = False
    table.save(whole)
    replace(table, known=known).save(part)
    _search_runs.book_of.cache_clear()
    assert search.complete([part, whole]) == [whole]
    assert "part: recorded in part" in capsys.readouterr().err
    with pytest.raises(DataError):
        search.complete([part])


@pytest.mark.slow
def test_the_benchmark_prints_one_object_last(tmp_path):
    path = tmp_path / "world.table"
    world().save(path)
    command = [
        sys.executable,
        "-m",
        "benchmarks.search",
        "--replays",
        "3",
        "--tables",
        str(path),
        "--peers",
        "exhaustive",
        "asha",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["benchmark"] == "search"
    assert {"world", "world@limit"} == set(last["studies"])
    assert last["studies"]["world"]["replays"] == 3
    assert set(last["met"]) >= {
        "cost",
        "inside_at_95",
        "lowest_regret",
        "planner",
        "ask_time",
        "nothing_wasted",
        "twins",
        "added_family",
    }
    assert last["met"]["nothing_wasted"]
