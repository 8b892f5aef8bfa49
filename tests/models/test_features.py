"""Heads on one frozen encoder share what it computed; nothing about what is built or told changes by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models import tiny

from bakeoff.models import embedding_head
from bakeoff.runtimes.loading import load_predictor
from bakeoff.schema import Artifact, Strategy
from bakeoff.store.features import FeatureStore

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")
STRATEGY = Strategy(max_length=32, freeze="body")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_encoder(tmp_path_factory.mktemp("weights"), kind="Unigram")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each pass through an encoder was given."""
    from bakeoff.data.transforms import network as net

    counted: list[int] = []
    plain = net.run

    def run(network: Any, sequences: Any, *rest: Any, **more: Any) -> Any:
        counted.append(len(sequences))
        return plain(network, sequences, *rest, **more)

    monkeypatch.setattr(net, "run", run)
    return counted


def build(folder: Path, out: Path, features: FeatureStore | None, **changes: Any) -> tuple[Artifact, Path]:
    params = {"format": "transformer", "cut_vocabulary": True, **changes.pop("params", {})}
    context = tiny.context(folder, out, strategy=STRATEGY, params=params, features=features, **changes)
    return embedding_head.PLUGIN.build(context), out


def head(directory: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    found = load_file(directory / "model.safetensors")
    return np.concatenate([found["head.weight"].ravel(), found["head.bias"]])


def test_a_second_head_and_a_larger_share_read_only_what_is_new(
    folder: Path, tmp_path: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bakeoff.models._vocabulary._WORTH_CUTTING", 10
    )  # so that each share is cut to another vocabulary
    rows = tiny.rows(120, 1)
    few = type(rows)(rows.rows[:40], rows.labels[:40])
    store = tmp_path / "features"
    build(folder, tmp_path / "few", FeatureStore(store), train=few)
    build(folder, tmp_path / "all", FeatureStore(store))
    build(folder, tmp_path / "tuned", FeatureStore(store), params={"C": 5.0})
    texts = len({row["text"] for row in rows.rows})
    assert sum(read) == texts
    assert read[0] == len({row["text"] for row in few.rows})


def test_the_head_is_the_same_as_without_a_store(folder: Path, tmp_path: Path) -> None:
    _, plain = build(folder, tmp_path / "plain", None)
    store = FeatureStore(tmp_path / "features")
    for name in ("first", "second"):
        _, shared = build(folder, tmp_path / name, store)
        np.testing.assert_allclose(head(shared), head(plain), rtol=1e-5, atol=1e-6)


def test_predicting_from_known_vectors_answers_as_the_whole_way_does(
    folder: Path, tmp_path: Path, read: list[int]
) -> None:
    artifact, directory = build(folder, tmp_path / "a", FeatureStore(tmp_path / "features"))
    predictor: Any = load_predictor(artifact, directory, "pytorch", 1)
    held = tiny.rows(60, 9).rows
    whole = predictor.predict_proba(held)
    for number in range(2):
        read.clear()
        features = FeatureStore(tmp_path / "features")
        np.testing.assert_allclose(predictor.predict_known(held, features), whole, atol=1e-6)
        assert sum(read) == (0 if number else len({row["text"] for row in held}))
        assert (features.saved_seconds > 0) == bool(number)
    assert predictor.predict_known([], features).shape == (0, 2)


def test_an_encoder_that_was_trained_always_goes_the_whole_way(folder: Path, tmp_path: Path) -> None:
    from bakeoff.models import encoder

    features = FeatureStore(tmp_path / "features")
    context = tiny.context(folder, tmp_path / "a", features=features)
    artifact = encoder.PLUGIN.build(context)
    predictor: Any = load_predictor(artifact, tmp_path / "a", "pytorch", 1)
    held = tiny.rows(30, 9).rows
    before = sorted((tmp_path / "features").glob("*/*"))
    np.testing.assert_array_equal(predictor.predict_known(held, features), predictor.predict_proba(held))
    assert sorted((tmp_path / "features").glob("*/*")) == before


def test_other_weights_or_pooling_share_nothing(folder: Path, tmp_path: Path, read: list[int]) -> None:
    store = tmp_path / "features"
    build(folder, tmp_path / "a", FeatureStore(store))
    build(folder, tmp_path / "b", FeatureStore(store), params={"pooling": "first"})
    other = tiny.write_encoder(tmp_path / "weights", kind="Unigram", positions=60)
    build(other, tmp_path / "c", FeatureStore(store))
    assert read[0] == read[1] == read[2] > 0
