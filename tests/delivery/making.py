"""Real artefacts and decisions small enough to ship in a test: trained here, nothing is faked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.data.examples import Examples
from bakeoff.data.transforms.rule import Classifier
from bakeoff.models import _tfidf
from bakeoff.models.base import BuildContext
from bakeoff.models.baseline import PLUGIN as BASELINE
from bakeoff.runtimes.loading import load_predictor
from bakeoff.runtimes.sealed import entries
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, Variant
from bakeoff.schema.contract import Manifest
from bakeoff.schema.decision import (
    CandidateVerdict,
    ConstraintVerdict,
    Decision,
    DecisionProvenance,
    Metric,
    Recommended,
    RunSummary,
)
from bakeoff.schema.profile import ColumnProfile, Profile
from bakeoff.schema.profile import Split as SplitSizes
from bakeoff.schema.spec import Spec

CLASSES = ("bad", "good")
TEXT = (InputColumn(name="text", kind="text"),)
MIXED = (
    InputColumn(name="age", kind="number"),
    InputColumn(name="city", kind="category"),
    InputColumn(name="note", kind="text"),
)
_GOOD = ("很好", "满意", "喜欢", "great", "不错", "推荐")
_BAD = ("很差", "失望", "讨厌", "awful", "退货", "糟糕")
_THINGS = ("屏幕", "酒店", "书", "手机", "service", "牛奶", "房间", "快递")


def reviews(count: int, seed: int) -> Examples:
    """Return (count) short reviews, five in a hundred labelled the wrong way round."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    rows = []
    for label in labels:
        words = _GOOD if label else _BAD
        picked = [
            random.choice(_THINGS),
            random.choice(words),
            random.choice(_THINGS),
            random.choice(words),
            str(random.integers(100)),
        ]
        rows.append({"text": " ".join(picked)})
    noise = random.random(count) < 0.05
    return Examples(rows, np.where(noise, 1 - labels, labels).astype(np.int64))


def context(out: Path, train: Examples, inputs: tuple[InputColumn, ...] = TEXT, **params: Any) -> BuildContext:
    """Return what a family's build needs."""
    out.mkdir(parents=True, exist_ok=True)
    variant = Variant(name="small", label=Words(zh="小", en="small"), params=params)
    return BuildContext(
        task="text-classification", classes=CLASSES, inputs=inputs, language="zh", train=train, calibrate=train,
        variant=variant, seed=0, threads=1, out=out,
    )  # fmt: skip


def finish(artifact: Artifact, out: Path) -> Artifact:
    """Hash the files and write ``artifact.json``, as the build step does."""
    artifact = artifact.model_copy(update={"files": entries(out)})
    (out / "artifact.json").write_text(artifact.model_dump_json(), encoding="utf-8")
    return artifact


def tfidf(out: Path, rows: int = 400) -> Artifact:
    """Train TF-IDF with a logistic regression on ``rows`` reviews."""
    return finish(_tfidf.build(context(out, reviews(rows, 1), units="char", ngrams=(1, 2))), out)


def baseline(out: Path, inputs: tuple[InputColumn, ...] = MIXED) -> Artifact:
    """Build the majority model on mixed columns."""
    return finish(BASELINE.build(context(out, reviews(50, 1), inputs)), out)


def candidate(family: str = "linear") -> Candidate:
    """Return a candidate of that family on its native runtime."""
    label = Words(zh="TF-IDF 线性模型", en="TF-IDF linear")
    return Candidate(family=family, variant=Variant(name="char", label=label), runtime="native", label=label)


def classifier(directory: Path, artifact: Artifact) -> Classifier:
    """Load an artefact."""
    return Classifier(load_predictor(artifact, directory, "native", 1), artifact)


def spec(**changes: Any) -> Spec:
    """Return a specification with a floor and a few limits."""
    document = {
        "name": "reviews",
        "task": "text-classification",
        "data": {"file": "reviews.csv", "target": "label"},
        "requirements": {"quality": {"metric": "macro_f1", "floor": 0.8}, "latency": {"p95": "1s"}},
    }
    return Spec.model_validate({**document, **changes})


