"""Predictions over real HTTP: what a good request gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bakeoff.delivery import rows as contract_rows
from bakeoff.serving.model import load, open_bundle
from tests.serving.running import Running

GOOD, BAD = "屏幕 很好 手机 满意", "酒店 失望 service awful"


def test_rows_get_label_probabilities_and_model(texts: Running) -> None:
    answer = texts.client.post("/v1/predict", json={"rows": [{"text": GOOD}, {"text": BAD}]})
    assert answer.status_code == 200
    document = answer.json()
    assert document["model"] == "linear.char.none.native"
    assert [found["label"] for found in document["predictions"]] == ["good", "bad"]
    for found in document["predictions"]:
        assert set(found["probabilities"]) == {"bad", "good"}
        assert sum(found["probabilities"].values()) == pytest.approx(1.0)


def test_one_row_and_texts_agree_with_rows(texts: Running) -> None:
    single = texts.client.post("/v1/predict", json={"row": {"text": GOOD}}).json()
    plain = texts.client.post("/v1/predict", json={"texts": [GOOD]}).json()["predictions"][0]
    listed = texts.client.post("/v1/predict", json={"rows": [{"text": GOOD}]}).json()["predictions"][0]
    assert {name: single[name] for name in ("label", "probabilities")} == plain == listed


def test_every_contract_row_gets_the_trials_answer(texts: Running, text_bundle: Path) -> None:
    rows = contract_rows.read(text_bundle / contract_rows.FILE, ("bad", "good"))
    labels: list[str] = []
    shares: list[list[float]] = []
    for start in range(0, len(rows), 50):
        answer = texts.client.post("/v1/predict", json={"rows": rows.rows[start : start + 50]}).json()
        labels += [found["label"] for found in answer["predictions"]]
        shares += [[found["probabilities"][name] for name in ("bad", "good")] for found in answer["predictions"]]
    assert labels == [("bad", "good")[index] for index in rows.expected]
    np.testing.assert_allclose(shares, rows.probabilities, atol=1e-6)


def test_missing_columns_and_nulls_are_missing_values(mixed: Running) -> None:
    whole = {"age": 41, "city": "上海", "note": "很好"}
    for row in (whole, {"age": 3.5}, {"age": None, "city": "x"}, {"note": ""}):
        answer = mixed.client.post("/v1/predict", json={"row": row})
        assert answer.status_code == 200, answer.text
        assert answer.json()["label"] in {"bad", "good"}


@pytest.mark.parametrize("content", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_content_type_parameters_do_not_matter(texts: Running, content: str) -> None:
    body = '{"texts": ["很好"]}'.encode()
    answer = texts.client.post("/v1/predict", content=body, headers={"content-type": content})
    assert answer.status_code == 200


def test_unusual_but_valid_text_is_answered(texts: Running) -> None:
    odd = ["", " ", "\x00", "🙂" * 100, "ａｂｃ", "\u202e反", "e\u0301", "很" * 2000]
    answer = texts.client.post("/v1/predict", json={"texts": odd})
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == len(odd)


def test_a_chunked_body_is_read(texts: Running) -> None:
    pieces = [b'{"texts"', b': ["', "很好".encode(), b'"]}']
    answer = texts.client.post("/v1/predict", content=iter(pieces), headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_opening_and_loading_gives_the_manifest(text_bundle: Path) -> None:
    served = load(open_bundle(text_bundle))
    assert served.name == "reviews"
    assert served.opened.manifest.classes == ("bad", "good")
    assert len(served.opened.version) == 12
    served.classifier.close()
