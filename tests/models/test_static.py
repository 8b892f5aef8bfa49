from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.contracts._cases import MALFORMED
from tests.models._contexts import context, topics, variant
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from bakeoff import assets
from bakeoff.models._static import build_static, export_static
from bakeoff.models.base import ExportContext
from bakeoff.runtimes.native import PLUGIN as NATIVE
from bakeoff.runtimes.native import StaticLinear
from bakeoff.runtimes.onnxruntime import PLUGIN as ONNX
from bakeoff.schema import Artifact, StepError

SIGNS = list("春夏秋冬山水花鸟云月风雪江河湖海天地人和日星草木！OK")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A tiny table of one vector per sign, in the layout of the assets."""
    folder = tmp_path / "weights"
    folder.mkdir()
    vocabulary = {"<unk>": 0, "<s>": 1, **{sign: at + 2 for at, sign in enumerate(dict.fromkeys(SIGNS))}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(vocabulary), 16)).astype(np.float16)
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    facts = {
        "pooling": "mean",
        "normalise": True,
        "dimensions": 16,
        "max_tokens": None,
        "prefix": "",
        "special_tokens": False,
    }
    (folder / "pooling.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def _built(out: Path, weights: Path, classes: int = 2) -> Artifact:
    names = ("a", "b", "c")[:classes]
    return build_static(context(out, topics(300, classes), variant(), weights=weights, classes=names))


def test_a_text_is_the_unit_mean_of_its_tokens(tmp_path: Path, weights: Path) -> None:
    artifact = _built(tmp_path / "n", weights)
    predictor = StaticLinear(artifact, tmp_path / "n")
    from safetensors.numpy import load_file

    table = load_file(weights / "model.safetensors")["embedding.weight"].astype(np.float64)
    ids = [SIGNS.index("春") + 2, SIGNS.index("山") + 2, SIGNS.index("山") + 2]
    mean = table[ids].mean(axis=0)
    found = predictor.embed([{"text": "春山山"}, {"text": ""}])
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), atol=1e-3)
    np.testing.assert_array_equal(found[1], np.zeros(16))


@pytest.mark.parametrize("classes", [2, 3])
def test_it_learns_and_the_graph_agrees(tmp_path: Path, weights: Path, classes: int) -> None:
    artifact = _built(tmp_path / "n", weights, classes)
    (tmp_path / "o").mkdir()
    exported = export_static(ExportContext(artifact, tmp_path / "n", tmp_path / "o", "onnx", 1))
    test = topics(150, classes, seed=5)
    rows = [*test.rows, *MALFORMED]
    expected = NATIVE.load(artifact, tmp_path / "n", 1).predict_proba(rows)
    assert (expected[: len(test)].argmax(axis=1) == test.labels).mean() > 0.85
    np.testing.assert_allclose(ONNX.load(exported, tmp_path / "o", 1).predict_proba(rows), expected, atol=1e-5)


def test_wrong_weights_are_reasons(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(StepError) as caught:
        build_static(context(tmp_path / "a", topics(40, 2), variant()))
    assert caught.value.code == "unavailable"
    facts = json.loads((weights / "pooling.json").read_text(encoding="utf-8"))
    (weights / "pooling.json").write_text(json.dumps({**facts, "pooling": "first"}), encoding="utf-8")
    with pytest.raises(StepError) as caught:
        _built(tmp_path / "b", weights)
    assert caught.value.code == "unsupported"
    (weights / "pooling.json").write_text(json.dumps(facts), encoding="utf-8")
    save_file({"layers.0": np.zeros((2, 2), dtype=np.float32)}, weights / "model.safetensors")
    with pytest.raises(StepError, match=r"embedding\.weight"):
        _built(tmp_path / "c", weights)


@pytest.mark.assets
def test_wordllama_tells_news_topics_apart(tmp_path: Path) -> None:
    """0.98 is what the library itself reaches on these articles with a logistic regression."""
    folder, table = assets.find("bbc-news"), assets.find("wordllama-256")
    if folder is None or table is None:
        pytest.skip("assets bbc-news and wordllama-256 are not fetched")
    import csv

    from bakeoff.models.base import Examples

    with next(folder.glob("*.csv")).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text, target = "text", next(name for name in rows[0] if name != "text")
    classes = tuple(sorted({row[target] for row in rows}))
    order = np.random.default_rng(0).permutation(len(rows))[:900]
    data = Examples(
        [{text: rows[at][text]} for at in order], np.array([classes.index(rows[at][target]) for at in order])
    )
    train = Examples(data.rows[:600], data.labels[:600])
    artifact = build_static(context(tmp_path, train, variant(), weights=table, classes=classes, language="en"))
    found = NATIVE.load(artifact, tmp_path, 1).predict_proba(data.rows[600:])
    assert (found.argmax(axis=1) == data.labels[600:]).mean() > 0.94
