from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from tests.report import examples

from bakeoff.report import terminal
from bakeoff.report.terminal import clean, columns, fold

OUTCOMES = [examples.winner, examples.no_clear_winner, examples.infeasible, examples.bare, examples.crowded]


@pytest.mark.parametrize("make", OUTCOMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_window_and_a_screen(make: Any, language: Any, width: int) -> None:
    lines = terminal(make(), language, width=width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    if width >= 80:
        assert len(lines) <= 22


def test_it_answers_every_question() -> None:
    said = " ".join(terminal(examples.winner(), "en").split())
    for part in (
        "Clear winner · Ship character TF-IDF",
        "P(best) 96.4 %",
        "✓ Macro F1 ≥ 0.82: 0.845 [0.827, 0.864] (95 % interval, n = 1,496)",
        "CNY 4,825 [3,539, 7,385] over 12 months",
        "Typos and homoglyphs (High)",
        "1.02× away",
        "Runner-up Fine-tuned multilingual-e5-small (PyTorch)",
        "p95 latency 310 ms breaks the 50 ms limit",
        "and 2 infeasible, 1 eliminated, 1 failed, 1 not reached",
    ):
        assert part in said


def test_an_infeasible_study_names_the_miss_and_the_concession() -> None:
    said = terminal(examples.infeasible(), "zh")
    assert said.startswith("没有可行方案 · ")
    assert "最接近" in said
    assert "✗ 宏平均 F1 ≥ 0.87" in said
    assert "让步" in said


def test_an_outcome_already_in_the_headline_is_not_said_twice() -> None:
    assert terminal(examples.no_clear_winner(), "zh").startswith("没有明确赢家：先上字符 TF-IDF\n")


def test_rules_are_kept_or_broken_without_a_number() -> None:
    said = terminal(examples.winner(constraints=(examples.rule(),)), "en")
    assert "✓ rows stay on the premises\n" in said


def test_control_sequences_and_direction_overrides_are_dropped() -> None:
    assert clean("a\x1b[31mb\u202ec\nd") == "a[31mbc d"


@pytest.mark.parametrize("make", [*OUTCOMES, examples.hostile], ids=lambda make: make.__name__)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_markup_renders_to_the_plain_text(make: Any, language: Any) -> None:
    plain = terminal(make(), language)
    rendered = Text.from_markup(terminal(make(), language, markup=True), emoji=False)
    assert rendered.plain == plain
    Console(file=None, record=True, width=200, quiet=True).print(rendered)


@given(st.text(max_size=200), st.integers(10, 90))
def test_folding_loses_no_word_and_keeps_the_width(text: str, width: int) -> None:
    line = clean(text)
    folded = fold(line, width)
    assert "".join("".join(folded).split()) == "".join(line.split())
    assert all(columns(part) <= width for part in folded)


def test_punctuation_never_starts_a_line() -> None:
    folded = fold("一二三四五，六七八九十。", 10)
    assert [part[0] in "，。" for part in folded] == [False] * len(folded)


def test_wide_characters_count_as_two() -> None:
    assert (columns("ab"), columns("汉字"), columns("é"), columns("e\u0301")) == (2, 4, 1, 1)
