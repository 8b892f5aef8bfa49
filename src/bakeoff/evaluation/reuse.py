"""Answers from features that are known already, where the candidate's own whole path is not what is being measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Row
from bakeoff.store.features import FeatureStore

Predict = Callable[[Sequence[Row]], NDArray[np.float64]]


def known(predictor: Any, features: FeatureStore | None) -> Predict:  # noqa: ANN401 - a Predictor, some with one method more
    """Return how to predict: with the vectors of a frozen encoder where the runtime can take them, else the whole way."""
    taking = getattr(predictor, "predict_known", None)
    if features is None or taking is None:
        whole: Predict = predictor.predict_proba
        return whole
    return partial(taking, features=features)
