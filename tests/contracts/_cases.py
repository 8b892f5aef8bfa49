"""What the contract suites run on: small real-looking rows, and every plugin's artefacts, built once per test session."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff import assets, registry
from bakeoff.compression.base import CompressContext
from bakeoff.models.base import BuildContext, Examples, ExportContext, Member, ModelFamily
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.loading import load_predictor
from bakeoff.schema import Artifact, InputColumn, Profile, Spec, Split, Variant
from bakeoff.schema.profile import ColumnProfile

TASKS = ("text-classification", "tabular-classification")
CLASSES = {"text-classification": ("负面", "正面"), "tabular-classification": ("no", "yes")}
INPUTS = {
    "text-classification": (InputColumn(name="title", kind="text"), InputColumn(name="text", kind="text")),
    "tabular-classification": (
        InputColumn(name="age", kind="number"),
        InputColumn(name="income", kind="number"),
        InputColumn(name="city", kind="category"),
        InputColumn(name="note", kind="text"),
    ),
}
_GOOD, _BAD = ("很好", "喜欢", "干净", "推荐", "值得"), ("太差", "失望", "很脏", "退货", "后悔")
_THINGS = ("房间", "这本书", "电池", "服务员", "屏幕", "早餐", "作者", "键盘")
_PLAIN = ("真的", "感觉", "总的来说", "说实话", "这次", "朋友说")
TRAIN, CALIBRATE, HELD_OUT = 160, 40, 24
FEW = 36
"""Training rows for families on pretrained weights: enough to build, quick to embed."""

MALFORMED: tuple[dict[str, Any], ...] = (
    {},
    {"text": None, "age": None, "city": None},
    {"text": float("nan"), "age": float("nan"), "city": float("nan")},
    {"text": "", "title": "  ", "age": "", "city": ""},
    {"text": "😀👍🏽", "title": "𠮷野家", "city": "never seen"},
    {"text": 12.0, "age": " 41 ", "income": "12,000.5", "city": 7},
    {"text": "x" * 3000, "age": "not a number", "income": 1e300},
    {"text": "\ud800 half a surrogate", "income": float("inf"), "age": True},
    {"unknown": "column"},
)
"""Rows that are allowed and must be answered: missing columns, empty cells, odd characters, numbers as text."""


def text_rows(count: int, seed: int) -> Examples:
    rng = random.Random(seed)
    rows, labels = [], []
    for at in range(count):
        label = at % 2
        words = [rng.choice(_PLAIN), rng.choice(_THINGS), rng.choice(_GOOD if label else _BAD), rng.choice(_PLAIN)]
        rows.append({"title": rng.choice(_THINGS) if at % 5 else None, "text": "，".join(words) + "。"})
        labels.append(label)
    return Examples(rows, np.asarray(labels, dtype=np.int64))


def table_rows(count: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    cities = np.array(["北京", "上海", "广州", "kleinstadt"])
    rows, labels = [], []
    for _ in range(count):
        age, income, city = (
            rng.uniform(18, 80),
            rng.lognormal(9, 0.5),
            str(rng.choice(cities, p=[0.4, 0.3, 0.28, 0.02])),
        )
        risk = (age < 35) * 1.5 + (income < 8000) * 1.2 + (city == "广州") * 0.8 - 1.7
        labels.append(int(rng.random() < 1 / (1 + np.exp(-2 * risk))))
        gone = rng.random() < 0.1
        rows.append({"age": float(age), "income": None if gone else float(income), "city": city, "note": "ok"})
    return Examples(rows, np.asarray(labels, dtype=np.int64))


def examples(task: str, count: int, seed: int) -> Examples:
    return text_rows(count, seed) if task == TASKS[0] else table_rows(count, seed)


def spec_of(task: str) -> Spec:
    endpoint = {"name": "far", "url": "https://models.invalid/v1", "model": "echo"}
    return Spec.model_validate(
        {
            "name": "contract",
            "task": task,
            "data": {"file": "rows.csv", "target": "label"},
            "candidates": {"endpoints": [endpoint]},
        }
    )


def profile_of(task: str, counts: tuple[int, int] = (500, 500), language: str = "zh") -> Profile:
    columns = tuple(ColumnProfile(name=column.name, kind=column.kind, missing=0, distinct=9) for column in INPUTS[task])
    return Profile(
        data="d", file_sha256="f", encoding="utf-8", language="en" if language == "en" else "zh", rows_read=1000,
        rows_used=1000, exact_duplicates=0, conflicting_rows=0, near_duplicate_rows=0, unusable_rows=0,
        classes=CLASSES[task], class_counts=counts, columns=columns,
        split=Split(train=600, calibrate=100, select=100, confirm=200),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One native format of one family on one task, with the variant that makes it."""

    family: str
    task: str
    variant: Variant

    @property
    def plugin(self) -> ModelFamily:
        return registry.plugin("models", self.family)

    @property
    def format(self) -> str:
        return str(self.variant.params.get("format", self.plugin.traits.formats[0]))

    @property
    def id(self) -> str:
        return f"{self.family}.{self.variant.name}"

    def exports(self) -> list[str]:
        """Formats this case exports to: its family's, without those excused for its native format."""
        excuses = self.plugin.traits.excuses
        return [form for form in self.plugin.traits.exports if f"{self.format}:{form}" not in excuses]

    def obstacle(self) -> str | None:
        """Why this case cannot run here, in words, or None."""
        lacking = registry.missing(self.plugin.traits.needs)
        if lacking:
            return f"{', '.join(lacking)} not installed"
        if self.variant.remote:
            return "remote: needs an endpoint"
        if self.variant.weights and assets.find(self.variant.weights) is None:
            return f"asset {self.variant.weights} is not fetched"
        return None


