"""ONNX graphs of text models that are linear in counts or in averaged token vectors.

``TfIdfVectorizer`` counts the n-grams; only the counts that are not zero are looked at afterwards. A dense product over
a vocabulary of 100,000 would be several times slower for one row and take 400 kB per row and intermediate.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms import text
from bakeoff.models._onnx import MODEL, Graph, tensor
from bakeoff.models._tfidf import words_of
from bakeoff.models.base import ExportContext
from bakeoff.schema.artifact import Artifact

_WORDS = "words.json"
_TFIDF_BATCH, _STATIC_BATCH = 32, 64


def export_tfidf(context: ExportContext) -> Artifact:
    """Write ``tfidf-linear`` as a graph over ids: characters as code points, words as positions in a word list."""
    artifact = context.artifact
    grams = text.read_words(context.source / artifact.meta["vocabulary"])
    transform = dict(artifact.transform)
    if transform["kind"] == "char-ids":
        keys = [[ord(char) for char in gram] for gram in grams]
    else:
        words = words_of(grams)
        text.write_words(context.out / _WORDS, words)
        transform["words"] = _WORDS
        position = {word: at for at, word in enumerate(words)}
        keys = [[position[word] for word in gram.split(" ")] for gram in grams]
    with np.load(context.source / artifact.meta["weights"], allow_pickle=False) as arrays:
        graph = _scores(keys, transform["ngrams"], arrays["idf"], arrays["coef"], arrays["intercept"])
    graph.link("scores", artifact.meta["link"])
    graph.write(context.out / MODEL, [tensor("ids", "INT64", "batch", "length")], len(artifact.classes))
    meta = {"model": MODEL, "batch": _TFIDF_BATCH, "origin": artifact.format}
    return artifact.model_copy(update={"format": "onnx", "transform": transform, "meta": meta, "files": ()})


def pool_of(keys: Sequence[Sequence[int]], high: int) -> tuple[list[int], list[int], list[int]]:
    """Return ``pool_int64s``, ``ngram_counts``, ``ngram_indexes``: n-grams by length, and the column each counts in."""
    pool: list[int] = []
    starts: list[int] = []
    columns: list[int] = []
    for size in range(1, high + 1):
        starts.append(len(pool))
        for column, key in enumerate(keys):
            if len(key) == size:
                pool.extend(key)
                columns.append(column)
    return pool, starts, columns


def _scores(
    keys: Sequence[Sequence[int]],
    sizes: Sequence[int],
    idf: NDArray[np.float32],
    coef: NDArray[np.float32],
    intercept: NDArray[np.float32],
) -> Graph:
    """Count, weigh, and add up ``(1 + ln tf) · idf · coef`` per row, divided by the row's length."""
    low, high = sizes
    pool, starts, columns = pool_of(keys, high)
    graph = Graph()
    graph.add(
        "TfIdfVectorizer", ["ids"], "counts", mode="TF", min_gram_length=low, max_gram_length=high, max_skip_count=0,
        pool_int64s=pool, ngram_counts=starts, ngram_indexes=columns,
    )  # fmt: skip
    places = graph.add("NonZero", ["counts"], "places")  # (2, m): row and column of every count
    at = graph.add("Transpose", [places], "at")
    frequency = graph.add("GatherND", ["counts", at], "frequency")
    row = graph.add("Gather", [places, graph.constant("first", np.int64(0))], "row", axis=0)
    column = graph.add("Gather", [places, graph.constant("second", np.int64(1))], "column", axis=0)
    logs = graph.add("Log", [frequency], "logs")
    sub = graph.add("Add", [logs, graph.constant("unit", np.float32(1.0))], "sub")
    weight = graph.add("Gather", [graph.constant("idf", idf.astype(np.float32)), column], "weight")
    value = graph.add("Mul", [sub, weight], "value")  # (m,)
    tall = graph.add("Unsqueeze", [value, graph.constant("last", np.array([1]))], "tall")
    coefs = graph.add("Gather", [graph.constant("coef", coef.astype(np.float32)), column], "coefs", axis=0)
    terms = graph.add("Concat", [graph.add("Mul", [tall, coefs], "shares"), graph.add("Mul", [tall, tall], "squares")],
                      "terms", axis=1)  # fmt: skip
    _per_row(graph, terms, row, coef.shape[1])
    total = graph.add("Slice", ["sums", "slice_0", "slice_c", "classes_dim"], "total_score")
    squared = graph.add("Slice", ["sums", "slice_c", "slice_end", "classes_dim"], "squared")
    length = graph.add(
        "Sqrt", [graph.add("Max", [squared, graph.constant("least", np.float32(1e-12))], "safe")], "norm"
    )
    mean = graph.add("Div", [total, length], "unit_score")
    graph.add("Add", [mean, graph.constant("intercept", intercept.astype(np.float32))], "scores")
    return graph


