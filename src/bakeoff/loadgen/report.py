"""What a load test found: records that travel, with a verdict before every number."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakeoff.schema.base import Record, Words
from bakeoff.schema.measurement import Measurement

Scenario = Literal["server", "closed", "single-stream", "multi-stream", "offline"]
Kept = Literal["kept", "broken", "refused"]
QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p999": 0.999}
FIGURES: dict[Scenario, str] = {"single-stream": "p90", "multi-stream": "p99"}
"""The percentile that is the result of a scenario (MLPerf Inference rules, table of scenarios); others are judged by a rate."""
MLPERF_SECONDS = 600.0
"""Shortest run MLPerf Inference accepts in every scenario (loadgen/mlperf.conf, ``min_duration``)."""


class LimitVerdict(Record):
    """A limit on a latency percentile against what was seen; ``refused``: it cannot be told, the interval holds the limit."""

    name: str = Field(description="Which percentile: p50, p90, p95, p99 or p999.")
    limit: float = Field(description="Seconds.")
    verdict: Kept


class Summary(Record):
    """One run. Latency counts from the moment a request was due, so waiting in the client counts too."""

    scenario: Scenario
    rate: float | None = Field(None, description="Requests per second that were due; None in a closed loop.")
    clients: int = Field(description="Requests in flight of a closed loop; connections at most of an open loop.")
    rows_per_request: int = 1
    seconds: float = Field(description="From the first request to the last answer.")
    requests: int
    good: int = Field(description="Answered with a status below 300.")
    shed: int = Field(0, description="Answered with 429 or 503: overload, said so by the server.")
    failed: dict[str, int] = Field(default_factory=dict, description="Everything else, by status or by what happened.")
    achieved: float = Field(description="Good answers per second.")
    latency: tuple[Measurement, ...] = Field(description="Percentiles of good answers [s]; refused ones say why.")
    lag_p50: float = Field(0.0, description="How late the client sent, median [s].")
    lag_p99: float = Field(0.0, description="How late the client sent, 99th percentile [s].")
    client_cpu: float = Field(0.0, description="CPU seconds of the client per request.")
    client_share: float = Field(0.0, description="Share of one core the client used.")
    client_busy: float = Field(
        0.0, description="Share of the time in which the client never slept; near 1 it is the bottleneck."
    )
    late: bool = Field(
        False,
        description="The client sent so late that a broken limit says nothing of the server; a kept one still does.",
    )
    crowded: int = Field(0, description="Times that a request was due and every connection was taken.")
    sustained: bool = Field(True, description="The answers kept up with the arrivals.")
    limits: tuple[LimitVerdict, ...] = ()
    verdict: Literal["VALID", "INVALID"] = "VALID"
    advice: tuple[Words, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether this run may count as evidence that every limit is kept at this rate."""
        return self.verdict == "VALID" and self.sustained and all(one.verdict == "kept" for one in self.limits)


class Floor(Record):
    """The client on a server that does nothing, in the same run: what of every number above is the client's own."""

    requests: int
    rate: float | None = Field(
        None, description="Requests per second it was measured at; None where each followed the answer to the last."
    )
    p50: float = Field(description="Median latency [s].")
    p99: float | None = Field(description="99th percentile [s]; None when there were too few requests.")
    client_cpu: float = Field(description="CPU seconds of the client per request.")


class Probe(Record):
    """One try of the search for the highest rate."""

    rate: float
    requests: int
    kept: bool
    late: bool = Field(False, description="The client was late each time, so it says nothing of the server.")
    verifies: bool = Field(False, description="A full run whose whole interval had to keep the limit.")
    worst: float | None = Field(None, description="The limited percentile over its limit; 1 is just kept.")


class Search(Record):
    """The highest rate that keeps every limit: ``value`` and ``low`` were verified, ``high`` is the lowest rate that broke one."""

    rate: Measurement
    probes: tuple[Probe, ...]


class Clause(Record):
    """One promise of the contract under load."""

    name: str
    limit: float
    unit: str
    here: Measurement
    verdict: Kept


class Gate(Record):
    """The contract as a gate: open only when nothing is broken and every run was valid."""

    passed: bool
    broken: bool = Field(
        False,
        description="A promise is broken or a label differs. Neither passed nor broken: what was seen says nothing of the contract.",
    )
    clauses: tuple[Clause, ...] = ()
    rows: int = Field(0, description="Contract rows whose labels were compared.")
    rows_in_all: int = Field(0, description="Contract rows there are; those not compared were not answered in time.")
    same_labels: int = Field(
        0, description="Of these, rows with the trial's label, ties within the allowed drift counted as the same."
    )
    reasons: tuple[Words, ...] = ()


class LoadReport(Record):
    """A whole load test."""

    target: str
    model: str | None = None
    rows: Literal["contract", "file", "bodies", "made-up", "null"]
    main: Summary
    floor: Floor
    search: Search | None = None
    gate: Gate | None = None
    server_cpu: float | None = Field(None, description="CPU seconds of the server per request; where we started it.")
    server_memory: float | None = Field(
        None, description="Resident bytes of the server at the end; where we started it."
    )
    remarks: tuple[Words, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the numbers may be believed."""
        return self.main.verdict == "VALID"
