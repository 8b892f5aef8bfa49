"""The reference is what the code says now, in both languages, and leaves nothing out."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from docs._reference import text
from docs._reference.cli import verbs
from docs._reference.fields import reachable
from docs._reference.formats import BUNDLE
from docs._reference.listings import own

import bakeoff
from bakeoff import assets, registry
from bakeoff.economics.book import default_book
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import BakeoffError
from bakeoff.schema.loading import spec_paths
from bakeoff.schema.trial import FailureCode
from docs import generate
from tests.docs.pages import ROOT

BOTH = pytest.mark.parametrize("language", ["", ".zh"])


def read(page: str, language: str) -> str:
    return (generate.REFERENCE / f"{page}{language}.md").read_text(encoding="utf-8")


def test_nothing_is_stale() -> None:
    found = [path.relative_to(ROOT).as_posix() for path in generate.stale()]
    assert not found, f"{found}: run python -m docs.generate"


def test_every_sentence_of_the_code_has_its_chinese_and_none_is_left_over() -> None:
    _, missing, used = generate.render()
    assert not missing, "add these to docs/_reference/words.json"
    assert text.keys() == used & text.keys(), text.keys() - used


@BOTH
def test_every_verb_and_every_flag_is_there(language: str) -> None:
    page = read("cli", language)
    for name, verb in verbs().items():
        assert f"\n## {name}\n" in page
        for action in verb._actions:
            for option in action.option_strings:
                assert option in {"-h", "--help"} or f"`{option}" in page


@BOTH
def test_every_field_of_the_specification_has_a_row(language: str) -> None:
    page = read("spec", language)
    for path in spec_paths():
        assert f"\n| `{path}` |" in page


@BOTH
def test_every_field_of_the_decision_has_a_row(language: str) -> None:
    page = read("decision", language)
    for model in reachable(Decision):
        section = page.split(f"\n## {model.__name__}\n", 1)[1].split("\n## ", 1)[0]
        for field in model.model_fields:
            assert f"\n| `{field}` |" in section


@BOTH
def test_every_plugin_and_variant_is_listed(language: str) -> None:
    page = read("catalogue", language)
    for group in registry.GROUPS:
        for name in own(group):
            shown = name.replace("_", "-") if group == "tasks" else name
            assert f"| `{shown}` |" in page or f"\n### {shown}\n" in page, (group, name)
    for family in ("linear", "encoder", "llm_prompt"):
        assert f"\n### {family}\n" in page


@BOTH
def test_every_asset_and_price_is_listed(language: str) -> None:
    page = read("assets", language)
    for name, recipe in assets.recipes().items():
        assert f"\n| `{name}` |" in page
        assert recipe.licence in page
    prices, book = read("price-book", language), default_book()
    for entry in (*book.machines, *book.effort, *book.tokens, *book.exchange):
        assert f"`{entry}`" in prices


@BOTH
def test_every_error_failure_and_public_name_is_described(language: str) -> None:
    codes = read("exit-codes", language)
    public = [kind for kind in BakeoffError.__subclasses__() if kind.__module__ == BakeoffError.__module__]
    for kind in (BakeoffError, *public):
        assert f"`{kind.__name__}`" in codes
    ledger = read("ledger", language)
    for code in get_args(FailureCode):
        assert f"\n| `{code}` |" in ledger
    api = read("api", language)
    for name in bakeoff.__all__:
        assert f"\n## {name}\n" in api
    for member in vars(bakeoff.Study):
        assert member.startswith("_") or f"\n### Study.{member}\n" in api


def test_the_list_of_a_bundles_files_is_that_of_a_real_one(tmp_path: Path) -> None:
    from tests.delivery import making

    making.bundle(tmp_path)
    there = {path.name + "/" * path.is_dir() for path in (tmp_path / "bundle").iterdir()}
    optional = {"report.html", "contract-rows.jsonl.gz", "manifest.sig", "whole.onnx"}
    assert there <= {name for name, _, _ in BUNDLE}
    assert {name for name, _, _ in BUNDLE} - there <= optional


def test_a_page_that_shows_a_file_shows_it_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("one = 1\n", encoding="utf-8")
    empty = "Before.\n\n<!-- file: a.py -->\n```python\n```\n\nBetween.\n\n```sh\nleft alone\n```\n"
    filled = generate.with_files(empty)
    assert filled == empty.replace("```python\n", "```python\none = 1\n")
    (tmp_path / "a.py").write_text("two = 2\nmore = 3\n", encoding="utf-8")
    assert "two = 2\nmore = 3\n```\n\nBetween." in generate.with_files(filled)