def _per_row(graph: Graph, terms: str, row: str, width: int) -> None:
    """Add the (m, width + 1) terms of each row up into ``sums`` (n, width + 1)."""
    graph.constant("slice_0", np.array([0]))
    graph.constant("slice_c", np.array([width]))
    graph.constant("slice_end", np.array([width + 1]))
    graph.constant("classes_dim", np.array([1]))
    batch = graph.add("Gather", [graph.add("Shape", ["ids"], "shape"), "slice_0"], "batch_size", axis=0)
    shape = graph.add("Concat", [batch, graph.constant("columns", np.array([width + 1]))], "sums_shape", axis=0)
    zeros = graph.add("Expand", [graph.constant("zero", np.float32(0.0)), shape], "zeros")
    index = graph.add("Unsqueeze", [row, graph.constant("index_axis", np.array([1]))], "index")
    graph.add("ScatterND", [zeros, index, terms], "sums", reduction="add")


def export_static(context: ExportContext) -> Artifact:
    """Write ``static-linear`` as a graph over token ids; the vectors become a Gather that int8 can shrink."""
    from safetensors.numpy import load_file

    artifact = context.artifact
    table = load_file(context.source / artifact.meta["embedding"])["embedding.weight"].astype(np.float32)
    graph = Graph()
    vectors = graph.add("Gather", [graph.constant("embedding", table), "input_ids"], "vectors", axis=0)
    mask = graph.add("Cast", ["attention_mask"], "mask", to=1)
    wide = graph.add("Unsqueeze", [mask, graph.constant("wide_axis", np.array([2]))], "wide")
    kept = graph.add("Mul", [vectors, wide], "kept")
    total = graph.add("ReduceSum", [kept, graph.constant("tokens_axis", np.array([1]))], "summed", keepdims=0)
    # the mean's direction is the sum's: dividing by the count first would be undone by the unit length
    norm = graph.add("ReduceL2", [total, graph.constant("vector_axis", np.array([1]))], "norm", keepdims=1)
    safe = graph.add("Max", [norm, graph.constant("least", np.float32(1e-12))], "safe")
    unit = graph.add("Div", [total, safe], "unit")
    with np.load(context.source / artifact.meta["weights"], allow_pickle=False) as arrays:
        coef, intercept = graph.constant("coef", arrays["coef"]), graph.constant("intercept", arrays["intercept"])
    graph.add("Gemm", [unit, coef, intercept], "scores")
    graph.link("scores", artifact.meta["link"])
    inputs = [tensor(name, "INT64", "batch", "length") for name in ("input_ids", "attention_mask")]
    graph.write(context.out / MODEL, inputs, len(artifact.classes))
    tokenizer = artifact.transform["tokenizer"]
    shutil.copyfile(context.source / tokenizer, context.out / tokenizer)
    meta = {"model": MODEL, "batch": _STATIC_BATCH, "origin": artifact.format}
    return artifact.model_copy(update={"format": "onnx", "meta": meta, "files": ()})
