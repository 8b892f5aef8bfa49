"""Classifiers that several studies use, every one on one thread: (params, seed) → an untrained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables.recording import Chain, Make

Params = Mapping[str, Any]


def chained(*makes: Callable[[Params, int], Any]) -> Make:
    """Return a maker of a chain: every part is made from the same params and seed, the last one answers."""

    def make(params: Params, seed: int) -> Chain:
        return Chain([part(params, seed) for part in makes])

    return make


def scaled(params: Params, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Make a standardiser."""
    from sklearn.preprocessing import StandardScaler

    del params, seed
    return StandardScaler()


def majority(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make the constant answer."""
    from sklearn.dummy import DummyClassifier

    del params, seed
    return DummyClassifier(strategy="most_frequent")


def logistic(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a logistic regression: C, balanced."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=params["C"], class_weight=_weights(params), max_iter=300, random_state=seed)


def linear_svm(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a linear support vector machine: C, balanced."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=params["C"], class_weight=_weights(params), random_state=seed)


def ridge(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a ridge classifier: C is the inverse of its penalty; balanced."""
    from sklearn.linear_model import RidgeClassifier

    return RidgeClassifier(alpha=1 / params["C"], class_weight=_weights(params), random_state=seed)


def by_loss(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make one of the linear models: loss is logistic, hinge or squared."""
    return {"logistic": logistic, "hinge": linear_svm, "squared": ridge}[params["loss"]](params, seed)


def kernel_svm(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a support vector machine with a radial kernel: C, gamma (a factor of 1 / features), balanced."""
    return ScaledSvm(params, seed)


def gaussian(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a naive Bayes of normal densities: smoothing."""
    from sklearn.naive_bayes import GaussianNB

    del seed
    return GaussianNB(var_smoothing=params["smoothing"])


def neighbours(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a nearest-neighbour classifier: k (never above the rows given), weights, metric."""
    del seed
    return Neighbours(params)


def forest(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a random forest or extra trees: kind, trees, leaf, balanced."""
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    kind = {"random": RandomForestClassifier, "extra": ExtraTreesClassifier}[params["kind"]]
    return kind(n_estimators=params["trees"], min_samples_leaf=params["leaf"], class_weight=_weights(params), n_jobs=1,
                random_state=seed)  # fmt: skip


def network(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make a multi-layer perceptron: hidden, alpha, rate, epochs."""
    from sklearn.neural_network import MLPClassifier

    hidden = (params["hidden"],) * int(params.get("layers", 1))
    return MLPClassifier(hidden, alpha=params["alpha"], learning_rate_init=params["rate"], max_iter=params["epochs"], batch_size=64,
                         tol=0.0, n_iter_no_change=1000, random_state=seed)  # fmt: skip


def boosting(params: Params, seed: int) -> Any:  # noqa: ANN401
    """Make boosted trees: library (lightgbm, xgboost, sklearn), trees, leaves, rate, balanced."""
    return Boosted(params, seed)


def _weights(params: Params) -> str | None:
    return "balanced" if params.get("balanced") else None


class Neighbours:
    """Nearest neighbours that ask for no more neighbours than there are rows."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._model: Any = None

    def fit(self, X: Any, y: NDArray[np.int64]) -> Neighbours:  # noqa: ANN401
        """Keep the rows."""
        from sklearn.neighbors import KNeighborsClassifier

        count = min(self._params["k"], len(y))
        settings = {"weights": self._params["weights"], "metric": self._params["metric"], "n_jobs": 1}
        self._model = KNeighborsClassifier(count, **settings).fit(X, y)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the class of every row's neighbours."""
        found: NDArray[np.int64] = self._model.predict(X)
        return found


class ScaledSvm:
    """Radial support vector machine whose gamma is a factor of scikit-learn's ``scale``."""

    def __init__(self, params: Params, seed: int) -> None:
        self._params, self._seed = params, seed
        self._model: Any = None

    def fit(self, X: Any, y: NDArray[np.int64]) -> ScaledSvm:  # noqa: ANN401
        """Learn."""
        from sklearn.svm import SVC

        width = self._params["gamma"] / (X.shape[1] * max(float(X.var()), 1e-9))
        settings = {"class_weight": _weights(self._params), "cache_size": 200, "random_state": self._seed}
        self._model = SVC(C=self._params["C"], gamma=width, **settings)
        self._model.fit(X, y)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the class of every row."""
        found: NDArray[np.int64] = self._model.predict(X)
        return found


class Boosted:
    """Boosted trees of three libraries behind one set of settings; classes may be missing from the rows."""

    def __init__(self, params: Params, seed: int) -> None:
        self._params, self._seed = params, seed
        self._model: Any = None
        self._classes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def fit(self, X: Any, y: NDArray[np.int64]) -> Boosted:  # noqa: ANN401
        """Learn."""
        self._classes, codes = np.unique(y, return_inverse=True)
        if self._classes.size == 1:
            return self
        weight = self._row_weights(codes)
        libraries = {"lightgbm": self._lightgbm, "xgboost": self._xgboost, "sklearn": self._histogram}
        self._model = libraries[self._params["library"]]()
        self._model.fit(X, codes, sample_weight=weight)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Return the class of every row."""
        if self._model is None:
            return np.full(X.shape[0], self._classes[0])
        if self._params["library"] == "lightgbm":
            raw = self._model.booster_.predict(X, num_threads=1)
            return np.asarray(self._classes[raw.argmax(axis=1) if raw.ndim == 2 else (raw > 0.5).astype(int)])
        return np.asarray(self._classes[self._model.predict(X)])

    def _row_weights(self, codes: NDArray[np.int64]) -> NDArray[np.float64] | None:
        if not self._params.get("balanced"):
            return None
        counts = np.bincount(codes)
        return np.asarray((codes.size / (counts.size * counts))[codes])

    def _lightgbm(self) -> Any:  # noqa: ANN401
        import lightgbm

        return lightgbm.LGBMClassifier(
            n_estimators=self._params["trees"], num_leaves=self._params["leaves"], learning_rate=self._params["rate"],
            min_child_samples=self._params.get("least", 10), subsample=0.8, subsample_freq=1, colsample_bytree=self._params.get("columns", 0.8),
            n_jobs=1, random_state=self._seed, verbose=-1,
        )  # fmt: skip

    def _xgboost(self) -> Any:  # noqa: ANN401
        import xgboost

        return xgboost.XGBClassifier(
            n_estimators=self._params["trees"], max_leaves=self._params["leaves"], max_depth=0, grow_policy="lossguide",
            learning_rate=self._params["rate"], subsample=0.8, colsample_bytree=self._params.get("columns", 0.8), tree_method="hist", n_jobs=1,
            random_state=self._seed, verbosity=0,
        )  # fmt: skip

    def _histogram(self) -> Any:  # noqa: ANN401
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=self._params["trees"], max_leaf_nodes=self._params["leaves"], learning_rate=self._params["rate"],
            min_samples_leaf=self._params.get("least", 10), max_features=self._params.get("columns", 0.8), early_stopping=False,
            random_state=self._seed,
        )  # fmt: skip
