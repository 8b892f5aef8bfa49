"""Both languages of a page: what code says in English is looked up in ``words.json``; what a page says is written in both."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ("en", "zh")


@cache
def _table() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((HERE / "words.json").read_text(encoding="utf-8"))
    return found


class Tongue:
    """One language of one page.

    Args:
        language: ``en`` or ``zh``.

    ``missing`` collects the English sentences of the code that have no Chinese yet, ``used`` every key that was looked up;
    ``here`` names the records that have a section on the page.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.missing: list[str] = []
        self.used: set[str] = set()
        self.here: set[str] = set()

    def say(self, en: str, zh: str) -> str:
        """Return what a page itself says."""
        return zh if self.language == "zh" else en

    def code(self, text: str) -> str:
        """Return an English sentence found in the code, in this language."""
        text = " ".join(inspect.cleandoc(text).split())
        if not text or not any(letter.isalpha() for letter in text):
            return text
        self.used.add(text)
        zh = _table()["sentences"].get(text)
        if zh is None:
            self.missing.append(text)
            return text
        return zh if self.language == "zh" else text

    def field(self, name: str, description: str | None) -> str:
        """Return what a field means: its own description, or the words kept here (``Model.field``, else ``.field``)."""
        if description:
            return self.code(description)
        common = "." + name.rpartition(".")[2]
        key = name if name in _table()["fields"] else common
        self.used.add(key)
        both = _table()["fields"].get(key)
        if both is None:
            self.missing.append(name)
            return ""
        en, _, zh = both.partition(" ‖ ")
        return zh if self.language == "zh" else en


def keys() -> set[str]:
    """Return every key of the table, so that a test can find the ones no page needs any more."""
    return set(_table()["sentences"]) | set(_table()["fields"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars and line breaks inside cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def tick(text: object) -> str:
    """Return text as inline code; nothing for an empty one."""
    return f"`{text}`" if str(text) else ""


def page(tongue: Tongue, title: str, *blocks: str) -> str:
    """Return a whole page with the remark that it is generated."""
    remark = tongue.say(
        "<!-- Written by `python -m docs.generate`; edit the code it describes, not this page. -->",
        "<!-- 由 `python -m docs.generate` 生成；请修改它所描述的代码，而不是这一页。 -->",
    )
    return "\n\n".join([remark, f"# {title}", *[block.strip("\n") for block in blocks if block.strip()]]) + "\n"


def first_line(obj: object) -> str:
    """Return the first paragraph of a docstring as one line."""
    text = inspect.getdoc(obj) or ""
    return " ".join(text.split("\n\n", 1)[0].split())
