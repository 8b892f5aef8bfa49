"""The Open Inference Protocol v2 (KServe, Triton): documents in, documents out.

Columns are input tensors by name: BYTES for text and categories, FP64 (or any number type) for numbers; ``null`` is a
missing value. A model of numbers only also takes one tensor ``values`` [n, columns].
Outputs: ``label`` BYTES (n) and ``probabilities`` FP32 (n, k) in row-major order.
Source: https://github.com/kserve/open-inference-protocol (REST).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bakeoff.schema.artifact import InputColumn
from bakeoff.serving.parsing import Reader
from bakeoff.serving.problems import Problem, kind

_NUMBERS = ("FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_CELLS = frozenset({float, int, type(None)})
_FIELDS = frozenset({"id", "inputs", "outputs", "parameters"})
VALUES = "values"
_TENSOR = frozenset({"name", "shape", "datatype", "data", "parameters"})
OUTPUTS = ("label", "probabilities")


def metadata(name: str, version: str, platform: str, inputs: Sequence[InputColumn], classes: int) -> dict[str, Any]:
    """Return the model metadata document; -1 is the number of rows."""
    return {
        "name": name,
        "versions": [version],
        "platform": platform,
        "inputs": [
            {"name": column.name, "datatype": "FP64" if column.kind == "number" else "BYTES", "shape": [-1]}
            for column in inputs
        ],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        ],
    }


def read(
    document: dict[str, Any], reader: Reader, kinds: Mapping[str, str]
) -> tuple[list[Any], str | None, frozenset[str]]:
    """Return rows, the request's id and the outputs it wants.

    Raises:
        Problem: 400 where the protocol is broken (the protocol's own status for it), data that do not have the shape and type they
            are said to have among it; 422 where the protocol is kept, but the model does not take such a row.

    """
    _only(document, _FIELDS, "")
    tensors = document.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        what = "must be a non-empty array of tensors"
        raise Problem(400, what, where="inputs", got=kind(tensors))
    if (
        reader.numeric
        and len(tensors) == 1
        and isinstance(tensors[0], dict)
        and tensors[0].get("name") == VALUES not in kinds
    ):
        rows = _matrix(tensors[0], reader)
        return rows, _identifier(document.get("id")), _wanted(document.get("outputs"))
    columns: dict[str, list[Any]] = {}
    for index, tensor in enumerate(tensors):
        name, data = _tensor(tensor, f"inputs[{index}]", kinds)
        if name in columns:
            what = "the same column twice"
            raise Problem(400, what, where=f"inputs[{index}].name")
        columns[name] = data
    lengths = {len(data) for data in columns.values()}
    if len(lengths) != 1:
        what = "all inputs must have the same number of rows"
        raise Problem(400, what, where="inputs", got=", ".join(str(length) for length in sorted(lengths)))
    count = lengths.pop()
    reader.within(count, "inputs[0].data")
    rows = [
        reader.row({name: data[index] for name, data in columns.items()}, f"inputs row {index}")
        for index in range(count)
    ]
    return rows, _identifier(document.get("id")), _wanted(document.get("outputs"))


def write(
    name: str,
    version: str,
    identifier: str | None,
    labels: Sequence[str],
    probabilities: ArrayLike,
    classes: Sequence[str],
    wanted: frozenset[str],
) -> dict[str, Any]:
    """Return the inference response; ``labels`` (n), ``probabilities`` (n, k)."""
    outputs: list[dict[str, Any]] = []
    if "label" in wanted:
        outputs.append({"name": "label", "shape": [len(labels)], "datatype": "BYTES", "data": list(labels)})
    if "probabilities" in wanted:
        single = np.ascontiguousarray(probabilities, dtype=np.float32)
        outputs.append({
            "name": "probabilities", "shape": list(single.shape), "datatype": "FP32", "data": single.ravel(),
            "parameters": {"classes": ",".join(classes)},
        })  # fmt: skip
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": outputs}
    return answer if identifier is None else {**answer, "id": identifier}


def _matrix(tensor: dict[str, Any], reader: Reader) -> list[Any]:
    where, width = "inputs[0]", len(reader.names)
    _only(tensor, _TENSOR, where)
    if tensor.get("datatype") not in _NUMBERS:
        what = "wrong datatype for numbers"
        raise Problem(400, what, where=f"{where}.datatype", allowed=_NUMBERS)
    shape, data = tensor.get("shape"), tensor.get("data")
    count = shape[0] if isinstance(shape, list) and shape else None
    if shape != [count, width] or isinstance(count, bool) or not isinstance(count, int) or count < 1:
        what = "the shape of the matrix must be [n, columns] with n at least 1"
        raise Problem(400, what, where=f"{where}.shape", allowed=f"[n, {width}]")
    reader.within(count, f"{where}.shape")
    if not isinstance(data, list):
        what = "must be an array"
        raise Problem(400, what, where=f"{where}.data", got=kind(data))
    if len(data) == count * width and (width > 1 or not isinstance(data[0], list)):
        data = [data[at : at + width] for at in range(0, len(data), width)]
    if len(data) != count:
        what = "data does not have as many values as the shape says"
        raise Problem(400, what, where=f"{where}.data", got=str(len(data)), allowed=str(count * width))
    for index, row in enumerate(data):
        if not isinstance(row, list) or len(row) != width or not _CELLS.issuperset(map(type, row)):
            what = "must be an array of one number per column, as the shape and the datatype say"
            raise Problem(400, what, where=f"{where}.data[{index}]", got=kind(row), allowed=str(width))
    return reader.positional(data, f"{where}.data")


def _tensor(tensor: object, where: str, kinds: Mapping[str, str]) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict):
        what = "must be a tensor object"
        raise Problem(400, what, where=where, got=kind(tensor))
    _only(tensor, _TENSOR, where)
    name = tensor.get("name")
    if not isinstance(name, str) or name not in kinds:
        what = "unknown input"
        raise Problem(400, what, where=f"{where}.name", allowed=list(kinds)[:20])
    allowed = _NUMBERS if kinds[name] == "number" else ("BYTES",)
    if tensor.get("datatype") not in allowed:
        what = "wrong datatype for this column"
        raise Problem(400, what, where=f"{where}.datatype", allowed=allowed)
    return name, _flat(tensor.get("data"), _shape(tensor.get("shape"), where), where)


def _shape(shape: object, where: str) -> int:
    sizes = shape if isinstance(shape, list) else []
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not whole or len(sizes) not in {1, 2} or sizes[1:] not in ([], [1]):
        what = "the shape of a column must be [n] or [n, 1] with n at least 1"
        raise Problem(400, what, where=f"{where}.shape")
    return int(sizes[0])


def _flat(data: object, count: int, where: str) -> list[Any]:
    if not isinstance(data, list):
        what = "must be an array (binary tensors are not supported)"
        raise Problem(400, what, where=f"{where}.data", got=kind(data))
    if data and all(isinstance(value, list) and len(value) == 1 for value in data):
        data = [value[0] for value in data]
    if len(data) != count:
        what = "data does not have as many values as the shape says"
        raise Problem(400, what, where=f"{where}.data", got=str(len(data)), allowed=str(count))
    return data


def _only(document: dict[str, Any], fields: frozenset[str], where: str) -> None:
    for name in document:
        if name not in fields:
            what = "unknown field"
            raise Problem(400, what, where=f"{where}.{name[:40]}".lstrip("."), allowed=sorted(fields))


def _identifier(value: object) -> str | None:
    if value is None or (isinstance(value, str) and len(value) <= 256):
        return value
    what = "must be a string of at most 256 characters"
    raise Problem(400, what, where="id", got=kind(value))


def _wanted(value: object) -> frozenset[str]:
    if value is None or value == []:
        return frozenset(OUTPUTS)
    names = (
        [item.get("name") if isinstance(item, dict) else None for item in value] if isinstance(value, list) else [None]
    )
    if not all(name in OUTPUTS for name in names):
        what = "unknown output"
        raise Problem(400, what, where="outputs", allowed=OUTPUTS)
    return frozenset(str(name) for name in names)
