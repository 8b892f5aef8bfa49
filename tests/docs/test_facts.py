"""Figures that explanations state are those of the code."""

from __future__ import annotations

import re

import pytest

from bakeoff.data import near, sizing
from bakeoff.decision.posterior import PRIOR_DEVIATION, PRIOR_SEEDS
from bakeoff.evaluation import noise
from bakeoff.evaluation.percentiles import required
from bakeoff.schema.spec import Spec
from bakeoff.search import rungs
from bakeoff.search.presets import PRESETS
from tests.docs.pages import ROOT

BOTH = pytest.mark.parametrize("end", ["md", "zh.md"])


def explained(page: str, end: str) -> str:
    return (ROOT / "docs" / "explanation" / f"{page}.{end}").read_text(encoding="utf-8")


def _cells(text: str, start: str) -> list[list[str]]:
    lines = text[text.index(start) :].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@BOTH
def test_the_table_of_presets(end: str) -> None:
    rows = {row[0]: row[1:] for row in _cells(explained("search", end), "| | quick")}
    figures = list(rows.values())
    order = ("quick", "standard", "rigorous")
    assert figures[0] == list(order)
    digits = [[[int(found) for found in re.findall(r"\d+", cell.replace(",", ""))] for cell in row] for row in figures]
    for at, name in enumerate(order):
        preset = PRESETS[name]
        assert digits[2][at] == [round(100 * share) for share in preset.fractions]
        assert digits[3][at] == [limit for limit in (preset.judged,) if limit is not None]
        found = [digits[row][at][0] for row in (4, 5, 6, 7, 8)]
        assert found == [preset.arms, preset.paths, preset.seeds, preset.rounds, round(100 * preset.patience)]


@BOTH
def test_percentiles_and_disturbance(end: str) -> None:
    rows = dict(row for row in _cells(explained("honest-timing", end), "| p50 |") if len(row) == 2)
    assert {name: int(count) for name, count in rows.items()} == {
        "p50": required(0.50),
        "p95": required(0.95),
        "p99": required(0.99),
    }
    text = explained("honest-timing", end)
    assert f"{100 * noise.BUSY_WAIT:.0f} %" in text
    assert f"{100 * noise.BUSY_OTHERS:.0f} %" in text
    assert f" {noise.SLOWED:g}" in text
    assert f"{100 * (noise.BUSY_RATIO - 1):.0f} %" in text
    assert f"{100 * (noise.UNSTEADY - 1):.0f} %" in text


@BOTH
def test_splits(end: str) -> None:
    text = explained("splits-and-leakage", end)
    for shares in (sizing._LARGE_SHARES, sizing._SMALL_SHARES):
        assert " / ".join(f"{100 * share:.0f}" for share in shares) in text
    assert f"{sizing.USEFUL:,}" in text
    assert f"{100 * near._SIMILAR:.0f} %" in text


@BOTH
def test_statistics(end: str) -> None:
    text = explained("statistics", end)
    assert rf"\nu_0 = {PRIOR_SEEDS:g}" in text
    assert f"s_0 = {PRIOR_DEVIATION:g}" in text
    assert f"{100 * rungs.ALPHA:.0f} %" in text
    draws = Spec.model_validate(
        {"name": "x", "task": "text-classification", "data": {"file": "f", "target": "t"}}
    ).decision.draws
    assert f"{draws:,}" in explained("how-a-decision-is-made", end)
