"""Reading and writing safetensors files with numpy alone.

The format (https://github.com/huggingface/safetensors): an unsigned 64-bit little-endian length, that many bytes of
JSON giving each tensor's dtype, shape and byte range, then the raw values. No code can hide in it.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.schema.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "<i1", "U8": "<u1"}
_ALIGN = 8


@dataclass(frozen=True)
class Tensor:
    """A tensor about to be written, delivered in pieces so that the whole need not fit into memory.

    Attributes:
        name: key in the file.
        shape: its dimensions.
        pieces: called once; yields float32 arrays that, flattened one after the other, fill the shape.

    """

    name: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[NDArray[np.float32]]]

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def write_safetensors(path: Path, tensors: Sequence[Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write float32 tensors, in the given order.

    Raises:
        ValueError: a tensor delivered another number of values than its shape holds.

    """
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for tensor in tensors:
        end = offset + 4 * tensor.count
        header[tensor.name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGN)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            written = sum(file.write(piece.astype("<f4").tobytes()) for piece in tensor.pieces())
            if written != 4 * tensor.count:
                raise ValueError(f"{tensor.name}: {written} bytes for shape {tensor.shape}")


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of a file as a read-only array mapped from disk.

    Raises:
        UserError: the file is not safetensors, or holds a dtype numpy has no type for.

    """
    import numpy as np  # listing the assets must stay light

    with path.open("rb") as file:
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        (length,) = struct.unpack_from("<Q", buffer)
        header = json.loads(buffer[8 : 8 + length])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            values = np.frombuffer(buffer, dtype, (end - begin) // dtype.itemsize, 8 + length + begin)
            tensors[name] = values.reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise UserError("not a safetensors file this can read", where=str(path), got=str(error)) from error
    return tensors
