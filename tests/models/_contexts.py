"""Build contexts on small generated rows for tests of single families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.models.base import BuildContext, Examples
from bakeoff.schema import InputColumn, Variant, Words

TEXT = (InputColumn(name="text", kind="text"),)


def variant(name: str = "test", **params: Any) -> Variant:
    return Variant(name=name, label=Words(zh=name, en=name), params=params)


def context(
    out: Path,
    train: Examples,
    chosen: Variant,
    *,
    task: str = "text-classification",
    inputs: Sequence[InputColumn] = TEXT,
    calibrate: Examples | None = None,
    classes: tuple[str, ...] = ("a", "b"),
    language: str = "zh",
    **more: Any,
) -> BuildContext:
    out.mkdir(parents=True, exist_ok=True)
    return BuildContext(
        task=task, classes=classes, inputs=tuple(inputs), language=language, train=train, calibrate=calibrate or train,
        variant=chosen, seed=0, threads=1, out=out, **more,
    )  # fmt: skip


def labelled(texts: Sequence[str], labels: Sequence[int]) -> Examples:
    return Examples([{"text": text} for text in texts], np.asarray(labels, dtype=np.int64))


def topics(count: int, classes: int = 3, seed: int = 0) -> Examples:
    """Short Chinese texts whose words depend on their class, with some noise."""
    rng = np.random.default_rng(seed)
    words = np.array(list("春夏秋冬山水花鸟云月风雪江河湖海天地人和日星草木"))
    texts, labels = [], []
    for _ in range(count):
        label = int(rng.integers(classes))
        own = words[label * 6 : label * 6 + 6]
        texts.append("".join([*rng.choice(own, 5), *rng.choice(words, 6), " OK" if label else "！"]))
        labels.append(label)
    return labelled(texts, labels)
