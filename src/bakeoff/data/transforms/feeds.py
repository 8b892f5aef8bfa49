"""From rows to the arrays a graph takes, whichever kind of transform the artefact recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bakeoff.data.transforms import tabular, text
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

Row = Mapping[str, Any]
Feeds = dict[str, NDArray[Any]]

_FEEDERS: dict[str, Callable[[Mapping[str, Any], Path], Callable[[Sequence[Row]], Feeds]]] = {
    "char-ids": text.feeder,
    "word-ids": text.feeder,
    "hf-tokenizer": text.feeder,
    "tabular": tabular.feeder,
}


class Feeder:
    """Turns rows into the arrays a graph takes.

    Args:
        artifact: whose transform says how.
        directory: holds what the transform needs, a tokenizer for instance.

    Raises:
        StepError: no transform here makes the feeds of this artefact ('unsupported').

    """

    def __init__(self, artifact: Artifact, directory: Path) -> None:
        kind = artifact.transform.get("kind")
        if kind not in _FEEDERS:
            what = "no transform makes the feeds of this graph"
            raise StepError("unsupported", what, got=kind, allowed=sorted(_FEEDERS))
        self._feed = _FEEDERS[kind](artifact.transform, directory)

    def __call__(self, rows: Sequence[Row], inputs: Mapping[str, DTypeLike]) -> Feeds:
        """Return one array per name of ``inputs``, each of its type."""
        made = self._feed(rows)
        feeds = {name: np.asarray(made[name], dtype=kind) for name, kind in inputs.items() if name in made}
        for name, kind in inputs.items():
            if name not in made:  # token_type_ids and its like: one segment, all zeros
                feeds[name] = np.zeros_like(next(iter(made.values())), dtype=kind)
        return feeds
