"""What a build leaves behind: a directory of pickle-free files described by ``artifact.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakeoff.schema.base import Record

ColumnKind = Literal["text", "number", "category"]


class InputColumn(Record):
    """One column a candidate reads."""

    name: str
    kind: ColumnKind


class Rule(Record):
    """How class probabilities become a label: temperature first, then the cheapest expected mistake.

    Args:
        temperature: logits are divided by it (fitted on *calibrate*); 1 changes nothing.
        costs: ``costs[actual][predicted]``, same order as the classes; None means the most probable class.

    """

    temperature: float = Field(1.0, gt=0)
    costs: tuple[tuple[float, ...], ...] | None = None


class FileEntry(Record):
    """A file inside an artefact or bundle, path relative to it with forward slashes."""

    path: str
    sha256: str
    size: int


class Artifact(Record):
    """A built stack on disk.

    ``format`` tells which runtimes can load it:
    ``constant`` · ``tfidf-linear`` · ``static-linear`` (static embeddings + head) · ``scorecard`` · ``lightgbm`` · ``xgboost`` ·
    ``transformer`` (safetensors + tokenizer.json [+ head]) · ``onnx`` · ``onnx-shards`` (made by shipping) ·
    ``openvino`` (model.xml + model.bin) · ``tflite`` · ``gguf-prompt`` · ``openai-prompt`` · ``ensemble``.
    ``transform`` is read by ``bakeoff.data.transforms`` to turn rows into what the format eats; ``meta`` belongs to the format.
    """

    format: str
    task: str
    classes: tuple[str, ...]
    inputs: tuple[InputColumn, ...]
    rule: Rule = Field(default_factory=Rule)
    transform: dict[str, Any] = Field(default_factory=dict)
    meta: dict[str, Any] = Field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    licences: tuple[str, ...] = Field(
        (), description="SPDX ids of the weights inside; 'unstated' where the source says nothing."
    )

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)
