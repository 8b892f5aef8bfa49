"""Bars of the simulated statistics: the share seen is what counts, not what its interval would still allow."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import decide
from benchmarks._stats import wilson


@pytest.mark.parametrize(("hits", "met"), [(1860, True), (1859, False), (1940, True), (1941, False)])
def test_coverage_is_held_to_two_points(hits: int, met: bool) -> None:
    found = decide._covered(hits, 2000)
    assert found["met"] is met
    assert (found["low"], found["high"]) == pytest.approx(wilson(hits, 2000), abs=1e-4)


@pytest.mark.parametrize(("told", "met"), [(2, True), (3, False)])
def test_twins_are_held_to_the_share_seen(monkeypatch: pytest.MonkeyPatch, told: int, met: bool) -> None:
    """Three of forty is more than 5 %, though an interval that wide still holds 5 %."""
    calls = iter(range(10**6))

    class Told:
        recommended = 0

        @property
        def outcome(self) -> str:
            return "winner" if next(calls) % 40 < told else "no_clear_winner"

    def chosen(*_: Any) -> tuple[None, Told]:
        return None, Told()

    monkeypatch.setattr(decide, "TWINS", 40)
    monkeypatch.setattr(decide, "chosen", chosen)
    assert [row["met"] for row in decide.twins().values()] == [met, met]
    assert wilson(3, 40)[0] < decide.ALPHA
