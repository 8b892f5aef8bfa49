"""What doing nothing clever scores: the most frequent class, with the training shares as probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec


class Baseline:
    """Predicts the majority class; every other candidate must beat it to be worth anything."""

    traits = FamilyTraits(
        label=Words(zh="基线（多数类）", en="baseline (majority class)"),
        tasks=("text-classification", "tabular-classification"),
        formats=("constant",),
        excuses={
            "export": "a constant needs no other runtime",
            **dict.fromkeys(("dynamic_int8", "static_int8", "bfloat16"), "there are no weights to compress"),
            "space": "a constant has no settings",
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return the one setting there is."""
        del spec, profile
        return (
            Variant(
                name="majority",
                label=Words(zh="永远猜多数类", en="always the majority class"),
                trains=False,
                simplicity=0,
                cost=CostPrior(build_fixed=0.05, build_per_1000=0.0, predict_fixed=0.05, predict_per_1000=0.001),
            ),
        )

    def build(self, context: BuildContext) -> Artifact:
        """Count the classes (one added to each, so that no probability is zero)."""
        counts = np.bincount(context.train.labels, minlength=len(context.classes)) + 1.0
        return Artifact(
            format="constant",
            task=context.task,
            classes=context.classes,
            inputs=context.inputs,
            meta={"prior": [float(share) for share in counts / counts.sum()]},
        )

    def export(self, context: ExportContext) -> Artifact:
        """Refuse: see ``traits.excuses``."""
        what = "a constant has no other format"
        raise StepError("unsupported", what, got=context.target)


PLUGIN = Baseline()
