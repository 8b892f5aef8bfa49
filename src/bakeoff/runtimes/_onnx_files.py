"""Which files beside itself an ONNX model would read, found without the onnx library and without loading a tensor.

Only the wire format of protocol buffers and the few field numbers below are known here (``onnx.proto``). A model that
names a file outside of its directory is refused before any runtime opens it (CVE-2022-25882, CVE-2024-27318,
CVE-2026-27489).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types (https://protobuf.dev/programming-guides/encoding): numbers of any length, of eight bytes, all that has a length, of four bytes."""
_NO_FILE = "*"
"""In the marks by which ONNX Runtime takes a tensor's offset for an address in memory (``*/_ORT_MEM_ADDR_/*``); in no name of ours."""
_LARGEST_TAG, _LONGEST_TAG = 0xFFFFFFFF, 5


def _tags(wire: int) -> bytes:
    return b"[" + re.escape(bytes(range(8 + wire, 128, 8))) + b"]"


_RUN = re.compile(
    b"(?:%b[\x80-\xff]{0,9}+[\x00-\x7f]|%b.{8}|%b.{4})++" % tuple(map(_tags, (VARINT, FIXED64, FIXED32))), re.DOTALL
)
"""Numbers one after the other, each with the tag of its field: a vocabulary or a forest has a million of them."""


def external_files(path: Path) -> tuple[str, ...]:
    """Return the ``location`` of every external tensor of the model, once each, in order of appearance.

    Raises:
        ValueError: the file is no well-formed protocol buffer, or a tensor lies in no file.

    """
    with mapped(path) as data:
        return external_names(data)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Give the bytes of a file without reading them.

    Raises:
        ValueError: there are none.

    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            what = "the file is empty"
            raise ValueError(what)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def external_names(data: mmap.mmap | bytes) -> tuple[str, ...]:
    """Return what ``external_files`` returns, of a model in memory."""
    found = tuple(dict.fromkeys(_locations(data, 0, len(data), "model", 0)))
    if any(_NO_FILE in name for name in found):
        what = "a tensor lies at an address in memory, not in a file"
        raise ValueError(what)
    return found


def _locations(data: mmap.mmap | bytes, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        what = "graphs are nested too deeply"
        raise ValueError(what)
    for field, wire, low, high in fields(data, start, end, numbers=False):
        inside = _INSIDE[message].get(field) if wire == LENGTH else None
        if inside == "entry":
            pair = {number: data[a:b] for number, kind, a, b in fields(data, low, high) if kind == LENGTH}
            if pair.get(_KEY) == b"location":
                yield pair.get(_VALUE, b"").decode("utf-8")
        elif inside is not None:
            yield from _locations(data, low, high, inside, depth + 1)


def fields(data: mmap.mmap | bytes, at: int, end: int, *, numbers: bool = True) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, start, end) of the content of every field between ``at`` and ``end``.

    Args:
        data: a message.
        at: where to begin.
        end: where to end.
        numbers: also those that are no message, text or packed numbers; without them it is quick.

    Raises:
        ValueError: it is no well-formed protocol buffer.

    """
    while at < end:
        if not numbers and (run := _RUN.match(data, at, end)):
            at = run.end()
            continue
        begin = at
        tag, at = varint(data, at, end)
        if (
            tag > _LARGEST_TAG or at - begin > _LONGEST_TAG
        ):  # protobuf cuts it to 32 bits, and would read another field than we do
            what = "the file is not an ONNX model: a field's number is out of range"
            raise ValueError(what)
        kind, start = tag & 7, at
        if kind == VARINT:
            _, at = varint(data, at, end)
        elif kind in {FIXED64, FIXED32}:
            at += 8 if kind == FIXED64 else 4
        elif kind == LENGTH:
            size, start = varint(data, at, end)
            at = start + size
        else:
            break
        if at > end:
            break
        yield tag >> 3, kind, start, at
    if at != end:
        what = "the file is not an ONNX model: its protocol buffer is malformed"
        raise ValueError(what)


def varint(data: mmap.mmap | bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and where it ends.

    Raises:
        ValueError: it runs past ``end``.

    """
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    what = "the file is not an ONNX model: a number runs past its end"
    raise ValueError(what)
