"""One real small study, run once for every test of the road."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.cli import main

GOOD = ["很好", "喜欢", "值得", "满意", "推荐", "干净", "舒服", "精彩", "方便", "便宜"]
BAD = ["很差", "失望", "后悔", "难看", "吵闹", "肮脏", "破旧", "无聊", "麻烦", "昂贵"]
FILL = [
    "房间",
    "书",
    "电脑",
    "服务",
    "位置",
    "内容",
    "屏幕",
    "键盘",
    "早餐",
    "作者",
    "价格",
    "前台",
    "印刷",
    "散热",
    "声音",
]


def reviews(rows: int, seed: int = 0, noise: float = 0.1) -> list[tuple[str, str]]:
    """Reviews put together from words, so that no download is needed: learnable, noisy, with repeats."""
    draw = random.Random(seed)
    found = []
    for number in range(rows):
        good = number % 2 == 0
        words = draw.sample(FILL, 4) + draw.sample(GOOD if good else BAD, 1) + draw.sample(GOOD + BAD, 1)
        draw.shuffle(words)
        label = good if draw.random() > noise else not good
        found.append(("".join(words) + f"，{draw.choice(FILL)}第{number}次", "正面" if label else "负面"))
    return found + found[: rows // 10]


def write_csv(path: Path, rows: list[tuple[str, str]], encoding: str = "utf-8") -> None:
    """Write a two-column CSV."""
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def write_spec(folder: Path, **changes: Any) -> Path:
    """Write a specification of the small study; ``changes`` replace top-level sections.

    How many settings are tuned is bounded by their number, not by seconds: a busy machine must not change what is asked for.
    """
    spec = {
        "name": "small", "task": "text-classification", "preset": "quick",
        "data": {"file": "reviews.csv", "input": "text", "target": "label", "positive": "正面"},
        "requirements": {"quality": {"metric": "macro_f1", "floor": 0.6}, "latency": {"p95": "100ms"}, "memory": {"max": "2GiB"}},
        "candidates": {"include": ["linear.char.*"]}, "budget": {"time": "12m"}, "search": {"trials": 2}, **changes,
    }  # fmt: skip
    path = folder / "bakeoff.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Ran:
    """A finished study and what running it printed."""

    spec: Path
    study: Path
    code: int
    decision: dict[str, Any]


Bakeoff = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run the small study once."""
    folder = tmp_path_factory.mktemp("road")
    write_csv(folder / "reviews.csv", reviews(700))
    spec = write_spec(folder)
    code = main(["run", str(spec), "--out", str(folder / "study")])
    decision = json.loads((folder / "study" / "decision.json").read_text(encoding="utf-8"))
    return Ran(spec, folder / "study", code, decision)


@pytest.fixture
def bakeoff(capsys: pytest.CaptureFixture[str]) -> Bakeoff:
    """Run one verb in this process; return exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call
