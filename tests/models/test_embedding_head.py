from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models import tiny

from bakeoff import assets
from bakeoff.models import _head, embedding_head
from bakeoff.models._logistic import Head
from bakeoff.models.base import Examples, ExportContext
from bakeoff.schema import Artifact, StepError, Strategy

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")
FAMILY = embedding_head.PLUGIN
STRATEGY = Strategy(max_length=32, freeze="body")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_encoder(tmp_path_factory.mktemp("weights"))


def build(folder: Path, out: Path, **changes: Any) -> tuple[Artifact, Path]:
    changes.setdefault("params", {"format": "transformer"})
    context = tiny.context(folder, out, strategy=STRATEGY, **changes)
    return FAMILY.build(context), context.out


def predict(artifact: Artifact, directory: Path, rows: Any, runtime: str = "pytorch") -> np.ndarray:
    from bakeoff.runtimes.loading import load_predictor

    predictor = load_predictor(artifact, directory, runtime, 1)
    found = predictor.predict_proba(rows)
    predictor.close()
    return found


def test_it_learns_and_exports(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    artifact, directory = build(folder, tmp_path / "a")
    held = tiny.rows(100, 9)
    native = predict(artifact, directory, held.rows)
    assert (native.argmax(axis=1) == held.labels).mean() > 0.75
    np.testing.assert_allclose(native.sum(axis=1), 1.0)
    out = tmp_path / "onnx"
    out.mkdir()
    exported = FAMILY.export(ExportContext(artifact, directory, out, "onnx", 1))
    np.testing.assert_allclose(predict(exported, out, held.rows, "onnxruntime"), native, atol=1e-5)


def test_the_encoder_is_untouched(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    _, directory = build(folder, tmp_path / "a")
    before, after = load_file(folder / "model.safetensors"), load_file(directory / "model.safetensors")
    for name, value in before.items():
        np.testing.assert_array_equal(after[f"encoder.{name}"], value)


def test_the_head_is_scikit_learns(folder: Path, tmp_path: Path) -> None:
    """Oracle: the network's probabilities are those of a pipeline of scaler and regression on its own vectors."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from bakeoff.data.transforms import network as net
    from bakeoff.data.transforms.text import TokenFeeder

    context = tiny.context(folder, tmp_path / "a", strategy=STRATEGY, params={"format": "transformer"})
    artifact = FAMILY.build(context)
    feeder = TokenFeeder(artifact.transform, context.out)
    network = net.load(context.out, artifact.meta, 2)
    dtype = artifact.meta["embedded_in"]
    vectors = net.run(network, feeder.encode(context.train.rows), 1, embed=True, dtype=dtype)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=artifact.meta["strength"], max_iter=300))
    model.fit(vectors, context.train.labels)
    exact = net.run(network, feeder.encode(context.train.rows), 1, embed=True)
    expected = model.predict_proba(exact)
    np.testing.assert_allclose(predict(artifact, context.out, context.train.rows), expected, atol=2e-3)


def test_a_strength_that_is_given_is_taken(folder: Path, tmp_path: Path) -> None:
    """It is not chosen again, and more of it fits the training rows more closely."""
    losses = []
    for strength in (0.001, 1.0):
        context = tiny.context(
            folder, tmp_path / str(strength), strategy=STRATEGY, params={"format": "transformer", "C": strength}
        )
        artifact = FAMILY.build(context)
        assert artifact.meta["strength"] == strength
        told = predict(artifact, context.out, context.train.rows)[np.arange(len(context.train)), context.train.labels]
        losses.append(-np.log(told).mean())
    assert losses[1] < losses[0]


def test_the_prefix_of_the_encoder_is_used(folder: Path, tmp_path: Path) -> None:
    artifact, _ = build(folder, tmp_path / "a")
    assert artifact.transform["prefix"] == "query: "
    other, _ = build(folder, tmp_path / "b", params={"format": "transformer", "prefix": ""})
    assert other.transform["prefix"] == ""


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_pooling(folder: Path, tmp_path: Path, pooling: str) -> None:
    """Padding never reaches a pooled vector: a row alone and beside a longer one gets the same answer."""
    artifact, directory = build(folder, tmp_path / pooling, params={"format": "transformer", "pooling": pooling})
    assert artifact.meta["pooling"] == pooling
    rows = tiny.rows(12, 3).rows
    alone = np.vstack([predict(artifact, directory, [row]) for row in rows[:4]])
    np.testing.assert_allclose(predict(artifact, directory, rows)[:4], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["distilbert", "xlm-roberta", "modernbert", "qwen3"])
def test_architectures_of_hub_models_embed_and_export(tmp_path: Path, name: str) -> None:
    """The kinds of network the catalogue names on hubs, small and with random weights, all the way to ONNX Runtime."""
    pytest.importorskip("onnxruntime")
    weights = tiny.write_other(tmp_path / "weights", name)
    params = {"format": "transformer", "pooling": "last" if name == "qwen3" else "mean"}
    artifact, directory = build(weights, tmp_path / "a", params=params)
    out = tmp_path / "onnx"
    out.mkdir()
    exported = FAMILY.export(ExportContext(artifact, directory, out, "onnx", 1))
    rows = tiny.rows(10, 3).rows
    native = predict(artifact, directory, rows)
    np.testing.assert_allclose(predict(exported, out, rows, "onnxruntime"), native, atol=1e-5)


def test_three_classes_one_of_them_never_seen(folder: Path, tmp_path: Path) -> None:
    artifact, directory = build(
        folder, tmp_path / "a", classes=("负面", "从未见过", "正面"), train=_spread(tiny.rows(120, 1))
    )
    found = predict(artifact, directory, tiny.rows(50, 9).rows)
    assert found.shape == (50, 3)
    assert found[:, 1].max() < 1e-3


def _spread(examples: Examples) -> Examples:
    return Examples(examples.rows, examples.labels * 2)


def test_one_class_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="one class"):
        build(folder, tmp_path / "a", train=Examples(tiny.rows(60).rows, np.zeros(60, dtype=np.int64)))


def test_few_rows_use_the_default_strength() -> None:
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(60, 5)), np.arange(60) % 2
    assert _head.choose_strength(vectors[:10], labels[:10], 0) == _head._DEFAULT_STRENGTH
    assert _head.choose_strength(vectors, np.zeros(60, dtype=np.int64), 0) == _head._DEFAULT_STRENGTH
    clear = vectors + 4.0 * labels[:, None]
    assert _head.choose_strength(clear, labels, 0) > _head.choose_strength(vectors, labels, 0)


def test_unscaling_folds_the_standardising_in() -> None:
    rng = np.random.default_rng(1)
    raw, mean, spread = rng.normal(size=(20, 4)), rng.normal(size=4), rng.uniform(0.5, 2, size=4)
    head = Head(rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32), "softmax")
    other = _head.unscaled(head, mean, spread)
    expected = (raw - mean) / spread @ head.coef + head.intercept
    np.testing.assert_allclose(raw @ other.coef + other.intercept, expected, atol=1e-5)


def test_unknown_targets_are_refused(folder: Path, tmp_path: Path) -> None:
    artifact, directory = build(folder, tmp_path / "a")
    with pytest.raises(StepError, match=r"no such export.*abacus.*onnx, openvino"):
        FAMILY.export(ExportContext(artifact, directory, tmp_path, "abacus", 1))


def test_every_variant_can_be_had_somewhere() -> None:
    from tests.contracts._cases import profile_of, spec_of

    found = FAMILY.variants(spec_of("text-classification"), profile_of("text-classification"))
    assert {"e5-small", "wordllama", "bge-small-zh", "bge-m3"} <= {variant.name for variant in found}
    assert all(variant.weights is None or variant.weights in assets.recipes() for variant in found)
    assert all(variant.hub or variant.weights for variant in found)
    assert all(variant.params["format"] in FAMILY.traits.formats for variant in found)


@pytest.mark.assets
def test_static_embeddings_are_the_other_format(tmp_path: Path) -> None:
    weights = assets.find("wordllama-256")
    if weights is None:
        pytest.skip("asset wordllama-256 is not fetched")
    artifact, directory = build(weights, tmp_path / "a", params={"format": "static-linear"})
    assert artifact.format == "static-linear"
    held = tiny.rows(40, 9)
    assert (predict(artifact, directory, held.rows, "native").argmax(axis=1) == held.labels).mean() > 0.8
