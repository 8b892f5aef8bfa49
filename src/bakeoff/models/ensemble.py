"""Combinations of trained candidates: a plain mean, or members chosen greedily with replacement."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.models.base import BuildContext, ExportContext, Member
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.spec import Spec

_TINY = 1e-6
_STEPS = 25
_FLOAT_NOISE = 1e-9


class Ensemble:
    """Averages other candidates; each keeps its own artefact, runtime and calibration."""

    traits = FamilyTraits(
        label=Words(zh="集成", en="ensemble"),
        tasks=("text-classification", "tabular-classification"),
        formats=("ensemble",),
        excuses={
            "export": "the members are exported, each for its own runtime; there is no single graph",
            **dict.fromkeys(("dynamic_int8", "static_int8", "bfloat16"), "the members are compressed, not their mean"),
            "space": "weights are chosen on calibrate when it is built; the members are what can be tuned",
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return the mean and the greedy selection."""
        del spec, profile
        cost = CostPrior(build_fixed=0.5, build_per_1000=0.0, predict_fixed=3.0, predict_per_1000=20.0)
        return (
            Variant(
                name="soft-vote",
                label=Words(zh="软投票集成（概率平均）", en="soft vote (mean of probabilities)"),
                cost=cost,
                simplicity=8,
            ),
            Variant(
                name="greedy",
                label=Words(zh="贪心选择集成", en="greedy ensemble selection"),
                params={"steps": _STEPS},
                cost=cost,
                simplicity=8,
            ),
        )

    def build(self, context: BuildContext) -> Artifact:
        """Choose weights on *calibrate* and gather the members under ``members/<i>/``.

        Raises:
            StepError: fewer than two members, or members that tell other classes apart.

        """
        members = context.members
        if len(members) < 2:
            what = "an ensemble needs two trained members or more"
            raise StepError("error", what, got=len(members))
        weights = _weights(context)
        listed: list[dict[str, Any]] = []
        for member, weight in zip(members, weights, strict=True):
            if weight > 0:
                place = f"members/{len(listed)}"
                gather(member, context.out / place)
                entry = {"candidate": member.candidate, "runtime": member.runtime, "weight": weight, "path": place}
                listed.append(entry)
        return Artifact(
            format="ensemble",
            task=context.task,
            classes=context.classes,
            inputs=context.inputs,
            meta={"members": listed, "method": context.variant.name},
            licences=tuple(dict.fromkeys(name for member in members for name in member.artifact.licences)),
        )

    def export(self, context: ExportContext) -> Artifact:
        """Refuse: see ``traits.excuses``."""
        what = "an ensemble is exported member by member"
        raise StepError("unsupported", what, got=context.target)


def _weights(context: BuildContext) -> list[float]:
    members = context.members
    if context.variant.name == "soft-vote" or context.probe or not len(context.calibrate):
        return [1.0 / len(members)] * len(members)
    stacked = np.stack([_ordered(member, context.classes) for member in members])
    return select(stacked, context.calibrate.labels, int(context.params.get("steps", _STEPS)))


def _ordered(member: Member, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the member's probabilities with the columns in the ensemble's order of classes."""
    if set(member.artifact.classes) != set(classes):
        what = "a member tells other classes apart than the study"
        raise StepError("error", what, where=member.candidate, got=list(member.artifact.classes))
    return np.asarray(member.calibrate[:, [member.artifact.classes.index(name) for name in classes]], dtype=np.float64)


def select(probabilities: NDArray[np.float64], labels: NDArray[np.int64], steps: int) -> list[float]:
    """Return weights found by greedy forward selection with replacement (Caruana et al. 2004), log loss as the score.

    Args:
        probabilities: (members, n, k).
        labels: (n,) class indices.
        steps: how many members are drawn at most; the best prefix counts, so more steps never hurt on these rows.

    """
    told = probabilities[:, np.arange(len(labels)), labels]  # (members, n): probability of the right class
    counts = np.zeros(len(told), dtype=np.int64)
    total = np.zeros(told.shape[1])
    best, best_counts = np.inf, counts.copy()
    for step in range(1, steps + 1):
        losses = -np.log(np.clip((total + told) / step, _TINY, 1.0)).mean(axis=1)
        pick = int(np.flatnonzero(losses <= losses.min() + _FLOAT_NOISE)[0])  # ties: the first, on every machine
        counts[pick] += 1
        total += told[pick]
        if losses[pick] < best - _FLOAT_NOISE:
            best, best_counts = float(losses[pick]), counts.copy()
    return [float(weight) for weight in best_counts / best_counts.sum()]


def gather(member: Member, place: Path) -> None:
    """Hard-link (or copy) a member's listed files to ``place`` and write its ``artifact.json``.

    Raises:
        StepError: a listed file is missing or leads out of the member's directory ('unsafe').

    """
    root = member.directory.resolve()
    place.mkdir(parents=True)
    for name in _files(member):
        source = (root / name).resolve()
        if not source.is_relative_to(root) or not source.is_file():
            what = "a file of a member is missing or lies outside of its directory"
            raise StepError("unsafe", what, where=member.candidate, got=name)
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(source, target)
    (place / "artifact.json").write_text(member.artifact.model_dump_json(indent=1), encoding="utf-8")


def _files(member: Member) -> list[str]:
    listed: list[Any] = [entry.path for entry in member.artifact.files]
    found = listed or [
        path.relative_to(member.directory).as_posix() for path in member.directory.rglob("*") if path.is_file()
    ]
    return sorted(name for name in found if name != "artifact.json")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


PLUGIN = Ensemble()
