from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models import tiny

from bakeoff import assets
from bakeoff.compression.base import CompressContext
from bakeoff.models import _vocabulary as vocabulary
from bakeoff.models import encoder
from bakeoff.models.base import Examples, ExportContext
from bakeoff.schema import Artifact, StepError, Strategy

pytest.importorskip("torch")
pytest.importorskip("transformers")
FAMILY = encoder.PLUGIN
STRATEGY = Strategy(epochs=4, batch_size=8, learning_rate=3e-3, max_length=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_encoder(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Path]:
    context = tiny.context(folder, tmp_path_factory.mktemp("trained"), strategy=STRATEGY)
    return FAMILY.build(context), context.out


def predict(artifact: Artifact, directory: Path, rows: Any, runtime: str = "pytorch") -> np.ndarray:
    from bakeoff.runtimes.loading import load_predictor

    predictor = load_predictor(artifact, directory, runtime, 1)
    found = predictor.predict_proba(rows)
    predictor.close()
    return found


def accuracy(artifact: Artifact, directory: Path) -> float:
    held = tiny.rows(100, 9)
    return float((predict(artifact, directory, held.rows).argmax(axis=1) == held.labels).mean())


def test_it_learns(trained: tuple[Artifact, Path]) -> None:
    artifact, directory = trained
    assert accuracy(artifact, directory) > 0.9
    assert artifact.format == "transformer"
    assert artifact.licences == ("MIT",)
    assert artifact.meta["training"]["steps"] == 60
    assert artifact.meta["strategy"]["epochs"] == 4
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_the_artefact_tells_nothing_about_this_machine(trained: tuple[Artifact, Path]) -> None:
    artifact, directory = trained
    for text in ((directory / "config.json").read_text(), artifact.model_dump_json()):
        assert "/tmp" not in text
        assert str(Path.home()) not in text


def test_same_seed_same_bytes(folder: Path, tmp_path: Path) -> None:
    strategy = STRATEGY.model_copy(update={"epochs": 1})
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        FAMILY.build(tiny.context(folder, tmp_path / name, strategy=strategy, seed=seed))
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_probe_has_the_same_shape_and_no_training(
    folder: Path, tmp_path: Path, trained: tuple[Artifact, Path]
) -> None:
    context = tiny.context(folder, tmp_path / "probe", strategy=STRATEGY, probe=True)
    artifact = FAMILY.build(context)
    size = (context.out / "model.safetensors").stat().st_size
    assert size == (trained[1] / "model.safetensors").stat().st_size
    assert artifact.meta["training"] is None
    assert predict(artifact, context.out, tiny.rows(3).rows).shape == (3, 2)


def test_a_head_start_is_a_logistic_regression_on_the_frozen_encoder(folder: Path, tmp_path: Path) -> None:
    strategy = Strategy(epochs=1, batch_size=200, learning_rate=1e-9, max_length=32)  # hardly moves after the start
    with_it = tiny.context(
        folder, tmp_path / "with", strategy=strategy, params={"head_start": True, "normalise": False}
    )
    without = tiny.context(folder, tmp_path / "without", strategy=strategy, params={"normalise": False})
    scores = [accuracy(FAMILY.build(context), context.out) for context in (with_it, without)]
    assert scores[0] > scores[1] + 0.2


def test_export_agrees_and_int8_is_close(trained: tuple[Artifact, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from bakeoff.compression import dynamic_int8

    artifact, directory = trained
    out, small = tmp_path / "onnx", tmp_path / "int8"
    out.mkdir()
    small.mkdir()
    exported = FAMILY.export(ExportContext(artifact, directory, out, "onnx", 1))
    rows = tiny.rows(30, 4).rows
    native = predict(artifact, directory, rows)
    np.testing.assert_allclose(predict(exported, out, rows, "onnxruntime"), native, atol=1e-5)
    squeezed = dynamic_int8.PLUGIN.apply(CompressContext(exported, out, small, rows, 1))
    found = predict(squeezed, small, rows, "onnxruntime")
    assert (found.argmax(axis=1) == native.argmax(axis=1)).mean() > 0.9
    assert (small / "model.onnx").stat().st_size < 0.9 * (out / "model.onnx").stat().st_size


def test_other_targets_are_refused(trained: tuple[Artifact, Path], tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"no such export.*abacus.*onnx, openvino"):
        FAMILY.export(ExportContext(trained[0], trained[1], tmp_path, "abacus", 1))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"strategy": Strategy(augmentation=("swap",))}, "unsupported"),
        ({"strategy": Strategy(max_length=65)}, "unsupported"),
        ({"weights": None}, "unavailable"),
        ({"train": Examples(tiny.rows(10).rows, np.zeros(10, dtype=np.int64))}, "error"),
    ],
)
def test_what_cannot_be_built_says_why(folder: Path, tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(StepError) as caught:
        FAMILY.build(tiny.context(folder, tmp_path / "out", **changes))
    assert caught.value.code == code
    assert caught.value.what


def test_weights_without_a_fast_tokenizer_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"tokenizer\.json"):
        FAMILY.build(tiny.context(tmp_path, tmp_path / "out"))


