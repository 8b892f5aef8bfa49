"""The report's own sentences in both languages, read from ``locale/``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

from bakeoff.schema.base import Language, Words

LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
_HERE: Final = Path(__file__).parent / "locale"


@cache
def locale(language: Language) -> dict[str, str]:
    """Return every sentence of one language by key."""
    found: dict[str, str] = json.loads((_HERE / f"{language}.json").read_text(encoding="utf-8"))
    return found


def has(key: str) -> bool:
    """Return whether there is a sentence called ``key``."""
    return key in locale("zh")


def text(key: str, **facts: str | Words) -> Words:
    """Return the sentence ``key`` in both languages with its facts filled in; a fact may itself be in both."""
    return Words(zh=_filled("zh", key, facts), en=_filled("en", key, facts))


def same(plain: str) -> Words:
    """Return text that reads the same in both languages: digits, ids, names."""
    return Words(zh=plain, en=plain)


def joined(parts: list[Words], zh: str = "；", en: str = "; ") -> Words:
    """Return the parts joined with each language's own separator."""
    return Words(zh=zh.join(part.zh for part in parts), en=en.join(part.en for part in parts))


def _filled(language: Language, key: str, facts: dict[str, str | Words]) -> str:
    said = {name: fact.said(language) if isinstance(fact, Words) else fact for name, fact in facts.items()}
    return locale(language)[key].format(**said)
