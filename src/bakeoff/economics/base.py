"""What economics needs to know of a candidate."""

from __future__ import annotations

from dataclasses import dataclass

from bakeoff.schema.measurement import Measurement
from bakeoff.schema.spec import Endpoint


@dataclass(frozen=True)
class Usage:
    """Measured consumption of one candidate.

    ``capacity``: requests per second one process of ``threads`` threads sustains within the latency limits;
    ``train_seconds``: wall seconds of one build on ``train_rows`` rows; ``tokens_in``/``tokens_out`` per request, language models only.
    """

    candidate: str
    family: str
    simplicity: int
    trains: bool
    threads: int
    train_rows: int
    train_seconds: Measurement | None = None
    capacity: Measurement | None = None
    memory: Measurement | None = None
    tokens_in: Measurement | None = None
    tokens_out: Measurement | None = None
    endpoint: Endpoint | None = None
