"""Small tables that look like what people have, written to real files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bakeoff.data.read import Table, read_table
from bakeoff.schema.loading import parse_spec
from bakeoff.schema.spec import Spec

GOOD = ("很好", "满意", "喜欢", "推荐", "不错", "惊喜")
BAD = ("很差", "失望", "讨厌", "退货", "糟糕", "后悔")
THINGS = ("屏幕", "酒店", "这本书", "手机", "房间", "快递", "服务员", "早餐", "键盘", "电池", "封面", "价格")


def sentence(random: np.random.Generator, good: bool) -> str:
    """Return a review of six random phrases, never the same twice but by chance."""
    words = GOOD if good else BAD
    phrases = [random.choice(THINGS) + random.choice(words) + str(random.integers(100)) for _ in range(6)]
    return "，".join(phrases) + "。"


def reviews(count: int, seed: int = 0, positive: float = 0.5) -> dict[str, list[str]]:
    """Return ``count`` reviews with labels pos and neg."""
    random = np.random.default_rng(seed)
    labels = random.random(count) < positive
    return {
        "text": [sentence(random, bool(good)) for good in labels],
        "label": ["pos" if good else "neg" for good in labels],
    }


def customers(count: int, seed: int = 0) -> dict[str, list[str]]:
    """Return a table of mixed types whose target depends on income and city."""
    random = np.random.default_rng(seed)
    income, age = random.normal(50, 15, count), random.integers(18, 80, count)
    city = random.choice(["北京", "上海", "成都"], count)
    bad = random.random(count) < 1 / (1 + np.exp((income - 45) / 8 - (city == "成都")))
    return {
        "income": [f"{value:.2f}" for value in income],
        "age": [str(value) for value in age],
        "city": city.tolist(),
        "bad": ["yes" if value else "no" for value in bad],
    }


def write(path: Path, columns: Mapping[str, Sequence[str | None]], encoding: str = "utf-8") -> Path:
    """Write columns as a CSV file."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(
            zip(*[["" if cell is None else cell for cell in cells] for cells in columns.values()], strict=True)
        )
    return path


def table(tmp_path: Path, columns: Mapping[str, Sequence[str | None]]) -> Table:
    """Return columns as they are read back from a file."""
    return read_table(write(tmp_path / "rows.csv", columns))


def spec(
    data: str = "target: label", more: str = "", task: str = "text-classification", file: str = "rows.csv"
) -> Spec:
    """Return a specification with ``data`` fields and further top-level lines."""
    return parse_spec(f"name: study\ntask: {task}\ndata: {{file: {file}, {data}}}\n{more}\n")
