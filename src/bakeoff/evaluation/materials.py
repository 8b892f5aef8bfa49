"""What a job needs beside its steps, gathered from the ledger, the frozen data and the asset cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bakeoff import assets
from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.job import StepPlan
from bakeoff.evaluation.timing import Protocol
from bakeoff.schema.trial import Failure, StepResult, Trial
from bakeoff.store.evidence import Evidence

_UNTIMED_ROWS = 20


def weights_of(trial: Trial) -> Path | Failure | None:
    """Return the folder of the pretrained weights, None when there are none to have, or why they are not there."""
    name, hub = trial.candidate.variant.weights, trial.candidate.variant.hub
    if name is None and hub is None:
        return None
    found = assets.weights(name, hub)
    if found is not None:
        return found
    if name in assets.recipes():
        command, shown = f"bakeoff fetch {name}", name
    elif hub is not None:
        command, shown = assets.hub_command(hub), hub
    else:
        return Failure(code="unavailable", reason=f"no such asset: '{name}'", reason_zh=f"没有名为 {name} 的权重")
    reason, zh = f"the weights '{shown}' are not here; try: {command}", f"本机没有权重 {shown}，可运行：{command}"
    return Failure(code="unavailable", reason=reason, reason_zh=zh)


def write_rows(frozen: Frozen, trial: Trial, plans: Sequence[StepPlan], path: Path, seed: int) -> Path:
    """Write the rows that are timed, as JSON lines: the same ones for every candidate, others in every round."""
    protocols = [Protocol.model_validate(plan.detail["protocol"]) for plan in plans if plan.kind == "time"]
    wanted = protocols[0].requests if protocols else _UNTIMED_ROWS
    indices = frozen.indices(trial.fidelity.split)
    chosen = np.random.default_rng([seed, trial.round or 0]).permutation(indices)[:wanted]
    with path.open("w", encoding="utf-8") as file:
        for row in frozen.take(chosen).rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def prediction_on_confirm(rows: Sequence[Evidence], trial: Trial) -> Evidence | None:
    """Return what the trial's candidate predicted on the confirm rows, if it did."""
    found = [
        row
        for row in rows
        if row.result.kind == "predict" and row.result.status == "ok" and labelled(row.result, trial)
    ]
    return found[-1] if found and found[-1].result.fidelity.split == "confirm" else None


def seed_scores(rows: Sequence[Evidence], trial: Trial, metric: str) -> tuple[float, ...]:
    """Return scores of the arm trained with different seeds, all else equal: those of the split with the most seeds."""
    found: dict[tuple[str, int | None], dict[int, float]] = {}
    for row in rows:
        result, fidelity = row.result, row.result.fidelity
        if result.kind != "predict" or result.status != "ok" or arm_of(result) != trial.candidate.arm:
            continue
        score = result.metric(metric)
        if fidelity.fraction == trial.fidelity.fraction and score is not None and score.value is not None:
            found.setdefault((fidelity.split, fidelity.limit), {}).setdefault(fidelity.seed, score.value)
    most = max(found.values(), key=len, default={})
    return tuple(most[seed] for seed in sorted(most)) if len(most) > 1 else ()


def save_arrays(path: Path, row: Evidence | None) -> str | None:
    """Write a row's arrays as npz and return the path; None when there are none."""
    if row is None or not row.arrays:
        return None
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(row.arrays))  # type: ignore[arg-type,unused-ignore]
    return str(path)


def labelled(result: StepResult, trial: Trial) -> bool:
    """Whether the row names this candidate at this fidelity, and this round where rounds are told apart."""
    same = result.candidate == trial.candidate.id and result.fidelity == trial.fidelity
    return same and (result.kind != "time" or result.round == trial.round)


def arm_of(result: StepResult) -> str:
    """Return the arm (family and variant) of the candidate a row names."""
    return ".".join(result.candidate.split(".")[:2])
