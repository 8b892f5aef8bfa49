"""Gradient boosted trees on tables: LightGBM and XGBoost, categories and missing values handled by the libraries."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms import tabular
from bakeoff.models.base import BuildContext, Examples, ExportContext
from bakeoff.models.linear import BALANCED, imbalanced
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits, Needs
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Parameter, Space
from bakeoff.schema.spec import Spec

_LIGHTGBM, _XGBOOST = "model.txt", "model.ubj"
_ROUNDS, _PATIENCE = 1000, 50
_PROBE_ROUNDS = 150
"""Trees of a probe: about what early stopping keeps, so that latency and size are those of a trained model."""
_LEAST_ROWS = 20
"""Calibrate rows below which early stopping is left to chance; a fixed number of rounds is used instead."""
_FIXED_ROUNDS = 200
_RATE = Words(zh="学习率", en="learning rate")
_ROWS, _COLUMNS = Words(zh="每轮行采样", en="rows a round"), Words(zh="每树列采样", en="columns a tree")
_RIDGE = Words(zh="L2 正则", en="L2")
_LIMIT = Parameter(
    name="rounds", label=Words(zh="最多轮数", en="rounds at most"), kind="int", low=200, high=4000, log=True, absent=_ROUNDS,
    slows=("build_per_1000",), slack=float(_ROUNDS),
)  # fmt: skip
"""Early stopping usually ends before the limit: only half of a longer limit is counted as time."""
_SETTINGS = {
    "lightgbm": (
        Parameter(name="library.learning_rate", label=_RATE, low=0.01, high=0.3, log=True, absent=0.05, marks=(0.02, 0.05, 0.1)),
        Parameter(name="library.num_leaves", label=Words(zh="叶子数", en="leaves"), kind="int", low=4, high=255, log=True,
                  absent=31, marks=(7, 31, 127), slows=("build_per_1000", "predict_per_1000"), slack=31.0),
        Parameter(name="library.min_data_in_leaf", label=Words(zh="叶子最少行数", en="rows a leaf"), kind="int", low=2, high=200,
                  log=True, absent=20),
        Parameter(name="library.lambda_l2", label=_RIDGE, low=0.001, high=100.0, log=True, absent=1.0),
        Parameter(name="library.bagging_fraction", label=_ROWS, low=0.4, high=1.0, absent=0.8),
        Parameter(name="library.feature_fraction", label=_COLUMNS, low=0.3, high=1.0, absent=0.8),
        _LIMIT,
    ),
    "xgboost": (
        Parameter(name="library.learning_rate", label=_RATE, low=0.01, high=0.3, log=True, absent=0.05, marks=(0.02, 0.05, 0.1)),
        Parameter(name="library.max_depth", label=Words(zh="树深", en="depth"), kind="int", low=2, high=12, absent=6,
                  marks=(3, 6, 9), slows=("build_per_1000", "predict_per_1000"), slack=6.0),
        Parameter(name="library.min_child_weight", label=Words(zh="叶子最小权重", en="weight of a leaf"), low=0.5, high=50.0, log=True,
                  absent=5.0),
        Parameter(name="library.reg_lambda", label=_RIDGE, low=0.001, high=100.0, log=True, absent=1.0),
        Parameter(name="library.subsample", label=_ROWS, low=0.4, high=1.0, absent=0.8),
        Parameter(name="library.colsample_bytree", label=_COLUMNS, low=0.3, high=1.0, absent=0.8),
        _LIMIT,
    ),
}  # fmt: skip


_NO_PRODUCT = "trees hold thresholds, not matrix products: there is nothing to quantise"


class Boosting:
    """Strong on mixed tables without any preparation."""

    traits = FamilyTraits(
        label=Words(zh="梯度提升树", en="gradient boosting"),
        tasks=("tabular-classification",),
        needs=Needs(modules=("lightgbm", "xgboost"), extra="boosting"),
        formats=("lightgbm", "xgboost"),
        exports=("onnx",),
        export_needs=Needs(modules=("onnx",), extra="onnx"),
        excuses={
            **dict.fromkeys(("dynamic_int8", "static_int8", "bfloat16"), _NO_PRODUCT),
            "openvino": "OpenVINO has no operator for ensembles of trees",
            "litert": "LiteRT has no operator for ensembles of trees",
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return both libraries; each with class weights too when the classes are uneven."""
        del spec
        plain = (_lightgbm(), _xgboost())
        return (*plain, *map(_balanced, plain)) if imbalanced(profile) else plain

    def space(self, variant: Variant, profile: Profile) -> Space:
        """Return the size of a tree, the learning rate, the rounds and what keeps trees from learning by heart."""
        parameters = _SETTINGS[variant.params["format"]]
        return Space.around(variant, (*parameters, BALANCED) if imbalanced(profile) else parameters)

    def build(self, context: BuildContext) -> Artifact:
        """Train with early stopping on *calibrate*; see ``models.base.ModelFamily``."""
        if len(np.unique(context.train.labels)) < 2:
            what = "the training rows carry one class only"
            raise StepError("error", what)
        transform = tabular.fit(context.train.rows, context.inputs)
        if not transform["columns"]:
            what = "no input column is usable"
            raise StepError("error", what)
        train = _train_lightgbm if context.params["format"] == "lightgbm" else _train_xgboost
        meta = train(context, tabular.TableFeeder(transform))
        return Artifact(
            format=str(context.params["format"]),
            task=context.task,
            classes=context.classes,
            inputs=context.inputs,
            transform=transform,
            meta=meta,
        )

    def export(self, context: ExportContext) -> Artifact:
        """Write an ONNX graph; see ``models.base.ModelFamily``."""
        if context.target != "onnx":
            what = "boosted trees export to onnx only"
            raise StepError("unsupported", what, got=context.target)
        from bakeoff.models._onnx_tabular import export_trees

        return export_trees(context)


