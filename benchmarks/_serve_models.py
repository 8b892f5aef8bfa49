"""Bundles for the serving benchmarks, made here: networks of fixed size with random weights, and the tokens or numbers they read.

What a network answers does not matter to what it costs to serve. The encoder has the size of all-MiniLM-L6-v2 (6 layers, 384
wide, 12 heads, 1536 inside, sequence 32); ids of a vocabulary of 30,522 words come in as text, so that every server tokenises.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.runtimes.sealed import entries
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract, Manifest

SEQUENCE = 32
WORDS = 2000
POISON = "poison"
"""A word whose id lies beyond the embedding table: well-typed, and the runtime fails the whole batch it is in."""
CLASSES = tuple(f"c{index}" for index in range(8))
_HIDDEN, _LAYERS, _HEADS, _INNER, _VOCABULARY = 384, 6, 12, 1536, 30522
OPSET = 17


@dataclass(frozen=True)
class Network:
    """One network to serve: its bundle's folder, its graph, whether it reads text, and ready-made request rows."""

    name: str
    bundle: Path
    graph: Path
    text: bool
    rows: tuple[Any, ...]


def make(name: str, root: Path) -> Network:
    """Write the bundle of a network by name (``tiny``, ``wide``, ``enc6``, ``enc6-int8``)."""
    bundle = root / name
    model = bundle / "model"
    model.mkdir(parents=True, exist_ok=True)
    graph = model / "model.onnx"
    text = name.startswith("enc")
    _GRAPHS[name](graph, root)
    random = np.random.default_rng(0)
    if text:
        _tokenizer(model / "tokenizer.json")
        rows: tuple[Any, ...] = tuple(_sentence(random) for _ in range(256))
        transform = {
            "kind": "hf-tokenizer", "columns": ["text"], "tokenizer": "tokenizer.json", "max_length": SEQUENCE,
            "special_tokens": False,
        }  # fmt: skip
        inputs: tuple[InputColumn, ...] = (InputColumn(name="text", kind="text"),)
    else:
        width = _WIDTHS[name]
        rows = tuple(random.normal(size=width).round(4).tolist() for _ in range(256))
        names = [f"x{index}" for index in range(width)]
        transform = {"kind": "tabular", "columns": [{"name": one, "kind": "number", "fill": 0.0} for one in names]}
        inputs = tuple(InputColumn(name=one, kind="number") for one in names)
    _seal(bundle, name, inputs, transform, batch=64)
    return Network(name, bundle, graph, text, rows)


