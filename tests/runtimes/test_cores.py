"""Cores that a container grants, whichever version of control groups it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bakeoff.runtimes import cores


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", 8),
        ("9900000 100000", 8),
        ("", 8),
    ],
)
def test_a_quota_is_kept(written: str, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(written)
    assert cores.usable() == found


@pytest.mark.parametrize(("quota", "found"), [("300000", 3), ("-1", 8), (None, 8)])
def test_a_quota_of_the_first_version_is_kept(
    quota: str | None, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "none")
    monkeypatch.setattr(cores, "_OLD", tmp_path)
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    if quota is not None:
        (tmp_path / "cpu.cfs_quota_us").write_text(quota + "\n")
    assert cores.usable() == found
