"""The run as a race: every look at every arm in the order they ended, and who was dropped, when and why.

"When" is processor seconds spent by the whole run, not time of day: the same ledger always tells the same race. Steps are put in
order by their time stamps; where those are missing (recorded tables) by stage, rung and share of the training rows.

A look's interval is Wilson's (1927) with the effective number of rows: as many rows as would give a plain share of right answers
the metric's own standard error, which is the delta method over the rows (for ROC AUC: DeLong, DeLong and Clarke-Pearson 1988).
Unlike a bootstrap it stays wide at a perfect score, and costs next to nothing for hundreds of looks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

import numpy as np

from bakeoff.decision.posterior import Judging
from bakeoff.decision.view import arm_of
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, Variant
from bakeoff.schema.decision import RaceExit, RaceLook
from bakeoff.schema.trial import Elimination, Failure, StepResult
from bakeoff.store.evidence import Evidence, StudyEvidence
from bakeoff.tasks.scoring import statistic

Stage = Literal["probe", "rung", "tune", "final"]
Interval = tuple[float, float, float]
"""Score, lower and upper end."""
_STAGES = {"probe": 0, "rung": 1, "final": 3, "risk": 4}
_KINDS = ("build", "export", "compress", "load", "predict", "time", "risk")
_AGAIN = frozenset({"interrupted", "disk"})  # tried again by the next run


@dataclass
class _Look:
    """One look while it is put together: the rows that judged it, and where the clock stood."""

    arm: str
    stage: Stage
    fraction: float
    seed: int
    seconds: float = 0.0
    at: float = 0.0
    rows: list[Evidence] = field(default_factory=list)

    def take(self, row: Evidence, seconds: float, at: float) -> None:
        """Add one row of the ledger and the seconds that led to it."""
        self.seconds, self.at = self.seconds + seconds, at
        if row.result.kind == "predict":
            self.rows.append(row)


@dataclass
class _Track:
    """What the walk through the ledger leaves: looks, and where the clock stood at the last step of arms and candidates."""

    looks: list[_Look] = field(default_factory=list)
    arms: dict[str, float] = field(default_factory=dict)
    probes: dict[str, float] = field(default_factory=dict)
    failures: dict[str, tuple[float, Failure]] = field(default_factory=dict)


def race(
    evidence: StudyEvidence, judging: Judging, confidence: float
) -> tuple[tuple[RaceLook, ...], tuple[RaceExit, ...]]:
    """Return every look in the order they ended, and every exit, the earliest first.

    Args:
        evidence: everything known in the study, in any order.
        judging: how answers are judged.
        confidence: level of the intervals.

    """
    known = {candidate.id: candidate for candidate in evidence.candidates}
    arms = {known[name].arm: known[name].variant for name in sorted(known, reverse=True)}
    track = _walk(evidence.results, arms, evidence.spec.seed)
    drawn = tuple(
        _look(number, look, arms[look.arm], judging, confidence) for number, look in enumerate(track.looks, 1)
    )
    return drawn, _exits(evidence, known, arms, track)


def interval(row: Evidence, judging: Judging, confidence: float) -> Interval:
    """Return a predict row's score with its interval.

    All metrics but ROC AUC depend on the confusion counts alone, so rows with the same (actual, predicted) are taken together.
    """
    actual, predicted = np.asarray(row.arrays["actual"], np.int64), np.asarray(row.arrays["predicted"], np.int64)
    probabilities, counts = None, np.ones(actual.size)
    if judging.metric == "roc_auc":
        probabilities = np.asarray(row.arrays["probabilities"], np.float64)
    else:
        width = int(max(actual.max(), predicted.max())) + 1
        table = np.bincount(actual * width + predicted)
        cells = np.flatnonzero(table)
        actual, predicted, counts = cells // width, cells % width, table[cells].astype(np.float64)
    found = statistic(judging.metric, actual, predicted, probabilities, judging.positive)
    columns = found.columns.astype(np.float64)
    sums = counts @ columns
    top, bottom = columns[:, 0::2], columns[:, 1::2]
    below = np.where(sums[1::2] > 0, sums[1::2], 1.0)
    parts = (top - bottom * (sums[0::2] / below)) / below
    influence = parts.sum(axis=1) if judging.metric == "roc_auc" else parts.mean(axis=1)
    return _wilson(float(found.finish(sums)), float(counts @ influence**2), float(counts.sum()), confidence)


def _wilson(score: float, variance: float, rows: float, confidence: float) -> Interval:
    """Return Wilson's interval with the rows that ``variance`` amounts to; at a perfect score with all of them."""
    share = min(max(score, 0.0), 1.0)
    spread = share * (1.0 - share)
    if variance <= 0 < spread:
        return score, score, score  # no row could have changed it: a constant answer
    size = spread / variance if variance > 0 < spread else rows
    square = NormalDist().inv_cdf(0.5 + confidence / 2.0) ** 2
    centre = (share + square / (2.0 * size)) / (1.0 + square / size)
    half = math.sqrt(square * spread / size + (square / (2.0 * size)) ** 2) / (1.0 + square / size)
    return score, min(score, centre - half), max(score, centre + half)


