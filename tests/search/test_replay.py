"""A recorded table is written as it was, pays for every step once, and the planner finds the best of it for little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bakeoff.schema.errors import DataError
from bakeoff.search.planner import Rules
from bakeoff.search.rehearsal import Verdict, rehearse
from bakeoff.search.replay import Book, Replay, regret
from bakeoff.search.table import Table
from bakeoff.tasks.scoring import score
from tests.search.tables import CHEAP_WINS, DEAR_WINS, table

ROWS = 3000


@pytest.fixture(scope="module")
def dear() -> Book:
    """The best arm is of the dearest family."""
    return Book(table(DEAR_WINS))


@pytest.fixture(scope="module")
def cheap() -> Book:
    """The best arm is of the cheapest family."""
    return Book(table(CHEAP_WINS))


def run(book: Book, seed: int, **rules: float) -> tuple[Replay, Verdict]:
    replay = Replay(book, seed, ROWS, ROWS)
    return replay, rehearse(replay, Rules(**rules))


# ------------------------------------------------------------------------------------------------------------ the file


def test_a_table_survives_the_file_and_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    whole = table()
    known = np.array(whole.known)
    known[3, 1, 1] = False
    partial = replace(whole, known=known)
    partial.save(tmp_path / "a.table")
    partial.save(tmp_path / "b.table")
    assert (tmp_path / "a.table").read_bytes() == (tmp_path / "b.table").read_bytes()
    found = Table.load(tmp_path / "a.table")
    assert (found.predicted[known] == whole.predicted[known]).all()
    assert (found.known == known).all()
    assert found.arms == whole.arms
    assert found.build == pytest.approx(whole.build, rel=1e-6)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"{}"])
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.table").write_bytes(content)
    with pytest.raises(DataError, match="not a recorded table"):
        Table.load(tmp_path / "bad.table")


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        replace(table(), predict=np.zeros(3))


# ---------------------------------------------------------------------------------------------------------- the replay


def test_the_truth_is_the_metric_over_all_recorded_rows(dear: Book) -> None:
    one = dear.table
    by_hand = np.mean([score("accuracy", one.actual, one.predicted[5, -1, seed]) for seed in range(2)])
    assert dear.truth[5] == pytest.approx(by_hand)


def test_looking_at_everything_costs_what_exhaustive_evaluation_costs() -> None:
    book = Book(table(prefix="embed"))
    replay = Replay(book, 0, ROWS, ROWS)
    for arm in range(len(book.table.arms)):
        replay.look(arm, 3)
    seeds = book.table.build[:, -1, :].mean(axis=1).sum()
    first = sum(book.table.build[arm, -1, replay.order[0]] for arm in range(len(book.table.arms)))
    assert replay.spent - first == pytest.approx(book.cost_of_all(ROWS) - seeds)


def test_a_shared_step_is_paid_once_and_more_rows_cost_only_the_news() -> None:
    book = Book(table(prefix="embed"))
    place = book.table.index("encoder.v0")
    replay = Replay(book, 0, ROWS, ROWS)
    replay.look(place, 0, rows=500)
    assert replay.price(place, 0, 0, 500) == 0.0
    assert replay.price(place, 0, 0, 600) == pytest.approx(100 * (book.table.predict[place] + 0.002))
    other = book.table.index("encoder.v1")
    assert replay.price(other, 0, 0, 500) == pytest.approx(
        book.table.build[other, 0, replay.order[0]] + 500 * book.table.predict[other]
    )


def test_replays_are_drawn_anew_by_seed_and_the_same_by_the_same_seed(dear: Book) -> None:
    one, same, other = (Replay(dear, seed, ROWS, ROWS).look(0, 3).values for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


# --------------------------------------------------------------------------------------------------------- the planner


@pytest.mark.parametrize(("name", "family", "loss"), [("dear", "encoder", 0.012), ("cheap", "linear", 0.005)])
def test_the_right_family_is_found_for_a_fraction_of_the_cost(
    name: str, family: str, loss: float, request: pytest.FixtureRequest
) -> None:
    """A search that merely avoids cost would fail the first, one that merely trusts size the second."""
    book: Book = request.getfixturevalue(name)
    losses, ratios = [], []
    for seed in range(8):
        replay, verdict = run(book, seed, patience=0.2)
        assert book.table.arms[verdict.arm].family == family
        losses.append(regret(book, verdict.arm, replay.feasible))
        ratios.append(replay.spent / book.cost_of_all(ROWS))
    assert np.mean(losses) < loss
    assert np.exp(np.mean(np.log(ratios))) < 0.25


def test_nothing_is_spent_on_arms_whose_probe_breaks_the_limit(dear: Book) -> None:
    replay = Replay(dear, 0, ROWS, ROWS, limit=0.008)
    verdict = rehearse(replay, Rules())
    assert dear.table.arms[verdict.arm].family != "encoder"
    assert replay.wasted == 0.0
    assert {dear.table.arms[arm].family for arm, *_ in replay.bills} == {"linear", "boosting"}


def test_the_choice_was_trained_and_judged_in_full(dear: Book) -> None:
    replay, verdict = run(dear, 3)
    assert any(look.arm == verdict.arm and look.share == 1.0 and look.rows.size == ROWS for look in replay.looks)


def test_more_patience_spends_more_and_states_more(cheap: Book) -> None:
    spent = {
        patience: np.mean([run(cheap, seed, patience=patience)[0].spent for seed in range(4)]) for patience in (0.02, 2.0)
    }  # fmt: skip
    assert spent[0.02] < spent[2.0]


def test_the_same_replay_comes_to_the_same_verdict(dear: Book) -> None:
    assert run(dear, 5)[1] == run(dear, 5)[1]
