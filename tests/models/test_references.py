"""Our graph writers against the converters others use, on the same fitted models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts._cases import TASKS
from tests.models._contexts import context, topics, variant

from bakeoff.data.transforms.tabular import TableFeeder
from bakeoff.data.transforms.text import Analyser
from bakeoff.models.base import Examples, ExportContext
from bakeoff.models.boosting import PLUGIN as BOOSTING
from bakeoff.models.linear import PLUGIN as LINEAR
from bakeoff.runtimes.onnxruntime import PLUGIN as ONNX
from bakeoff.runtimes.onnxruntime import open_session
from bakeoff.schema import InputColumn

pytestmark = pytest.mark.filterwarnings("ignore")  # of converters that are not ours


def _ours(plugin: Any, artifact: Any, folder: Path, rows: Any) -> np.ndarray:
    (folder / "onnx").mkdir()
    exported = plugin.export(ExportContext(artifact, folder / "native", folder / "onnx", "onnx", 1))
    return ONNX.load(exported, folder / "onnx", 1).predict_proba(rows)


def test_a_linear_text_model_scores_as_scikit_learn_s_converter_says(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = topics(240), topics(60, seed=1)
    chosen = variant(format="tfidf-linear", units="char", ngrams=[1, 2])
    artifact = LINEAR.build(context(tmp_path / "native", train, chosen, classes=("a", "b", "c")))
    grams = json.loads((tmp_path / "native" / artifact.meta["vocabulary"]).read_text(encoding="utf-8"))
    with np.load(tmp_path / "native" / artifact.meta["weights"]) as arrays:
        weights = {name: arrays[name].astype(np.float64) for name in arrays.files}
    analyser = Analyser(artifact.transform)
    vectoriser = TfidfVectorizer(
        analyzer=analyser, vocabulary={gram: at for at, gram in enumerate(grams)}, sublinear_tf=True
    )
    vectoriser.idf_ = weights["idf"]
    matrix = vectoriser.transform(analyser.texts(test.rows)).toarray().astype(np.float32)
    model = LogisticRegression()
    model.coef_, model.intercept_, model.classes_ = weights["coef"].T, weights["intercept"], np.arange(3)
    model.n_features_in_ = matrix.shape[1]
    theirs = skl2onnx.convert_sklearn(
        model, initial_types=[("x", FloatTensorType([None, matrix.shape[1]]))], options={id(model): {"zipmap": False}}
    )
    expected = open_session(theirs.SerializeToString(), 1).run(["probabilities"], {"x": matrix})[0]
    np.testing.assert_allclose(_ours(LINEAR, artifact, tmp_path, test.rows), expected, atol=1e-5)


def _table(count: int, seed: int) -> tuple[Examples, tuple[InputColumn, ...]]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 4))
    labels = (values[:, 0] * values[:, 1] + np.sin(3 * values[:, 2]) > 0).astype(np.int64)
    names = tuple("wxyz")
    rows = [dict(zip(names, map(float, row), strict=True)) for row in values]
    return Examples(rows, labels), tuple(InputColumn(name=name, kind="number") for name in names)


@pytest.mark.parametrize("form", ["lightgbm", "xgboost"])
def test_boosted_trees_score_as_onnxmltools_says(tmp_path: Path, form: str) -> None:
    tools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    train, inputs = _table(600, 0)
    test, _ = _table(200, 1)
    chosen = variant(format=form, rounds=60)
    artifact = BOOSTING.build(
        context(tmp_path / "native", train, chosen, task=TASKS[1], inputs=inputs, calibrate=test, classes=("n", "y"))
    )
    body = tmp_path / "native" / artifact.meta["model"]
    kinds = [("x", FloatTensorType([None, 4]))]
    if form == "lightgbm":
        import lightgbm

        booster: Any = lightgbm.Booster(model_str=body.read_text(encoding="utf-8"))
        theirs = tools.convert_lightgbm(booster, initial_types=kinds, zipmap=False, target_opset=15)
    else:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(body.read_bytes()))
        booster = booster[: int(artifact.meta["rounds"])]
        theirs = tools.convert_xgboost(booster, initial_types=kinds, target_opset=15)
    matrix = TableFeeder(artifact.transform).matrix(test.rows)
    session = open_session(theirs.SerializeToString(), 1)
    expected = session.run([session.get_outputs()[1].name], {"x": matrix})[0]
    np.testing.assert_allclose(_ours(BOOSTING, artifact, tmp_path, test.rows), expected, atol=1e-5)