def _walk(results: Iterable[Evidence], arms: Mapping[str, Variant], seed: int) -> _Track:
    """Go through the ledger with a running sum of processor seconds; steps that judge nothing count for the arm's next look."""
    track, looks = _Track(), dict[tuple[object, ...], _Look]()
    spent, waiting = 0.0, defaultdict[str, float](float)
    for row in sorted(results, key=_order):
        result, arm = row.result, arm_of(row.result.candidate)
        spent += result.cpu_seconds
        if arm not in arms or result.kind == "risk":
            continue
        _mark(track, result, arm, spent)
        waiting[arm] += result.cpu_seconds
        key = _key(row, arm, seed)
        if key is not None:
            stage = _stage(result, tuned=bool(arms[arm].base))
            look = looks.setdefault(key, _Look(arm, stage, result.fidelity.fraction, result.fidelity.seed))
            look.take(row, waiting.pop(arm), spent)
    track.looks = sorted(looks.values(), key=lambda look: (look.at, look.arm, look.stage, look.fraction, look.seed))
    for look in reversed(track.looks):  # timing rounds and further seeds belong to an arm's last look
        look.seconds += waiting.pop(look.arm, 0.0)
    return track


def _order(row: Evidence) -> tuple[object, ...]:
    result = row.result
    stage = 0 if result.fidelity.probe else _STAGES.get(result.purpose, 2)
    return (
        result.created, stage, result.rung or 0, result.fidelity.fraction, arm_of(result.candidate), _KINDS.index(result.kind),
        result.round or 0, result.key,
    )  # fmt: skip


def _mark(track: _Track, result: StepResult, arm: str, spent: float) -> None:
    track.arms[arm] = spent
    if result.fidelity.probe:
        track.probes[result.candidate] = spent
    failed = result.failure
    if result.status == "failed" and failed is not None and failed.code not in _AGAIN:
        owner = arm if result.kind == "build" else result.candidate
        track.failures.setdefault(owner, (spent, failed))


def _key(row: Evidence, arm: str, seed: int) -> tuple[object, ...] | None:
    """Which look a row belongs to; None for steps that judge nothing, and for a finalist's further training seeds."""
    result, seen = row.result, row.result.fidelity
    if seen.probe:
        return arm, "probe"
    again = seen.seed != seed and result.purpose == "final"
    if result.kind != "predict" or result.status != "ok" or again or not _judges(row):
        return None
    return arm, seen.split, seen.fraction, seen.limit, seen.seed


def _judges(row: Evidence) -> bool:
    return "actual" in row.arrays and row.arrays["actual"].size > 0


