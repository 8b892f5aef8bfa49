from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report import examples

from bakeoff.report import markdown, render

OUTCOMES = [examples.winner, examples.no_clear_winner, examples.infeasible, examples.hostile, examples.bare]
MADR = [
    "Context and problem statement", "Decision drivers", "Considered options", "Decision outcome", "Consequences", "Confirmation",
    "When to revisit", "More information",
]  # fmt: skip


@pytest.mark.parametrize("make", OUTCOMES, ids=lambda make: make.__name__)
def test_the_record_has_the_shape_of_madr(make: Any) -> None:
    heads = re.findall(r"^## (.+)$", render(make(), "en", "md"), flags=re.MULTILINE)
    assert heads == MADR
    assert len(re.findall(r"^## ", render(make(), "zh", "md"), flags=re.MULTILINE)) == len(MADR)


@pytest.mark.parametrize("make", OUTCOMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(make: Any, language: Any) -> None:
    width = 0
    for line in render(make(), language, "md").splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (0, cells)
        width = cells


def test_a_user_s_text_cannot_become_markup() -> None:
    record = render(examples.hostile(), "en", "md")
    prose = re.sub(r"`[^\n]*?`(?= |$|\n)", "", record)
    assert "<script>" not in re.sub(r"\\<", "", prose)
    assert "[x](javascript" not in prose


def test_both_languages_print_the_same_digits_in_their_tables() -> None:
    def digits(language: str) -> list[str]:
        rows = [
            line
            for line in render(examples.winner(flips=()), language, "md").splitlines()
            if line.startswith(("| 1 ", "| **"))
        ]  # type: ignore[arg-type]
        return re.findall(r"\d[\d,.]*", " ".join(rows))

    assert digits("zh") == digits("en")


def test_the_outcome_is_said_with_chances_and_losses() -> None:
    record = render(examples.winner(), "en", "md")
    assert "Chosen: **Character TF-IDF + logistic regression** (`linear.char.none.native`)" in record
    assert "P(best) 96.4 %" in record
    assert "expected loss if wrong CNY 41.0" in record
    assert "bakeoff verify" in record


def test_an_infeasible_record_names_the_nearest_miss_and_the_concession() -> None:
    record = render(examples.infeasible(), "en", "md")
    assert "The nearest miss is **Character TF-IDF" in record
    assert "A floor of 0.849 instead of 0.87 admits 1" in record


def test_flips_come_nearest_first_with_their_mark() -> None:
    record = render(examples.winner(), "en", "md")
    part = record[record.index("## When to revisit") :]
    assert part.index("quality floor") < part.index("worth of a right answer") < part.index("p95 latency limit")
    assert "1,150 (predicted)" in part


@given(st.text(max_size=60))
def test_inline_code_holds_anything(text: str) -> None:
    found = markdown.code(text)
    fence = re.match("`+", found)
    assert fence is not None
    assert fence[0] not in found[len(fence[0]) : -len(fence[0])].replace("`" * (len(fence[0]) + 1), "")
    assert "\n" not in found


@given(st.text(max_size=60))
def test_plain_text_stays_on_one_line_without_open_markup(text: str) -> None:
    found = markdown.plain(text)
    assert "\n" not in found
    assert not re.search(r"(?<!\\)(?:\\\\)*[<|`*\[]", found)
