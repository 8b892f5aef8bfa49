"""The pages of the documentation, taken apart: headings, links, code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its lines."""

    page: Path
    kind: str
    body: str

    @property
    def id(self) -> str:
        first = self.body.strip().splitlines()[0][:40] if self.body.strip() else "empty"
        return f"{name(self.page)}:{first}"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def pages() -> list[Path]:
    """Every page people read, in both languages."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "changelog.d/README.md")]
    found += [ROOT / "README.zh.md", ROOT / "CONTRIBUTING.zh.md"]
    found += [path for folder in ("docs", "examples") for path in sorted((ROOT / folder).rglob("*.md"))]
    return [path for path in found if path.exists()]


def prose(text: str) -> str:
    """A page without its code blocks and comments."""
    return re.sub(r"<!--.*?-->", "", _FENCE.sub("", text), flags=re.DOTALL)


def headings(text: str) -> list[tuple[int, str]]:
    """(level, title) of every heading, in order."""
    return [(len(mark), title.strip()) for mark, title in re.findall(r"^(#{1,6}) (.+)$", prose(text), re.MULTILINE)]


def slug(title: str) -> str:
    """The anchor GitHub makes of a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", title)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    found: set[str] = set()
    for _, title in headings(text):
        base, count = slug(title), 1
        anchor = base
        while anchor in found:
            anchor, count = f"{base}-{count}", count + 1
        found.add(anchor)
    return found


def links(text: str) -> list[str]:
    return [found["target"] for found in _LINK.finditer(prose(text))]


def blocks(kind: str) -> list[Block]:
    """Every fenced block of a language in pages written by hand or by code."""
    found = []
    for page in pages():
        fences = _FENCE.finditer(page.read_text(encoding="utf-8"))
        found += [Block(page, kind, fence["body"]) for fence in fences if fence["kind"] == kind]
    return found
