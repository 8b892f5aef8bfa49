"""The family's own library: NumPy for linear models, scorecards and constants; LightGBM and XGBoost for boosted trees.

Linear models need no scikit-learn when they serve: a text's score is a sum over the n-grams it holds, which takes a
dictionary look-up each. The result is that of ``TfidfVectorizer`` and ``LogisticRegression`` (tests compare).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms import tabular, text
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.named import named
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import RuntimeTraits

Row = Mapping[str, Any]
Floats = NDArray[np.float64]


def linked(scores: Floats, link: str) -> Floats:
    """Return (n, k) probabilities: ``sigmoid`` of scores (n, 1), ``softmax`` of (n, k), ``ovr``: normalised sigmoids."""
    if link == "softmax":
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
    positive = 0.5 * (1.0 + np.tanh(0.5 * scores))  # the sigmoid that never overflows
    if link == "sigmoid":
        return np.hstack([1.0 - positive, positive])
    positive = np.maximum(positive, np.finfo(np.float64).tiny)
    return np.asarray(positive / positive.sum(axis=1, keepdims=True))


class _Closing:
    def close(self) -> None:
        """Nothing is held that the garbage collector does not free."""


class Constant(_Closing):
    """The same probabilities for every row."""

    def __init__(self, artifact: Artifact, directory: Path) -> None:
        del directory
        self._prior = np.asarray(artifact.meta["prior"], dtype=np.float64)

    def predict_proba(self, rows: Sequence[Row]) -> Floats:
        """Return (n, k) probabilities."""
        return np.tile(self._prior, (len(rows), 1))


class TfidfLinear(_Closing):
    """TF-IDF (sub-linear term frequency, smoothed idf, unit length) times coefficients."""

    def __init__(self, artifact: Artifact, directory: Path) -> None:
        self._analyser = text.Analyser(artifact.transform)
        grams = text.read_words(named(artifact, directory, artifact.meta["vocabulary"], ".json"))
        self._ids = {gram: at for at, gram in enumerate(grams)}
        with np.load(named(artifact, directory, artifact.meta["weights"], ".npz"), allow_pickle=False) as arrays:
            self._idf = arrays["idf"].astype(np.float64)
            self._coef = arrays["coef"].astype(np.float64)
            self._intercept: Floats = arrays["intercept"].astype(np.float64)
        self._link = str(artifact.meta["link"])

    def predict_proba(self, rows: Sequence[Row]) -> Floats:
        """Return (n, k) probabilities."""
        scores = np.empty((len(rows), len(self._intercept)))
        for at, folded in enumerate(self._analyser.texts(rows)):
            scores[at] = self._score(folded)
        return linked(scores, self._link)

    def _score(self, folded: str) -> Floats:
        counts: dict[int, int] = {}
        get = self._ids.get
        for gram in self._analyser(folded):
            if (at := get(gram)) is not None:
                counts[at] = counts.get(at, 0) + 1
        if not counts:
            return self._intercept
        ids = np.fromiter(counts, dtype=np.int64, count=len(counts))
        frequency = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
        values = (1.0 + np.log(frequency)) * self._idf[ids]
        return np.asarray(values @ self._coef[ids] / np.sqrt(values @ values) + self._intercept)


class StaticLinear(_Closing):
    """The mean of a text's token vectors, of unit length, times coefficients."""

    def __init__(self, artifact: Artifact, directory: Path) -> None:
        from safetensors.numpy import load_file

        self._feeder = text.TokenFeeder(artifact.transform, directory)
        self._table = load_file(named(artifact, directory, artifact.meta["embedding"], ".safetensors"))[
            "embedding.weight"
        ]
        with np.load(named(artifact, directory, artifact.meta["weights"], ".npz"), allow_pickle=False) as arrays:
            self._coef = arrays["coef"].astype(np.float64)
            self._intercept: Floats = arrays["intercept"].astype(np.float64)
        self._link = str(artifact.meta["link"])

    def embed(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return (n, d) text vectors of unit length; an empty text is the zero vector."""
        return text.pooled(self._table, self._feeder.encode(rows))

    def predict_proba(self, rows: Sequence[Row]) -> Floats:
        """Return (n, k) probabilities."""
        scores: Floats = self.embed(rows).astype(np.float64) @ self._coef + self._intercept
        return linked(scores, self._link)


class Scorecard(_Closing):
    """One weight per bin of each column; the score is their sum."""

    def __init__(self, artifact: Artifact, directory: Path) -> None:
        card = json.loads(named(artifact, directory, artifact.meta["card"], ".json").read_text(encoding="utf-8"))
        self._feeder = tabular.TableFeeder(artifact.transform)
        self._intercept = np.asarray(card["intercept"], dtype=np.float64)
        self._columns = [
            (
                column["at"],
                None if column["edges"] is None else np.asarray(column["edges"], dtype=np.float32),
                np.asarray([*column["weights"], column["missing"]], dtype=np.float64),
            )
            for column in card["columns"]
        ]
        self._link = str(artifact.meta["link"])

    def predict_proba(self, rows: Sequence[Row]) -> Floats:
        """Return (n, k) probabilities."""
        table = self._feeder.matrix(rows)
        scores = np.tile(self._intercept, (len(rows), 1))
        for at, edges, weights in self._columns:
            scores += weights[tabular.bins_of(table[:, at], edges, len(weights) - 1)]
        return linked(scores, self._link)


def _model_bytes(artifact: Artifact, directory: Path, suffix: str) -> bytes:
    """Read a booster's file; both libraries end the process on a damaged one, so its hash is compared first."""
    path = named(artifact, directory, artifact.meta["model"], suffix)
    body = path.read_bytes()
    if hashlib.sha256(body).hexdigest() != artifact.meta["sha256"]:
        what = "the model file is not as it was built"
        raise StepError("error", what, where=str(path))
    return body


class LightGbm(_Closing):
    """A LightGBM booster read from its text format."""

    def __init__(self, artifact: Artifact, directory: Path, threads: int) -> None:
        import lightgbm

        self._feeder = tabular.TableFeeder(artifact.transform)
        # from a string: the library's own file reader does not take every path
        self._booster = lightgbm.Booster(model_str=_model_bytes(artifact, directory, ".txt").decode("utf-8"))
        self._threads = threads

    def predict_proba(self, rows: Sequence[Row]) -> Floats:
        """Return (n, k) probabilities."""
        table = self._feeder.matrix(rows).astype(np.float64)
        found = np.asarray(self._booster.predict(table, num_threads=self._threads), dtype=np.float64)
        return found if found.ndim > 1 else np.column_stack([1.0 - found, found])


class XgBoost(_Closing):
    """An XGBoost booster read from UBJSON."""

    def __init__(self, artifact: Artifact, directory: Path, threads: int) -> None:
        import xgboost

        self._feeder = tabular.TableFeeder(artifact.transform)
        self._booster = xgboost.Booster({"nthread": threads})
        self._booster.load_model(bytearray(_model_bytes(artifact, directory, ".ubj")))
        self._rounds = (0, int(artifact.meta["rounds"]))

    def predict_proba(self, rows: Sequence[Row]) -> Floats:
        """Return (n, k) probabilities."""
        table = self._feeder.matrix(rows)
        found = self._booster.inplace_predict(table, iteration_range=self._rounds, validate_features=False)
        wide = np.asarray(found, dtype=np.float64)
        return wide if wide.ndim > 1 else np.column_stack([1.0 - wide, wide])


class Native:
    """Loads whatever a family's own library predicts with."""

    traits = RuntimeTraits(
        label=Words(zh="原生库", en="native library"),
        loads=("constant", "tfidf-linear", "static-linear", "scorecard", "lightgbm", "xgboost"),
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Load the artefact; see ``runtimes.base.Runtime``."""
        try:
            return _load(artifact, directory, threads)
        except ImportError as error:
            what = f"{artifact.format} needs a library that is not installed: {error.name}"
            raise StepError("unavailable", what, try_=f"pip install {error.name}") from error


def _load(artifact: Artifact, directory: Path, threads: int) -> Predictor:
    match artifact.format:
        case "constant":
            return Constant(artifact, directory)
        case "tfidf-linear":
            return TfidfLinear(artifact, directory)
        case "static-linear":
            return StaticLinear(artifact, directory)
        case "scorecard":
            return Scorecard(artifact, directory)
        case "lightgbm":
            return LightGbm(artifact, directory, threads)
        case "xgboost":
            return XgBoost(artifact, directory, threads)
    what = "the native runtime does not load this format"
    raise StepError("unsupported", what, got=artifact.format, allowed=Native.traits.loads)


PLUGIN = Native()
