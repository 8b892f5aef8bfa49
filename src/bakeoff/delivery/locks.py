"""The lock of a bundle: every distribution its image installs, transitive ones included, pinned to the wheels' SHA-256.

Does: complete the pins from ``hashes.json`` (written by scripts/hashes.py for the versions of constraints.txt), without network.
Does not know: other versions than those; then there is no lock, and whoever reads the Dockerfile is told why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bakeoff.delivery.wheel import required
from bakeoff.runtimes.sealed import digest

FILE = "requirements.lock"
_HEAD = """# Every distribution of the image, pinned to the bytes of its wheels:
#   pip install --no-deps --require-hashes --only-binary :all: -r requirements.lock
"""
_AFTER_NAME = re.compile(r"[^\w.-]")


@dataclass(frozen=True)
class Lock:
    """A complete list with hashes, or the reason why there is none.

    Attributes:
        text: content of ``requirements.lock``; empty when ``unknown`` is not.
        unknown: what has no known hash, as ``name==version``.

    """

    text: str
    unknown: tuple[str, ...]


def plain(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def hashes(name: str, version: str) -> tuple[str, ...]:
    """Return the known SHA-256 of the wheels of one version, each 64 hexadecimal digits; empty when none is known."""
    entry = _known()["distributions"].get(plain(name))
    return tuple(entry["sha256"]) if entry and entry["version"] == version.split("+", maxsplit=1)[0] else ()


def closure(pins: Mapping[str, str]) -> dict[str, str]:
    """Return ``pins`` and what they and Bakeoff itself require, each with its version, by normalised name.

    A pin whose distribution is not known keeps its place, without what it requires.
    """
    found = {plain(name): version.split("+")[0] for name, version in pins.items()}
    waiting = [*found, *(plain(_AFTER_NAME.split(line, maxsplit=1)[0]) for line in required())]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        entry = _known()["distributions"].get(name, {"version": "?", "requires": ()})
        found.setdefault(name, entry["version"])
        waiting += entry["requires"]
    return dict(sorted(found.items()))


def lock(pins: Mapping[str, str], wheel: Path, python: str) -> Lock:
    """Return the lock of an image.

    Args:
        pins: distribution → version measured with.
        wheel: Bakeoff's own wheel, in the bundle's folder ``wheels``.
        python: minor version of the image's interpreter, such as ``3.11``.

    """
    if python not in _known()["pythons"]:
        return Lock("", (f"wheels for Python {python}",))
    everything = closure(pins)
    unknown = tuple(f"{name}=={version}" for name, version in everything.items() if not hashes(name, version))
    if unknown:
        return Lock("", unknown)
    lines = [_line(f"./wheels/{wheel.name}", (digest(wheel),))]
    lines += [_line(f"{name}=={version}", hashes(name, version)) for name, version in everything.items()]
    return Lock(_HEAD + "".join(lines), ())


def _line(what: str, found: Iterable[str]) -> str:
    return " \\\n".join([what, *(f"    --hash=sha256:{value}" for value in found)]) + "\n"


@cache
def _known() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("bakeoff.delivery").joinpath("hashes.json").read_text(encoding="utf-8"))
    return document
