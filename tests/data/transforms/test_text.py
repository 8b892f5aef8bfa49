from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from bakeoff.data.transforms import text
from bakeoff.schema import StepError

CHAR = {"kind": "char-ids", "columns": ["text"], "ngrams": [1, 3], "normalise": "NFKC", "lowercase": True}
WORD = {"kind": "word-ids", "columns": ["text"], "ngrams": [1, 2], "segmenter": "regex", "words": "words.json"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        ("", ""),
        ("好", "好"),
        (3, "3"),
        (3.0, "3"),
        (0.5, "0.5"),
        (True, "True"),
        (np.float64("nan"), ""),
        (float("inf"), "inf"),
    ],
)
def test_cells_as_text(value: object, expected: str) -> None:
    if value == float("inf"):
        expected = "inf"
    assert text.text_of(value) == expected


def test_missing_columns_leave_no_separator() -> None:
    row = {"title": "标题", "body": None, "note": "  ", "tail": "尾"}
    assert text.join(row, ["title", "body", "note", "absent", "tail"], " | ") == "标题 | 尾"
    assert text.join({}, ["title", "body"], " | ") == ""


def test_folding() -> None:
    assert text.fold(" ＡＢＣ\t\n好　的 ", CHAR) == "abc 好 的"
    assert text.fold("ABC", {**CHAR, "lowercase": False}) == "ABC"
    assert text.fold("Ａ", {**CHAR, "normalise": None}) == "ａ"
    assert text.fold("x" * 100, {**CHAR, "max_chars": 10}) == "x" * 10
    assert text.fold("a\ud800b", CHAR) == "a\ufffdb"


@given(st.text(max_size=60))
def test_folding_is_stable_and_always_encodes(value: str) -> None:
    folded = text.fold(value, CHAR)
    folded.encode("utf-8")
    assert folded == " ".join(folded.split())


@given(st.lists(st.text("ab 好！", max_size=20), min_size=1, max_size=5), st.integers(1, 2), st.integers(0, 2))
def test_character_ngrams_equal_scikit_learn(texts: list[str], low: int, more: int) -> None:
    analyse = CountVectorizer(analyzer="char", ngram_range=(low, low + more), lowercase=False).build_analyzer()
    for value in texts:
        folded = " ".join(value.split())
        assert sorted(text.ngrams(folded, low, low + more)) == sorted(analyse(folded))


@given(st.text(max_size=80))
def test_word_ngrams_equal_scikit_learn(value: str) -> None:
    analyse = CountVectorizer(
        token_pattern=r"[^\W_]+(?:['’][^\W_]+)?", ngram_range=(1, 2), lowercase=False
    ).build_analyzer()
    assert sorted(text.Analyser(WORD)(value)) == sorted(analyse(value))


def test_chinese_words_hold_no_white_space() -> None:
    found = text.Analyser({**WORD, "segmenter": "rjieba"})("我爱北京 天安门 hello")
    assert "北京" in found
    assert all(part and not part.isspace() for gram in found for part in gram.split(" "))


def test_characters_become_code_points(tmp_path: Path) -> None:
    feeds = text.feeder(CHAR, tmp_path)([{"text": "好A"}, {}, {"text": "𠮷"}])
    np.testing.assert_array_equal(feeds["ids"], [[ord("好"), ord("a"), -1], [-1, -1, -1], [0x20BB7, -1, -1]])
    assert feeds["ids"].dtype == np.int64


def test_words_become_places_in_the_list(tmp_path: Path) -> None:
    text.write_words(tmp_path / "words.json", ["cat", "dog"])
    feeds = text.feeder(WORD, tmp_path)([{"text": "Dog sees cat"}, {"text": ""}])
    np.testing.assert_array_equal(feeds["ids"], [[1, -1, 0], [-1, -1, -1]])


def test_word_lists_survive_the_file(tmp_path: Path) -> None:
    words = ['a"b', "\\", "好", "\u2028", "\n", "😀"]
    text.write_words(tmp_path / "w.json", words)
    assert text.read_words(tmp_path / "w.json") == words
    assert json.loads((tmp_path / "w.json").read_text(encoding="utf-8")) == words
    text.write_words(tmp_path / "none.json", [])
    assert text.read_words(tmp_path / "none.json") == []


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "好": 4, "书": 5, "query:": 6}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("好", "isolated")]
    )
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    made.enable_padding(length=50)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_tokens_are_padded_to_the_longest_of_the_batch(tokenizer: Path) -> None:
    transform = {"kind": "hf-tokenizer", "columns": ["text"], "max_length": 5, "pad_id": 0}
    feeds = text.feeder(transform, tokenizer)([{"text": "好书"}, {}, {"text": "好 好 好 好 好 好"}])
    np.testing.assert_array_equal(feeds["input_ids"], [[2, 4, 5, 3, 0], [2, 3, 0, 0, 0], [2, 4, 4, 4, 3]])
    np.testing.assert_array_equal(feeds["attention_mask"], [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])


def test_a_prefix_and_no_special_tokens(tokenizer: Path) -> None:
    transform = {
        "kind": "hf-tokenizer", "columns": ["text"], "max_length": 9, "pad_id": 1, "special_tokens": False, "prefix": "query: ",
    }  # fmt: skip
    feeds = text.TokenFeeder(transform, tokenizer)([{"text": "好"}, {"text": "好 好"}])
    np.testing.assert_array_equal(feeds["input_ids"], [[6, 4, 1], [6, 4, 4]])
    np.testing.assert_array_equal(feeds["attention_mask"], [[1, 1, 0], [1, 1, 1]])


def test_a_missing_tokenizer_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="cannot be read"):
        text.feeder({"kind": "hf-tokenizer", "columns": ["text"], "max_length": 5}, tmp_path)


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        text.feeder({"kind": "smell"}, tmp_path)
    assert caught.value.code == "unsupported"


def test_pooling_by_hand() -> None:
    table = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], dtype=np.float16)
    found = text.pooled(table, [[0, 1], [], [2], [1, 1]])
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0, 0], [0, 1]], atol=1e-6)
