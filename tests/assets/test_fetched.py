"""The real assets, where the cache has them: what a person gets after ``bakeoff fetch NAME``."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest

from bakeoff import assets

pytestmark = pytest.mark.assets


def folder_of(name: str):
    folder = assets.find(name)
    if folder is None:
        pytest.skip(f"bakeoff fetch {name}")
    return folder


def rows_of(name: str, file: str) -> list[dict[str, str]]:
    with (folder_of(name) / file).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_chinese_reviews_are_raw_with_their_duplicates():
    rows = rows_of("chinese-reviews", "reviews.csv")
    assert list(rows[0]) == ["text", "label"]
    assert Counter(row["label"] for row in rows) == {"正面": 16548, "负面": 18575}
    assert len({" ".join(row["text"].split()) for row in rows}) < 0.51 * len(rows)


def test_bbc_news_has_five_topics():
    rows = rows_of("bbc-news", "articles.csv")
    assert Counter(row["label"] for row in rows) == {
        "business": 510,
        "entertainment": 386,
        "politics": 417,
        "sports": 511,
        "tech": 401,
    }
    assert not any("\ufffd" in row["text"] for row in rows)
    assert any("£15.8m" in row["text"] for row in rows if row["label"] == "sports")


def test_uci_credit_has_words_for_codes():
    rows = rows_of("uci-credit-default", "credit.csv")
    assert len(rows) == 30_000
    assert len(rows[0]) == 24
    assert Counter(row["default"] for row in rows) == {"no": 23_364, "yes": 6_636}
    assert Counter(row["sex"] for row in rows) == {"female": 18_112, "male": 11_888}
    assert Counter(row["education"] for row in rows) == {
        "university": 14_030,
        "graduate school": 10_585,
        "high school": 4_917,
        "unknown": 345,
        "other": 123,
    }
    assert Counter(row["marriage"] for row in rows) == {
        "single": 15_964,
        "married": 13_659,
        "other": 323,
        "unknown": 54,
    }
    assert rows[0]["credit_limit"] == "20000"
    assert rows[0]["delay_sep"] == "2"


def test_german_credit_has_mixed_types():
    rows = rows_of("german-credit", "credit.csv")
    assert len(rows) == 1_000
    assert len(rows[0]) == 21
    assert Counter(row["creditability"] for row in rows) == {"good": 700, "bad": 300}
    assert sum(all(row[column].isdigit() for row in rows) for column in rows[0]) == 7


@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"])
def test_language_models_are_gguf(name):
    with (folder_of(name) / "model.gguf").open("rb") as file:
        assert file.read(8) == b"GGUF\x03\0\0\0"


def test_wordllama_is_a_table_with_a_tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    folder = folder_of("wordllama-256")
    table = assets_table(folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    good, near, far = (
        table[tokenizer.encode(text, add_special_tokens=False).ids].mean(axis=0)
        for text in ("a wonderful hotel room", "a lovely hotel suite", "quarterly profits of the oil company")
    )
    assert cosine(good, near) > cosine(good, far) + 0.2


def assets_table(folder):
    from bakeoff.assets.tensors import read_safetensors

    table = read_safetensors(folder / "model.safetensors")["embedding.weight"]
    assert table.shape == (32_000, 256)
    return table.astype(np.float32)


def cosine(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "near", "far"),
    [
        (
            "all-minilm-l6-v2",
            ("The room was clean.", "A tidy hotel room"),
            ("The room was clean.", "Shares fell sharply"),
        ),
        ("multilingual-e5-small", ("房间很干净", "The room was clean."), ("房间很干净", "Shares fell sharply")),
    ],
)
def test_encoders_load_offline_and_know_what_is_near(name, near, far, monkeypatch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = folder_of(name)
    pooling = json.loads((folder / "pooling.json").read_text(encoding="utf-8"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()

    def embed(text: str) -> np.ndarray:
        batch = tokenizer(pooling["prefix"] + text, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state[0].mean(dim=0)
        assert hidden.shape == (pooling["dimensions"],)
        return hidden.numpy()

    assert cosine(*map(embed, near)) > cosine(*map(embed, far)) + 0.05


def test_every_fetched_asset_is_whole():
    fetched = [name for name, recipe in assets.recipes().items() if assets.find(name) and recipe.disk_bytes < 50e6]
    if not fetched:
        pytest.skip("nothing is fetched")
    assert {name: assets.verify(name) for name in fetched} == {name: [] for name in fetched}
