"""One ONNX file for those who serve without this package: rows as people write them in, calibrated probabilities and a label out.

What is inside: filling and coding of a table's columns, or a WordPiece tokenizer (an operator of onnxruntime-extensions); the graph;
temperature and costs; the label's name. What cannot be inside is a reason, not a silent difference: SentencePiece tokenizers, where the
operator's normalisation differs from tokenizer.json's (measured: every one of 1,000 Chinese reviews came out with other tokens), and
n-grams, for which ONNX has no way to cut a text into characters or Chinese words. Those keep their transform beside the graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bakeoff.schema.artifact import Artifact, Rule
from bakeoff.schema.errors import StepError

if TYPE_CHECKING:
    from onnx import ModelProto

WHOLE = "whole.onnx"
EXTENSIONS = "ai.onnx.contrib"
_TINY = 1e-12
_SPECIAL = ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
_RESERVED = frozenset({"probabilities", "label"})


def write_graph(artifact: Artifact, source: Path, out: Path) -> Path:
    """Write ``whole.onnx`` beside whatever is in ``out`` and return its path.

    Inputs: for a table, one tensor (n, 1) per column, named as the column, float32 or string; for a text, ``text`` of one string.
    Outputs: ``probabilities`` (n, k), calibrated, and ``label`` (n,), strings.

    Raises:
        StepError: the artefact is no ONNX graph, or its pre-processing cannot be inside ('unsupported').

    """
    if artifact.format != "onnx":
        what = "a whole graph is made of an ONNX artefact"
        raise StepError("unsupported", what, got=artifact.format, allowed=("onnx",))
    import onnx
    from onnx import compose, version_converter

    core = onnx.load(source / str(artifact.meta.get("model", "model.onnx")))
    opset = max(18, *(item.version for item in core.opset_import if item.domain in {"", "ai.onnx"}))
    if any(item.domain in {"", "ai.onnx"} and item.version < opset for item in core.opset_import):
        core = version_converter.convert_version(core, opset)
    core.ir_version = 9
    before = _before(artifact, source, opset)
    joined = compose.merge_models(
        compose.add_prefix(before, "pre/", rename_inputs=False),
        compose.add_prefix(core, "graph/"),
        io_map=[(f"pre/{item.name}", f"graph/{item.name}") for item in before.graph.output],
    )
    after = _after(artifact, opset)
    joined = compose.merge_models(
        joined, compose.add_prefix(after, "post/", rename_outputs=False), io_map=[("graph/probabilities", "post/raw")]
    )
    try:
        content = joined.SerializeToString(deterministic=True)
    except ValueError as error:
        what = "a graph in one file has at most 2 GB"
        raise StepError("unsupported", what) from error
    path = out / WHOLE
    path.write_bytes(content)
    return path


def _before(artifact: Artifact, source: Path, opset: int) -> ModelProto:
    kind = artifact.transform.get("kind")
    if kind == "tabular":
        return _table(artifact.transform, opset)
    if kind == "hf-tokenizer":
        return _tokens(artifact.transform, source, opset)
    what = "ONNX has no operator that cuts a text into these n-grams, so they cannot be inside of the graph"
    raise StepError("unsupported", what, got=kind, allowed=("tabular", "hf-tokenizer"))


def _table(transform: Mapping[str, Any], opset: int) -> ModelProto:
    from onnx import TensorProto, helper

    nodes, inputs, parts, constants = [], [], [], []
    taken = sorted({str(column["name"]) for column in transform["columns"]} & _RESERVED)
    if taken:
        what = "a column has the name of an output of the graph"
        raise StepError("unsupported", what, got=taken[0], try_="rename it in the data")
    for at, column in enumerate(transform["columns"]):
        name, part = str(column["name"]), f"part{at}"
        number = column["kind"] == "number"
        inputs.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT if number else TensorProto.STRING, ["n", 1])
        )
        if not number:
            values = [str(value) for value in column["values"]]
            codes = [float(code) for code in range(len(values))]
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [name],
                    [part],
                    domain="ai.onnx.ml",
                    keys_strings=values,
                    values_floats=codes,
                    default_float=float("nan"),
                )
            )
        elif column.get("fill") is None:
            nodes.append(helper.make_node("Identity", [name], [part]))
        else:
            constants.append(helper.make_tensor(f"fill{at}", TensorProto.FLOAT, [1], [float(column["fill"])]))
            nodes.append(helper.make_node("IsNaN", [name], [f"gone{at}"]))
            nodes.append(helper.make_node("Where", [f"gone{at}", f"fill{at}", name], [part]))
        parts.append(part)
    nodes.append(helper.make_node("Concat", parts, ["features"], axis=1))
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(parts)])
    return _model(helper.make_graph(nodes, "pre", inputs, [output], constants), opset)


def _tokens(transform: Mapping[str, Any], source: Path, opset: int) -> ModelProto:
    """Tokenise one text: [CLS], its pieces cut to the length the model was trained with, [SEP]."""
    from onnx import TensorProto, helper

    tokenizer = json.loads((source / str(transform["tokenizer"])).read_text(encoding="utf-8"))
    model, normaliser = tokenizer["model"], tokenizer.get("normalizer") or {}
    _expressible(transform, model, normaliser)
    vocabulary = "\n".join(sorted(model["vocab"], key=model["vocab"].__getitem__))
    lower = bool(normaliser.get("lowercase", True))
    accents = normaliser.get("strip_accents")
    longest = int(transform["max_length"])
    numbers = {"zero": [0], "most": [longest - 1], "last": [-1], "end": [np.iinfo(np.int64).max], "first": [0]}
    nodes = [
        helper.make_node(
            "BertTokenizer", ["text"], ["all", "segments", "ones"], domain=EXTENSIONS, vocab_file=vocabulary.encode(),
            do_lower_case=int(lower), strip_accents=int(lower if accents is None else accents),
        ),
        helper.make_node("Slice", ["all", "zero", "last", "zero"], ["open"]),  # without [SEP]
        helper.make_node("Slice", ["open", "zero", "most", "zero"], ["cut"]),
        helper.make_node("Slice", ["all", "last", "end", "zero"], ["sep"]),
        helper.make_node("Concat", ["cut", "sep"], ["flat"], axis=0),
        helper.make_node("Unsqueeze", ["flat", "first"], ["input_ids"]),
        helper.make_node("Shape", ["input_ids"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["attention_mask"], value=helper.make_tensor("one", TensorProto.INT64, [1], [1])),
    ]  # fmt: skip
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in numbers.items()]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    text = helper.make_tensor_value_info("text", TensorProto.STRING, [1])
    return _model(helper.make_graph(nodes, "pre", [text], outputs, constants), opset)


def _expressible(transform: Mapping[str, Any], model: Mapping[str, Any], normaliser: Mapping[str, Any]) -> None:
    """Raise where the graph's operators would cut or fold a text otherwise than the tokenizer does."""
    plain = (
        model.get("type") == "WordPiece" and normaliser.get("type") == "BertNormalizer" and not transform.get("prefix")
    )
    if not plain or not transform.get("special_tokens", True):
        what = "only WordPiece tokenizers give the same tokens inside of the graph; tokenizer.json stays beside it"
        raise StepError("unsupported", what, got=model.get("type"), allowed=("WordPiece",))
    if transform.get("lowercase") or transform.get("normalise"):
        what = "texts are folded in a way that no operator of the graph does"
        raise StepError("unsupported", what, got=transform.get("normalise") or "lowercase")
    lacking = [name for name in _SPECIAL if name not in model["vocab"]]
    if lacking:
        what = "the operator that cuts texts needs these tokens in the vocabulary"
        raise StepError("unsupported", what, got=", ".join(lacking), allowed=_SPECIAL)