def profile() -> Profile:
    """Return the profile of the reviews."""
    return Profile(
        data="d" * 32, file_sha256="f" * 64, encoding="utf-8", language="zh", rows_read=800, rows_used=800, exact_duplicates=0,
        conflicting_rows=0, near_duplicate_rows=0, unusable_rows=0, classes=CLASSES, class_counts=(380, 420),
        columns=(ColumnProfile(name="text", kind="text", missing=0, distinct=700),),
        split=SplitSizes(train=400, calibrate=100, select=100, confirm=200),
    )  # fmt: skip


LIMITS = {
    "requirements.quality.floor": (0.8, "min", ""), "requirements.latency.p95": (1.0, "max", "s"),
    "requirements.memory.max": (2.0**31, "max", "B"), "requirements.size.max": (1e8, "max", "B"),
    "risk.data_may_leave": (0.0, "max", "rule"),
}  # fmt: skip


def decision(
    chosen: Candidate, metrics: dict[str, Metric], limits: dict[str, Any] | None = None, **changes: Any
) -> Decision:
    """Return a decision that recommends ``chosen``; ``limits`` by path: (limit, direction, unit)."""
    said = Words(zh="选它", en="this one")
    verdict = CandidateVerdict(
        id=chosen.id, label=chosen.label, family=chosen.family, status="winner", reason=said, metrics=metrics
    )
    fields: dict[str, Any] = {
        "study": "reviews", "task": "text-classification", "outcome": "winner", "p_best": 0.97, "headline": said, "summary": said,
        "recommended": Recommended(id=chosen.id, label=chosen.label), "metric": "macro_f1", "candidates": (verdict,),
        "constraints": tuple(_limit(name, *value) for name, value in (limits or LIMITS).items()),
        "profile": profile(),
        "run": RunSummary(
            trials=1, steps=1, steps_failed=0, wall_seconds=1.0, cpu_seconds=1.0, looks_at_confirm=1,
            candidates_considered=1, stop_rule=said,
        ),
        "provenance": DecisionProvenance(
            bakeoff="0.1.0", spec_key="s" * 32, data="d" * 32, file_sha256="f" * 64, ledger_rows=1, seed=0, draws=2000
        ),
    }  # fmt: skip
    return Decision(**{**fields, **changes})


def _limit(name: str, limit: float, direction: Any, unit: str) -> ConstraintVerdict:
    said = Words(zh=name, en=name)
    metric = Metric(value=None)
    return ConstraintVerdict(
        name=name, label=said, limit=limit, unit=unit, direction=direction, metric=metric, verdict="meets", text=said
    )


METRICS = {
    "macro_f1": Metric(value=0.94, low=0.9, high=0.97, n=200),
    "latency_p95": Metric(value=0.001, low=0.0008, high=0.0015, n=200, unit="s"),
    "memory": Metric(value=1.2e8, n=1, unit="B"),
    "size": Metric(value=50_000.0, n=1, unit="B"),
}


def bundle(root: Path, *, family: str = "linear", rows: bool = True, **changes: Any) -> Manifest:
    """Train, then ship to ``root / "bundle"``; ``changes`` go to ``ship``."""
    artifact = tfidf(root / "artifact") if family == "linear" else baseline(root / "artifact")
    confirm = reviews(200, 2)
    if family != "linear":
        confirm = Examples([{"age": 30.0, "city": "上海", "note": row["text"]} for row in confirm.rows], confirm.labels)
    chosen = candidate(family)
    answers = classifier(root / "artifact", artifact).predict(confirm.rows)
    arguments: dict[str, Any] = {
        "decision": decision(chosen, METRICS), "candidate": chosen, "artifact_dir": root / "artifact",
        "contract_rows": confirm if rows else None, "expected": answers if rows else None,
    }  # fmt: skip
    return ship_(root, **{**arguments, **changes})


def ship_(root: Path, **arguments: Any) -> Manifest:
    """Ship to ``root / "bundle"`` without contract rows, unless the arguments say otherwise."""
    from bakeoff.delivery import ship

    usual: dict[str, Any] = {
        "contract_rows": None,
        "expected": None,
        "out": root / "bundle",
        "packages": {},
        "spec": spec(),
    }
    return ship(**{**usual, **arguments})
