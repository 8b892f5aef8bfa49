"""Money: what a candidate costs and earns over the horizon, with ranges."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakeoff.schema.base import Record, Words
from bakeoff.schema.measurement import Provenance

LineName = Literal["machines", "training", "labels", "build", "upkeep", "tokens", "retraining"]


class CostLine(Record):
    """One line of the total, in the specification's currency over the horizon."""

    name: LineName
    label: Words
    value: float
    low: float
    high: float
    provenance: Provenance
    basis: Words = Field(description="How it was computed, in one phrase with its numbers.")


class CostEstimate(Record):
    """Total cost of ownership and net value of one candidate over the horizon."""

    candidate: str
    currency: str
    horizon_months: float
    lines: tuple[CostLine, ...]
    total: float
    low: float
    high: float
    per_1000: float = Field(description="Total cost per 1,000 requests.")
    replicas: int | None = Field(None, description="Serving processes needed at the peak.")
    capacity: float | None = Field(
        None, description="Requests per second one machine sustains within the latency limits."
    )
    utilisation: float | None = Field(None, description="Average load over capacity bought.")
    value: float | None = Field(None, description="Worth of right answers minus cost of mistakes; None without prices.")
    net: float | None = None
    net_low: float | None = None
    net_high: float | None = None
    book_date: str = Field(description="Date of the price book used.")
