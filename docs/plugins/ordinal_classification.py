"""Ordered classes (one star to five): a mistake costs as much as the answer is off."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.schema.base import Words
from bakeoff.schema.plugin import TaskTraits
from bakeoff.schema.spec import Spec
from bakeoff.tasks.base import Classification, CostMatrix
from bakeoff.tasks.scoring import METRICS


class Ordinal(Classification):
    """Classification whose classes, in alphabetical order, stand on a scale."""

    def costs(self, spec: Spec, classes: Sequence[str]) -> CostMatrix | None:
        """Return prices from the specification where it names any, else the distance on the scale."""
        priced = super().costs(spec, classes)
        places = range(len(classes))
        return priced or tuple(tuple(float(abs(actual - predicted)) for predicted in places) for actual in places)


PLUGIN = Ordinal(
    TaskTraits(label=Words(zh="有序分类", en="Ordinal classification"), metrics=METRICS, default_metric="macro_f1")
)
