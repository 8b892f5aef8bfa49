"""A logistic regression on pooled vectors, put into a network's linear head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bakeoff.models._logistic import Head, fit_logistic
from bakeoff.models.base import BuildContext

if TYPE_CHECKING:
    from torch import nn

    from bakeoff.models._transformer import Prepared

_STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_DEFAULT_STRENGTH = 0.01
_FOLDS = 4
_ROWS_TO_CHOOSE = 40
_CONSTANT = 1e-9


def fit_head(context: BuildContext, prepared: Prepared, vectors: NDArray[np.float64]) -> float:
    """Fit on standardised vectors (n, hidden), fold the standardising into the weights, and return the strength chosen, or given as ``C``.

    Raises:
        StepError: the rows carry one class only.

    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # scikit-learn brings it

    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    spread[spread < _CONSTANT] = 1.0
    scaled = (vectors - mean) / spread
    labels, balanced = context.train.labels, context.strategy.class_weights
    with threadpool_limits(context.threads):  # the linear algebra library would take every core, and wait for busy ones
        given = context.params.get("C")
        strength = choose_strength(scaled, labels, context.seed) if given is None else float(given)
        head = fit_logistic(scaled, labels, len(context.classes), strength=strength, balanced=balanced)
    fill(prepared.network.head, unscaled(head, mean, spread))
    return strength


def unscaled(head: Head, mean: NDArray[np.float64], spread: NDArray[np.float64]) -> Head:
    """Return the head that does to raw vectors what ``head`` does to standardised ones."""
    coef = head.coef / spread[:, None]
    return Head(coef.astype(np.float32), (head.intercept - mean @ coef).astype(np.float32), head.link)


def choose_strength(vectors: NDArray[np.float64], labels: NDArray[np.int64], seed: int) -> float:
    """Return the inverse regularisation with the best cross-validated log-loss on the training rows alone."""
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    if len(labels) < _ROWS_TO_CHOOSE or len(counts) < 2 or counts.min() < _FOLDS:
        return _DEFAULT_STRENGTH
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    scores = [
        cross_val_score(LogisticRegression(C=c, max_iter=300), vectors, labels, cv=folds, scoring="neg_log_loss").mean()
        for c in _STRENGTHS
    ]
    return _STRENGTHS[int(np.argmax(scores))]


def fill(layer: nn.Linear, head: Head) -> None:
    """Copy a head into a linear layer; a sigmoid's one column becomes the second of two logits."""
    import torch

    coef, intercept = head.coef, head.intercept
    if head.link == "sigmoid":
        coef = np.hstack([np.zeros_like(coef), coef])
        intercept = np.concatenate([np.zeros_like(intercept), intercept])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(coef.T)))
        layer.bias.copy_(torch.from_numpy(intercept))
