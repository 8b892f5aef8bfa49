"""A test that lacks a tool says so: by being skipped, or by failing where the tool was promised."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from benchmarks import ROOT
from tests.needs import REQUIRE, TOOLS, lacking


def test_what_was_promised_and_is_not_there_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception):
        lacking("postgres", "not installed")
    monkeypatch.setenv(REQUIRE, "browser,postgres")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        lacking("postgres", "not installed")
    with pytest.raises(pytest.skip.Exception):
        lacking("image", "not installed")


def test_tests_know_every_tool_that_is_promised() -> None:
    done = subprocess.run(
        ["/bin/sh", ROOT / "scripts/setup-system.sh", "--promised"], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.strip().split(",")) - {""} <= set(TOOLS)
    used = {
        tool
        for path in (ROOT / "tests").rglob("*.py")
        for tool in re.findall(r'lacking\("(\w+)", (?!"not installed")', path.read_text(encoding="utf-8"))
    }
    assert used == set(TOOLS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_make_test_requires_what_is_promised() -> None:
    done = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f'{REQUIRE}="$(scripts/setup-system.sh --promised)" scripts/check' in done.stdout
