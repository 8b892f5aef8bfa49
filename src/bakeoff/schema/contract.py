"""What is promised of the delivered artefact, and what is in the delivery."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakeoff.schema.artifact import FileEntry, InputColumn
from bakeoff.schema.base import Record, Words
from bakeoff.schema.measurement import Measurement


class Promise(Record):
    """One clause of the contract: a limit from the specification and what the trial measured."""

    name: str
    direction: Literal["min", "max"]
    limit: float
    unit: str
    trial: Measurement


class Contract(Record):
    """The promises the winner must keep when delivered: re-tested by ``verify``, then watched."""

    candidate: str
    label: Words
    task: str
    metric: str
    confidence: float
    threads: int
    promises: tuple[Promise, ...]
    rows: int = Field(description="Contract rows stored in the bundle; 0 when the data may not travel.")


class Manifest(Record):
    """Everything in a bundle, with hashes."""

    schema_version: Literal[1] = 1
    bakeoff: str
    study: str
    candidate: str
    label: Words
    family: str
    runtime: str
    task: str
    classes: tuple[str, ...]
    inputs: tuple[InputColumn, ...]
    files: tuple[FileEntry, ...]
    licences: tuple[str, ...]
    packages: dict[str, str] = Field(description="Versions the artefact was measured with, for what serving needs.")
    provenance: dict[str, Any] = Field(default_factory=dict)
