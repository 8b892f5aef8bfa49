"""Numbers that judge themselves, and what risk checks saw."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from bakeoff.schema.base import Record, Words, both

Provenance = Literal["measured", "predicted", "quoted", "assumed"]
Validity = Literal["valid", "noisy", "refused"]
Level = Literal["low", "medium", "high"]


class Measurement(Record):
    """One number with unit, sample size, interval and a remark on how far it may be trusted.

    Names in use: the quality metrics of ``schema.spec.Metric``; ``latency_p50|p95|p99`` [s]; ``throughput`` [1/s];
    ``memory`` [B]; ``size`` [B]; ``train_seconds`` [s]; ``predict_seconds_per_row`` [s]; ``cpu_seconds_per_row`` [s];
    ``load_seconds`` [s]; ``parity_agreement`` [share]; ``parity_drift`` [probability]; ``tokens_in`` / ``tokens_out`` per row.
    A refused number has no value, and its remark says what is missing. ``remark`` is English, ``remark_zh`` the same in Chinese
    (empty in ledgers written before there was one).
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    n: int = 0
    unit: str = ""
    provenance: Provenance = "measured"
    validity: Validity = "valid"
    remark: str = ""
    remark_zh: str = Field("", description="The remark in Chinese; empty where it was never written.")

    @property
    def remark_words(self) -> Words:
        """The remark in both languages; English stands in for Chinese that was never written."""
        return both(self.remark, self.remark_zh)

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.validity == "refused" and not self.remark:
            message = "a refused number must say what is missing"
            raise ValueError(message)
        if self.low is not None and self.high is not None and self.low > self.high:
            message = f"interval of {self.name} is upside down: {self.low} > {self.high}"
            raise ValueError(message)
        return self


class Finding(Record):
    """What one risk check saw on one candidate (or on the data, when ``candidate`` is None)."""

    check: str
    title: Words
    status: Literal["ok", "warn", "fail", "not_applicable", "not_measured"]
    level: Level = Field("low", description="Level of likelihood times impact, before mitigation.")
    likelihood: float = Field(0.0, ge=0, le=1, description="Rough chance within the horizon, from what was measured.")
    impact: int = Field(1, ge=1, le=5, description="1 nuisance … 5 the service must stop.")
    observed: Words
    mitigation: Words
    residual: Words
    measurements: tuple[Measurement, ...] = ()
    standards: tuple[str, ...] = Field(
        (), description="Clauses this maps to, e.g. 'NIST AI RMF MEASURE 2.7', 'PIPL Art. 51'."
    )
    candidate: str | None = None
