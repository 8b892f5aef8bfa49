"""Ensembles: every member is loaded with its own runtime and rule, and the probabilities are averaged by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.rule import Classifier
from bakeoff.runtimes import sealed
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.loading import ARTIFACT_FILE, load_classifier
from bakeoff.runtimes.named import named
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import BundleError, StepError
from bakeoff.schema.plugin import RuntimeTraits

Row = Mapping[str, Any]
_DEPTH = 4


class Vote:
    """The weighted mean of the members' calibrated probabilities."""

    def __init__(self, members: Sequence[Classifier], weights: Sequence[float], classes: tuple[str, ...]) -> None:
        self._members = members
        self._weights = weights
        self._orders = [[member.classes.index(name) for name in classes] for member in members]
        self._classes = len(classes)

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities."""
        total = np.zeros((len(rows), self._classes))
        for member, weight, order in zip(self._members, self._weights, self._orders, strict=True):
            total += weight * member.predict_proba(rows)[:, order]
        return total

    def close(self) -> None:
        """Close every member."""
        for member in self._members:
            member.close()


class Composite:
    """Loads ``ensemble``."""

    traits = RuntimeTraits(label=Words(zh="组合运行时", en="composite"), loads=("ensemble",))

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Load every member; see ``runtimes.base.Runtime``."""
        listed = artifact.meta.get("members") or []
        if not listed:
            what = "the ensemble has no members"
            raise StepError("error", what, where=str(directory))
        if directory.parts.count("members") > _DEPTH:
            what = "ensembles are nested too deeply"
            raise StepError("unsupported", what, where=str(directory))
        with ExitStack() as opened:  # a member that cannot be loaded closes those before it
            loaded = [opened.enter_context(closing(_member(one, directory, threads, artifact))) for one in listed]
            opened.pop_all()
        total = sum(float(member["weight"]) for member in listed)
        return Vote(loaded, [float(member["weight"]) / total for member in listed], artifact.classes)


def _member(member: Mapping[str, Any], directory: Path, threads: int, ensemble: Artifact) -> Classifier:
    try:
        place = sealed.contained(directory, str(member["path"]))
    except BundleError as error:
        what = f"a member lies outside of the ensemble: {error}"
        raise StepError("unsafe", what) from error
    named(ensemble, directory, f"{member['path']}/{ARTIFACT_FILE}", ".json")
    classifier = load_classifier(place, str(member["runtime"]), threads)
    if set(classifier.classes) != set(ensemble.classes):
        classifier.close()
        what = "a member tells other classes apart than the ensemble"
        raise StepError(
            "error", what, where=str(member["candidate"]), got=list(classifier.classes), allowed=ensemble.classes
        )
    return classifier


PLUGIN = Composite()
