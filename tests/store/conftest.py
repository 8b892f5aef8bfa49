from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bakeoff.schema import Fidelity, Measurement, StepResult

Row = tuple[StepResult, dict[str, np.ndarray]]


@pytest.fixture
def row() -> Callable[..., Row]:
    """Rows whose content follows from their number."""

    def make(number: int, **changes: object) -> Row:
        result = StepResult(
            key=f"{number:032x}",
            kind="predict",
            name="predict",
            candidate=f"fake.v{number}.none.native",
            purpose="rung",
            fidelity=Fidelity(seed=number),
            data="data",
            measurements=(Measurement(name="accuracy", value=number / 100, n=10, unit="share"),),
        )
        rng = np.random.default_rng(number)
        arrays = {"probabilities": rng.random((5, 2)).astype(np.float32), "indices": np.arange(5, dtype=np.int32)}
        return result.model_copy(update=changes), arrays

    return make
