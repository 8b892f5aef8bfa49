"""A runtime that remembers: a row seen before is answered from memory. Worth measuring where requests repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.loading import runtime_named
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words, canonical
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import RuntimeTraits

_MOST = 10_000


class Remembering:
    """Wraps another predictor."""

    def __init__(self, inner: Predictor) -> None:
        self._inner, self._lock = inner, Lock()
        self._known: dict[str, NDArray[np.float64]] = {}

    def predict_proba(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return (n, k) probabilities; only rows not seen before are computed."""
        keys = [canonical({name: str(value) for name, value in row.items()}) for row in rows]
        with self._lock:
            fresh = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
            if len(self._known) + len(fresh) > _MOST:
                self._known.clear()
                fresh = dict(zip(keys, rows, strict=True))
            found = self._inner.predict_proba(list(fresh.values()))
            self._known.update(zip(fresh, found, strict=True))
            return np.array([self._known[key] for key in keys]).reshape(len(rows), found.shape[1])

    def close(self) -> None:
        """Release the wrapped predictor."""
        self._inner.close()


class RememberingRuntime:
    """Loads what the native runtime loads of linear text models."""

    traits = RuntimeTraits(
        label=Words(zh="带记忆的原生库", en="native library that remembers"), loads=("tfidf-linear",)
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Remembering:
        """Load with the native runtime and wrap it."""
        if artifact.format not in self.traits.loads:
            what = "this runtime does not load the format"
            raise StepError("unsupported", what, got=artifact.format, allowed=self.traits.loads)
        return Remembering(runtime_named("native").load(artifact, directory, threads))


PLUGIN = RememberingRuntime()
