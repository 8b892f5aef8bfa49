"""Synthetic studies with a planted truth: ``make_world`` returns the evidence a real run would leave, without running anything.

Every stack has a true accuracy; rows have a difficulty common to all stacks, so their mistakes overlap as real models' do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from bakeoff.schema import (
    Artifact,
    Candidate,
    Elimination,
    Environment,
    Failure,
    Fidelity,
    FileEntry,
    InputColumn,
    Measurement,
    Profile,
    Spec,
    Split,
    StepResult,
    Strategy,
    Unavailable,
    Variant,
    Words,
    content_key,
)
from bakeoff.store.evidence import Evidence, StudyEvidence

CLASSES = ("neg", "pos")
SPLIT = Split(train=8000, calibrate=1400, select=1200, confirm=2000)
ENVIRONMENT = Environment(
    machine="bench", system="Linux 6.8", cpu="synthetic", cores=2, memory=8 * 2**30, isa=("avx2",), python="3.11.9", threads=1,
    packages={"numpy": "2.0"},
)  # fmt: skip


@dataclass(frozen=True)
class Stack:
    """One planted candidate. ``rungs`` are (fraction, true accuracy) on select; ``final``: judged on confirm too.

    ``same_as`` names a stack whose answers it repeats exactly; ``agree`` is how much of a row's difficulty is common.
    """

    id: str
    accuracy: float = 0.85
    latency: float = 0.005
    memory: float = 200e6
    size: float = 5e6
    simplicity: int = 3
    train_seconds: float = 20.0
    final: bool = True
    trains: bool = True
    remote: bool = False
    network: bool = False
    licence: str | None = None
    rungs: tuple[tuple[float, float], ...] = ((1.0, 0.0),)
    seeds: int = 1
    rounds: int = 4
    requests: int = 150
    noisy: bool = False
    cpu_share: float = 1.0
    agree: float = 0.7
    same_as: str | None = None
    failure: str | None = None
    failure_zh: str = ""
    elimination: str | None = None
    timed: bool = True
    limit: int | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


def make_spec(**changes: Any) -> Spec:
    content: dict[str, Any] = {
        "name": "synthetic", "task": "text-classification", "data": {"file": "reviews.csv", "input": "text", "target": "label"},
        "requirements": {"quality": {"metric": "accuracy"}}, "decision": {"draws": 1000},
    }  # fmt: skip
    return Spec.model_validate({**content, **changes})


def make_profile(classes: Sequence[str] = CLASSES, split: Split = SPLIT) -> Profile:
    total = split.train + split.calibrate + split.select + split.confirm
    return Profile(
        data="synthetic-data", file_sha256="ab" * 32, encoding="utf-8", language="zh", rows_read=total, rows_used=total,
        exact_duplicates=0, conflicting_rows=0, near_duplicate_rows=0, unusable_rows=0, classes=tuple(classes),
        class_counts=tuple(total // len(classes) - index for index in range(len(classes))), columns=(), split=split,
    )  # fmt: skip


def make_world(
    stacks: Sequence[Stack],
    *,
    seed: int = 0,
    split: Split = SPLIT,
    classes: Sequence[str] = CLASSES,
    unavailable: Sequence[Unavailable] = (),
    **spec: Any,
) -> StudyEvidence:
    """Return the evidence of a study of ``stacks``; ``spec`` are top-level fields of the specification."""
    maker = _Maker(seed, split, len(classes))
    results = [row for stack in stacks for row in maker.rows(stack)]
    dropped = [
        Elimination(
            candidate=stack.id, kind=stack.elimination, rung=0, fraction=stack.rungs[-1][0], p_best=0.004,
            reason=Words(zh="明显不如领先者", en="clearly behind the leader"),
        )
        for stack in stacks if stack.elimination is not None
    ]  # fmt: skip
    return StudyEvidence(
        spec=make_spec(seed=seed, **spec), profile=make_profile(classes, split), candidates=tuple(map(candidate_of, stacks)),
        unavailable=tuple(unavailable), results=tuple(results), environments={"env": ENVIRONMENT}, eliminations=tuple(dropped),
        finalists=tuple(stack.id for stack in stacks if stack.final),
        stop_rule=("入围方案都已测完", "every finalist has been measured"),
    )  # fmt: skip


def candidate_of(stack: Stack) -> Candidate:
    family, variant, compression, runtime = stack.id.split(".")
    label = Words(
        zh=f"{family} {variant}（{compression}，{runtime}）", en=f"{family} {variant} ({compression}, {runtime})"
    )
    return Candidate(
        family=family, compression=compression, runtime=runtime, label=label,
        variant=Variant(
            name=variant, label=Words(zh=f"{family} {variant}", en=f"{family} {variant}"), trains=stack.trains, remote=stack.remote,
            licence=stack.licence, simplicity=stack.simplicity, strategy=Strategy() if stack.network else None,
        ),
    )  # fmt: skip


class _Maker:
    def __init__(self, seed: int, split: Split, classes: int) -> None:
        self.seed, self.split, self.classes = seed, split, classes
        self.sets: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        first = 100_000
        for name, count in (("select", split.select), ("confirm", split.confirm)):
            random = np.random.default_rng([seed, len(name)])
            self.sets[name] = (
                np.arange(first, first + count),
                random.integers(0, classes, count),
                random.standard_normal(count),
            )
            first += count

    def rows(self, stack: Stack) -> list[Evidence]:
        rows = []
        best = max(fraction for fraction, _ in stack.rungs) if stack.rungs else 1.0
        for rung, (fraction, accuracy) in enumerate(stack.rungs):
            for number in range(stack.seeds if fraction == best else 1):
                fidelity = Fidelity(fraction=fraction, seed=self.seed + number, split="select", limit=stack.limit)
                purpose = "rung" if number == 0 else "final"
                rows += self._judged(
                    stack, fidelity, accuracy or stack.accuracy, purpose, rung if number == 0 else None
                )
        if stack.final:
            fidelity = Fidelity(fraction=best, seed=self.seed, split="confirm")
            rows += self._judged(stack, fidelity, stack.accuracy, "final", None)
        if stack.timed:
            rows += self._timed(stack, best)
        if stack.failure is not None:
            rows.append(self._step(stack, "build", Fidelity(seed=self.seed), "rung", status="failed", failure=Failure(
                code="timeout", reason=stack.failure, reason_zh=stack.failure_zh)))  # fmt: skip
        return rows

    def _judged(
        self, stack: Stack, fidelity: Fidelity, accuracy: float, purpose: str, rung: int | None
    ) -> list[Evidence]:
        build = self._step(
            stack, "build", fidelity.model_copy(update={"split": "train", "limit": None}), purpose, wall_seconds=stack.train_seconds,
            artifact=Artifact(
                format="tfidf-linear", task="text-classification", classes=CLASSES, inputs=(InputColumn(name="text", kind="text"),),
                files=(FileEntry(path="model.npz", sha256="0" * 64, size=int(stack.size)),),
            ),
        )  # fmt: skip
        arrays = self._answers(stack, fidelity, accuracy)
        predict = self._step(
            stack, "predict", fidelity, purpose, rung=rung, inputs=(build.result.key,), wall_seconds=1.0
        )
        return [build, Evidence(predict.result, arrays)]

    def _answers(self, stack: Stack, fidelity: Fidelity, accuracy: float) -> dict[str, np.ndarray]:
        indices, actual, hardness = self.sets[fidelity.split]
        if fidelity.limit is not None:
            indices, actual, hardness = indices[: fidelity.limit], actual[: fidelity.limit], hardness[: fidelity.limit]
        name = stack.same_as or stack.id
        random = np.random.default_rng(
            int(content_key(name, self.seed, fidelity.split, fidelity.fraction, fidelity.seed)[:12], 16)
        )
        own = random.standard_normal(len(self.sets[fidelity.split][0]))[: len(indices)]
        right = np.sqrt(stack.agree) * hardness + np.sqrt(1 - stack.agree) * own < NormalDist().inv_cdf(accuracy)
        wrong = (
            actual + random.integers(1, self.classes, len(self.sets[fidelity.split][0]))[: len(indices)]
        ) % self.classes
        predicted = np.where(right, actual, wrong)
        table = np.full((len(indices), self.classes), 0.2 / max(1, self.classes - 1))
        table[np.arange(len(indices)), predicted] = 0.8
        return {
            "indices": indices.astype(np.int32), "predicted": predicted.astype(np.int16), "actual": actual.astype(np.int16),
            "probabilities": table.astype(np.float32),
        }  # fmt: skip

    def _timed(self, stack: Stack, fraction: float) -> list[Evidence]:
        numbers: Sequence[int | None] = range(stack.rounds) if stack.final else [None]
        rows = []
        for number in numbers:
            random = np.random.default_rng([self.seed, number or 0, int(content_key(stack.id)[:8], 16)])
            latency = stack.latency * np.exp(0.12 * random.standard_normal(stack.requests))
            measured = (
                Measurement(name="memory", value=stack.memory, unit="B", n=1),
                Measurement(name="latency_p50", value=float(np.median(latency)), n=stack.requests, unit="s",
                            validity="noisy" if stack.noisy else "valid"),
                *(Measurement(name=name, value=value, n=1) for name, value in stack.extra.items()),
            )  # fmt: skip
            fidelity = Fidelity(fraction=fraction if stack.final else 0.0, seed=self.seed, split="confirm" if stack.final else "select",
                                probe=not stack.final)  # fmt: skip
            step = self._step(
                stack, "time", fidelity, "final" if stack.final else "probe", round=number, measurements=measured
            )
            rows.append(Evidence(step.result, {"latency": latency, "cpu": stack.cpu_share * latency}))
        return rows

    def _step(self, stack: Stack, kind: str, fidelity: Fidelity, purpose: str, **more: Any) -> Evidence:
        number = more.get("round")
        return Evidence(StepResult(
            key=content_key(stack.id, kind, fidelity, purpose, number), kind=kind, name=kind, candidate=stack.id, purpose=purpose,
            fidelity=fidelity, data="synthetic-data", environment="env", cpu_seconds=0.5, **more,
        ))  # fmt: skip


CHAR = Stack(
    "linear.char.none.native", 0.846, 0.001, 180e6, 4e6, simplicity=1, rungs=((0.11, 0.79), (0.33, 0.82), (1.0, 0.846))
)
WORD = Stack(
    "linear.word.none.native",
    0.80,
    0.001,
    190e6,
    5e6,
    simplicity=1,
    final=False,
    rungs=((0.11, 0.74),),
    elimination="eliminated",
)
E5 = Stack(
    "encoder.e5-small.none.onnxruntime", 0.872, 0.025, 600e6, 470e6, simplicity=6, network=True, train_seconds=900.0, seeds=3,
    rungs=((0.11, 0.81), (0.33, 0.85), (1.0, 0.872)),
)  # fmt: skip
E5_INT8 = Stack(
    "encoder.e5-small.dynamic_int8.onnxruntime", 0.869, 0.012, 420e6, 118e6, simplicity=6, network=True, train_seconds=900.0,
    rungs=((1.0, 0.869),), same_as="encoder.e5-small.none.onnxruntime",
)  # fmt: skip
LLM = Stack(
    "llm_prompt.qwen05b-zero.none.llama_cpp", 0.82, 0.4, 780e6, 420e6, simplicity=7, final=False, trains=False, requests=12,
    rungs=((1.0, 0.82),), limit=200, elimination="infeasible",
)  # fmt: skip
MAJORITY = Stack(
    "baseline.majority.none.native",
    0.51,
    0.00002,
    60e6,
    1e3,
    simplicity=0,
    final=False,
    rungs=((0.11, 0.51),),
    elimination="eliminated",
)
BROKEN = Stack(
    "encoder.bert.none.pytorch", 0.0, final=False, rungs=(), timed=False, failure="over the time limit of 600 s"
)
HUB = Unavailable(
    id="encoder.bert-base-chinese.none.pytorch", label=Words(zh="微调 bert-base-chinese", en="Fine-tuned bert-base-chinese"),
    reason=Words(zh="本机没有权重，也连不上模型仓库", en="its weights are not here and no hub can be reached"),
    command="huggingface-cli download google-bert/bert-base-chinese",
)  # fmt: skip
REVIEWS: tuple[Stack, ...] = (CHAR, WORD, E5, E5_INT8, LLM, MAJORITY, BROKEN)


def reviews(**spec: Any) -> StudyEvidence:
    """Return a study like the Chinese reviews example: a cheap linear model, a better encoder, an LLM beyond the latency limit."""
    needs = {"quality": {"metric": "accuracy", "floor": 0.82}, "latency": {"p95": "50ms"}, "memory": {"max": "1GiB"}}
    return make_world(REVIEWS, unavailable=[HUB], **{"requirements": needs, **spec})
