"""Answers with a split graph, like any other runtime: rows in, probabilities out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.runtimes._graphs import Feeder, bucketed
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.local import Placement, Processes
from bakeoff.runtimes.shards.pipeline import Pipeline
from bakeoff.runtimes.shards.plan import FORMAT, ShardPlan, read_plan
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

Row = Mapping[str, Any]
_PROBABILITIES = "probabilities"
_FRAME_SECONDS = 3e-4
"""What one frame costs the slowest stage, measured on loopback."""
_MOST_PARTS = 16


class ShardedPredictor:
    """Rows are cut into micro-batches that follow each other through the stages, several in a frame where they are short.

    Every micro-batch is computed by itself, so answers do not depend on what travels with it.
    It may be called from several threads; ``concurrency`` of them keep every stage busy even when each call brings few rows.

    Attributes:
        size: rows of a micro-batch.

    """

    def __init__(self, artifact: Artifact, directory: Path, plan: ShardPlan, placement: Placement) -> None:
        self._feeder = Feeder(artifact, directory)
        self._inputs = {name: np.dtype(kind) for name, kind in plan.inputs.items()}
        self._classes = len(artifact.classes)
        self._plan, self.size = plan, plan.micro_batch
        self._bucket, self._pad = int(artifact.meta.get("bucket") or 0), int(artifact.transform.get("pad_id") or 0)
        self.concurrency = len(plan.stages) + 1
        self.pipeline = Pipeline(placement, len(plan.stages))

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities.

        Raises:
            StepError: a stage cannot compute a row ('error'), or stages keep dying ('crash').

        """
        count = together(self._plan, math.ceil(len(rows) / self.size))
        waiting = []
        for at in range(0, len(rows), self.size * count):
            stop = min(at + self.size * count, len(rows))
            parts = [part for begin in range(at, stop, self.size) for part in self.parts(rows, begin)]
            places, feeds = [place for place, _ in parts], [part for _, part in parts]
            future = self.pipeline.submit(feeds[0] if len(feeds) == 1 else wire.packed(feeds), len(feeds))
            waiting.append((places, future))
        found = np.empty((len(rows), self._classes))
        for places, future in waiting:
            answer = future.result()
            for place, part in zip(
                places, [answer] if len(places) == 1 else wire.unpacked(answer, len(places)), strict=True
            ):
                found[place] = part[_PROBABILITIES]
        return found

    def parts(self, rows: Sequence[Row], at: int) -> Iterator[tuple[NDArray[np.intp], Mapping[str, NDArray[Any]]]]:
        """Yield the places and feeds of one micro-batch; of one for each length where the artefact asks for that."""
        some = rows[at : at + self.size]
        feeds = self._feeder(some, self._inputs)
        if not self._bucket:
            yield np.arange(at, at + len(some)), feeds
            return
        for places, part in bucketed(feeds, self._bucket, self._pad):
            yield at + places, part

    @property
    def healthy(self) -> bool:
        """Whether its stages run; see ``Pipeline.healthy``."""
        return self.pipeline.healthy

    def describe(self) -> dict[str, Any]:
        """Return the plan and how the stages fare, for the server's status."""
        stages = [
            {
                "weights_bytes": stage.weights, "predicted_seconds_per_row": stage.predicted_seconds,
                "measured_seconds_per_row": stage.measured_seconds, "measured_memory_bytes": stage.measured_memory,
            }
            for stage in self._plan.stages
        ]  # fmt: skip
        return {
            "pipeline": {
                "healthy": self.healthy, "repairs": self.pipeline.repairs, "micro_batch": self.size, "stages": stages,
                "whole_seconds_per_row": self._plan.whole_seconds,
            }
        }  # fmt: skip

    def close(self) -> None:
        """End the stages."""
        self.pipeline.close()


def together(plan: ShardPlan, count: int) -> int:
    """Return how many of ``count`` micro-batches go in one frame: n.

    The ``count / n`` frames cost ``_FRAME_SECONDS`` each, and filling the pipeline costs n micro-batches for every stage but one; the n that
    makes the sum of both least is the square root of their ratio. Long micro-batches travel alone.
    """
    seconds = max(stage.measured_seconds for stage in plan.stages) * plan.micro_batch * max(len(plan.stages) - 1, 1)
    return max(1, min(_MOST_PARTS, round(math.sqrt(count * _FRAME_SECONDS / max(seconds, 1e-9)))))


class Sharded:
    """Loads ``onnx-shards``, which only shipping makes."""

    traits = RuntimeTraits(
        label=Words(zh="分片 ONNX Runtime", en="ONNX Runtime in stages"),
        loads=(FORMAT,),
        needs=Needs(modules=("onnxruntime",), extra="onnx"),
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Start one process a stage on this machine; see ``runtimes.base.Runtime``."""
        return open_local(artifact, directory, threads)


def open_local(
    artifact: Artifact, directory: Path, threads: int, cores: Sequence[Sequence[int]] | None = None
) -> ShardedPredictor:
    """Start one process a stage on this machine.

    Args:
        artifact: of format ``onnx-shards``.
        directory: its files.
        threads: of each stage.
        cores: processors to bind each stage to.

    Raises:
        StepError: damaged or unsafe files, or a stage that does not start.

    """
    if artifact.format != FORMAT:
        what = "this artefact was not split"
        raise StepError("unsupported", what, got=artifact.format, allowed=(FORMAT,))
    plan = read_plan(artifact, directory)
    placement = Processes(plan.stages, directory, threads, cores)
    try:
        return ShardedPredictor(artifact, directory, plan, placement)
    except BaseException:
        placement.close()
        raise


PLUGIN = Sharded()