def _stage(result: StepResult, *, tuned: bool) -> Stage:
    if result.fidelity.probe:
        return "probe"
    if result.fidelity.split == "confirm":
        return "final"
    return "tune" if tuned else "rung"


def _look(number: int, look: _Look, variant: Variant, judging: Judging, confidence: float) -> RaceLook:
    fields = {
        "number": number, "arm": look.arm, "label": variant.label, "stage": look.stage, "seed": look.seed, "rows": 0,
        "seconds": look.seconds, "at": look.at,
        "fraction": look.fraction if variant.trains or look.stage == "probe" else None,
    }  # fmt: skip
    if look.rows:
        best = min(look.rows, key=_nearest)
        score, low, high = interval(best, judging, confidence)
        fields |= {"rows": int(best.arrays["actual"].size), "score": score, "low": low, "high": high}
    return RaceLook.model_validate(fields)


def _nearest(row: Evidence) -> tuple[int, bool, str]:
    """Most rows judged first, then the uncompressed path, then by name."""
    name = row.result.candidate
    return -int(row.arrays["actual"].size), ".none." not in name, name


def _exits(
    evidence: StudyEvidence, known: Mapping[str, Candidate], arms: Mapping[str, Variant], track: _Track
) -> tuple[RaceExit, ...]:
    """Group eliminations of an arm's paths that share their reason; the last group of an arm that is wholly out ends it."""
    groups: dict[tuple[str, str, str], list[Elimination]] = defaultdict(list)
    for found in [*evidence.eliminations, *_unnoticed(evidence, known, track)]:
        if found.candidate in known:
            groups[known[found.candidate].arm, found.kind, found.reason.en].append(found)
    paths = defaultdict[str, set[str]](set)
    for candidate in known.values():
        paths[candidate.arm].add(candidate.id)
    made = sorted((_exit(arm, group, arms[arm], track) for (arm, _, _), group in groups.items()), key=_when)
    finished = []
    for place, one in enumerate(made):
        left = paths[one.arm] - {
            name for other in made[: place + 1] if other.arm == one.arm for name in other.candidates
        }
        finished.append(one if not left else one.model_copy(update={"ends": False}))
    return tuple(finished)


def _unnoticed(evidence: StudyEvidence, known: Mapping[str, Candidate], track: _Track) -> list[Elimination]:
    """Failures nobody drew a conclusion from yet: a run that was stopped in between."""
    told = {found.candidate for found in evidence.eliminations}
    found = []
    for candidate in known.values():
        failed = track.failures.get(candidate.id) or track.failures.get(candidate.arm)
        if candidate.id not in told and failed is not None:
            why = failed[1].clause
            reason = Words(zh=f"运行失败（{failed[1].code}）{why.zh}", en=f"failed ({failed[1].code}){why.en}")
            found.append(Elimination(candidate=candidate.id, kind="failed", reason=reason))
    return found


def _exit(arm: str, group: Sequence[Elimination], variant: Variant, track: _Track) -> RaceExit:
    first = min(group, key=lambda found: found.candidate)
    ends = [at for found in group if (at := _left(found, arm, track)) is not None]
    return RaceExit(
        arm=arm, label=variant.label, candidates=tuple(sorted(found.candidate for found in group)), kind=first.kind, at=max(ends, default=None),
        fraction=(first.fraction or None) if variant.trains else None, reason=first.reason,
    )  # fmt: skip


def _left(found: Elimination, arm: str, track: _Track) -> float | None:
    """Where the clock stood when nothing more was spent on a candidate."""
    if found.kind == "failed":
        failed = track.failures.get(found.candidate) or track.failures.get(arm)
        if failed is not None:
            return failed[0]
    if found.kind == "infeasible" and found.fraction is None and found.candidate in track.probes:
        return track.probes[found.candidate]
    return track.arms.get(arm)


def _when(found: RaceExit) -> tuple[bool, float, str, str, str]:
    return found.at is None, found.at or 0.0, found.arm, found.kind, found.reason.en
