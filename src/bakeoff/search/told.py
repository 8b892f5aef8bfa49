"""What ledgers tell a tuner: the points of this study, and those of earlier studies on other data.

Does: read points, scores and violations out of evidence. Does not: propose anything (``search.tuning`` does), open a file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from bakeoff import registry
from bakeoff.schema.base import canonical
from bakeoff.schema.candidate import Candidate, Variant
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Space, Told
from bakeoff.schema.spec import Requirements, Spec
from bakeoff.search.samplers import full_fraction
from bakeoff.search.screen import SHRINKS, fixed_by_architecture, upper_limits
from bakeoff.search.seen import Outcomes
from bakeoff.search.tuning import space_of
from bakeoff.store.evidence import Evidence, StudyEvidence
from bakeoff.tasks.base import positive_class
from bakeoff.tasks.scoring import score

Score = Callable[[Outcomes], float]
_RETRIED = frozenset({"interrupted", "disk"})
_FAR = 3.0
"""Deviations from an earlier study's mean beyond which a value counts as this far: one broken setting is not all there is."""
_LEAST = 2
"""Points of one earlier study that are needed to say which is better."""


def told(evidence: StudyEvidence, family: str, space: Space, judge: Score | None = None) -> tuple[Told, ...]:
    """Return every point of ``space`` that this study has tried, at the largest share of the training rows it was built on.

    ``value`` is what ``judge`` says of the outcomes on *select* (default: the study's metric), ``seconds`` the processor time of
    judging one row, ``constraints`` how the path that comes nearest to the limits keeps or breaks them. A point that its probe put out
    has constraints and no value; one that could not be built has ``failed``.

    Args:
        evidence: of the study.
        family: whose variants are read.
        space: around the variant that is tuned; variants that are no point of it are left out.
        judge: larger is better.

    """
    judge = judge or _metric(evidence)
    paths: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in evidence.candidates:
        if candidate.family == family:
            paths[candidate.arm].append(candidate)
    rows: dict[str, list[Evidence]] = defaultdict(list)
    for row in evidence.results:
        rows[_arm(row.result.candidate)].append(row)
    found: list[Told] = []
    for arm in sorted(paths):
        point = space.read(paths[arm][0].variant)
        if point is None:
            continue
        limits = _nearest(paths[arm], rows[arm], evidence.spec.requirements)
        known = _judged(evidence, rows[arm], judge) or _out(paths[arm], rows[arm], limits)
        if known is not None:
            found.append(known.model_copy(update={"params": point, "constraints": limits}))
    return tuple(found)


def earlier(
    evidences: Iterable[StudyEvidence], family: str, space: Space, *, task: str, language: str
) -> tuple[Told, ...]:
    """Return what earlier studies of the same task know about the points of a space, best first.

    Values are deviations from the mean of the same family (and the same pretrained weights) within each study, so that an easy
    data set does not speak louder than a hard one; a point that several studies tried gets its mean.

    Args:
        evidences: of earlier studies; those of another task, or of texts in another language, say nothing.
        family: whose settings are wanted.
        space: around the variant that is tuned.
        task: of this study.
        language: of this study's texts.

    """
    values: dict[str, list[float]] = defaultdict(list)
    points: dict[str, Told] = {}
    for evidence in evidences:
        if evidence.spec.task != task or (task == "text-classification" and evidence.profile.language != language):
            continue
        for group in _by_weights(evidence, family):
            for known in _standardised(told(group, family, space)):
                text = canonical(known.params)
                points.setdefault(text, known)
                values[text].append(known.value or 0.0)
    found = [points[text].model_copy(update={"value": float(np.mean(values[text]))}) for text in points]
    return tuple(sorted(found, key=lambda known: (-(known.value or 0.0), canonical(known.params))))


def warm_start(
    evidences: Sequence[StudyEvidence], spec: Spec, profile: Profile, candidates: Iterable[Candidate]
) -> dict[str, tuple[Told, ...]]:
    """Return what earlier studies know, by arm of this study's listed candidates: to be kept when a run begins.

    A study keeps it in its own folder, because what is asked for may depend on nothing else.
    """
    variants: dict[str, tuple[str, Variant]] = {
        candidate.arm: (candidate.family, candidate.variant) for candidate in candidates if not candidate.variant.base
    }
    found: dict[str, tuple[Told, ...]] = {}
    for arm, (family, variant) in sorted(variants.items()):
        space = space_of(registry.plugin("models", family), variant, profile)
        if space is not None and (
            known := earlier(evidences, family, space, task=spec.task, language=profile.language)
        ):
            found[arm] = known
    return found


