"""Embeddings with a logistic head: a frozen pretrained encoder, or a table of static word vectors, and little training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bakeoff.models import _transformer as transformer
from bakeoff.models._formats import export_as
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.models.linear import BALANCED, imbalanced
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Strategy, Variant
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Parameter, Space
from bakeoff.schema.spec import Spec

_SMALL = CostPrior(build_fixed=8.0, build_per_1000=14.0, predict_fixed=4.0, predict_per_1000=18.0)
_LARGE = CostPrior(build_fixed=20.0, build_per_1000=400.0, predict_fixed=15.0, predict_per_1000=450.0)
_STRENGTH = Words(zh="正则强度倒数 C", en="C")
_FROZEN = (
    Parameter(
        name="C", label=_STRENGTH, kind="categorical", choices=(None, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), absent=None,
        marks=(None, 0.01, 0.1),
    ),
    transformer.length_parameter((32, 64, 128)),
)  # fmt: skip
_WEIGHED = Parameter(
    name="strategy.class_weights", label=BALANCED.label, kind="categorical", choices=(False, True), absent=False
)
_STATIC = (Parameter(name="C", label=_STRENGTH, low=0.3, high=1000.0, log=True, absent=30.0, marks=(3.0, 30.0, 300.0)),)


def _frozen(
    name: str, said: tuple[str, str], hub: str, licence: str, languages: tuple[str, ...], *,
    weights: str | None = None, cost: CostPrior = _SMALL, length: int = 64, **params: Any,  # noqa: ANN401
) -> Variant:  # fmt: skip
    return Variant(
        name=name, hub=hub, licence=licence, languages=languages, weights=weights, cost=cost, min_rows=20, simplicity=4,
        label=Words(zh=f"{said[0]} 句向量 + 逻辑回归", en=f"{said[1]} embeddings + logistic regression"),
        strategy=Strategy(max_length=length, freeze="body"), params={"format": "transformer", **params},
    )  # fmt: skip


_VARIANTS = (
    _frozen("e5-small", ("多语言 E5-small", "multilingual E5-small"), "intfloat/multilingual-e5-small", "MIT", ("zh", "en"),
            weights="multilingual-e5-small"),
    _frozen("minilm", ("MiniLM-L6", "MiniLM-L6"), "sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0", ("en",),
            weights="all-minilm-l6-v2", length=128,
            cost=CostPrior(build_fixed=6.0, build_per_1000=15.0, predict_fixed=4.0, predict_per_1000=20.0)),
    Variant(
        name="wordllama", weights="wordllama-256", licence="MIT", languages=("zh", "en"), min_rows=20, simplicity=3,
        label=Words(zh="WordLlama 静态词向量 + 逻辑回归", en="WordLlama static embeddings + logistic regression"),
        params={"format": "static-linear"},
        cost=CostPrior(build_fixed=3.0, build_per_1000=0.6, predict_fixed=1.5, predict_per_1000=0.4),
    ),
    _frozen("bge-small-zh", ("bge-small-zh", "bge-small-zh"), "BAAI/bge-small-zh-v1.5", "MIT", ("zh",),
            pooling="first", normalise=True),
    _frozen("bge-base-zh", ("bge-base-zh", "bge-base-zh"), "BAAI/bge-base-zh-v1.5", "MIT", ("zh",),
            cost=_LARGE, pooling="first", normalise=True),
    _frozen("bge-small-en", ("bge-small-en", "bge-small-en"), "BAAI/bge-small-en-v1.5", "MIT", ("en",),
            pooling="first", normalise=True),
    _frozen("bge-m3", ("bge-m3", "bge-m3"), "BAAI/bge-m3", "MIT", ("zh", "en"), cost=_LARGE, pooling="first", normalise=True),
    _frozen("e5-base", ("多语言 E5-base", "multilingual E5-base"), "intfloat/multilingual-e5-base", "MIT", ("zh", "en"),
            cost=_LARGE, pooling="mean", normalise=True, prefix="query: "),
    _frozen("qwen3-embedding", ("Qwen3-Embedding-0.6B", "Qwen3-Embedding-0.6B"), "Qwen/Qwen3-Embedding-0.6B", "Apache-2.0",
            ("zh", "en"), cost=_LARGE, pooling="last", normalise=True),
)  # fmt: skip


_SMALL_ALREADY = "static embeddings are already 16 MB and take well under a millisecond"


class EmbeddingHead:
    """Frozen embeddings and a logistic regression; ``params.format`` says which kind of embeddings."""

    traits = FamilyTraits(
        label=Words(zh="句向量 + 线性头", en="embeddings + linear head"),
        tasks=("text-classification",),
        needs=transformer.NEEDS,
        formats=("transformer", "static-linear"),
        exports=("onnx", "openvino", "tflite"),
        export_needs=transformer.EXPORT_NEEDS,
        compressible=("dynamic_int8", "static_int8", "bfloat16"),
        excuses={
            **{f"wordllama:{name}": _SMALL_ALREADY for name in ("dynamic_int8", "static_int8", "bfloat16")},
            "transformer:tflite": transformer.NO_LITERT,
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return every embedding for the language of the rows; those on hubs are listed even when not at hand."""
        del spec
        return [found for found in _VARIANTS if profile.language in found.languages]

    def space(self, variant: Variant, profile: Profile) -> Space:
        """Return the strength of the head (None: cross-validated) and the length of the texts; the embeddings are what they are."""
        frozen = variant.params["format"] == "transformer"
        parameters, weighed = (_FROZEN, _WEIGHED) if frozen else (_STATIC, BALANCED)
        return Space.around(variant, (*parameters, weighed) if imbalanced(profile) else parameters)

    def build(self, context: BuildContext) -> Artifact:
        """Embed the training rows once and fit the head.

        Raises:
            StepError: 'unavailable' weights, 'unsupported' length, 'error' when the rows carry one class.

        """
        if context.params.get("format") == "static-linear":
            from bakeoff.models._static import build_static

            return build_static(context)
        from bakeoff.models._head import fit_head

        prepared = transformer.prepare(context, prefix=True)
        vectors, dtype = transformer.embed(prepared, context.train.rows, context.features)
        strength = fit_head(context, prepared, vectors)
        return transformer.write(context, prepared, strength=strength, embedded_in=dtype, frozen=True)

    def export(self, context: ExportContext) -> Artifact:
        """Convert to one graph: encoder, pooling, normalisation, head and softmax."""
        if context.artifact.format == "static-linear":
            from bakeoff.models._static import export_static

            return export_as(context, export_static, self.traits.exports)
        return export_as(context, transformer.export_onnx, ("onnx", "openvino"))


PLUGIN = EmbeddingHead()
