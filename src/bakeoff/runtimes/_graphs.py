"""What every runtime of graphs shares: rows become feeds through the recorded transform, in pieces, and probabilities come back.

ONNX Runtime, OpenVINO and LiteRT differ only in how a graph is opened and run; what is fed to it must not differ, or a parity
gate would compare pre-processing instead of formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bakeoff.data.transforms.feeds import Feeder, Feeds, Row
from bakeoff.runtimes.named import check_transform, named
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

__all__ = ["Feeder", "GraphPredictor", "bucketed", "graph_file"]

_BATCH = 32


class GraphPredictor:
    """A graph with its transform.

    Rows are run in pieces of ``meta["batch"]``: it bounds memory, and with 1 an answer cannot depend on the rows beside it
    (dynamic int8 takes its scales from the whole batch). With ``meta["bucket"]`` rows share a run only with rows of their own
    length, rounded up to a multiple of it: int8 rounds what is added up in another order to another level now and then, and a
    row that is always padded alike always gets the same answer.

    Args:
        artifact: with the classes and the size of a piece.
        feeder: of its transform.
        inputs: names of the graph's inputs with their types.
        run: feeds in, probabilities (n, k) out; called from any thread.

    """

    def __init__(
        self, artifact: Artifact, feeder: Feeder, inputs: Mapping[str, DTypeLike], run: Callable[[Feeds], NDArray[Any]]
    ) -> None:
        self._feeder = feeder
        self._inputs = dict(inputs)
        self._run: Callable[[Feeds], NDArray[Any]] | None = run
        self._classes = len(artifact.classes)
        self._batch = int(artifact.meta.get("batch") or _BATCH)
        self._bucket = int(artifact.meta.get("bucket") or 0)
        self._pad = int(artifact.transform.get("pad_id") or 0)

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities."""
        pieces = [self._piece(rows[at : at + self._batch]) for at in range(0, len(rows), self._batch)]
        return np.concatenate(pieces) if pieces else np.zeros((0, self._classes))

    def _piece(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        if self._run is None:
            what = "the predictor was closed"
            raise StepError("error", what)
        feeds = self._feeder(rows, self._inputs)
        if not self._bucket:
            return np.asarray(self._run(feeds), dtype=np.float64)
        found = np.empty((len(rows), self._classes))
        for places, part in bucketed(feeds, self._bucket, self._pad):
            found[places] = self._run(part)
        return found

    def close(self) -> None:
        """Drop the graph."""
        self._run = None


def bucketed(feeds: Feeds, step: int, pad: int) -> Iterator[tuple[NDArray[np.intp], Feeds]]:
    """Yield row numbers and feeds of rows whose lengths round up to the same multiple of ``step``, padded to exactly that.

    Args:
        feeds: ``input_ids`` and ``attention_mask`` among them, each (n, longest).
        step: at least 1.
        pad: id of padding.

    """
    widths = -(-np.maximum(feeds["attention_mask"].sum(axis=1), 1) // step) * step
    for width in np.unique(widths):
        places = np.flatnonzero(widths == width)
        yield (
            places,
            {
                name: _fitted(values[places], int(width), pad if name == "input_ids" else 0)
                for name, values in feeds.items()
            },
        )


def _fitted(values: NDArray[Any], width: int, fill: int) -> NDArray[Any]:
    if values.shape[1] >= width:
        return np.ascontiguousarray(values[:, :width])
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)


def graph_file(artifact: Artifact, directory: Path, usual: str, field: str = "model") -> Path:
    """Return the path of the graph, or of what ``field`` names, made sure to be one of the artefact's files and named like ``usual``.

    Raises:
        StepError: it is not there ('error'); it, or what its transform reads, is not the artefact's own ('unsafe').

    """
    check_transform(artifact, directory)
    return named(artifact, directory, artifact.meta.get(field, usual), PurePosixPath(usual).suffix)
