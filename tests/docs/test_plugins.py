"""The plug-ins that CONTRIBUTING shows: found through entry points, held to the contract suites, run in a study."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs.plugins.ordinal_classification import PLUGIN as ORDINAL

from bakeoff.schema.loading import parse_spec
from tests.docs.pages import ROOT

ENTRY_POINTS = """[bakeoff.models]
nearest_centroid = nearest_centroid:PLUGIN

[bakeoff.runtimes]
remembering = remembering:PLUGIN

[bakeoff.risk]
empty_row = empty_row:PLUGIN
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which a distribution with the plug-ins is on the path, as pip would leave it."""
    site = tmp_path_factory.mktemp("site")
    for path in (ROOT / "docs" / "plugins").glob("*.py"):
        shutil.copy(path, site)
    info = site / "bakeoff_example-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bakeoff-example\nVersion: 0.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}


def test_contributing_shows_the_same_entry_points() -> None:
    for line in ("nearest_centroid", "remembering", "empty_row"):
        assert f'{line} = "my_package.{line}:PLUGIN"' in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_they_keep_the_contracts(installed: dict[str, str]) -> None:
    """The generated suites find them; the one check that looks into our own package is left out."""
    chosen = "(nearest_centroid or remembering or empty_row) and not imports_nothing_heavy"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contracts", "-k", chosen]
    done = subprocess.run(command, cwd=ROOT, env=installed, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " failed" not in done.stdout
    assert int(done.stdout.rsplit(" passed", 1)[0].split()[-1]) >= 25


def _reviews(path: Path) -> None:
    rng = random.Random(0)
    good, bad = ("很好", "喜欢", "干净", "推荐", "值得"), ("太差", "失望", "很脏", "退货", "后悔")
    things = ("房间", "这本书", "电池", "服务员", "屏幕", "早餐", "作者", "键盘", "快递", "空调")
    lines = ["text,label"]
    for number in range(400):
        words = [rng.choice(things), *(rng.choice(good if number % 2 else bad) for _ in range(2)), rng.choice(things)]
        lines.append(f"{'，'.join(words)} {number},{'pos' if number % 2 else 'neg'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_they_take_part_in_a_study(installed: dict[str, str], tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews.csv")
    spec = {
        "name": "plugged", "task": "text-classification", "data": {"file": "reviews.csv", "input": "text", "target": "label"},
        "candidates": {"include": ["nearest_centroid.*"]}, "preset": "quick", "decision": {"draws": 200},
    }  # fmt: skip
    (tmp_path / "spec.yaml").write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, "-m", "bakeoff.cli", "run", "spec.yaml", "--out", "study", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=installed, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    decision = json.loads(done.stdout)
    assert decision["recommended"]["id"].startswith("nearest_centroid.char-pairs.none.")
    runtimes = {
        found["id"].rsplit(".", 1)[1] for found in decision["candidates"] if found["family"] == "nearest_centroid"
    }
    assert runtimes == {"native", "remembering"}
    assert "empty_row" in {finding["check"] for finding in decision["risks"]}


def test_ordinal_mistakes_cost_their_distance() -> None:
    spec = parse_spec("{name: stars, task: text-classification, data: {file: rows.csv, target: stars}}")
    assert ORDINAL.costs(spec, ("1", "2", "3")) == ((0.0, 1.0, 2.0), (1.0, 0.0, 1.0), (2.0, 1.0, 0.0))
    priced = spec.model_copy(update={"value": spec.value.model_copy(update={"errors": {"1->3": 9.0}})})
    found = ORDINAL.costs(priced, ("1", "2", "3"))
    assert found is not None
    assert found[0][2] == 9.0
    assert ORDINAL.positive(spec, ("1", "2"), (5, 3)) == 1
