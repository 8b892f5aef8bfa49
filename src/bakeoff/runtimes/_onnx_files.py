"""Which files beside itself an ONNX model would read, found without the onnx library and without loading a tensor.

Only the wire format of protocol buffers and the few field numbers below are known here (``onnx.proto``). A model that
names a file outside of its directory is refused before any runtime opens it (CVE-2022-25882, CVE-2024-27318,
CVE-2026-27489).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# message → {field number: message inside}, as far as a tensor can be reached
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_DEPTH = 200
_KEY, _VALUE = 1, 2
_LARGEST_TAG, _LONGEST_TAG = 0xFFFFFFFF, 5


def external_files(path: Path) -> tuple[str, ...]:
    """Return the ``location`` of every external tensor of the model, once each, in order of appearance.

    Raises:
        ValueError: the file is no well-formed protocol buffer.

    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            what = "the file is empty"
            raise ValueError(what)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return external_names(data)


def external_names(data: mmap.mmap | bytes) -> tuple[str, ...]:
    """Return what ``external_files`` returns, of a model in memory."""
    return tuple(dict.fromkeys(_locations(data, 0, len(data), "model", 0)))


def _locations(data: mmap.mmap | bytes, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        what = "graphs are nested too deeply"
        raise ValueError(what)
    for field, low, high in _fields(data, start, end):
        inside = _INSIDE[message].get(field)
        if inside == "entry":
            pair = {number: data[a:b] for number, a, b in _fields(data, low, high)}
            if pair.get(_KEY) == b"location":
                yield pair.get(_VALUE, b"").decode("utf-8")
        elif inside is not None:
            yield from _locations(data, low, high, inside, depth + 1)


def _fields(data: mmap.mmap | bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, end) of every length-delimited field between ``at`` and ``end``."""
    while at < end:
        begin = at
        tag, at = _varint(data, at, end)
        if (
            tag > _LARGEST_TAG or at - begin > _LONGEST_TAG
        ):  # protobuf cuts it to 32 bits, and would read another field than we do
            what = "the file is not an ONNX model: a field's number is out of range"
            raise ValueError(what)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at, end)
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(data, at, end)
            if at + size > end:
                break
            yield tag >> 3, at, at + size
            at += size
        else:
            break
    if at != end:
        what = "the file is not an ONNX model: its protocol buffer is malformed"
        raise ValueError(what)


def _varint(data: mmap.mmap | bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    what = "the file is not an ONNX model: a number runs past its end"
    raise ValueError(what)
