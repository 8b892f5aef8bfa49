"""Feature vectors of a frozen encoder, computed once per text and shared by every head, train fraction and judgement of a study.

Content-addressed: a *space* names the encoder and how it pools, an *item* what it reads (the token sequence). A vector is the same
whoever asks, so nothing is ever changed or taken back; shards appear whole, by rename, and one that cannot be read is as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_KEY = 16
_LARGEST = 1 << 30
"""Bytes of one space beyond which nothing is added: then features are computed again, as without a store."""

Compute = Callable[[list[int]], NDArray[np.float64]]


@dataclass(frozen=True)
class Found:
    """Vectors (n, d) float64 in the order asked for, and how many of them were computed now."""

    vectors: NDArray[np.float64]
    computed: int


class FeatureStore:
    """A folder of vectors. Any number of processes may use it at once; at worst two compute the same.

    ``saved_seconds`` adds up what everything found there once took, so that reuse never makes a technique look cheaper than it is.

    Args:
        directory: one folder per space is made in it.

    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, tuple[dict[bytes, NDArray[np.float32]], dict[bytes, float]]] = {}
        self.saved_seconds = 0.0

    def vectors(self, space: str, items: Sequence[bytes], compute: Compute) -> Found:
        """Return the vector of every item; ``compute`` is given the places of those that are not there, each item once.

        Args:
            space: name of the encoder with its pooling and precision; letters, digits and dashes.
            items: what the encoder reads, as bytes.
            compute: from places in ``items`` to vectors (m, d), which must be exact in float32.

        """
        keys = [hashlib.blake2b(item, digest_size=_KEY).digest() for item in items]
        if space not in self._read:
            self._read[space] = _read(self._directory / space)
        known, prices = self._read[space]
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        missing = sorted(place for key, place in first.items() if key not in known)
        self.saved_seconds += sum(prices[key] for key in set(keys) if key in prices)
        if missing:
            start = time.perf_counter()
            made = compute(missing).astype(np.float32)
            each = (time.perf_counter() - start) / len(missing)
            fresh = [keys[place] for place in missing]
            known.update(zip(fresh, made, strict=True))
            _write(self._directory / space, fresh, made, each)
        vectors = np.stack([known[key] for key in keys]).astype(np.float64) if keys else np.zeros((0, 0))
        return Found(vectors, len(missing))


def _read(folder: Path) -> tuple[dict[bytes, NDArray[np.float32]], dict[bytes, float]]:
    known: dict[bytes, NDArray[np.float32]] = {}
    prices: dict[bytes, float] = {}
    for path in sorted(folder.glob("*.npz")) if folder.is_dir() else ():
        with (
            contextlib.suppress(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile),
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as shard,
        ):
            keys, vectors, seconds = shard["keys"], shard["vectors"], float(shard["seconds"])
            if keys.shape != (len(vectors), _KEY) or vectors.dtype != np.float32:
                continue
            for key, vector in zip(keys, vectors, strict=True):
                known[key.tobytes()], prices[key.tobytes()] = vector, seconds
    return known, prices


def _write(folder: Path, keys: Sequence[bytes], vectors: NDArray[np.float32], seconds: float) -> None:
    """Add a shard; where there is no room for it, nobody is the worse for it."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if sum(path.stat().st_size for path in folder.glob("*.npz")) + vectors.nbytes > _LARGEST:
            return
        table = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, _KEY)
        name = hashlib.blake2b(b"".join(keys), digest_size=_KEY).hexdigest()
        partial = folder / f".{name}.{os.getpid()}.partial"
        try:
            with partial.open("wb") as file:
                np.savez(file, keys=table, vectors=vectors, seconds=np.float64(seconds))
            partial.replace(folder / f"{name}.npz")
        finally:
            partial.unlink(missing_ok=True)
