"""Pages come in pairs, their links lead somewhere, and what they tell people to type exists."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from bakeoff import cli
from bakeoff.schema.loading import parse_spec
from bakeoff.schema.spec import Spec
from tests.docs.pages import ROOT, Block, anchors, blocks, headings, links, name, pages

ENGLISH_ONLY = {"CHANGELOG.md", "changelog.d/README.md"}
CODE_IN_ENGLISH_ONLY = {"CONTRIBUTING.md"}
BASE = {"name": "page", "task": "text-classification", "data": {"file": "rows.csv", "target": "label"}}
CHINESE = re.compile("[\u4e00-\u9fff]")
each_page = pytest.mark.parametrize("page", pages(), ids=name)


def other(page: Path) -> Path:
    end = ".zh.md"
    return page.with_name(
        page.name.removesuffix(end) + ".md" if page.name.endswith(end) else page.name.removesuffix(".md") + end
    )


@each_page
def test_every_page_has_its_pair_with_the_same_headings(page: Path) -> None:
    if name(page) in ENGLISH_ONLY:
        return
    assert other(page).exists(), f"{name(page)} has no {other(page).name}"
    ours, theirs = (headings(path.read_text(encoding="utf-8")) for path in (page, other(page)))
    assert [level for level, _ in ours] == [level for level, _ in theirs], (ours, theirs)


@each_page
def test_the_language_is_what_the_name_says(page: Path) -> None:
    titles = [title for level, title in headings(page.read_text(encoding="utf-8")) if level == 1]
    assert len(titles) == 1
    text = page.read_text(encoding="utf-8")
    if page.name.endswith(".zh.md"):
        assert len(CHINESE.findall(text)) > 80
    elif "reference" not in page.parts:
        spoken = re.sub(r"`[^`]*`|```.*?```|\[中文\]", "", text, flags=re.DOTALL)
        assert len(CHINESE.findall(spoken)) < 40, CHINESE.findall(spoken)


@each_page
def test_hand_written_pages_lead_to_the_other_language(page: Path) -> None:
    if name(page) in ENGLISH_ONLY or "reference" in page.parts:
        return
    assert other(page).name in links(page.read_text(encoding="utf-8"))[:3]


@each_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lost = []
    for target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place.read_text(encoding="utf-8"))):
            lost.append(target)
    assert not lost


@each_page
def test_links_stay_in_the_language(page: Path) -> None:
    """From a Chinese page to a Chinese one, except for the switch at the top and pages that exist once."""
    if not page.name.endswith(".zh.md"):
        return
    for target in links(page.read_text(encoding="utf-8")):
        path = (page.parent / target.partition("#")[0]).resolve()
        if path.suffix == ".md" and not path.name.endswith(".zh.md") and path != other(page).resolve():
            assert name(path) in ENGLISH_ONLY, target


@each_page
def test_no_page_names_a_machine(page: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:root|home/\w+|work|Users)/", page.read_text(encoding="utf-8"))


def _commands(body: str) -> list[list[str]]:
    """The command lines of a shell block that call ``bakeoff``, as argument lists."""
    joined = body.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if not re.match(r"\s*bakeoff ", line):
            continue
        words = shlex.split(line.split(" | ")[0] if '"' not in line.split(" | ")[0] else line, comments=True)
        found.append(words[1 : words.index("|")] if "|" in words else words[1:])
    return found


SHELL = [block for block in blocks("sh") if "reference" not in block.page.parts or "ledger" in block.page.name]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.id)
def test_shell_blocks_parse(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.body, text=True, check=True)


@pytest.mark.parametrize("block", [block for block in SHELL if "bakeoff " in block.body], ids=lambda block: block.id)
def test_commands_are_understood(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for words in _commands(block.body):
        if any(word.isupper() for word in words):  # a synopsis
            assert words[0] in {*_verbs()}
            continue
        try:
            arguments = cli.parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"bakeoff {' '.join(words)}: {capsys.readouterr().err}")
        overrides = dict(item.split("=", 1) for item in getattr(arguments, "overrides", []))
        if overrides:
            parse_spec(yaml.safe_dump(BASE), "page", overrides)


def _verbs() -> list[str]:
    from docs._reference.cli import verbs

    return list(verbs())


@pytest.mark.parametrize("block", [block for block in SHELL if "make " in block.body], ids=lambda block: block.id)
def test_make_targets_exist(block: Block) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z-]+)", block.body, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_benchmarks_that_pages_name_exist() -> None:
    for page in pages():
        for target in re.findall(r"make bench-([a-z][a-z0-9-]*)", page.read_text(encoding="utf-8")):
            assert (ROOT / "benchmarks" / f"{target.replace('-', '_')}.py").exists(), (name(page), target)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.id)
def test_python_blocks_compile(block: Block) -> None:
    if "reference/api" in name(block.page) and not block.body.startswith("from"):
        return  # a signature
    ast.parse(block.body)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.id)
def test_specifications_in_pages_validate(block: Block) -> None:
    found = yaml.safe_load(block.body)
    assert set(found) <= set(Spec.model_fields), found
    merged = {**BASE, **found, "data": {**BASE["data"], **(found.get("data") or {})}}  # type: ignore[dict-item]
    parse_spec(yaml.safe_dump(merged, allow_unicode=True))


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_the_readme_begins_with_the_two_commands_and_knows_every_verb(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    first = next(block for block in blocks("sh") if block.page == ROOT / readme)
    assert re.findall(r"^make (\w+)", first.body, re.MULTILINE) == ["demo", "test"]
    for verb in _verbs():
        assert f"`bakeoff {verb}" in text


@pytest.mark.parametrize("language", ["", ".zh"])
def test_the_tutorial_shows_what_its_script_runs(language: str) -> None:
    script = " ".join(
        (ROOT / "docs/tutorials/first-decision.sh").read_text(encoding="utf-8").replace("\\\n", " ").split()
    )
    page = ROOT / f"docs/tutorials/first-decision{language}.md"
    shown = [
        " ".join(["bakeoff", *words]) for block in blocks("sh") if block.page == page for words in _commands(block.body)
    ]
    assert len(shown) >= 10
    for command in shown:
        assert command in script or command == "bakeoff doctor", command
