"""Features of 28x28 pictures: histograms of gradients, and reduced pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 28


_CELL = 4


class Gradients:
    """Histograms of oriented gradients (Dalal and Triggs 2005): 7x7 cells of 4x4 pixels, or 6x6 overlapping ones of 8x8.

    Args:
        params: ``cell`` pixels of a square cell, 4 or 8; ``bins`` of orientation.
        seed: not used; nothing is drawn.

    """

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        del seed
        self._overlap, self._bins = int(params["cell"]) == 2 * _CELL, int(params["bins"])

    def fit_transform(self, X: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features; nothing is learnt."""
        del y
        return self.transform(X)

    def transform(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, cells * cells * bins): square roots of every cell's histogram of unit length."""
        cells = self._histograms(X.reshape(-1, SIDE, SIDE))
        if self._overlap:
            cells = cells[:, :-1, :-1] + cells[:, 1:, :-1] + cells[:, :-1, 1:] + cells[:, 1:, 1:]
        lengths = np.sqrt((cells**2).sum(axis=3, keepdims=True)) + 1.0
        return np.asarray(np.sqrt(cells / lengths).reshape(len(X), -1), dtype=np.float32)

    def _histograms(self, pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (n, 7, 7, bins): strengths of the gradients, each shared between the two bins nearest to its direction."""
        down, right = np.gradient(pictures, axis=(1, 2))
        strength = np.hypot(down, right).ravel()
        turn = (np.arctan2(down, right) * np.float32(self._bins / (2 * np.pi)) % self._bins).ravel()
        low = turn.astype(np.int64)
        share = (turn - low) * strength
        side = SIDE // _CELL
        cell = (np.arange(SIDE) // _CELL)[:, None] * side + np.arange(SIDE) // _CELL
        start = ((np.arange(len(pictures)) * side * side)[:, None, None] + cell).ravel() * self._bins
        count = len(pictures) * side * side * self._bins
        found = np.bincount(start + low % self._bins, strength - share, count) + np.bincount(
            start + (low + 1) % self._bins, share, count
        )
        return np.asarray(np.maximum(found, 0.0).reshape(-1, side, side, self._bins), dtype=np.float64)
