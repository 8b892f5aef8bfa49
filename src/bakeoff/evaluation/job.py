"""What a worker process is told, and how its results come back: plain files in a folder of the study, no pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Record
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import StepKind, StepResult, Trial

Site = Literal["make", "measure", "risk"]
SITES: dict[StepKind, Site] = {
    "build": "make", "export": "make", "compress": "make", "load": "measure", "predict": "measure", "time": "measure", "risk": "risk",
}  # fmt: skip
PROBE_ROWS = 200
"""Rows a probe is fitted on, for families whose size depends on data."""
JOB, OUTPUT = "job.json", "output.txt"
EXIT_DISK = 73
"""Exit code of a worker that cannot even write its result (EX_CANTCREAT of sysexits.h)."""


class StepPlan(Record):
    """One step to be done: its content key and what it needs to know.

    Args:
        key: address of everything that goes into the step.
        inputs: keys of the steps whose output it uses; the last one is the artefact it starts from.
        packages: versions of what it needs, part of the key and of its environment record.
        detail: ``target`` and ``loader`` of an export, ``pass`` and ``loader`` of a compression, ``loaders`` of a build, the protocol of
            a timing, the scope of a check.

    """

    key: str
    kind: StepKind
    name: str
    inputs: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    detail: dict[str, Any] = Field(default_factory=dict)

    @property
    def site(self) -> Site:
        """Which kind of process does it."""
        return SITES[self.kind]


class MemberRef(Record):
    """A trained candidate an ensemble may use: where its artefact is, and the row of its probabilities on calibrate."""

    candidate: str
    runtime: str
    directory: str
    arrays: str


class Job(Record):
    """The steps one worker does, in order.

    Args:
        store: folder of the artefacts.
        frozen: folder of the frozen data.
        out: folder for results.
        rows: file with the rows that are timed (JSON lines), so that a serving process need not read the data to be measured.
        environments: environment key by step key.
        weights: folder of the pretrained weights.
        features: folder of the vectors that frozen encoders computed; None does without.
        processes: that train together, more than one only on a Ray cluster, at the address ``cluster``.
        arrays: npz of earlier findings: ``indices`` and ``calibrate`` of the native build, or ``indices`` and ``probabilities`` on confirm.

    """

    site: Site
    spec: Spec
    trial: Trial
    data: str
    steps: tuple[StepPlan, ...]
    store: str
    frozen: str
    out: str
    threads: int
    environments: dict[str, str] = Field(default_factory=dict)
    rows: str | None = None
    weights: str | None = None
    features: str | None = None
    arrays: str | None = None
    members: tuple[MemberRef, ...] = ()
    seed_scores: tuple[float, ...] = ()
    network: bool = False
    processes: int = 1
    cluster: str | None = None


class Outcome:
    """What one step found, before it becomes a row.

    Args:
        measurements: numbers.
        findings: of risk checks.
        artifact: what was built.
        arrays: to be kept beside the row.

    """

    def __init__(self, **found: Any) -> None:  # noqa: ANN401 - fields of StepResult
        self.arrays: Mapping[str, NDArray[Any]] = found.pop("arrays", {})
        self.artifact: Artifact | None = found.get("artifact")
        self.fields = found


def write_result(out: Path, number: int, result: StepResult, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one result; the JSON file appears last and complete."""
    if arrays:
        with (out / f"{number:03d}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type,unused-ignore]
    partial = out / f"{number:03d}.partial"
    partial.write_text(result.model_dump_json(), encoding="utf-8")
    partial.replace(out / f"{number:03d}.json")


def read_results(out: Path, start: int) -> Iterator[tuple[StepResult, dict[str, NDArray[Any]]]]:
    """Yield the results from number ``start`` on that are complete."""
    while (path := out / f"{start:03d}.json").exists():
        yield StepResult.model_validate_json(path.read_bytes()), read_arrays(path.with_suffix(".npz"))
        start += 1


def rest_of(job: Job, count: int, folder: Path) -> Job:
    """Return what is left of a job whose first ``count`` steps are done; what a build found goes with it, for the parity of what follows."""
    arrays, found = job.arrays, Path(job.out) / "000.npz"
    if count and job.steps[0].kind == "build" and found.exists():
        kept = folder / "build.npz"
        kept.write_bytes(found.read_bytes())
        arrays = str(kept)
    return job.model_copy(update={"steps": job.steps[count:], "arrays": arrays})


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read an npz file; a missing one holds nothing."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
