"""Reads just enough of an ONNX file to judge it, without the onnx package: where its tensors lie and which domains its nodes use.

A walk over protobuf's wire format (https://protobuf.dev/programming-guides/encoding) along the fields of onnx.proto that
lead to tensors and nodes; nothing is copied but short strings, so a large model costs no memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 32
_MODEL = {7: "graph", 20: "training", 25: "function"}
_CHILDREN = {
    "model": _MODEL,
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


@dataclass(frozen=True)
class OnnxFacts:
    """What was found: ``locations`` of external tensors as written in the file, ``domains`` of its nodes."""

    locations: tuple[str, ...]
    domains: tuple[str, ...]


def facts(path: Path) -> OnnxFacts:
    """Return external locations and operator domains of an ONNX file.

    Raises:
        ValueError: it is not a protobuf message of that shape.

    """
    if path.stat().st_size == 0:
        message = "the file is empty"
        raise ValueError(message)
    locations: set[str] = set()
    domains: set[str] = set()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for kind, number, start, end in _walk(data, 0, len(data), "model", 0):
            if kind == "tensor" and number == 13:
                key, value = _pair(data, start, end)
                if key == "location":
                    locations.add(value)
            elif kind == "node" and number == 7:
                domains.add(_text(data, start, end))
    return OnnxFacts(tuple(sorted(locations)), tuple(sorted(domains)))


def _walk(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[tuple[str, int, int, int]]:
    if depth > _DEEPEST:
        message = "nested too deeply"
        raise ValueError(message)
    children = _CHILDREN[kind]
    for number, low, high in _fields(data, start, end):
        child = children.get(number)
        if child:
            yield from _walk(data, low, high, child, depth + 1)
        else:
            yield kind, number, low, high


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, first byte, end) of every length-delimited field; the others are stepped over."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _BYTES:
            size, at = _varint(data, at, end)
            if at + size > end:
                message = "a field reaches beyond its message"
                raise ValueError(message)
            yield tag >> 3, at, at + size
            at += size
        elif wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        else:
            message = "not a protobuf message"
            raise ValueError(message)


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    message = "not a protobuf message"
    raise ValueError(message)


def _pair(data: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    found = {number: _text(data, low, high) for number, low, high in _fields(data, start, end)}
    return found.get(1, ""), found.get(2, "")


def _text(data: mmap.mmap, start: int, end: int) -> str:
    return data[start:end].decode("utf-8", "replace")
