"""Linear models: TF-IDF with logistic regression on text, a logistic scorecard on tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits, Needs
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec

IMBALANCED = 3.0
"""From this ratio of the largest to the smallest class on, settings with class weights are tried as well."""
_NGRAMS = {"zh": {"char": (1, 3), "word": (1, 2)}, "en": {"char": (2, 4), "word": (1, 2)}}


def imbalanced(profile: Profile) -> bool:
    """Return whether the classes are uneven enough for class weights to be worth a trial."""
    return max(profile.class_counts) >= IMBALANCED * max(1, min(profile.class_counts))


class Linear:
    """Fast to train, fast to serve, hard to beat on few rows and easy to explain."""

    traits = FamilyTraits(
        label=Words(zh="线性模型", en="linear model"),
        tasks=("text-classification", "tabular-classification"),
        needs=Needs(modules=("sklearn", "scipy", "rjieba"), extra="classic"),
        formats=("tfidf-linear", "scorecard"),
        exports=("onnx",),
        export_needs=Needs(modules=("onnx",), extra="onnx"),
        excuses={
            "dynamic_int8": "the graph looks up one weight per n-gram or bin: there is no matrix product to shrink"
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return characters and words, or a scorecard; each with class weights too when the classes are uneven."""
        plain = _text(profile.language) if spec.task == "text-classification" else (_scorecard(),)
        return (*plain, *map(_balanced, plain)) if imbalanced(profile) else plain

    def build(self, context: BuildContext) -> Artifact:
        """Fit; see ``models.base.ModelFamily``."""
        if context.task == "text-classification":
            from bakeoff.models import _tfidf

            return _tfidf.build(context)
        from bakeoff.models import _scorecard as card

        return card.build(context)

    def export(self, context: ExportContext) -> Artifact:
        """Write an ONNX graph; see ``models.base.ModelFamily``."""
        if context.target != "onnx":
            what = "linear models export to onnx only"
            raise StepError("unsupported", what, got=context.target)
        if context.artifact.format == "tfidf-linear":
            from bakeoff.models._onnx_text import export_tfidf

            return export_tfidf(context)
        from bakeoff.models._onnx_tabular import export_scorecard

        return export_scorecard(context)


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
