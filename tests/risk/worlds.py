"""Contexts for risk checks: a text model really trained, and a table with a model that looks at one column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.examples import Examples
from bakeoff.data.transforms.rule import Classifier
from bakeoff.risk.base import RiskContext
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.profile import PersonalDataCount
from tests.delivery import making

TABLE = (
    InputColumn(name="income", kind="number"),
    InputColumn(name="city", kind="category"),
    InputColumn(name="purpose", kind="category"),
)


class Threshold:
    """Class 1 above an income of 50, surely; a missing income counts as 0."""

    def __init__(self) -> None:
        self.calls = 0

    def predict_proba(self, rows: Sequence[Any]) -> NDArray[np.float64]:
        """Return (n, 2) probabilities."""
        self.calls += 1
        high = np.asarray([1 / (1 + np.exp(-((row["income"] or 0.0) - 50.0) / 10.0)) for row in rows])
        return np.column_stack([1 - high, high])

    def close(self) -> None:
        """Nothing to release."""


def text(directory: Path, *, rows: int = 300, held_out: int = 300) -> RiskContext:
    """Return a context of a TF-IDF model trained on reviews."""
    artifact = making.tfidf(directory, rows)
    classifier = making.classifier(directory, artifact)
    confirm = making.reviews(held_out, 7)
    return RiskContext(
        spec=making.spec(), profile=making.profile(), candidate=making.candidate(), artifact=artifact, directory=directory,
        train=making.reviews(rows, 1), held_out=confirm, held_out_probabilities=classifier.predict_proba(confirm.rows),
        classes=making.CLASSES, seed=0, classifier=classifier, seed_scores=(0.90, 0.91, 0.905),
    )  # fmt: skip


def applicants(count: int, seed: int) -> Examples:
    """Return (count) applicants whose label follows from the income."""
    random = np.random.default_rng(seed)
    income = random.normal(50, 20, count).clip(1)
    labels = (random.random(count) < 1 / (1 + np.exp(-(income - 50) / 10))).astype(np.int64)
    rows = [
        {
            "income": float(value),
            "city": str(random.choice(["北京", "上海", "广州"])),
            "purpose": str(random.choice(["car", "home"])),
        }
        for value in income
    ]
    return Examples(rows, labels)


def table(directory: Path, *, held_out: int = 600) -> RiskContext:
    """Return a context of a model on a table."""
    directory.mkdir(parents=True, exist_ok=True)
    artifact = making.finish(
        Artifact(format="scorecard", task="tabular-classification", classes=making.CLASSES, inputs=TABLE), directory
    )
    classifier = Classifier(Threshold(), artifact)
    confirm = applicants(held_out, 3)
    document = making.spec(task="tabular-classification")
    return RiskContext(
        spec=document, profile=making.profile(), candidate=making.candidate("boosting"), artifact=artifact, directory=directory,
        train=applicants(300, 4), held_out=confirm, held_out_probabilities=classifier.predict_proba(confirm.rows),
        classes=making.CLASSES, seed=0, classifier=classifier,
    )  # fmt: skip


def with_variant(context: RiskContext, **changes: Any) -> RiskContext:
    """Return the context with fields of the candidate's variant changed."""
    variant = context.candidate.variant.model_copy(update=changes)
    return replace(context, candidate=context.candidate.model_copy(update={"variant": variant}))


def with_rules(context: RiskContext, **changes: Any) -> RiskContext:
    """Return the context with fields of ``spec.risk`` changed."""
    rules = context.spec.risk.model_copy(update=changes)
    return replace(context, spec=context.spec.model_copy(update={"risk": rules}))


def with_personal_data(context: RiskContext) -> RiskContext:
    """Return the context whose profile counted telephone numbers."""
    counted = (PersonalDataCount(kind="mobile_phone", rows=12, columns=("text",)),)
    return replace(context, profile=context.profile.model_copy(update={"personal_data": counted}))