def _seal(bundle: Path, name: str, inputs: tuple[InputColumn, ...], transform: dict[str, Any], batch: int) -> None:
    model = bundle / "model"
    (model / "artifact.json").unlink(missing_ok=True)
    task = "text-classification" if inputs[0].kind == "text" else "tabular-classification"
    artifact = Artifact(
        format="onnx", task=task, classes=CLASSES, inputs=inputs, transform=transform,
        meta={"model": "model.onnx", "batch": batch}, files=entries(model),
    )  # fmt: skip
    (model / "artifact.json").write_text(artifact.model_dump_json(), encoding="utf-8")
    label = Words(zh=name, en=name)
    contract = Contract(
        candidate=name, label=label, task=task, metric="accuracy", confidence=0.95, threads=1, promises=(), rows=0
    )
    (bundle / "contract.json").write_text(contract.model_dump_json(), encoding="utf-8")
    (bundle / "manifest.json").unlink(missing_ok=True)
    manifest = Manifest(
        bakeoff="0", study=name, candidate=name, label=label, family="bench", runtime="onnxruntime", task=task,
        classes=CLASSES, inputs=inputs, files=entries(bundle), licences=(), packages={},
    )  # fmt: skip
    (bundle / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- graphs

_WIDTHS = {"tiny": 64, "wide": 512}


def _one(value: float) -> NDArray[np.float32]:
    return np.array([value], dtype=np.float32)


class _Graph:
    """Builds an ONNX graph node by node."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, *shape: int) -> str:
        return self.constant((self.random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:  # noqa: ANN401 - ONNX attributes
        from onnx import helper

        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, found: str, wide: int, out: int) -> str:
        return self.add(
            "Add", self.add("MatMul", found, self.weight(wide, out)), self.constant(np.zeros(out, np.float32))
        )

    def norm(self, found: str) -> str:
        ones, zeros = np.ones(_HIDDEN, np.float32), np.zeros(_HIDDEN, np.float32)
        return self.add("LayerNormalization", found, self.constant(ones), self.constant(zeros), axis=-1, epsilon=1e-6)

    def save(self, path: Path, inputs: dict[str, tuple[int, list[str | int]]]) -> None:
        import onnx
        from onnx import TensorProto, helper

        given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
        found = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(CLASSES)])
        graph = helper.make_graph(self.nodes, path.parent.parent.name, given, [found], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.save(model, str(path))


def _mlp(widths: tuple[int, ...]) -> Callable[[Path, Path], None]:
    def write(path: Path, root: Path) -> None:
        del root
        graph, found = _Graph(), "features"
        for wide, out in pairwise(widths):
            found = graph.linear(found, wide, out)
            if out != widths[-1]:
                found = graph.add("Relu", found)
        graph.add("Softmax", found, out="probabilities", axis=-1)
        graph.save(path, {"features": (1, ["n", widths[0]])})

    return write


def _encoder(path: Path, root: Path) -> None:
    del root
    graph = _Graph()
    position = graph.constant(graph.random.standard_normal((1, SEQUENCE, _HIDDEN)).astype(np.float32) * 0.02)
    length = graph.add("Shape", "input_ids", start=1, end=2)
    zero, axis = graph.constant(np.array([0], np.int64)), graph.constant(np.array([1], np.int64))
    position = graph.add("Slice", position, zero, length, axis)
    hidden = graph.add("Gather", graph.weight(_VOCABULARY, _HIDDEN), "input_ids")
    hidden = graph.norm(graph.add("Add", hidden, position))
    mask = graph.add("Unsqueeze", graph.add("Cast", "attention_mask", to=1), graph.constant(np.array([1, 2], np.int64)))
    bias = graph.add("Mul", graph.add("Sub", graph.constant(_one(1.0)), mask), graph.constant(_one(-1e4)))
    for _ in range(_LAYERS):
        hidden = _layer(graph, hidden, bias)
    pooled = graph.add("ReduceMean", hidden, axes=[1], keepdims=0)
    graph.add("Softmax", graph.linear(pooled, _HIDDEN, len(CLASSES)), out="probabilities", axis=-1)
    shape: list[str | int] = ["n", "t"]
    graph.save(path, {"input_ids": (7, shape), "attention_mask": (7, shape)})


def _layer(graph: _Graph, hidden: str, bias: str) -> str:
    split = graph.constant(np.array([0, 0, _HEADS, _HIDDEN // _HEADS], np.int64))
    heads = [
        graph.add("Transpose", graph.add("Reshape", graph.linear(hidden, _HIDDEN, _HIDDEN), split), perm=order)
        for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    ]
    scale = graph.constant(_one((_HIDDEN // _HEADS) ** -0.5))
    scores = graph.add("Add", graph.add("Mul", graph.add("MatMul", heads[0], heads[1]), scale), bias)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), heads[2])
    whole = graph.constant(np.array([0, 0, _HIDDEN], np.int64))
    mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), whole)
    hidden = graph.norm(graph.add("Add", hidden, graph.linear(mixed, _HIDDEN, _HIDDEN)))
    inner = graph.linear(hidden, _HIDDEN, _INNER)
    root, half, one = (graph.constant(_one(value)) for value in (2.0**-0.5, 0.5, 1.0))
    gate = graph.add("Add", graph.add("Erf", graph.add("Mul", inner, root)), one)
    inner = graph.add("Mul", graph.add("Mul", inner, gate), half)
    return graph.norm(graph.add("Add", hidden, graph.linear(inner, _INNER, _HIDDEN)))


def _int8(path: Path, root: Path) -> None:
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # the library warns about every model that was not pre-processed
    plain = root / "enc6" / "model" / "model.onnx"
    if not plain.exists():
        make("enc6", root)
    quantize_dynamic(str(plain), str(path), weight_type=QuantType.QInt8)


_GRAPHS: dict[str, Callable[[Path, Path], None]] = {
    "tiny": _mlp((64, 128, 8)),
    "wide": _mlp((512, 2048, 2048, 8)),
    "enc6": _encoder,
    "enc6-int8": _int8,
}
NAMES = tuple(_GRAPHS)


# ---------------------------------------------------------------------------------------------------------------- text


def _tokenizer(path: Path) -> None:
    """Write a word-level tokenizer over the vocabulary's first words; every word is one token."""
    vocabulary = {"[UNK]": 0, POISON: _VOCABULARY + 1, **{f"w{index}": index for index in range(1, WORDS)}}
    document: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")


def _sentence(random: np.random.Generator) -> str:
    return " ".join(f"w{index}" for index in random.integers(1, WORDS, SEQUENCE))
