"""What this machine's earlier studies taught about how long steps take: factors on the shipped guesses, no data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakeoff.schema.base import Record

COST_PARTS = ("build_fixed", "build_rows", "load", "predict_rows", "request", "export", "compress", "fixed")
"""The parts a step's seconds are made of, in the order of every vector of factors."""


class Factor(Record):
    """How many times the shipped guess something takes, as natural logarithms, one a part of ``COST_PARTS``."""

    mean: tuple[float, ...] = Field(min_length=len(COST_PARTS), max_length=len(COST_PARTS))
    sd: tuple[float, ...] = Field(min_length=len(COST_PARTS), max_length=len(COST_PARTS))
    n: int = Field(ge=0, description="Steps it was learnt from.")


class CostBook(Record):
    """Factors of one machine.

    ``wall`` and ``cpu`` are by node: ``machine``, ``family:NAME``, ``arm:NAME`` and ``path:NAME`` (a candidate's id).
    """

    schema_version: Literal[1] = 1
    wall: dict[str, Factor] = Field(default_factory=dict)
    cpu: dict[str, Factor] = Field(default_factory=dict)
    pauses: dict[str, float] = Field(
        default_factory=dict,
        description="Seconds between steps: inside of a trial ('within'), and before one of each purpose.",
    )
    around_seconds: float | None = Field(
        None, ge=0, description="Of a run outside of its steps, typically: reading the data, deciding, the report."
    )
    studies: int = Field(0, ge=0)
