"""Static token vectors, averaged per text, with a logistic regression on top; format ``static-linear``.

No network and no layers: a look-up, a mean, a product. ``embedding_head`` calls this for its static variants.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.text import MAX_CHARS, TokenFeeder, pooled
from bakeoff.models._logistic import Head, fit_logistic
from bakeoff.models._onnx_text import export_static
from bakeoff.models.base import BuildContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

__all__ = ["build_static", "export_static"]

_TOKENIZER, _EMBEDDING, _WEIGHTS = "tokenizer.json", "embedding.safetensors", "weights.npz"
_TENSOR = "embedding.weight"
_MAX_TOKENS = 512
_STRENGTH = 30.0
"""Unit vectors vary little along each of their dimensions; measured best of 3, 30 and 100 on Chinese reviews."""


def build_static(context: BuildContext) -> Artifact:
    """Average the vectors of ``context.weights`` and fit the head; the table travels as float16.

    Raises:
        StepError: the weights are missing ('unavailable') or no static table ('unsupported'); the rows carry one class.

    """
    weights = context.weights
    if weights is None:
        what = "static embeddings need their weights"
        raise StepError("unavailable", what, try_=f"bakeoff fetch {context.variant.weights}")
    transform = _transform(context, weights)
    table = _table(weights)
    shutil.copyfile(weights / _TOKENIZER, context.out / _TOKENIZER)
    vectors = pooled(table, TokenFeeder(transform, context.out).encode(context.train.rows))
    head = _head(vectors, context)
    _save(table, context.out / _EMBEDDING)
    head.save(context.out / _WEIGHTS)
    return Artifact(
        format="static-linear",
        task=context.task,
        classes=context.classes,
        inputs=context.inputs,
        transform=transform,
        meta={"embedding": _EMBEDDING, "weights": _WEIGHTS, "link": head.link, "dimensions": int(table.shape[1])},
        licences=(context.variant.licence,) if context.variant.licence else ("unstated",),
    )


def _transform(context: BuildContext, weights: Path) -> dict[str, Any]:
    facts = json.loads((weights / "pooling.json").read_text(encoding="utf-8"))
    if facts.get("pooling") != "mean" or not facts.get("normalise"):
        what = "static embeddings are averaged and normalised; these weights ask for something else"
        raise StepError("unsupported", what, got=facts.get("pooling"))
    return {
        "kind": "hf-tokenizer",
        "columns": [column.name for column in context.inputs],
        "separator": " ",
        "lowercase": False,
        "normalise": None,
        "max_chars": MAX_CHARS,
        "tokenizer": _TOKENIZER,
        "max_length": int(facts.get("max_tokens") or _MAX_TOKENS),
        "pad_id": 0,
        "special_tokens": bool(facts.get("special_tokens", False)),
        "prefix": str(facts.get("prefix") or ""),
    }


def _table(weights: Path) -> NDArray[np.float16]:
    from safetensors.numpy import load_file

    tensors = load_file(weights / "model.safetensors")
    if _TENSOR not in tensors:
        what = f"the weights hold no {_TENSOR}"
        raise StepError("unsupported", what, got=", ".join(sorted(tensors)[:5]))
    return tensors[_TENSOR].astype(np.float16)


def _head(vectors: NDArray[np.float32], context: BuildContext) -> Head:
    """Fit on centred vectors (they share a large common part), then move the centre into the intercept."""
    centre = vectors.mean(axis=0, dtype=np.float64)
    head = fit_logistic(
        vectors - centre,
        context.train.labels,
        len(context.classes),
        strength=float(context.params.get("C", _STRENGTH)),
        balanced=context.strategy.class_weights or bool(context.params.get("balanced")),
    )
    return Head(head.coef, (head.intercept - centre @ head.coef).astype(np.float32), head.link)


def _save(table: NDArray[np.float16], path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({_TENSOR: np.ascontiguousarray(table)}, path)
