"""The ledger of a large study, made up: as many candidates, rows and rounds as asked for, with the arrays a real run leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

from bakeoff.schema import (
    Artifact,
    Candidate,
    Elimination,
    Environment,
    Fidelity,
    FileEntry,
    InputColumn,
    Measurement,
    Profile,
    Spec,
    Split,
    StepResult,
    Strategy,
    Variant,
    Words,
    content_key,
)
from bakeoff.store.evidence import Evidence, StudyEvidence

_FAMILIES = ("linear", "boosting", "encoder", "embedding_head")
_FRACTIONS = (0.33, 1.0)


def large(candidates: int, rows: int, finalists: int, draws: int = 2000, **spec: Any) -> StudyEvidence:  # noqa: ANN401 - fields of a specification
    """Return the evidence of a study of two classes; the best ``finalists`` were judged on confirm, the others on select.

    Args:
        candidates: how many, one arm each.
        rows: select rows, and confirm rows.
        finalists: how many were judged and timed in the final.
        draws: joint draws of the decision.
        spec: top-level fields of the specification.

    """
    asked = Spec.model_validate({
        "name": "large", "task": "text-classification", "data": {"file": "rows.csv", "input": "text", "target": "label"},
        "requirements": {"quality": {"metric": "macro_f1", "floor": 0.75}, "latency": {"p95": "50ms"}, "memory": {"max": "1GiB"}},
        "decision": {"draws": draws}, **spec,
    })  # fmt: skip
    random = np.random.default_rng(candidates)
    skill = np.sort(random.uniform(0.7, 0.88, candidates))[::-1]
    labels = {split: random.integers(0, 2, rows) for split in ("select", "confirm")}
    made, results, out = [], [], []
    for place in range(candidates):
        one = _candidate(place)
        made.append(one)
        results += _rows(one, float(skill[place]), labels, random, final=place < finalists)
        if place >= finalists:
            out.append(
                Elimination(
                    candidate=one.id, kind="eliminated", rung=0, fraction=0.33, p_best=0.001, reason=_say("behind")
                )
            )
    return StudyEvidence(
        spec=asked, profile=_profile(rows), candidates=tuple(made), unavailable=(), results=tuple(results),
        environments={"env": _ENVIRONMENT}, eliminations=tuple(out), finalists=tuple(one.id for one in made[:finalists]),
        stop_rule=("决赛已测完", "every finalist was measured"),
    )  # fmt: skip


_ENVIRONMENT = Environment(
    machine="bench", system="Linux", cpu="made up", cores=2, memory=8 * 2**30, isa=("avx2",), python="3.11", threads=1, packages={},
)  # fmt: skip


def _say(text: str) -> Words:
    return Words(zh=text, en=text)


def _profile(rows: int) -> Profile:
    split = Split(train=8000, calibrate=1000, select=rows, confirm=rows)
    total = 9000 + 2 * rows
    return Profile(
        data="large", file_sha256="0" * 64, encoding="utf-8", language="en", rows_read=total, rows_used=total, exact_duplicates=0,
        conflicting_rows=0, near_duplicate_rows=0, unusable_rows=0, classes=("neg", "pos"),
        class_counts=(total // 2, total - total // 2), columns=(), split=split,
    )  # fmt: skip


def _candidate(place: int) -> Candidate:
    family = _FAMILIES[place % len(_FAMILIES)]
    label = _say(f"{family} {place}")
    network = Strategy() if family == "encoder" else None
    variant = Variant(name=f"v{place}", label=label, simplicity=place % 7, strategy=network)
    return Candidate(family=family, variant=variant, compression="none", runtime="native", label=label)


def _rows(
    one: Candidate, skill: float, labels: dict[str, np.ndarray], random: np.random.Generator, *, final: bool
) -> list[Evidence]:
    judged = [("select", fraction) for fraction in (_FRACTIONS if final else _FRACTIONS[:1])]
    found = []
    for split, fraction in [*judged, *([("confirm", 1.0)] if final else [])]:
        fidelity = Fidelity(fraction=fraction, seed=0, split=split)  # type: ignore[arg-type]
        found += _judged(one, fidelity, skill - 0.03 * (fraction < 1.0), labels[split], random)
    latency = 0.001 * float(random.lognormal(1.0, 1.0))
    for number in range(4) if final else [None]:
        probe = Fidelity(
            fraction=1.0 if final else 0.0, seed=0, split="confirm" if final else "select", probe=not final
        )
        seconds = latency * np.exp(0.12 * random.standard_normal(150 if final else 40))
        memory = Measurement(name="memory", value=2e8, unit="B", n=1)
        step = _step(one, "time", probe, "final" if final else "probe", round=number, measurements=(memory,))
        found.append(Evidence(step, {"latency": seconds, "cpu": seconds}))
    return found


def _judged(
    one: Candidate, fidelity: Fidelity, skill: float, actual: np.ndarray, random: np.random.Generator
) -> list[Evidence]:
    artifact = Artifact(
        format="tfidf-linear", task="text-classification", classes=("neg", "pos"), inputs=(InputColumn(name="text", kind="text"),),
        files=(FileEntry(path="model.npz", sha256="0" * 64, size=5_000_000),),
    )  # fmt: skip
    purpose = "final" if fidelity.split == "confirm" else "rung"
    build = _step(one, "build", fidelity.model_copy(update={"split": "train"}), purpose, artifact=artifact)
    predict = _step(one, "predict", fidelity, purpose, inputs=(build.key,))
    right = random.random(actual.size) < skill
    predicted = np.where(right, actual, 1 - actual)
    table = np.where(predicted[:, None] == np.arange(2), 0.8, 0.2)
    return [Evidence(build, {}), Evidence(predict, {
        "indices": np.arange(actual.size, dtype=np.int32), "predicted": predicted.astype(np.int16), "actual": actual.astype(np.int16),
        "probabilities": table.astype(np.float32),
    })]  # fmt: skip


def _step(one: Candidate, kind: str, fidelity: Fidelity, purpose: str, **more: Any) -> StepResult:  # noqa: ANN401 - fields of a step
    key = content_key(one.id, kind, fidelity, purpose, more.get("round"))
    told = {
        "kind": kind,
        "name": kind,
        "candidate": one.id,
        "purpose": purpose,
        "fidelity": fidelity,
        "data": "large",
        **more,
    }
    return StepResult.model_validate(
        {"key": key, "environment": "env", "wall_seconds": 1.0, "cpu_seconds": 1.0, **told}
    )