def test_pickled_weights_are_never_opened(folder: Path, tmp_path: Path) -> None:
    copy = tiny.write_encoder(tmp_path / "bin")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(Exception, match="safetensors"):
        FAMILY.build(tiny.context(copy, tmp_path / "out"))


def test_variants_name_hub_models_with_their_licence() -> None:
    from tests.contracts._cases import profile_of, spec_of

    for language in ("zh", "en"):
        found = FAMILY.variants(spec_of("text-classification"), profile_of("text-classification", language=language))
        assert any(variant.weights for variant in found)
        hubs = [variant for variant in found if variant.weights is None]
        assert hubs
        assert all(variant.hub and variant.licence and variant.strategy for variant in found)
        assert all(variant.weights is None or variant.weights in assets.recipes() for variant in found)
    chinese = FAMILY.variants(spec_of("text-classification"), profile_of("text-classification"))
    assert {"e5-small", "bert-base-chinese", "roberta-wwm-zh"} <= {variant.name for variant in chinese}


# ------------------------------------------------------------------------------------------------ cutting the vocabulary
def test_cutting_keeps_every_segmentation_of_the_rows_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer

    monkeypatch.setattr(vocabulary, "_WORTH_CUTTING", 10)
    whole = tiny.tokenizer("Unigram")
    assert vocabulary.can_be_cut(whole)
    assert not vocabulary.can_be_cut(tiny.tokenizer())
    before = Tokenizer.from_str(json.dumps(whole))
    texts = ["房间好", "电池abc", "我喜爱"]
    used = {token for text in texts for token in before.encode(text).ids}
    ids = vocabulary.kept(whole, used)
    after = Tokenizer.from_str(json.dumps(vocabulary.cut(whole, ids)))
    assert after.get_vocab_size() < before.get_vocab_size()
    for text in texts:
        assert after.encode(text).tokens == before.encode(text).tokens
    assert after.encode("xyz").tokens == ["<s>", "x", "y", "z", "</s>"]  # its own piece went, its characters stayed
    assert after.encode("服务员").tokens == ["<s>", "服务员", "</s>"]  # Chinese words stay once any Chinese is seen


def test_cut_network_computes_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vocabulary, "_WORTH_CUTTING", 10)
    folder = tiny.write_encoder(tmp_path / "unigram", kind="Unigram")
    rows = tiny.rows(60, 1)
    made = []
    for name, cut in (("cut", True), ("whole", False)):
        context = tiny.context(
            folder,
            tmp_path / name,
            strategy=STRATEGY.model_copy(update={"epochs": 1}),
            train=rows,
            params={"cut_vocabulary": cut},
        )
        artifact = FAMILY.build(context)
        made.append((artifact, predict(artifact, context.out, rows.rows)))
    assert made[0][0].meta["vocabulary"] < made[1][0].meta["vocabulary"]
    np.testing.assert_allclose(made[0][1], made[1][1], atol=1e-5)


@pytest.mark.assets
def test_cutting_e5_loses_little_on_reviews_never_seen() -> None:
    import csv

    from tokenizers import Tokenizer

    weights, reviews = assets.find("multilingual-e5-small"), assets.find("chinese-reviews")
    if weights is None or reviews is None:
        pytest.skip("assets multilingual-e5-small and chinese-reviews are not fetched")
    with (reviews / "reviews.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    seen, unseen = texts[:4000:2], [text for text in texts[1:4000:8] if text not in set(texts[:4000:2])]
    whole = json.loads((weights / "tokenizer.json").read_text(encoding="utf-8"))
    before = Tokenizer.from_str(json.dumps(whole))
    used = {token for encoding in before.encode_batch(seen) for token in encoding.ids}
    ids = vocabulary.kept(whole, used)
    after = Tokenizer.from_str(json.dumps(vocabulary.cut(whole, ids)))
    assert len(ids) < 35_000
    for text in seen[:200]:
        assert after.encode(text).tokens == before.encode(text).tokens
    pairs = [(after.encode(text).tokens, before.encode(text).tokens) for text in unseen]
    assert sum(a == b for a, b in pairs) / len(pairs) > 0.9
    assert sum(len(a) for a, _ in pairs) / sum(len(b) for _, b in pairs) < 1.01
    assert not any("<unk>" in a and "<unk>" not in b for a, b in pairs)


def test_the_seed_is_the_contexts(folder: Path, tmp_path: Path) -> None:
    import torch

    context = tiny.context(folder, tmp_path / "x", strategy=STRATEGY.model_copy(update={"epochs": 1}))
    FAMILY.build(context)
    torch.manual_seed(12345)  # whatever the process drew before must not matter
    other = replace(context, out=tmp_path / "y")
    other.out.mkdir()
    FAMILY.build(other)
    assert (tmp_path / "x" / "model.safetensors").read_bytes() == (tmp_path / "y" / "model.safetensors").read_bytes()
