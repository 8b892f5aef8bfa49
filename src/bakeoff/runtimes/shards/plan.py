"""``shards.json``: which stage holds which part of the graph, what goes in and out, and what was measured when it was cut."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from bakeoff.runtimes.named import named
from bakeoff.schema.artifact import Artifact, FileEntry
from bakeoff.schema.base import Record
from bakeoff.schema.errors import StepError

FILE = "shards.json"
FORMAT = "onnx-shards"
RUNTIME = "sharded"
UNSPLIT = "onnx"
"""Format of the artefact that is split."""
STAGES = "shards"
"""Folder of the artefact with one folder a stage."""
_LARGEST = 1 << 20


class Stage(Record):
    """One part of the graph.

    ``inputs`` are read by it; ``outputs`` are made by it; ``sends`` goes on to the next stage: some of its outputs, and tensors that
    only pass through. Times are CPU seconds a row on one thread of the machine that cut the graph.
    """

    files: tuple[FileEntry, ...] = Field(
        description="The graph first, then the files of its weights; relative to the artefact."
    )
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sends: tuple[str, ...]
    weights: int = Field(description="Bytes of the weights.")
    predicted_seconds: float = Field(
        description="CPU seconds a row that the planner expected from the segments it timed."
    )
    measured_seconds: float = Field(description="CPU seconds a row, of this stage alone.")
    measured_memory: int = Field(
        description="Bytes that loading and running the stage added to a bare process, at the peak."
    )


class ShardPlan(Record):
    """Every stage of a graph, first to last; the last one gives ``probabilities``."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    inputs: dict[str, str] = Field(description="Inputs of the whole graph and their numpy types.")
    micro_batch: int = Field(ge=1, description="Rows pushed through the stages at once.")
    whole_seconds: float = Field(description="CPU seconds a row of the unsplit graph, measured in the same run.")
    whole_memory: int = Field(description="Bytes that the unsplit graph added to a bare process, at the peak.")
    rows: int = Field(description="Rows all of it was measured on.")


def write_plan(directory: Path, plan: ShardPlan) -> None:
    """Write ``shards.json``."""
    (directory / FILE).write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8", newline="\n")


def read_plan(artifact: Artifact, directory: Path) -> ShardPlan:
    """Read ``shards.json`` and make sure that every path in it lies in the artefact.

    Raises:
        StepError: missing, malformed ('error'), a path that leaves the artefact ('unsafe').

    """
    try:
        path = named(artifact, directory, artifact.meta.get("plan", FILE), ".json")
        if path.stat().st_size > _LARGEST:
            what = "shards.json is too large to be one of ours"
            raise StepError("error", what, where=str(path))
        plan = ShardPlan.model_validate_json(path.read_bytes())
        for entry in (entry for stage in plan.stages for entry in stage.files):
            named(artifact, directory, entry.path, "")
    except OSError as error:
        what = "shards.json cannot be read"
        raise StepError("error", what, where=str(directory), got=error.strerror) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        what = f"shards.json is malformed: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StepError("error", what, where=str(directory)) from None
    return plan
