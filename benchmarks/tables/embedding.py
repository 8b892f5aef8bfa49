"""Shared steps of the text studies: every row embedded once by a frozen encoder or a table of static vectors."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff import assets
from bakeoff.data.transforms.text import TokenFeeder, pooled
from bakeoff.search.table import Prefix
from benchmarks.tables.recording import Step

_REQUESTS = 40
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def encoder(asset: str, max_length: int) -> Callable[[Any], Step]:
    """Return a shared step: a frozen transformer, one thread, bfloat16 where the processor has it, batches by length."""
    return functools.partial(_step, functools.partial(_network, asset, max_length), asset)


def static(asset: str) -> Callable[[Any], Step]:
    """Return a shared step: the mean of static token vectors."""
    return functools.partial(_step, functools.partial(_table, asset), asset)


def _step(load: Callable[[], Embed], asset: str, texts: NDArray[Any]) -> Step:
    """Time loading, embedding all rows and single requests."""
    rows = [str(text) for text in texts]
    load()(rows[:2])  # libraries are imported before anything is timed
    start = time.process_time()
    embed = load()
    loaded = time.process_time()
    vectors = embed(rows)
    done = time.process_time()
    took = []
    for text in rows[-_REQUESTS:]:
        before = time.process_time()
        embed([text])
        took.append(time.process_time() - before)
    size = sum(
        path.stat().st_size for path in assets.require(asset).iterdir() if path.suffix in {".safetensors", ".json"}
    )
    cost = Prefix(loaded - start, (done - loaded) / len(rows))
    return Step(vectors.astype(np.float32), cost, float(np.percentile(took, 95)), float(size))


def _feeder(folder: Path, max_length: int) -> TokenFeeder:
    facts = json.loads((folder / "pooling.json").read_text(encoding="utf-8"))
    transform = {
        "kind": "hf-tokenizer", "tokenizer": "tokenizer.json", "columns": ["text"], "max_length": max_length, "pad_id": 0,
        "special_tokens": bool(facts.get("special_tokens", True)), "prefix": str(facts.get("prefix") or ""),
    }  # fmt: skip
    return TokenFeeder(transform, folder)


def _network(asset: str, max_length: int) -> Embed:
    from bakeoff.data.transforms import network as net

    folder = assets.fetch(asset)
    facts = json.loads((folder / "pooling.json").read_text(encoding="utf-8"))
    net.set_threads(1)
    body: Any = net.pretrained_encoder(folder)
    made = net.TextNetwork(body, 2, pooling=facts["pooling"], normalise=True).eval()
    dtype, pad = "bf16" if net.bfloat16_is_fast() else "fp32", int(body.config.pad_token_id or 0)
    tokens = _feeder(folder, max_length)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        found = net.run(made, tokens.encode([{"text": text} for text in texts]), pad, embed=True, dtype=dtype)
        return found.astype(np.float32)

    return embed


def _table(asset: str) -> Embed:
    from safetensors.numpy import load_file

    folder = assets.fetch(asset)
    table = load_file(folder / "model.safetensors")["embedding.weight"].astype(np.float32)
    tokens = _feeder(folder, 512)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return pooled(table, tokens.encode([{"text": text} for text in texts]))

    return embed
