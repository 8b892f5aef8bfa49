"""Fragments are named as agreed, written in both languages, and gathered without loss."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import ROOT


def _gather(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gather", folder / "changelog.d" / "gather.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "changelog.d", tmp_path / "changelog.d", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    return tmp_path


def test_every_fragment_is_named_and_bilingual() -> None:
    for entries in _gather(ROOT).fragments().values():
        for _, text, path in entries:
            english, gap, chinese = text.partition("\n\n")
            assert gap, path.name
            assert not re.search("[\u4e00-\u9fff]", english), path.name
            assert re.search("[\u4e00-\u9fff]", chinese), path.name


def test_a_release_takes_every_fragment_and_keeps_what_was_there(copied: Path) -> None:
    (copied / "changelog.d" / "7.fixed.md").write_text("It works.\n\n好了。\n", encoding="utf-8")
    (copied / "changelog.d" / "+typo.changed.md").write_text("A word.\n\n一个词。\n", encoding="utf-8")
    gather = _gather(copied)
    texts = [text.split("\n\n")[0] for entries in gather.fragments().values() for _, text, _ in entries]
    gather.main(["0.1.0", "2026-12-01"])
    log = (copied / "CHANGELOG.md").read_text(encoding="utf-8")
    assert all(text in log for text in texts)
    assert "- It works.\n\n  好了。 (#7)" in log
    assert "- A word.\n\n  一个词。\n" in log
    assert [path.name for path in (copied / "changelog.d").glob("*.md")] == ["README.md"]
    (copied / "changelog.d" / "8.added.md").write_text("Next.\n\n下一个。\n", encoding="utf-8")
    gather.main(["0.2.0", "2027-01-01"])
    log = (copied / "CHANGELOG.md").read_text(encoding="utf-8")
    assert log.index("## Unreleased") < log.index("## 0.2.0") < log.index("## 0.1.0") < log.index("It works.")


def test_a_stray_file_is_named(copied: Path) -> None:
    (copied / "changelog.d" / "notes.md").write_text("x", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"notes\.md"):
        _gather(copied).fragments()