def row_weights(labels: NDArray[np.int64], *, balanced: bool) -> NDArray[np.float64] | None:
    """Return inverse class frequencies per row, mean 1, or None when the rows count alike."""
    if not balanced:
        return None
    present, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray((len(labels) / (len(present) * counts))[inverse], dtype=np.float64)


def _stops(context: BuildContext) -> Examples | None:
    """Return the rows early stopping looks at, or None when there are too few."""
    enough = len(context.calibrate) >= _LEAST_ROWS and len(np.unique(context.calibrate.labels)) > 1
    return context.calibrate if enough and not context.probe else None


def _rounds(context: BuildContext, stops: Examples | None) -> int:
    if context.probe:
        return _PROBE_ROUNDS
    return int(context.params.get("rounds", _ROUNDS)) if stops is not None else _FIXED_ROUNDS


def _train_lightgbm(context: BuildContext, feeder: tabular.TableFeeder) -> dict[str, Any]:
    import lightgbm

    params: dict[str, Any] = {
        "objective": "binary" if len(context.classes) == 2 else "multiclass",
        "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 20, "lambda_l2": 1.0,
        "feature_fraction": 0.8, "bagging_fraction": 0.8, "bagging_freq": 1,
        "seed": context.seed, "num_threads": context.threads, "deterministic": True, "force_row_wise": True,
        "verbosity": -1, **context.params.get("library", {}),
    }  # fmt: skip
    if params["objective"] == "multiclass":
        params["num_class"] = len(context.classes)

    def dataset(examples: Examples, like: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
        table = feeder.matrix(examples.rows).astype(np.float64)
        weights = row_weights(examples.labels, balanced=bool(context.params.get("balanced")))
        return lightgbm.Dataset(
            table, examples.labels, weight=weights, reference=like,
            feature_name=[f"f{at}" for at in range(table.shape[1])],
            categorical_feature=feeder.categorical, free_raw_data=True, params={"verbosity": -1},
        )  # fmt: skip

    stops, train = _stops(context), dataset(context.train)
    early = [lightgbm.early_stopping(_PATIENCE, verbose=False)] if stops is not None else []
    valid = [dataset(stops, train)] if stops is not None else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # LightGBM's notes on parameters given twice
        booster = lightgbm.train(params, train, _rounds(context, stops), valid_sets=valid, callbacks=[*early])
    rounds = booster.best_iteration or booster.current_iteration()
    model = booster.model_to_string(num_iteration=rounds)
    body = _without_parameters(model).encode()
    (context.out / _LIGHTGBM).write_bytes(body)
    return {"model": _LIGHTGBM, "sha256": hashlib.sha256(body).hexdigest(), "rounds": int(rounds)}


def _without_parameters(model: str) -> str:
    """Cut the training parameters (seeds, threads) off the text: the candidate has them, prediction ignores them."""
    start, end = model.find("\nparameters:"), model.find("end of parameters")
    return model if start < 0 or end < 0 else model[:start] + model[end + len("end of parameters") :]


def _train_xgboost(context: BuildContext, feeder: tabular.TableFeeder) -> dict[str, Any]:
    import xgboost

    params: dict[str, Any] = {
        "objective": "binary:logistic" if len(context.classes) == 2 else "multi:softprob",
        "learning_rate": 0.05, "max_depth": 6, "min_child_weight": 5, "reg_lambda": 1.0,
        "subsample": 0.8, "colsample_bytree": 0.8, "tree_method": "hist", "max_cat_to_onehot": 8,
        "seed": context.seed, "nthread": context.threads, "verbosity": 0, **context.params.get("library", {}),
    }  # fmt: skip
    if params["objective"] == "multi:softprob":
        params["num_class"] = len(context.classes)
    kinds = ["c" if at in feeder.categorical else "q" for at in range(len(feeder.names))]

    def dataset(examples: Examples) -> xgboost.DMatrix:
        weights = row_weights(examples.labels, balanced=bool(context.params.get("balanced")))
        table = feeder.matrix(examples.rows)
        return xgboost.DMatrix(
            table,
            examples.labels,
            weight=weights,
            feature_types=kinds,
            enable_categorical=True,
            nthread=context.threads,
        )

    stops = _stops(context)
    early = {"early_stopping_rounds": _PATIENCE, "evals": [(dataset(stops), "calibrate")]} if stops is not None else {}
    booster = xgboost.train(params, dataset(context.train), _rounds(context, stops), verbose_eval=False, **early)
    rounds = booster.best_iteration + 1 if stops is not None else booster.num_boosted_rounds()
    booster = booster[:rounds]
    body = bytes(booster.save_raw(raw_format="ubj"))
    (context.out / _XGBOOST).write_bytes(body)
    return {"model": _XGBOOST, "sha256": hashlib.sha256(body).hexdigest(), "rounds": int(rounds)}


def _lightgbm() -> Variant:
    return Variant(
        name="lightgbm",
        label=Words(zh="LightGBM 梯度提升树", en="LightGBM"),
        params={"format": "lightgbm"},
        min_rows=100,
        simplicity=3,
        cost=CostPrior(build_fixed=1.5, build_per_1000=0.15, predict_fixed=0.6, predict_per_1000=0.05),
    )


def _xgboost() -> Variant:
    return Variant(
        name="xgboost",
        label=Words(zh="XGBoost 梯度提升树", en="XGBoost"),
        params={"format": "xgboost"},
        min_rows=100,
        simplicity=3,
        cost=CostPrior(build_fixed=1.5, build_per_1000=0.2, predict_fixed=0.8, predict_per_1000=0.05),
    )


def _balanced(variant: Variant) -> Variant:
    label = Words(zh=f"{variant.label.zh}（类别加权）", en=f"{variant.label.en}, class weights")
    params = {**variant.params, "balanced": True}
    return variant.model_copy(update={"name": f"{variant.name}-weighted", "label": label, "params": params})


PLUGIN = Boosting()
