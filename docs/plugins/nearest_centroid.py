"""Nearest centroid: a text belongs to the class whose average text it resembles most (Rocchio 1971)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bakeoff.data.transforms import text
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec

_FEATURES = 20_000
_SHARPNESS = 8.0


class NearestCentroid:
    """Needs NumPy only; writes a format that the native runtime knows, so it can be served and shipped at once."""

    traits = FamilyTraits(
        label=Words(zh="最近质心", en="nearest centroid"),
        tasks=("text-classification",),
        formats=("tfidf-linear",),
        excuses={
            "export": "the native runtime is fast enough",
            **dict.fromkeys(("dynamic_int8", "static_int8", "bfloat16"), "there is no matrix product to shrink"),
            "space": "there is nothing to set",
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return one setting: characters and pairs of characters."""
        del spec, profile
        return (
            Variant(
                name="char-pairs",
                label=Words(zh="字符质心", en="centroids of characters"),
                simplicity=1,
                cost=CostPrior(build_fixed=0.2, build_per_1000=0.3, predict_fixed=0.1, predict_per_1000=0.15),
            ),
        )

    def build(self, context: BuildContext) -> Artifact:
        """Average the unit TF-IDF vectors of each class."""
        transform = {
            "kind": "char-ids", "columns": [column.name for column in context.inputs], "separator": " ", "lowercase": True,
            "normalise": "NFKC", "max_chars": text.MAX_CHARS, "ngrams": [1, 2],
        }  # fmt: skip
        analyser = text.Analyser(transform)
        counts = [Counter(analyser(row)) for row in analyser.texts(context.train.rows)]
        seen = Counter(gram for row in counts for gram in row)
        grams = sorted(seen, key=lambda gram: (-seen[gram], gram))[:_FEATURES]
        if not grams:
            what = "the training texts are empty"
            raise StepError("error", what)
        place = {gram: at for at, gram in enumerate(grams)}
        idf = np.log((1 + len(counts)) / (1 + np.array([seen[gram] for gram in grams], dtype=np.float64))) + 1.0
        coef = np.zeros((len(grams), len(context.classes)))
        for row, label in zip(counts, context.train.labels, strict=True):
            at = [place[gram] for gram in row if gram in place]
            values = np.array([1.0 + np.log(row[grams[number]]) for number in at]) * idf[at]
            coef[at, label] += values / max(float(np.sqrt(values @ values)), 1e-12)
        coef *= _SHARPNESS / np.maximum(np.linalg.norm(coef, axis=0), 1e-12)
        text.write_words(context.out / "vocabulary.json", grams)
        arrays = {"coef": coef.astype(np.float32), "intercept": np.zeros(coef.shape[1]), "idf": idf}
        np.savez(context.out / "weights.npz", **arrays)
        return Artifact(
            format="tfidf-linear", task=context.task, classes=context.classes, inputs=context.inputs, transform=transform,
            meta={"vocabulary": "vocabulary.json", "weights": "weights.npz", "link": "softmax"},
        )  # fmt: skip

    def export(self, context: ExportContext) -> Artifact:
        """Refuse: see ``traits.excuses``."""
        what = "centroids have no other format"
        raise StepError("unsupported", what, got=context.target)


PLUGIN = NearestCentroid()
