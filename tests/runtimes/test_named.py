"""Whatever an artefact names is its own, listed, and of the kind that was looked at: in every format, for every field."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bakeoff.runtimes.loading import RUNTIMES, load_predictor, runtime_named
from bakeoff.schema.artifact import Artifact, FileEntry
from bakeoff.schema.errors import StepError

FIELDS = {
    "tfidf-linear": ("vocabulary", "weights"), "static-linear": ("embedding", "weights"), "scorecard": ("card",), "lightgbm": ("model",),
    "xgboost": ("model",), "gguf-prompt": ("model",), "onnx": ("model",), "openvino": ("model", "weights"), "tflite": ("model",),
    "onnx-shards": ("plan",),
}  # fmt: skip
"""Every field that names a file, by format; the others are of formats whose files have fixed names."""
USUAL = {
    "vocabulary": "vocabulary.json", "weights": "weights.npz", "embedding": "embedding.safetensors", "card": "scorecard.json", "plan": "shards.json",
}  # fmt: skip
MODELS = {
    "lightgbm": "model.txt", "xgboost": "model.ubj", "gguf-prompt": "model.gguf", "onnx": "model.onnx", "openvino": "model.xml",
    "tflite": "model.tflite",
}  # fmt: skip
WAYS = {"absolute": "/etc/passwd", "above": "../outside", "unlisted": "unlisted", "another kind": "listed.dat"}
TOKENIZER = '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
OPENED: list[str] = []
sys.addaudithook(lambda event, arguments: OPENED.append(str(arguments[0])) if event == "open" else None)


def _usual(kind: str, field: str) -> str:
    return "model.bin" if (kind, field) == ("openvino", "weights") else USUAL.get(field) or MODELS[kind]


def _runtime(kind: str) -> str:
    return next(name for name in (*RUNTIMES, "sharded") if kind in runtime_named(name).traits.loads)


def _artifact(directory: Path, kind: str, **changes: Any) -> Artifact:
    names = [_usual(kind, field) for field in FIELDS[kind]]
    (directory / "prompt.json").write_text('{"bias": [0, 0], "context": 64}')
    for name in (*names, "listed.dat", "tokenizer.json"):
        (directory / name).write_bytes(b"{}")
    meta = dict(zip(FIELDS[kind], names, strict=True)) | {"link": "softmax", "sha256": "", "rounds": 1}
    transform: dict[str, Any] = {"kind": "tabular", "columns": []}
    if kind in {"tfidf-linear", "static-linear", "gguf-prompt"}:
        transform = {
            "kind": "char-ids",
            "ngrams": [1, 1],
            "columns": ["text"],
            "tokenizer": "tokenizer.json",
            "max_length": 8,
        }
    (directory / "tokenizer.json").write_text(TOKENIZER)
    if kind == "static-linear":
        save_file({"embedding.weight": np.zeros((1, 2), dtype=np.float32)}, directory / "embedding.safetensors")
    listed = tuple(
        FileEntry(path=name, sha256="", size=2) for name in (*names, "listed.dat", "prompt.json", "tokenizer.json")
    )
    artifact = Artifact(
        format=kind, task="t", classes=("a", "b"), inputs=(), meta=meta, transform=transform, files=listed
    )
    return artifact.model_copy(update=changes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields])
def test_a_file_that_is_not_the_artefacts_own_is_never_opened(tmp_path: Path, kind: str, field: str, way: str) -> None:
    runtime = _runtime(kind)
    missing = runtime_named(runtime).traits.needs.modules if runtime != "sharded" else ()
    for module in missing:
        pytest.importorskip(module)
    directory = tmp_path / "model"
    directory.mkdir()
    sound = _artifact(directory, kind)
    suffix = Path(_usual(kind, field)).suffix
    name = WAYS[way] + (suffix if way in {"above", "unlisted"} else "")
    target = directory / name
    if way in {"above", "unlisted"}:
        target.write_bytes(b"{}")
    first = {f: _usual(kind, f) for f in FIELDS[kind]}
    artifact = sound.model_copy(update={"meta": {**sound.meta, **first, field: name}})
    OPENED.clear()
    with pytest.raises(StepError) as caught:
        load_predictor(artifact, directory, runtime, 1)
    if field == FIELDS[kind][0]:
        assert caught.value.code == "unsafe", str(caught.value)
    assert str(target) not in OPENED
    assert "/etc/passwd" not in OPENED


@pytest.mark.parametrize(("kind", "field"), [("word-ids", "words"), ("hf-tokenizer", "tokenizer")])
@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.json", "unlisted.json", "listed.dat"])
def test_what_a_transform_reads_is_the_artefacts_own_too(tmp_path: Path, kind: str, field: str, name: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for path in (tmp_path / "outside.json", directory / "unlisted.json"):
        path.write_text("[]")
    transform = {"kind": kind, field: name, "ngrams": [1, 1], "columns": ["text"], "max_length": 8}
    artifact = _artifact(directory, "onnx", transform=transform)
    with pytest.raises(StepError) as caught:
        load_predictor(artifact, directory, "onnxruntime", 1)
    assert caught.value.code == "unsafe"


def test_every_format_that_names_files_is_tested_above() -> None:
    """A new format belongs into FIELDS, or here if its files have fixed names."""
    fixed = {"constant", "transformer", "openai-prompt", "ensemble"}
    loads = {kind for name in (*RUNTIMES, "sharded") for kind in runtime_named(name).traits.loads}
    assert loads == fixed | set(FIELDS)
