"""Trials (one evaluation of one candidate at one fidelity), their steps, and what each step left in the ledger."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Record, Words
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.measurement import Finding, Measurement

Purpose = Literal["probe", "rung", "final", "risk"]
SplitName = Literal["train", "calibrate", "select", "confirm"]
StepKind = Literal["build", "export", "compress", "load", "predict", "time", "risk"]
EliminationKind = Literal["infeasible", "eliminated", "unaffordable", "failed", "not_reached", "not_representative"]
FailureCode = Literal[
    "crash",
    "timeout",
    "memory",
    "non_finite",
    "error",
    "parity",
    "unavailable",
    "unsupported",
    "interrupted",
    "unsafe",
    "disk",
]


class Fidelity(Record):
    """How much of the real thing a trial sees.

    ``fraction`` of the train split (0 with ``probe``: initial weights, or a fit on at most a few hundred rows);
    ``limit`` caps the evaluated rows (None: the whole split).
    """

    fraction: float = Field(1.0, ge=0, le=1)
    seed: int = 0
    split: SplitName = "select"
    limit: int | None = None
    probe: bool = False


class Trial(Record):
    """One evaluation of one candidate at one fidelity.

    ``rung`` numbers the shares of the training rows that looks are taken at, from 0; ``round`` numbers an interleaved timing round of
    finalists, None outside of it.
    """

    candidate: Candidate
    purpose: Purpose
    fidelity: Fidelity
    rung: int | None = None
    round: int | None = None
    checks: tuple[str, ...] = Field((), description="Risk checks to run (purpose 'risk').")


class Failure(Record):
    """Why a step did not succeed."""

    code: FailureCode
    reason: str
    reason_zh: str = Field("", description="The reason in Chinese; empty where only a library's own words exist.")
    signal: str | None = None
    tail: str = Field("", description="The last output of the process, at most 2,000 characters.")

    @property
    def clause(self) -> Words:
        """The reason to follow what failed, with its punctuation; what exists in English only is marked as quoted."""
        en, zh = self.reason.rstrip(".。"), self.reason_zh.rstrip("。")
        return Words(zh=f"：{zh}" if zh else f"，原文：{en}", en=f": {en}")


class StepResult(Record):
    """One row of the ledger: what one step found, keyed by the content of everything that went into it.

    Arrays that belong to a row (stored beside it, see ``store.Evidence``):
    ``predict``: ``indices`` int32 (row numbers in the frozen table), ``predicted`` int16 (class index after the rule),
    ``probabilities`` float32 (n, k), ``actual`` int16; ``time``: ``latency`` float64 [s] per request, ``cpu`` float64 [s] per request,
    ``sent`` and ``intended`` float64 [s] for open-loop runs; risk checks store what they like.
    """

    key: str
    kind: StepKind
    name: str = Field(
        description="'build', 'export:onnx', 'compress:dynamic_int8', 'load', 'predict', 'time', 'risk:calibration'."
    )
    candidate: str = Field(description="Id of the candidate it was run for; a shared build names the first.")
    purpose: Purpose
    fidelity: Fidelity
    rung: int | None = None
    round: int | None = None
    data: str = Field(description="Fingerprint of data and splits.")
    inputs: tuple[str, ...] = Field((), description="Keys of the steps whose output this one used (build chain).")
    status: Literal["ok", "failed"] = "ok"
    failure: Failure | None = None
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    artifact: Artifact | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    environment: str = Field("", description="Key of the environment record the step ran in.")
    created: str = Field("", description="UTC time, ISO 8601; puts the race in order, never compared otherwise.")

    def metric(self, name: str) -> Measurement | None:
        """Return the measurement called ``name``, if there is one."""
        return next((found for found in self.measurements if found.name == name), None)


class Environment(Record):
    """Where a step ran: everything that may change a number."""

    machine: str
    system: str
    cpu: str
    cores: int
    memory: int
    isa: tuple[str, ...]
    python: str
    threads: int
    packages: dict[str, str] = Field(default_factory=dict)


class Elimination(Record):
    """Why a candidate goes no further, as the search concluded from the ledger."""

    candidate: str
    kind: EliminationKind
    rung: int | None = Field(None, description="Number of the share of training rows, from 0; None for the probe.")
    fraction: float | None = None
    p_best: float | None = Field(None, description="Chance to beat the leader at all, as the search noted it.")
    p_good: float | None = Field(
        None, description="Chance to beat the leader by more than the indifference zone, as the search noted it."
    )
    reason: Words


class Proposal(Record):
    """What the search asks for next; an empty tuple of trials means it is finished, and ``stop_rule`` says why."""

    trials: tuple[Trial, ...]
    eliminations: tuple[Elimination, ...] = ()
    finalists: tuple[str, ...] = Field((), description="Candidates judged on the confirm rows.")
    stop_rule: Words | None = None
    predicted_seconds: float = Field(
        0.0, description="Of the trials proposed, as far as earlier steps on this machine tell."
    )
