from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.models import tiny

from bakeoff.models import encoder
from bakeoff.runtimes import pytorch
from bakeoff.schema import Artifact, StepError, Strategy

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Path]:
    folder = tiny.write_encoder(tmp_path_factory.mktemp("weights"))
    strategy = Strategy(epochs=1, batch_size=8, learning_rate=3e-3, max_length=32)
    context = tiny.context(folder, tmp_path_factory.mktemp("artefact"), strategy=strategy)
    return encoder.PLUGIN.build(context), context.out


def test_probabilities_in_the_order_of_the_rows(built: tuple[Artifact, Path]) -> None:
    predictor = pytorch.PLUGIN.load(*built, threads=1)
    rows = tiny.rows(40, 7).rows
    found = predictor.predict_proba(rows)
    assert found.shape == (40, 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(predictor.predict_proba(rows[::-1])[::-1], found, atol=1e-5)
    np.testing.assert_array_equal(predictor.predict_proba(rows[:1]), predictor.predict_proba(rows[:1]))
    predictor.close()


def test_no_rows(built: tuple[Artifact, Path]) -> None:
    assert pytorch.PLUGIN.load(*built, threads=1).predict_proba([]).shape == (0, 2)


def test_threads_are_what_was_asked_for(built: tuple[Artifact, Path]) -> None:
    for threads in (2, 1):
        pytorch.PLUGIN.load(*built, threads=threads)
        assert torch.get_num_threads() == threads


def test_dropout_is_off_and_no_gradient_is_kept(built: tuple[Artifact, Path]) -> None:
    predictor = pytorch.PLUGIN.load(*built, threads=1)
    assert not predictor._network.training
    rows = tiny.rows(5, 3).rows
    np.testing.assert_array_equal(predictor.predict_proba(rows), predictor.predict_proba(rows))


def test_texts_longer_than_the_limit_are_cut(built: tuple[Artifact, Path]) -> None:
    predictor = pytorch.PLUGIN.load(*built, threads=1)
    text = "房间好" * 200
    np.testing.assert_array_equal(
        predictor.predict_proba([{"text": text}]), predictor.predict_proba([{"text": text[:150]}])
    )


def test_bf16_is_off_by_default_and_close_when_on(built: tuple[Artifact, Path]) -> None:
    artifact, directory = built
    low = artifact.model_copy(update={"meta": {**artifact.meta, "serve_precision": "bf16"}})
    rows = tiny.rows(20, 3).rows
    exact = pytorch.PLUGIN.load(artifact, directory, 1).predict_proba(rows)
    rough = pytorch.PLUGIN.load(low, directory, 1).predict_proba(rows)
    assert 0 < np.abs(exact - rough).max() < 0.1


def test_other_formats_are_refused(built: tuple[Artifact, Path]) -> None:
    other = built[0].model_copy(update={"format": "onnx"})
    with pytest.raises(StepError) as caught:
        pytorch.PLUGIN.load(other, built[1], 1)
    assert caught.value.code == "unsupported"
