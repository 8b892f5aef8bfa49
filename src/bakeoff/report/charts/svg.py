"""A tiny, escaping SVG writer."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

from bakeoff.schema.base import Words

Value = str | float | None


def tag(name: str, *children: str | Markup, **attributes: Value) -> Markup:
    """Return an element; ``class_`` becomes ``class``, ``stroke_width`` becomes ``stroke-width``, None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = group(children)
    return Markup(f"<{name}{written}>{inner}</{name}>") if children else Markup(f"<{name}{written}/>")  # noqa: S704 - escaped above


def group(parts: Iterable[str | Markup]) -> Markup:
    """Return the parts one after another; what is not markup yet is escaped."""
    return Markup("").join(parts)


def both(words: Words) -> Markup:
    """Return HTML that holds both languages; the style sheet shows one."""
    if words.zh == words.en:
        return tag("bdi", words.zh)
    return tag("span", words.zh, lang="zh-CN") + tag("span", words.en, lang="en")


def label(words: Words, **attributes: Value) -> Markup:
    """Return SVG text in both languages."""
    if words.zh == words.en:
        return tag("text", words.zh, **attributes)
    return tag("text", words.zh, lang="zh-CN", **attributes) + tag("text", words.en, lang="en", **attributes)


def percent(position: float) -> str:
    """Write a position for an attribute: 37.125 → ``37.12%``."""
    return f"{position:.2f}%"


def stretched(*children: Markup, class_: str | None = None) -> Markup:
    """Return a layer of 100 × 100 units that stretches with its parent; strokes inside must not scale."""
    return tag(
        "svg", *children, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%", class_=class_
    )


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
