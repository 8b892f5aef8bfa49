"""Text models: n-grams of characters or words, reduced or joined with embeddings; (params, seed) → an untrained model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.text import segmenter
from benchmarks.tables import models
from benchmarks.tables.recording import Chain

Params = Mapping[str, Any]
_WORDS = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the words of a text: by dictionary where it is Chinese, at white space elsewhere."""
    if text.isascii():
        return _WORDS.findall(text)
    return list(_segment()(text))


_CUT: list[Callable[[str], Any]] = []


def _segment() -> Callable[[str], Any]:
    if not _CUT:
        _CUT.append(segmenter({"kind": "word-ids", "segmenter": "rjieba"}))
    return _CUT[0]


def tfidf(params: Params, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Make a TF-IDF: unit (char, word), ngrams (longest), features (most)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    del seed
    by = {"analyzer": "char"} if params["unit"] == "char" else {"tokenizer": words_of, "token_pattern": None}
    return TfidfVectorizer(
        ngram_range=(1, params["ngrams"]), max_features=params["features"], sublinear_tf=True, dtype=np.float32, **by
    )


def bayes(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a naive Bayes of counts: kind (multinomial, complement), alpha."""
    from sklearn.naive_bayes import ComplementNB, MultinomialNB

    del seed
    return {"multinomial": MultinomialNB, "complement": ComplementNB}[params["kind"]](alpha=params["alpha"])


def reduced(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a truncated singular value decomposition to at most ``components`` unit vectors."""
    return Reduced(params["components"], seed)


def head(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make what stands on embeddings: head (logistic, svm, knn, boosting, mlp) and its strength."""
    kind, strength = params["head"], params["strength"]
    if kind == "logistic":
        return Chain([models.scaled(params, seed), models.logistic({"C": strength}, seed)])
    if kind == "svm":
        return models.kernel_svm({"C": strength, "gamma": 1.0}, seed)
    if kind == "knn":
        return models.neighbours({"k": int(strength), "weights": "distance", "metric": "cosine"}, seed)
    if kind == "mlp":
        layers = {"hidden": int(strength), "alpha": 1e-3, "rate": 0.001, "epochs": 20}
        return Chain([models.scaled(params, seed), models.network(layers, seed)])
    settings = {"library": "lightgbm", "trees": int(strength), "leaves": 7, "rate": 0.1, "columns": 0.3}
    return models.boosting(settings, seed)


class Reduced:
    """Truncated singular value decomposition that never asks for more components than there are rows or columns."""

    def __init__(self, components: int, seed: int) -> None:
        self._components, self._seed = components, seed
        self._model: Any = None

    def fit_transform(self, X: Any, y: NDArray[np.int64]) -> NDArray[np.float32]:  # noqa: ANN401
        """Fit and reduce."""
        from sklearn.decomposition import TruncatedSVD

        del y
        count = max(1, min(self._components, min(X.shape) - 1))
        self._model = TruncatedSVD(count, n_iter=3, random_state=self._seed).fit(X)
        return self.transform(X)

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: ANN401
        """Return unit vectors (n, components)."""
        found = np.asarray(self._model.transform(X), dtype=np.float32)
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))


class Joined:
    """One linear model on n-grams and an embedding side by side; X is [texts, vectors].

    Args:
        params: of the TF-IDF, ``weight`` of the embedding's columns against the n-grams', and loss and C of the model.
        seed: of the model.

    """

    def __init__(self, params: Params, seed: int) -> None:
        self._weight = params["weight"]
        self._words, self._model = tfidf(params, seed), models.by_loss(params, seed)
        self._middle: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def fit(self, X: Any, y: NDArray[np.int64]) -> Joined:  # noqa: ANN401
        """Learn."""
        self._middle = X[1].mean(axis=0)
        self._model.fit(self._side_by_side(self._words.fit_transform(X[0]), X[1]), y)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the class of every row."""
        found: NDArray[np.int64] = self._model.predict(self._side_by_side(self._words.transform(X[0]), X[1]))
        return found

    def _side_by_side(self, counted: Any, vectors: NDArray[np.float32]) -> Any:  # noqa: ANN401
        from scipy import sparse

        return sparse.hstack([counted, sparse.csr_matrix(self._weight * (vectors - self._middle))], format="csr")


class Voting:
    """Mean of the probabilities of logistic regressions: ``members`` names them (char, word, vectors); X is [texts, vectors].

    Args:
        params: ``members`` joined by ``+``, ``features`` of each TF-IDF, ``C`` of each model.
        seed: of the models.

    """

    def __init__(self, params: Params, seed: int) -> None:
        self._members = params["members"].split("+")
        units = {"char": {"unit": "char", "ngrams": 3}, "word": {"unit": "word", "ngrams": 2}}
        self._words = {
            name: tfidf({**units[name], "features": params["features"]}, seed)
            for name in self._members
            if name != "vectors"
        }
        strengths = {"vectors": 0.03 * params["C"]}
        self._models = {name: models.logistic({"C": strengths.get(name, params["C"])}, seed) for name in self._members}
        self._scale: Any = models.scaled({}, seed)

    def fit(self, X: Any, y: NDArray[np.int64]) -> Voting:  # noqa: ANN401
        """Fit every member."""
        for name in self._members:
            seen = self._scale.fit_transform(X[1]) if name == "vectors" else self._words[name].fit_transform(X[0])
            self._models[name].fit(seen, y)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the class with the highest mean probability."""
        votes = [
            self._models[name].predict_proba(self._scale.transform(X[1]) if name == "vectors" else self._words[name].transform(X[0]))
            for name in self._members
        ]  # fmt: skip
        classes: NDArray[np.int64] = self._models[self._members[0]].classes_
        return np.asarray(classes[np.sum(votes, axis=0).argmax(axis=1)])
