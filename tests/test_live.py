"""What a person sees while a study runs: who leads, who was dropped and why."""

from __future__ import annotations

import io

import pytest

from bakeoff.live import Board, LiveView
from bakeoff.schema import Elimination, Proposal, Words
from tests.decision.worlds import make_spec

WORD, CHAR = "linear.word.none.native", "linear.char.none.native"


def proposal(*candidates: str) -> Proposal:
    why = Words(zh="明显不如领先者", en="clearly behind the leader")
    return Proposal(
        trials=(), eliminations=tuple(Elimination(candidate=one, kind="eliminated", reason=why) for one in candidates)
    )


def test_each_elimination_is_told_once_as_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView(make_spec()) as view:
        view.proposed(proposal())
        assert capsys.readouterr().err == ""
        view.proposed(proposal(WORD))
        assert f"dropped (eliminated)  {WORD}: clearly behind the leader\n" in capsys.readouterr().err
        view.proposed(proposal(WORD, CHAR))
        said = capsys.readouterr()
    assert CHAR in said.err
    assert WORD not in said.err
    assert said.out == ""


def test_who_is_out_sinks_below_who_is_still_in() -> None:
    board = Board(make_spec())
    board.told(proposal(WORD))
    board.told(proposal(WORD, CHAR))
    board.lines[WORD].score, board.lines[CHAR].score = 0.9, 0.8
    board.lines[CHAR].out = ""
    assert [line.candidate for line in board.ranked()] == [CHAR, WORD]


def test_the_table_names_the_reason() -> None:
    from rich.console import Console

    view = LiveView(make_spec())
    view.board.told(proposal(WORD))
    console = Console(width=160, file=io.StringIO())
    console.print(view._table())
    assert "eliminated: clearly behind the leader" in console.file.getvalue()  # type: ignore[attr-defined]
