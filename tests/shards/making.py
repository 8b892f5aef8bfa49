"""A small real encoder with four layers, exported and split: nothing is faked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bakeoff.compression.base import CompressContext
from bakeoff.compression.dynamic_int8 import PLUGIN as INT8
from bakeoff.models.base import ExportContext
from bakeoff.models.encoder import PLUGIN as ENCODER
from bakeoff.runtimes.loading import load_predictor, read_artifact
from bakeoff.schema import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Candidate, Variant
from tests.delivery import making
from tests.models import tiny

ROWS = tiny.rows(80, seed=7).rows
LAYERS = 4


def onnx_artifact(root: Path) -> Path:
    """Write an ``onnx`` artefact of an encoder with random weights; return its folder."""
    import torch
    from transformers import BertConfig, BertModel

    folder, native, out = root / "weights", root / "native", root / "onnx"
    tiny.write_encoder(folder)
    torch.manual_seed(1)
    size = len(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    config = BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=1, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder, safe_serialization=True)
    built = ENCODER.build(tiny.context(folder, native, probe=True, params={"cut_vocabulary": False}))
    out.mkdir()
    making.finish(ENCODER.export(ExportContext(built, native, out, "onnx", threads=1)), out)
    return out


def int8_artifact(source: Path, out: Path) -> Path:
    """Write the dynamic int8 version of an artefact."""
    out.mkdir()
    making.finish(INT8.apply(CompressContext(read_artifact(source), source, out, [], threads=1)), out)
    return out


def answers(folder: Path, runtime: str = "onnxruntime") -> np.ndarray:
    """Return what an artefact answers to ``ROWS``."""
    predictor = load_predictor(read_artifact(folder), folder, runtime, 1)
    try:
        return predictor.predict_proba(ROWS)
    finally:
        predictor.close()


def candidate() -> Candidate:
    """Return the candidate that the artefact stands for."""
    label = Words(zh="编码器", en="encoder")
    return Candidate(family="encoder", variant=Variant(name="tiny", label=label), runtime="onnxruntime", label=label)


def artifact(folder: Path) -> Artifact:
    """Return an artefact's record."""
    return read_artifact(folder)
