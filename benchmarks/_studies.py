"""Simulated studies with a planted truth, decided by the product's own posterior and choice in milliseconds each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.decision.choose import Choice, choose
from bakeoff.decision.posterior import Judging, Quality, QualityPosterior
from bakeoff.decision.premises import LIMITS, premises_of
from bakeoff.decision.view import Outcomes, View
from bakeoff.decision.world import World
from bakeoff.schema import Candidate, Elimination, Fidelity, Spec, Variant, Words

DRAWS = 600
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Truth:
    """What is planted: full-fidelity accuracy of every arm (k,), which of them are finalists, gain from part to all of the rows (k,)."""

    accuracy: NDArray[np.float64]
    gain: NDArray[np.float64]
    final: NDArray[np.bool_]


def spec_of(metric: str = "accuracy", **decision: Any) -> Spec:  # noqa: ANN401 - fields of a specification
    """Return a specification without limits."""
    return Spec.model_validate({
        "name": "simulated", "task": "text-classification", "data": {"file": "rows.csv", "target": "label"},
        "requirements": {"quality": {"metric": metric}}, "decision": {"draws": DRAWS, **decision},
    })  # fmt: skip


def right_answers(
    random: np.random.Generator, accuracy: NDArray[np.float64], rows: int, alike: float = 0.7
) -> NDArray[np.bool_]:
    """Return who answers which row right (k, n): rows are hard or easy for all arms alike, as for real models."""
    hard, own = random.standard_normal(rows), random.standard_normal((accuracy.size, rows))
    threshold = np.array([_NORMAL.inv_cdf(float(np.clip(value, 1e-6, 1 - 1e-6))) for value in accuracy])[:, None]
    return np.asarray(np.sqrt(alike) * hard + np.sqrt(1.0 - alike) * own < threshold)


def view(
    name: str, right: NDArray[np.bool_], actual: NDArray[np.int64], simplicity: int, *, final: bool = True
) -> View:
    """Return a candidate judged on the confirm rows, or on select for one that did not get there."""
    label = Words(zh=name, en=name)
    candidate = Candidate(
        family=name, compression="none", runtime="native", label=label,
        variant=Variant(name="v", label=label, simplicity=simplicity),
    )  # fmt: skip
    return View(candidate, judged=outcomes(right, actual, "confirm" if final else "select", 1.0), final=final)


def outcomes(right: NDArray[np.bool_], actual: NDArray[np.int64], split: str, fraction: float) -> Outcomes:
    """Return outcomes of two classes on rows 0..n-1."""
    fidelity = Fidelity(fraction=fraction, seed=0, split=split)  # type: ignore[arg-type]
    return Outcomes(fidelity, np.arange(actual.size), np.where(right, actual, 1 - actual), actual, None)


def qualities(views: Sequence[View], metric: str, seed: int, draws: int = DRAWS) -> dict[str, Quality]:
    """Return the posterior of the views' qualities."""
    return QualityPosterior(sorted(views, key=lambda item: item.id), Judging(metric, 1, ()), draws, seed, 0).quality()


def chosen(views: Sequence[View], spec: Spec, seed: int) -> tuple[World, Choice]:
    """Return the choice without prices or limits: all candidates cost the same."""
    ordered = sorted(views, key=lambda item: item.id)
    found = qualities(ordered, spec.requirements.quality.metric, seed)
    drawn = [found[item.id] for item in ordered]
    nothing, size = np.zeros((len(ordered), DRAWS)), (len(ordered), 1)
    world = World(
        views=ordered, unseen=[], quality=np.stack([item.draws for item in drawn]), accuracy=np.stack([item.accuracy for item in drawn]),
        mistakes=np.zeros((0, len(ordered), DRAWS)), limits={name: np.full(size, np.nan) for name in LIMITS},
        allowed=np.ones(len(ordered), dtype=np.bool_), final=np.array([item.final for item in ordered]),
        barred=np.zeros(len(ordered), dtype=np.bool_), carried=np.array([item.carried for item in drawn]),
        arms=np.arange(len(ordered)), capacity=nothing + 1.0, hourly=nothing, hours=nothing, training=nothing, build=nothing,
        upkeep=nothing, relabel=np.zeros(size), per_request=nothing, today=premises_of(spec, []), curves=[None] * len(ordered),
    )  # fmt: skip
    return world, choose(world, world.today)


def raced(random: np.random.Generator, arms: int, spread: float, rows: int, finalists: int) -> tuple[list[View], Truth]:
    """Return a study in which a look at part of the training rows let only the best-looking arms into the final.

    Arms gain differently from the rest of the rows, so the best one may have been stopped.
    """
    accuracy = np.clip(0.85 + spread * random.standard_normal(arms), 0.5, 0.995)
    gain = np.clip(0.03 + 0.3 * spread * random.standard_normal(arms), 0.0, 0.2)
    labels, select = random.integers(0, 2, rows), random.integers(0, 2, rows)
    early = right_answers(random, accuracy - gain, rows)
    late = right_answers(random, accuracy, rows)
    ranked = np.argsort(-early.mean(axis=1), kind="stable")
    final = np.zeros(arms, dtype=np.bool_)
    final[ranked[:finalists]] = True
    views = []
    for place in range(arms):
        name = f"arm{place:02d}"
        part = outcomes(early[place], select, "select", 0.33)
        if final[place]:
            one = view(name, late[place], labels, place % 5)
        else:
            one = view(name, early[place], select, place % 5, final=False)
            one.judged = part
            one.elimination = Elimination(
                candidate=one.id, kind="eliminated", reason=Words(zh=name, en=name), p_best=0.02
            )
        one.selects = [part]
        views.append(one)
    return views, Truth(accuracy, gain, final)
