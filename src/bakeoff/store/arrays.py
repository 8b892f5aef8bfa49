"""Arrays of a ledger row as compact bytes: NumPy's compressed npz, never pickled, decoded when first looked at."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bakeoff.schema.errors import StepError


def encode(arrays: Mapping[str, ArrayLike]) -> bytes:
    """Return the arrays as npz bytes; none at all is no bytes.

    Raises:
        StepError: an array holds Python objects, which only pickle could write.

    """
    if not arrays:
        return b""
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            what = f"array '{name}' holds Python objects"
            raise StepError("error", what, got=str(array.dtype), allowed="numbers, booleans or fixed-width text")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **plain)  # type: ignore[arg-type,unused-ignore]
    return buffer.getvalue()


class Arrays(Mapping[str, NDArray[np.generic]]):
    """The arrays of one row, decoded on first use; equal to any mapping with the same arrays.

    Args:
        data: what ``encode`` returned.

    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._decoded: dict[str, NDArray[np.generic]] | None = None

    @property
    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        if self._decoded is None:
            if not self._data:
                self._decoded = {}
            else:
                with np.load(io.BytesIO(self._data), allow_pickle=False) as found:
                    self._decoded = {name: found[name] for name in found.files}
        return self._decoded

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Arrays({', '.join(f'{name}: {array.dtype}{array.shape}' for name, array in self.items())})"
