"""A study's own ledger as a recorded table, and what searches of other settings would have come to on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from bakeoff.schema.base import Record
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.errors import StudyError
from bakeoff.schema.trial import Fidelity, StepResult
from bakeoff.search.planner import Rules
from bakeoff.search.presets import PRESETS
from bakeoff.search.rehearsal import rehearse
from bakeoff.search.replay import Book, Replay, regret
from bakeoff.search.seen import Outcomes, Seen
from bakeoff.search.table import Arm, Table
from bakeoff.store.evidence import StudyEvidence
from bakeoff.tasks.base import positive_class

_LEAST_ARMS = 3
_MOST_CLASSES = 256


class Rehearsed(Record):
    """What one preset would have come to on the recorded cells, over imagined studies with other rows."""

    preset: str
    replays: int
    cost_ratio: float = Field(
        description="Median CPU seconds of looking, as a share of training and judging every recorded arm in full."
    )
    regret: float = Field(description="Mean true loss of the choice, in units of the metric.")
    within: float = Field(description="Share of the replays whose loss is inside the indifference zone.")
    stated: float = Field(description="Mean stated certainty of being inside it.")
    chosen: dict[str, int] = Field(description="How often each arm was chosen.")


class Rehearsals(Record):
    """A ledger replayed."""

    study: str
    metric: str = Field(
        description="A table keeps labels only: macro_f1 stands in for roc_auc, and mistakes have no prices."
    )
    arms: int
    rows: int
    cells: int = Field(description="Recorded cells: arm × share × seed.")
    exhaustive_seconds: float
    presets: tuple[Rehearsed, ...]


def rehearsals(evidence: StudyEvidence, replays: int) -> Rehearsals:
    """Replay a ledger with every preset's patience; shares, rows and finalists are what was recorded.

    Raises:
        StudyError: fewer than three arms were judged on all select rows.

    """
    book = Book(table_of(evidence))
    table = book.table
    zone, confidence = evidence.spec.decision.indifference.quality, evidence.spec.decision.confidence
    full, found = max(book.cost_of_all(table.rows), 1e-9), []
    for name, preset in PRESETS.items():
        rules = Rules(zone=zone, confidence=confidence, patience=preset.patience)
        ran = []
        for seed in range(replays):
            replay = Replay(book, seed, table.rows, table.rows)
            verdict = rehearse(replay, rules)
            ran.append((replay.looking / full, regret(book, verdict.arm, replay.feasible), verdict.stated, verdict.arm))
        chosen = [table.arms[arm].id for *_, arm in ran]
        found.append(
            Rehearsed(
                preset=name, replays=replays, cost_ratio=float(np.median([row[0] for row in ran])),
                regret=float(np.mean([row[1] for row in ran])), within=float(np.mean([row[1] <= zone for row in ran])),
                stated=float(np.mean([row[2] for row in ran])), chosen={name: chosen.count(name) for name in sorted(set(chosen))},
            )
        )  # fmt: skip
    return Rehearsals(
        study=evidence.spec.name, metric=table.metric, arms=len(table.arms), rows=table.rows, cells=int(table.known.sum()), exhaustive_seconds=full,
        presets=tuple(found),
    )  # fmt: skip


def table_of(evidence: StudyEvidence) -> Table:
    """Return the recorded table of a ledger: arms judged on all the select rows at their full share, with whatever else is known.

    Raises:
        StudyError: fewer than three such arms.

    """
    if len(evidence.profile.classes) > _MOST_CLASSES:
        what = "a recorded table holds at most 256 classes"
        raise StudyError(what, got=f"{len(evidence.profile.classes)} classes")
    seen = Seen(evidence)
    arms = {candidate.arm: candidate for candidate in reversed(evidence.candidates) if candidate.family != "ensemble"}
    rows = max((len(found) for arm in arms for _, _, found in seen.judged(arm)), default=0)
    cells = {arm: _cells(seen, arm, rows) for arm in arms}
    whole = [arm for arm in sorted(arms) if any(fraction >= 1.0 for fraction, _ in cells[arm])]
    if len(whole) < _LEAST_ARMS:
        what = "too little to replay: fewer than three arms were trained on everything and judged on all select rows"
        raise StudyError(what, got=f"{len(whole)} arms", try_="a run with preset: rigorous looks at more")
    fractions = tuple(sorted({fraction for arm in whole for fraction, _ in cells[arm]}))
    seeds = sorted({seed for arm in whole for _, seed in cells[arm]})
    return _table(evidence, seen, {arm: arms[arm] for arm in whole}, cells, fractions, seeds)


def _cells(seen: Seen, arm: str, rows: int) -> dict[tuple[float, int], Outcomes]:
    return {
        (fidelity.fraction, fidelity.seed): outcomes for fidelity, _, outcomes in seen.judged(arm) if len(outcomes) == rows
    }  # fmt: skip


def _table(
    evidence: StudyEvidence,
    seen: Seen,
    arms: Mapping[str, Candidate],
    cells: Mapping[str, dict[tuple[float, int], Outcomes]],
    fractions: tuple[float, ...],
    seeds: list[int],
) -> Table:
    first = next(iter(next(iter(cells[arm] for arm in arms)).values()))
    shape = (len(arms), len(fractions), len(seeds))
    predicted, known, build = np.zeros((*shape, len(first)), np.uint8), np.zeros(shape, np.bool_), np.zeros(shape)
    predict, latency, size = np.zeros(len(arms)), np.full((len(arms), 2), np.nan), np.full((len(arms), 2), np.nan)
    steps = _steps(evidence)
    for place, (arm, candidate) in enumerate(arms.items()):
        for (fraction, seed), outcomes in cells[arm].items():
            at = place, fractions.index(fraction), seeds.index(seed)
            predicted[at] = outcomes.predicted[np.argsort(outcomes.indices, kind="stable")]
            known[at] = True
            build[at] = _seconds(steps[arm], ("build", "export", "compress"), fraction, seed)
        judged = [
            row for row in steps[arm] if row.kind == "predict" and row.fidelity.split == "select" and row.status == "ok"
        ]
        predict[place] = np.median([row.cpu_seconds / len(first) for row in judged]) if judged else 0.0
        probed = seen.probed(candidate)
        if "latency_p95" in probed and probed["latency_p95"].value is not None:
            latency[place] = probed["latency_p95"].value
    profile, spec = evidence.profile, evidence.spec
    return Table(
        name=spec.name, task=spec.task, metric=_metric(spec.requirements.quality.metric), classes=profile.classes,
        positive=positive_class(spec, profile.classes, profile.class_counts), train=profile.split.train, fractions=fractions,
        arms=tuple(
            Arm(arm, one.family, _plain(one), trains=one.variant.trains, simplicity=one.variant.simplicity) for arm, one in arms.items()
        ),
        actual=first.actual[np.argsort(first.indices, kind="stable")].astype(np.uint8), predicted=predicted, known=known, build=build,
        predict=predict, prefixes={}, latency=latency, size=size,
    )  # fmt: skip


def _metric(metric: str) -> str:
    """A table keeps predicted labels only; where the study ranks by area under the curve, macro F1 stands in."""
    return "macro_f1" if metric == "roc_auc" else metric


def _plain(candidate: Candidate) -> dict[str, object]:
    return {
        name: value if isinstance(value, (int, float, str)) else repr(value)
        for name, value in candidate.variant.params.items()
    }


def _steps(evidence: StudyEvidence) -> dict[str, list[StepResult]]:
    found: dict[str, list[StepResult]] = defaultdict(list)
    for row in evidence.results:
        found[".".join(row.result.candidate.split(".")[:2])].append(row.result)
    return found


def _seconds(rows: list[StepResult], kinds: tuple[str, ...], fraction: float, seed: int) -> float:
    def same(fidelity: Fidelity) -> bool:
        return (fidelity.fraction, fidelity.seed, fidelity.probe) == (fraction, seed, False)

    return sum(row.cpu_seconds for row in rows if row.kind in kinds and same(row.fidelity) and row.status == "ok")