def _after(artifact: Artifact, opset: int) -> ModelProto:
    """Temperature, then the most probable class or the one of least expected cost, then its name."""
    from onnx import TensorProto, helper, numpy_helper

    rule: Rule = artifact.rule
    classes = len(artifact.classes)
    constants = [
        helper.make_tensor("tiny", TensorProto.FLOAT, [], [_TINY]),
        helper.make_tensor("temperature", TensorProto.FLOAT, [1], [rule.temperature]),
        numpy_helper.from_array(np.array(artifact.classes, dtype=object), "names"),
    ]
    nodes = [
        helper.make_node("Max", ["raw", "tiny"], ["safe"]), helper.make_node("Log", ["safe"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probabilities"], axis=1),
    ]  # fmt: skip
    if rule.costs is None:
        nodes.append(helper.make_node("ArgMax", ["probabilities"], ["chosen"], axis=1, keepdims=0))
    else:
        flat = [float(value) for row in rule.costs for value in row]
        constants.append(helper.make_tensor("costs", TensorProto.FLOAT, [classes, classes], flat))
        nodes.append(helper.make_node("MatMul", ["probabilities", "costs"], ["expected"]))
        nodes.append(helper.make_node("ArgMin", ["expected"], ["chosen"], axis=1, keepdims=0))
    nodes.append(helper.make_node("Gather", ["names", "chosen"], ["label"], axis=0))
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes]),
        helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
    ]
    raw = helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["n", classes])
    return _model(helper.make_graph(nodes, "post", [raw], outputs, constants), opset)


def _model(graph: Any, opset: int) -> ModelProto:  # noqa: ANN401 - onnx.GraphProto
    from onnx import helper

    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 5), helper.make_opsetid(EXTENSIONS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="bakeoff")
