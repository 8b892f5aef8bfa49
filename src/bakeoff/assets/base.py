"""What an asset is: a file or folder of real data or real weights that an ordinary package index carries.

Does: describe where an asset comes from, under which terms, and which files it turns into.
Does not know: how to download (``index``), where it is kept (``cache``), or what uses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["weights", "data"]
Prepare = Callable[[Path, Path], None]
Progress = Callable[[str, float], None]
"""Called with a stage in words and the share of it that is done, 0 to 1."""

UNSTATED = "unstated"
"""Licence of an asset whose terms nobody wrote down; a licence gate decides what to do with it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One archive on the package index, pinned to the byte.

    Attributes:
        package: distribution name.
        version: exact version.
        filename: name of the archive as the index spells it; its tags say which platform it was built for.
        sha256: hash of the archive, 64 hexadecimal digits.
        size: bytes to download.

    """

    package: str
    version: str
    filename: str
    sha256: str
    size: int

    @property
    def is_wheel(self) -> bool:
        """Whether the archive is a wheel (else a source distribution)."""
        return self.filename.endswith(".whl")


@dataclass(frozen=True, kw_only=True)
class Produced:
    """One file that preparing an asset leaves behind.

    Attributes:
        path: relative to the asset's folder, with forward slashes.
        sha256: expected hash; None only where nobody has assembled the file yet, its archives are pinned all the same.
        size: bytes.

    """

    path: str
    sha256: str | None
    size: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to get one asset and what it is.

    Attributes:
        name: what people type, ``bakeoff fetch NAME``.
        kind: ``weights`` or ``data``.
        title: one line per language, ``zh`` and ``en``.
        licence: SPDX identifier, or ``unstated``.
        licence_note: who states it, and what is not known.
        origin: where the content first came from, in words.
        sources: the archives, in the order ``prepare`` wants them.
        produces: the files in the finished folder (``asset.json`` comes on top).
        prepare: ``prepare(downloads, out)`` turns the folder of archives into the files; it may delete archives it
            has used up.
        revision: raised when ``prepare`` changes what it writes, so that an old folder is made again.

    """

    name: str
    kind: Kind
    title: Mapping[str, str]
    licence: str
    licence_note: str
    origin: str
    sources: tuple[Source, ...]
    produces: tuple[Produced, ...]
    prepare: Prepare
    revision: int = 1

    @property
    def download_bytes(self) -> int:
        """Bytes to download."""
        return sum(source.size for source in self.sources)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the finished folder."""
        return sum(file.size for file in self.produces)

    @property
    def key(self) -> str:
        """Identity of the recipe's outcome: name, revision and every pinned archive, hashed."""
        pinned = [self.name, self.revision, [source.sha256 for source in self.sources]]
        return hashlib.sha256(json.dumps(pinned).encode()).hexdigest()
