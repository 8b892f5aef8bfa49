"""Logistic regression as plain arrays: what every linear head of the classic families is made of."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.errors import StepError

_NEVER = -20.0
"""Intercept of a class that no training row carries: probability of about 2e-9."""


@dataclass(frozen=True)
class Head:
    """Scores are ``features @ coef + intercept``: ``coef`` (d, c), ``intercept`` (c,); c is 1 with a ``sigmoid``, else k."""

    coef: NDArray[np.float32]
    intercept: NDArray[np.float32]
    link: str

    def save(self, path: Path, **more: NDArray[Any]) -> None:
        """Write the arrays, and ``more`` of them, as npz without pickles."""
        np.savez(path, coef=self.coef, intercept=self.intercept, **more)  # type: ignore[arg-type] # numpy's stub wants bool


def fit_logistic(
    features: Any,  # noqa: ANN401 - a dense or sparse (n, d) matrix
    labels: NDArray[np.int64],
    classes: int,
    *,
    strength: float,
    balanced: bool,
    iterations: int = 300,
) -> Head:
    """Fit an L2-regularised (multinomial) logistic regression; the same rows give the same arrays.

    Args:
        features: (n, d), dense or sparse.
        labels: (n,) class indices.
        classes: number of classes; one that no row carries gets a probability near zero.
        strength: inverse of the regularisation, scikit-learn's ``C``.
        balanced: weigh rows by inverse class frequency.
        iterations: upper limit; not quite converging is no failure, the score tells.

    Raises:
        StepError: the rows carry fewer than two classes, or the fit diverged ('non_finite').

    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    if len(present) < 2:
        what = "the training rows carry one class only"
        raise StepError("error", what, try_="more training rows, or a stratified sample")
    model = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels)
    if not (np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()):
        what = "logistic regression diverged"
        raise StepError("non_finite", what)
    return _spread(model.coef_.T, model.intercept_, present, classes)


def _spread(coef: NDArray[Any], intercept: NDArray[Any], present: NDArray[np.int64], classes: int) -> Head:
    """Put the columns of the classes present where they belong."""
    if classes == 2:
        return Head(coef.astype(np.float32), intercept.astype(np.float32), "sigmoid")
    if len(present) == 2:
        coef = np.hstack([np.zeros_like(coef), coef])
        intercept = np.concatenate([np.zeros(1), intercept])
    wide = np.zeros((coef.shape[0], classes), dtype=np.float32)
    base = np.full(classes, _NEVER, dtype=np.float32)
    wide[:, present], base[present] = coef, intercept
    return Head(wide, base, "softmax")
