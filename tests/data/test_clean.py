"""Copies collapse, contradictions go, chance repeats stay, and the order of the file does not matter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.data.clean import Cleaned, clean, repeats_by_chance
from bakeoff.data.columns import ColumnFacts, inspect


def cleaned(texts: list[str | None], labels: list[str | None], times: list[float] | None = None) -> Cleaned:
    return clean([inspect("text", texts, only_text=True)], labels, [], None if times is None else np.asarray(times))


def table(*columns: list[str | None]) -> list[ColumnFacts]:
    return [inspect(f"c{index}", cells) for index, cells in enumerate(columns)]


def test_copies_collapse_after_white_space_is_folded() -> None:
    result = cleaned(["很 好", "很  好", "很\n好", "差"], ["p", "p", "p", "n"])
    assert sorted(result.copies.tolist()) == [1, 3]
    assert (result.exact_duplicates, result.conflicting_rows, result.unusable_rows) == (2, 0, 0)


def test_a_text_with_two_labels_is_dropped_whole() -> None:
    result = cleaned(["a", "a", "a", "b"], ["p", "p", "n", "n"])
    assert result.used.tolist() == [3]
    assert (result.exact_duplicates, result.conflicting_rows) == (0, 3)


def test_rows_without_label_input_or_time_are_unusable() -> None:
    result = cleaned(["a", None, "c", "d"], ["p", "p", None, "n"], [1.0, 2.0, 3.0, np.nan])
    assert result.used.tolist() == [0]
    assert result.unusable_rows == 3


def test_of_several_copies_the_earliest_is_kept() -> None:
    assert cleaned(["a", "a", "a"], ["p", "p", "p"], [3.0, 1.0, 2.0]).used.tolist() == [1]


def test_rows_add_up() -> None:
    texts = [str(i % 7) for i in range(50)]
    labels = [None if i % 11 == 0 else "pn"[i % 2] for i in range(50)]
    result = cleaned(list(texts), labels)
    assert len(result.used) + result.exact_duplicates + result.conflicting_rows + result.unusable_rows == 50


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("pn")), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_file_does_not_matter(rows: list[tuple[str, str]], random: object) -> None:
    shuffled = rows.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    kept = []
    for order in (rows, shuffled):
        result = cleaned([text for text, _ in order], [label for _, label in order])
        kept.append([(order[row], int(copies)) for row, copies in zip(result.used, result.copies, strict=True)])
    assert kept[0] == kept[1]


def test_a_small_table_repeats_by_chance_and_keeps_its_rows() -> None:
    random = np.random.default_rng(0)
    sex, city = random.choice(["m", "f"], 500).tolist(), random.choice(["x", "y", "z"], 500).tolist()
    labels = random.choice(["p", "n"], 500).tolist()
    result = clean(table(sex, city), labels, [], None)
    assert result.repeats_kept
    assert len(result.used) == 500
    assert result.conflicting_rows == 0


def test_a_table_exported_twice_collapses() -> None:
    random = np.random.default_rng(0)
    columns = [[f"{value:.3f}" for value in random.normal(size=300)] * 2 for _ in range(2)]
    result = clean(table(*columns), ["p", "n"] * 300, [], None)
    assert not result.repeats_kept
    assert len(result.used) == 300
    assert result.exact_duplicates == 300


def test_numbers_that_are_equal_are_the_same_however_written() -> None:
    fillers = [f"{i}.5" for i in range(40)]
    result = clean(table([*fillers, "100", "100.0"], [*fillers, "7", "7.00"]), ["p"] * 42, [], None)
    assert result.exact_duplicates == 1


def test_texts_never_repeat_by_chance() -> None:
    assert not repeats_by_chance([inspect("t", ["a", "a"], only_text=True)], np.arange(2))
    assert not repeats_by_chance(table(["a", "b"]), np.zeros(0, dtype=np.int64))
