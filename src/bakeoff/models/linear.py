"""Linear models: TF-IDF with logistic regression on text, a logistic scorecard on tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakeoff.models._formats import export_as
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.plugin import FamilyTraits, Needs
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Parameter, Space
from bakeoff.schema.spec import Spec

IMBALANCED = 3.0
"""From this ratio of the largest to the smallest class on, settings with class weights are tried as well."""
_NGRAMS = {"zh": {"char": (1, 3), "word": (1, 2)}, "en": {"char": (2, 4), "word": (1, 2)}}


BALANCED = Parameter(
    name="balanced",
    label=Words(zh="类别加权", en="class weights"),
    kind="categorical",
    choices=(False, True),
    absent=False,
)
"""Offered where the classes are uneven, by every family that weighs rows."""
_STRENGTH = Words(zh="正则强度倒数 C", en="C")
_TEXT = (
    Parameter(name="C", label=_STRENGTH, low=0.1, high=100.0, log=True, absent=4.0, marks=(1.0, 4.0, 16.0)),
    Parameter(
        name="max_features", label=Words(zh="特征数上限", en="features"), kind="int", low=5_000, high=200_000, log=True,
        absent=100_000,
    ),
    Parameter(name="min_df", label=Words(zh="最少出现文档数", en="rows an n-gram must occur in"), kind="int", low=1, high=5, absent=2),
)  # fmt: skip
_GRAMS = Words(zh="n 元长度", en="n-grams")
_SIZES = {
    "char": Parameter(
        name="ngrams", label=_GRAMS, kind="categorical", choices=((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (2, 5)),
        absent=(1, 3), marks=((1, 2), (1, 3), (2, 4)),
    ),
    "word": Parameter(
        name="ngrams", label=_GRAMS, kind="categorical", choices=((1, 1), (1, 2), (1, 3)), absent=(1, 2),
        marks=((1, 1), (1, 2), (1, 3)),
    ),
}  # fmt: skip
_CARD = (
    Parameter(name="C", label=_STRENGTH, low=0.01, high=100.0, log=True, absent=1.0, marks=(0.1, 1.0, 10.0)),
    Parameter(name="bins", label=Words(zh="每列最多箱数", en="bins a column"), kind="int", low=3, high=20, absent=8, marks=(5, 8, 14)),
)  # fmt: skip


def imbalanced(profile: Profile) -> bool:
    """Return whether the classes are uneven enough for class weights to be worth a trial."""
    return max(profile.class_counts) >= IMBALANCED * max(1, min(profile.class_counts))


_NO_PRODUCT = "the graph looks up one weight per n-gram or bin: there is no matrix product to shrink"


class Linear:
    """Fast to train, fast to serve, hard to beat on few rows and easy to explain."""

    traits = FamilyTraits(
        label=Words(zh="线性模型", en="linear model"),
        tasks=("text-classification", "tabular-classification"),
        needs=Needs(modules=("sklearn", "scipy", "rjieba"), extra="classic"),
        formats=("tfidf-linear", "scorecard"),
        exports=("onnx", "openvino", "tflite"),
        export_needs=Needs(modules=("onnx",), extra="onnx"),
        excuses={
            **dict.fromkeys(("dynamic_int8", "static_int8", "bfloat16"), _NO_PRODUCT),
            "tfidf-linear:openvino": "OpenVINO has no operator that counts n-grams",
            "tfidf-linear:tflite": "LiteRT has no operator that counts n-grams",
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return characters and words, or a scorecard; each with class weights too when the classes are uneven."""
        plain = _text(profile.language) if spec.task == "text-classification" else (_scorecard(),)
        return (*plain, *map(_balanced, plain)) if imbalanced(profile) else plain

    def space(self, variant: Variant, profile: Profile) -> Space:
        """Return strength, n-grams and vocabulary of a text model, strength and bins of a scorecard."""
        parameters = _CARD if variant.params["format"] == "scorecard" else (*_TEXT, _SIZES[variant.params["units"]])
        return Space.around(variant, (*parameters, BALANCED) if imbalanced(profile) else parameters)

    def build(self, context: BuildContext) -> Artifact:
        """Fit; see ``models.base.ModelFamily``."""
        if context.task == "text-classification":
            from bakeoff.models import _tfidf

            return _tfidf.build(context)
        from bakeoff.models import _scorecard as card

        return card.build(context)

    def export(self, context: ExportContext) -> Artifact:
        """Write a graph; see ``models.base.ModelFamily``."""
        if context.artifact.format == "tfidf-linear":
            from bakeoff.models._onnx_text import export_tfidf

            return export_as(context, export_tfidf)
        from bakeoff.models._onnx_tabular import export_scorecard

        return export_as(context, export_scorecard, self.traits.exports)


def _text(language: str) -> tuple[Variant, ...]:
    sizes = _NGRAMS["zh" if language == "zh" else "en"]
    labels = {
        "char": Words(zh="字符 TF-IDF + 逻辑回归", en="TF-IDF on characters + logistic regression"),
        "word": Words(zh="词 TF-IDF + 逻辑回归", en="TF-IDF on words + logistic regression"),
    }
    return tuple(
        Variant(
            name=units,
            label=label,
            params={"format": "tfidf-linear", "units": units, "ngrams": list(sizes[units]), "C": 4.0},
            min_rows=20,
            simplicity=1,
            cost=CostPrior(build_fixed=1.2, build_per_1000=0.4, predict_fixed=0.3, predict_per_1000=0.15),
        )
        for units, label in labels.items()
    )


def _scorecard() -> Variant:
    params: dict[str, Any] = {"format": "scorecard", "bins": 8, "C": 1.0}
    return Variant(
        name="scorecard",
        label=Words(zh="逻辑回归评分卡", en="logistic scorecard"),
        params=params,
        tasks=("tabular-classification",),
        min_rows=50,
        simplicity=1,
        cost=CostPrior(build_fixed=1.2, build_per_1000=0.1, predict_fixed=0.1, predict_per_1000=0.03),
    )


def _balanced(variant: Variant) -> Variant:
    label = Words(zh=f"{variant.label.zh}（类别加权）", en=f"{variant.label.en}, class weights")
    params = {**variant.params, "balanced": True}
    return variant.model_copy(update={"name": f"{variant.name}-weighted", "label": label, "params": params})


PLUGIN = Linear()