@cache
def cases() -> tuple[Case, ...]:
    """One case per family, task and native format: the first variant that can run here, or else the first of all."""
    found: dict[tuple[str, str, str], Case] = {}
    for name, family in registry.plugins("models").items():
        for task in TASKS:
            if task not in family.traits.tasks:
                continue
            for variant in family.variants(spec_of(task), profile_of(task)):
                if (variant.tasks and task not in variant.tasks) or (variant.hub and not variant.weights):
                    continue
                case = Case(name, task, variant)
                key = (name, task, case.format)
                if key not in found or (found[key].obstacle() and not case.obstacle()):
                    found[key] = case
    return tuple(found.values())


@dataclass(frozen=True)
class Built:
    """An artefact on disk."""

    artifact: Artifact
    directory: Path


class Workshop:
    """Builds, exports and compresses every case once, and remembers why one could not be."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[tuple[str, ...], Built] = {}
        self._open: dict[tuple[str, ...], Predictor] = {}
        self._count = 0

    def place(self) -> Path:
        self._count += 1
        path = self._root / str(self._count)
        path.mkdir()
        return path

    def context(self, case: Case, **changes: Any) -> BuildContext:
        heavy = case.variant.weights is not None
        context = BuildContext(
            task=case.task, classes=CLASSES[case.task], inputs=INPUTS[case.task], language="zh",
            train=examples(case.task, FEW if heavy else TRAIN, 1), calibrate=examples(case.task, FEW // 2 if heavy else CALIBRATE, 2),
            variant=case.variant, seed=3, threads=1, out=self.place(), probe=heavy,
            weights=assets.find(case.variant.weights) if case.variant.weights else None,
            members=self._members(case) if case.family == "ensemble" else (),
        )  # fmt: skip
        return replace(context, **changes)

    def _members(self, case: Case) -> tuple[Member, ...]:
        found = []
        rows = examples(case.task, CALIBRATE, 2).rows
        for name in ("linear", "baseline"):
            other = next(one for one in cases() if one.family == name and one.task == case.task)
            built = self.native(other)
            probabilities = load_predictor(built.artifact, built.directory, "native", 1).predict_proba(rows)
            found.append(Member(other.id, "native", built.artifact, built.directory, probabilities))
        return tuple(found)

    def native(self, case: Case) -> Built:
        if why := case.obstacle():
            pytest.skip(why)
        key = ("native", case.id, case.task)
        if key not in self._made:
            context = self.context(case)
            self._made[key] = Built(case.plugin.build(context), context.out)
        return self._made[key]

    def predictor(self, case: Case) -> Predictor:
        """The native artefact, loaded once for all checks that only ask it."""
        built = self.native(case)
        if (case.id, case.task) not in self._open:
            self._open[case.id, case.task] = opened(built)
        return self._open[case.id, case.task]

    def close(self) -> None:
        for predictor in self._open.values():
            predictor.close()

    def exported(self, case: Case, target: str) -> Built:
        if lacking := registry.missing(case.plugin.traits.export_needs):
            pytest.skip(f"{', '.join(lacking)} not installed")
        key = ("export", case.id, case.task, target)
        if key not in self._made:
            native = self.native(case)
            out = self.place()
            artifact = case.plugin.export(ExportContext(native.artifact, native.directory, out, target, threads=1))
            self._made[key] = Built(artifact, out)
        return self._made[key]

    def compressed(self, case: Case, name: str) -> Built:
        compression = registry.plugin("compression", name)
        if lacking := registry.missing(compression.traits.needs):
            pytest.skip(f"{', '.join(lacking)} not installed")
        key = ("compress", case.id, case.task, name)
        if key not in self._made:
            consumes = compression.traits.consumes
            source = self.native(case) if case.format in consumes else self.exported(case, consumes[0])
            out = self.place()
            rows = examples(case.task, 8, 4).rows
            artifact = compression.apply(CompressContext(source.artifact, source.directory, out, rows, threads=1))
            self._made[key] = Built(artifact, out)
        return self._made[key]


def runtimes_for(form: str) -> list[str]:
    """Names of the runtimes that load a format."""
    return [name for name, runtime in registry.plugins("runtimes").items() if form in runtime.traits.loads]


def opened(built: Built, runtime: str | None = None) -> Predictor:
    """Load an artefact with a runtime, skipping when what it needs is not installed."""
    name = runtime or runtimes_for(built.artifact.format)[0]
    if lacking := registry.missing(registry.plugin("runtimes", name).traits.needs):
        pytest.skip(f"{', '.join(lacking)} not installed")
    return load_predictor(built.artifact, built.directory, name, 1)


def rows_of(case: Case) -> list[dict[str, Any]]:
    """Ordinary rows; few of them for a language model, which takes a good part of a second each."""
    return list(examples(case.task, 2 if case.format == "gguf-prompt" else HELD_OUT, 5).rows)


def contents(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a directory with its bytes, sorted by path."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield path.relative_to(directory).as_posix(), path.read_bytes()
