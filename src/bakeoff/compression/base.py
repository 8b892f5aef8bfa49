"""The contract of a compression pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bakeoff.models.base import Row
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.plugin import PassTraits

BUCKET = 16
"""Tokens: an answer depends on what its row is padded to, so each row is padded to a length of its own (``runtimes._graphs``)."""


@dataclass(frozen=True)
class CompressContext:
    """``source`` holds ``artifact``; write the compressed one to the empty directory ``out``.

    ``calibrate``: unlabelled rows of the calibrate split for passes that need activations.
    """

    artifact: Artifact
    source: Path
    out: Path
    calibrate: Sequence[Row]
    threads: int


class CompressionPass(Protocol):
    """A pass; returns the artefact without ``files`` (the caller hashes them)."""

    traits: PassTraits

    def apply(self, context: CompressContext) -> Artifact:
        """Compress."""
