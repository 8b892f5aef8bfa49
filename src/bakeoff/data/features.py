"""Sparse features and a linear model for the profile's own estimates (label noise, the score of a careless split).

Not a candidate: quick and plain on purpose. Needs scipy and scikit-learn, imported where they are used.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.columns import Values
from bakeoff.data.frozen import Frozen
from bakeoff.data.leaks import codes

_BITS = 18
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MOST_CHARS = 1_000
_MOST_LEVELS = 200
_WORD = re.compile(r"\w+")
_C, _C_TABLE, _TOLERANCE, _ITERATIONS = 4.0, 0.1, 1e-4, 200


def design(frozen: Frozen, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - scipy is imported lazily
    """Return a sparse float32 matrix (rows, features): TF-IDF n-grams of texts, one-hot levels of categories and binned numbers."""
    import scipy.sparse as sp

    parts = []
    for column in frozen.inputs:
        values = frozen.columns[column.name]
        if column.kind == "text" and isinstance(values, list):
            parts.append(_tf_idf([(values[row] or "")[:_MOST_CHARS] for row in rows.tolist()], frozen.language))
        else:
            parts.append(_one_hot(_rows(values, rows)))
    return sp.hstack(parts, format="csr").astype(np.float32)


def fitted(features: Any, labels: NDArray[np.int64], seed: int) -> Any:  # noqa: ANN401 - scikit-learn is imported lazily
    """Fit multinomial logistic regression (L2; C = 4, or 0.1 where there are few features) and return the estimator."""
    from sklearn.linear_model import LogisticRegression

    c = _C if features.shape[1] > features.shape[0] else _C_TABLE
    return LogisticRegression(C=c, tol=_TOLERANCE, max_iter=_ITERATIONS, random_state=seed).fit(features, labels)


def predicted(model: Any, features: Any, classes: int) -> NDArray[np.float64]:  # noqa: ANN401 - see ``fitted``
    """Return probabilities (n, classes), zero for a class the model never saw."""
    out = np.zeros((features.shape[0], classes))
    out[:, model.classes_] = model.predict_proba(features)
    return out


def out_of_fold(
    features: Any,  # noqa: ANN401 - scipy
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    classes: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return probabilities (n, classes) of each row from a model that was not trained on its fold."""
    out = np.zeros((len(labels), classes))
    for fold in np.unique(folds):
        held = folds == fold
        out[held] = predicted(fitted(features[~held], labels[~held], seed), features[held], classes)
    return out


def _rows(values: Values, rows: NDArray[np.int64]) -> Values:
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows.tolist()]


def _one_hot(values: Values) -> Any:  # noqa: ANN401 - scipy
    import scipy.sparse as sp

    code = codes(values, np.ones(len(values), dtype=np.bool_))
    counts = np.bincount(code)
    common = np.argsort(-counts, kind="stable")[:_MOST_LEVELS]
    place = np.full(len(counts), -1)
    place[common] = np.arange(len(common))
    column = place[code]
    known = column >= 0
    ones = np.ones(int(known.sum()), dtype=np.float32)
    return sp.csr_matrix((ones, (np.flatnonzero(known), column[known])), shape=(len(values), len(common)))


def _tf_idf(texts: Sequence[str], language: str) -> Any:  # noqa: ANN401 - scipy
    """Character 1- to 3-grams for Chinese, words and word pairs for English, hashed; sublinear TF times smoothed IDF, L2 norm."""
    import scipy.sparse as sp

    units, lengths = _characters(texts) if language == "zh" else _words(texts)
    owner = np.repeat(np.arange(len(texts)), lengths)
    rows, columns = _hashed(units, owner, 3 if language == "zh" else 2)
    counts = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), 1 << _BITS))
    counts.sum_duplicates()
    frequency = np.bincount(counts.indices, minlength=1 << _BITS)
    counts, frequency = counts[:, frequency > 1], frequency[frequency > 1]  # what occurs once cannot be learned from
    weight = np.log((1 + len(texts)) / (1 + frequency)) + 1
    counts.data = (1 + np.log(counts.data)) * weight[counts.indices]
    norm = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    return sp.diags(1 / np.maximum(norm, 1e-9)) @ counts


def _characters(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    lowered = [text.lower() for text in texts]
    points = np.frombuffer("".join(lowered).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return points.astype(np.uint64), np.asarray([len(text) for text in lowered], dtype=np.int64)


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    words = [_WORD.findall(text.lower()) for text in texts]
    known: dict[str, int] = {}
    units = [known.setdefault(word, zlib.crc32(word.encode())) for row in words for word in row]
    return np.asarray(units, dtype=np.uint64), np.asarray([len(row) for row in words], dtype=np.int64)


def _hashed(
    units: NDArray[np.uint64], owner: NDArray[np.int64], longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = [], []
    rolling = np.zeros(len(units), dtype=np.uint64)
    for size in range(1, longest + 1):
        count = max(len(units) - size + 1, 0)
        rolling = rolling[:count] * _GOLDEN + units[size - 1 :] + np.uint64(size)
        inside = owner[:count] == owner[size - 1 :]
        spread = rolling[inside]
        spread = (spread ^ (spread >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
        rows.append(owner[:count][inside])
        columns.append((spread >> np.uint64(64 - _BITS)).astype(np.int64))
    return np.concatenate(rows), np.concatenate(columns)
