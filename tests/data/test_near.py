"""Near repeats are found at any size, ordinary texts are not tied together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.data.near import components, near_clusters, normalised

LONG = "距拱北关口近，标准间太小，豪华大床不错，服务好，早餐也很丰富，下次还会再来住的"


def together(a: str, b: str) -> bool:
    clusters = near_clusters([a, "另外一条完全无关的评论，说的是笔记本电脑的键盘", b])
    assert clusters[1] == 1
    return bool(clusters[0] == clusters[2])


@pytest.mark.parametrize(
    "twin",
    [
        LONG + "。",
        LONG.replace("，", " "),
        "ＡＢＣ" + LONG,
        LONG.replace("很丰富", "丰富"),
        LONG + "。。。！！",
        LONG.replace("下次", "以后"),
    ],
)
def test_small_changes_leave_a_near_repeat(twin: str) -> None:
    assert together(LONG, twin)


@pytest.mark.parametrize("other", [LONG[: len(LONG) // 2], "", "服务好", LONG[::-1]])
def test_half_a_text_or_another_one_is_no_repeat(other: str) -> None:
    assert not together(LONG, other)


def test_english_near_repeats() -> None:
    text = "The room was clean and the staff were very friendly, but breakfast was cold and the wifi slow."
    assert together(text, text.upper().replace("very ", ""))
    assert not together(
        text, "The laptop is fast and the screen is bright, but the fan is loud and the keyboard too soft."
    )


def test_short_texts_are_repeats_only_when_nothing_but_marks_differ() -> None:
    assert together("谢谢!", "谢谢！！")
    assert not together("很好", "很差")
    assert not together("。。。", ":(")


def test_width_case_and_marks_are_folded() -> None:
    assert normalised("Ａb-C， 好_1") == "abc好1"


def test_components_name_the_smallest_member() -> None:
    assert components(6, [(4, 2), (5, 4), (1, 0)]).tolist() == [0, 0, 2, 3, 2, 2]


def test_empty_and_single_inputs() -> None:
    assert near_clusters([]).tolist() == []
    assert near_clusters(["a"]).tolist() == [0]
    assert near_clusters(["", ""]).tolist() == [0, 0]


def test_a_very_long_row_costs_no_more_than_its_first_part() -> None:
    text = "很长的一段话，" * 200_000
    assert near_clusters([text, text + "！", "短"]).tolist() == [0, 0, 2]


def test_templates_do_not_tie_everything_together() -> None:
    texts = [f"尊敬的客户您好，感谢您的来信，关于订单{i * 7919}的问题我们已经处理，请放心使用。" for i in range(400)]
    clusters = near_clusters(texts)
    assert np.bincount(clusters).max() < 200


def test_planted_repeats_are_recalled_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    alphabet = [chr(0x4E00 + i) for i in range(3000)]
    originals = ["".join(random.choice(alphabet, 60)) for _ in range(300)]
    twins = []
    for text in originals[:100]:
        place = int(random.integers(5, 50))
        twins.append(text[:place] + random.choice(alphabet) + text[place + 1 :])
    clusters = near_clusters(originals + twins)
    found = sum(clusters[300 + index] == clusters[index] for index in range(100))
    assert found >= 97
    assert np.unique(clusters).size == 400 - found


@settings(max_examples=25)
@given(st.lists(st.text(max_size=60), max_size=12))
def test_any_text_gives_a_partition_named_by_smallest_members(texts: list[str]) -> None:
    clusters = near_clusters(texts)
    assert all(clusters[cluster] == cluster <= index for index, cluster in enumerate(clusters))
    assert np.array_equal(clusters, near_clusters(texts))
    same = {text: index for index, text in reversed(list(enumerate(texts)))}
    assert all(clusters[index] == clusters[same[text]] for index, text in enumerate(texts))
