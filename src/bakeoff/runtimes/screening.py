"""Looks at files whose hashes are right before a library reads them: headers that would make it allocate or unpack without end.

A hash says that a file is the one that was shipped; this says that whoever shipped it did not build a trap. Only sizes and headers
are read, and of a graph the constants that are sizes. A file is looked at as what its name ends in, or as what it begins with where
the ending says nothing: the artefact chose the name. What a runtime refuses safely by itself (deep JSON, damaged trees) is left to it.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bakeoff.runtimes import _onnx_sizes
from bakeoff.runtimes._onnx_files import external_files
from bakeoff.schema.errors import BundleError

_LARGEST_TEXT = 256 << 20
"""Bytes of a JSON or text file; the largest tokenizer.json known has some 35 MB."""
_LARGEST_HEADER = 32 << 20
_MEMBERS = 10_000
_UNPACKED, _RATIO = 64 << 20, 100
"""An archive may unpack, and the constants of a graph amount, to 64 MiB, or to a hundred times its size, whichever is more."""
_ARRAY_HEADER = 1 << 16
_SAFE_DTYPES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_GGUF_VERSIONS, _GGUF_MOST = frozenset({2, 3}), 1 << 20


def screen(path: Path, name: str) -> None:
    """Refuse a file that would make its reader misbehave.

    Args:
        path: where it can be read.
        name: what to call it in the message.

    Raises:
        BundleError: it declares more than it holds, or unpacks to more than it may.

    """
    try:
        check = _CHECKS.get(path.suffix.lower()) or _by_content(path)
        wrong = check(path) if check else None
    except zipfile.BadZipFile:
        wrong = "is damaged: not a zip archive"
    except Exception as error:  # noqa: BLE001 - a hostile header raises whatever zlib, lzma, tokenize and json can; all of it is damage
        wrong = f"is damaged: {type(error).__name__}"
    if wrong:
        what = f"{name} {wrong}"
        raise BundleError(what, try_="ship it again from the study")


def _by_content(path: Path) -> Callable[[Path], str | None] | None:
    """Return the check for what a file begins with."""
    with path.open("rb") as stream:
        begin = stream.read(_LONGEST_MAGIC)
    return next((check for magic, check in _MAGIC.items() if begin.startswith(magic)), None)


def _text(path: Path) -> str | None:
    return "is too large for what it is" if path.stat().st_size > _LARGEST_TEXT else None


def _archive(path: Path) -> str | None:
    """Compare what the members of a zip archive declare with its size; readers stop where the declaration ends."""
    packed = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MEMBERS:
            return "holds too many members"
        if len({member.filename for member in members}) != len(members):
            return "holds a member twice"
        if sum(member.file_size for member in members) > max(_UNPACKED, _RATIO * packed):
            return "unpacks to far more than its size"
        if path.suffix.lower() != ".whl":
            return next(filter(None, (_array(archive, member) for member in members if _is_array(path, member))), None)
    return None


def _is_array(path: Path, member: zipfile.ZipInfo) -> bool:
    """Whether NumPy would read it as one: all of an ``.npz``, and what is named so in an archive that is named otherwise."""
    return path.suffix.lower() == ".npz" or member.filename.endswith(".npy")


def _alone(_: Path) -> str:
    """Refuse a single array: nothing of ours is one, and NumPy allocates what it declares."""
    return "is an array and not named like one"


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    """Compare the shape an array declares with the bytes that are there: NumPy allocates before it reads."""
    from numpy.lib import format as npy

    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(_ARRAY_HEADER))
    version = npy.read_magic(head)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(head)
    if kind.hasobject:
        return f"holds an object array ({member.filename}), which is a pickle inside"
    if math.prod(shape) * kind.itemsize + head.tell() != member.file_size:
        return f"holds an array ({member.filename}) of another size than it declares"
    return None


def _safetensors(path: Path) -> str | None:
    """Compare the header with the file (https://github.com/huggingface/safetensors): offsets leave no hole and end at its end."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(_LARGEST_HEADER, size - 8):
            return "declares a header larger than it can be"
        header: Any = json.loads(stream.read(length))
    if not isinstance(header, dict):
        return "is damaged: its header is no object"
    header.pop("__metadata__", None)
    at = 0
    for tensor in sorted(header.values(), key=lambda tensor: tuple(tensor["data_offsets"])):
        begin, end = tensor["data_offsets"]
        if begin != at or end - begin != math.prod(tensor["shape"]) * _SAFE_DTYPES[tensor["dtype"]]:
            return "declares tensors that do not fill it"
        at = end
    return None if at == size - 8 - length else "declares tensors that do not fill it"


def _onnx(path: Path) -> str | None:
    """Compare what the constants of a graph say that it makes with its size: a runtime computes with constants when it loads.

    Weights that lie in files beside it count. That those files are where they may be is looked at when they are opened.
    """
    beside = [path.parent / name for name in external_files(path)]
    size = sum(file.stat().st_size for file in (path, *beside) if file.is_file())
    fits = _onnx_sizes.fits(path, max(_UNPACKED, _RATIO * size))
    return None if fits else "makes tensors far larger than its size"


def _gguf(path: Path) -> str | None:
    """Look at the fixed part of a header (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""
    with path.open("rb") as stream:
        magic, version, tensors, pairs = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF" or version not in _GGUF_VERSIONS:
        return "is no GGUF file of a version that is known"
    fits = max(tensors, pairs) <= min(_GGUF_MOST, path.stat().st_size // 8)
    return None if fits else "declares more entries than it can hold"


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".json": _text, ".txt": _text, ".xml": _text, ".npz": _archive, ".whl": _archive, ".safetensors": _safetensors, ".gguf": _gguf,
    ".onnx": _onnx,
}  # fmt: skip
_MAGIC: dict[bytes, Callable[[Path], str | None]] = {
    b"PK\x03\x04": _archive,
    b"PK\x05\x06": _archive,
    b"GGUF": _gguf,
    b"\x93NUMPY": _alone,
}
_LONGEST_MAGIC = max(map(len, _MAGIC))
