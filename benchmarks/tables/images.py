"""Two studies of small pictures: noisy digits (8x8) and clothes (28x28)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import models, sources
from benchmarks.tables.convnet import ConvNet
from benchmarks.tables.pictures import Gradients
from benchmarks.tables.recording import Data, Recipe, Study, chosen, grid, listed

_DIGITS_ROWS, _FASHION_ROWS = (600, 1197), (6000, 5000)
_NOISE = 4.0
"""Standard deviation of the noise on pixels of 0 to 16: enough that no arm is perfect."""


def _digits(scratch: Path) -> Data:
    from sklearn.datasets import load_digits

    del scratch
    pixels, labels = load_digits(return_X_y=True)
    noisy = pixels + np.random.default_rng(7).normal(0.0, _NOISE, pixels.shape)
    return chosen({"rows": noisy / 16}, labels.astype(np.int64), *_DIGITS_ROWS)


def _reduced(params: Any, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.decomposition import PCA

    del params
    return PCA(0.8, svd_solver="full", random_state=seed)


def _digits_recipes() -> tuple[Recipe, ...]:
    return (
        *listed("baseline", models.majority, [{"rule": "majority"}], simplicity=0),
        *grid("linear", models.chained(models.scaled, models.by_loss), simplicity=1, loss=["logistic", "hinge", "squared"],
              C=[0.003, 0.03, 0.3, 0.33]),
        *grid("naive_bayes", models.gaussian, simplicity=1, smoothing=[1e-9, 1e-2, 1e-1]),
        *grid("knn", models.neighbours, simplicity=2, k=[1, 5, 11], weights=["uniform", "distance"], metric=["euclidean", "cosine"]),
        *grid("svm", models.kernel_svm, simplicity=4, C=[1.0, 5.0, 5.5], gamma=[0.3, 1.0, 2.0]),
        *grid("pca_svm", models.chained(_reduced, models.kernel_svm), simplicity=4, C=[1.0, 5.0], gamma=[0.3, 1.0]),
        *grid("forest", models.forest, simplicity=4, kind=["random", "extra"], trees=[100, 300], leaf=[1, 3]),
        *grid("mlp", models.network, simplicity=5, hidden=[64, 128], alpha=[1e-3, 1.0], rate=[0.001, 0.004], epochs=[60]),
        *grid("boosting", models.boosting, simplicity=5, library=["lightgbm", "xgboost"], trees=[80, 240], leaves=[6], rate=[0.05, 0.15]),
        *grid("cnn", ConvNet, simplicity=6, width=[24, 48], depth=[2], dropout=[0.1, 0.4], rate=[0.003, 0.01], epochs=[25, 75], norm=[1],
              shift=[0, 1]),
    )  # fmt: skip


def _fashion(scratch: Path) -> Data:
    pixels, labels = sources.fashion(scratch)
    return chosen({"rows": pixels.reshape(len(pixels), -1).astype(np.float32) / 255}, labels, *_FASHION_ROWS)


def _components(params: Any, seed: int) -> Any:  # noqa: ANN401
    from sklearn.decomposition import PCA

    return PCA(params["components"], svd_solver="covariance_eigh", whiten=False, random_state=seed)


def _fashion_recipes() -> tuple[Recipe, ...]:
    pca: dict[str, Any] = {"first": _components, "reads": ("components",), "components": [60]}
    hog: dict[str, Any] = {"first": Gradients, "reads": ("cell", "bins"), "bins": [8]}
    return (
        *listed("baseline", models.majority, [{"rule": "majority"}], simplicity=0),
        *grid("linear", models.by_loss, first=models.scaled, simplicity=1, loss=["logistic", "squared"], C=[0.001, 0.01, 0.1]),
        *grid("naive_bayes", models.gaussian, simplicity=1, **pca, smoothing=[1e-9, 1e-2]),
        *grid("knn", models.neighbours, simplicity=2, **pca, k=[5, 15], weights=["uniform", "distance"], metric=["euclidean", "cosine"]),
        *grid("svm", models.kernel_svm, simplicity=4, **pca, C=[2.0, 10.0, 10.5], gamma=[1.0, 2.0]),
        *grid("forest", models.forest, simplicity=4, **pca, kind=["random", "extra"], trees=[100], leaf=[1, 3]),
        *grid("boosting", models.boosting, simplicity=5, **pca, library=["lightgbm", "xgboost"], trees=[40, 120], leaves=[7], rate=[0.1, 0.11],
              columns=[0.3]),
        *(arm for cell in (4, 8) for arm in (
            *grid("hog_linear", models.chained(models.scaled, models.by_loss), simplicity=3, **hog, cell=[cell], loss=["logistic", "squared"],
                  C=[0.001, 0.01]),
            *grid("hog_svm", models.kernel_svm, simplicity=4, **hog, cell=[cell], C=[3.0, 10.0], gamma=[1.0]),
        )),
        *grid("mlp", models.network, simplicity=5, hidden=[64, 128], alpha=[1e-3, 1e-1], rate=[0.001, 0.003], epochs=[12]),
        *grid("cnn", ConvNet, simplicity=6, width=[8, 16], depth=[2], dropout=[0.1, 0.3], rate=[0.003, 0.01], epochs=[4], norm=[1], shift=[0],
              flip=[0]),
        *grid("cnn", ConvNet, simplicity=6, width=[24], depth=[2, 3], dropout=[0.3], rate=[0.01], epochs=[8], norm=[1], shift=[1], flip=[0, 1]),
    )  # fmt: skip


STUDIES = (
    Study(
        "fashion", "image-classification", "accuracy",
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"), _FASHION_ROWS[0], _fashion,
        _fashion_recipes(), notes={"source": "Fashion-MNIST, 70,000 pictures (Debian package dataset-fashion-mnist)", "licence": "MIT"},
    ),
    Study(
        "digits", "image-classification", "accuracy", tuple("0123456789"), _DIGITS_ROWS[0], _digits, _digits_recipes(),
        notes={"source": "UCI optical recognition of handwritten digits, 1,797 pictures (bundled with scikit-learn), with pixel noise",
               "licence": "CC-BY-4.0"},
    ),
)  # fmt: skip
