"""Rows and labelled rows, as every stage hands them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, Any]
"""One row: input column → str (text, category), float (number) or None (missing)."""


@dataclass(frozen=True)
class Examples:
    """Rows with their class indices: ``labels`` int64 of the same length."""

    rows: Sequence[Row]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)