def violations(
    measured: Mapping[str, Measurement], requirements: Requirements, shrinks: float = 1.0
) -> dict[str, float]:
    """Return by how much each limit is broken for certain, as a share of the limit; at or below 0 nothing is proven.

    Proof is what ``search.screen`` takes for it: the near end of the interval, on a quiet machine. Rounded to one digit, so that
    proposals do not change with microseconds.

    Args:
        measured: figures of one path by name.
        requirements: of the specification.
        shrinks: share of a probe's figure that the finished candidate is taken to keep at least.

    """
    found: dict[str, float] = {}
    for name, limit in upper_limits(requirements):
        figure = measured.get(name)
        if figure is None or figure.validity in {"noisy", "refused"}:
            continue
        least = figure.low if figure.low is not None else (figure.value if name in {"memory", "size"} else None)
        if least is not None:
            found[name] = _rounded(shrinks * least / limit - 1.0)
    figure, wanted = measured.get("throughput"), requirements.throughput.min
    if wanted is not None and figure is not None and figure.value is not None and figure.validity == "valid":
        found["throughput"] = _rounded(1.0 - (figure.high if figure.high is not None else figure.value) / wanted)
    return found


def _rounded(share: float) -> float:
    return float(f"{share:.1g}")


def _metric(evidence: StudyEvidence) -> Score:
    spec, profile = evidence.spec, evidence.profile
    positive = positive_class(spec, profile.classes, profile.class_counts)
    metric = spec.requirements.quality.metric

    def judge(seen: Outcomes) -> float:
        return score(metric, seen.actual, seen.predicted, seen.probabilities, positive)

    return judge


def _judged(evidence: StudyEvidence, rows: Sequence[Evidence], judge: Score) -> Told | None:
    """Return value, seconds and fraction of an arm's best prediction, None without one."""
    judged = [
        row for row in rows
        if row.result.kind == "predict" and row.result.status == "ok" and row.result.fidelity.split == "select"
        and not row.result.fidelity.probe and row.result.fidelity.seed == evidence.spec.seed
    ]  # fmt: skip
    if not judged:
        return None
    best = max(judged, key=_rank)
    seen = _outcomes(best)
    seconds = best.result.cpu_seconds / max(1, len(seen))
    return Told(params={}, value=judge(seen), seconds=seconds, fraction=best.result.fidelity.fraction)


def _out(paths: Sequence[Candidate], rows: Sequence[Evidence], limits: Mapping[str, float]) -> Told | None:
    """Return why an arm that nobody judged never will be: no path of it can be built, or every path breaks a limit."""
    broken = {
        row.result.candidate: row.result.kind for row in rows
        if row.result.failure is not None and row.result.failure.code not in _RETRIED
    }  # fmt: skip
    if "build" in broken.values() or all(path.id in broken for path in paths):
        return Told(params={}, failed=True)
    timed = {row.result.candidate for row in rows if row.result.kind == "time"}
    complete = all(path.id in broken or path.id in timed for path in paths)
    return Told(params={}) if complete and any(over > 0 for over in limits.values()) else None


def _rank(row: Evidence) -> tuple[float, bool, int, str]:
    """The most training rows first, then what was not compressed, then the most rows judged."""
    result = row.result
    plain = result.candidate.split(".")[2] == "none"
    return result.fidelity.fraction, plain, int(row.arrays["actual"].size), result.key


def _outcomes(row: Evidence) -> Outcomes:
    arrays = row.arrays
    return Outcomes(
        np.asarray(arrays["indices"], np.int32), np.asarray(arrays["predicted"], np.int16),
        np.asarray(arrays["actual"], np.int16), np.asarray(arrays["probabilities"], np.float32),
    )  # fmt: skip


def _nearest(paths: Sequence[Candidate], rows: Sequence[Evidence], requirements: Requirements) -> dict[str, float]:
    """Return the violations of the path that breaks limits least: an arm is out only when all of its paths are."""
    found = []
    for candidate in sorted(paths, key=lambda path: path.id):
        mine = [row.result for row in rows if row.result.candidate == candidate.id and row.result.status == "ok"]
        finished = any(result.kind == "time" and not result.fidelity.probe for result in mine)
        measured = {figure.name: figure for result in mine for figure in result.measurements}
        shrinks = 1.0 if finished or fixed_by_architecture(candidate) else SHRINKS
        if limits := violations(measured, requirements, shrinks):
            found.append(limits)
    return min(found, key=lambda limits: sum(max(0.0, over) for over in limits.values()), default={})


def _by_weights(evidence: StudyEvidence, family: str) -> list[StudyEvidence]:
    """Cut a study into parts whose variants stand on the same pretrained weights: between them, the weights decide."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in evidence.candidates:
        if candidate.family == family:
            groups[candidate.variant.weights or candidate.variant.hub or ""].append(candidate)
    return [
        StudyEvidence(evidence.spec, evidence.profile, tuple(candidates), (), evidence.results)
        for _, candidates in sorted(groups.items())
    ]


def _standardised(points: Sequence[Told]) -> list[Told]:
    """Return what was built on enough rows, in deviations from its mean; nothing where there is nothing to compare."""
    level = full_fraction(points)
    kept = [point for point in points if point.value is not None and point.fraction >= level]
    values = np.array([point.value for point in kept], dtype=np.float64)
    if len(kept) < _LEAST or not values.std():
        return []
    scaled = np.clip((values - values.mean()) / values.std(), -_FAR, _FAR)
    return [
        Told(params=point.params, value=float(value), prior=True) for point, value in zip(kept, scaled, strict=True)
    ]


def _arm(candidate: str) -> str:
    return ".".join(candidate.split(".")[:2])
