"""What the data says before anything is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bakeoff.schema.artifact import ColumnKind
from bakeoff.schema.base import Record, Words
from bakeoff.schema.measurement import Measurement


class Advice(Record):
    """One thing the profile noticed and what to do about it."""

    code: str
    severity: Literal["info", "warn", "stop"]
    message: Words
    action: Words


class ColumnProfile(Record):
    """One column: what it is and what is missing."""

    name: str
    kind: ColumnKind
    missing: int
    distinct: int
    mean_length: float | None = Field(None, description="Characters, text columns only.")
    p95_length: float | None = None
    low: float | None = Field(None, description="Smallest number, numeric columns only.")
    high: float | None = None
    top: tuple[tuple[str, int], ...] = Field(
        (), description="Most frequent values, categories only; none that look like personal data."
    )


class PersonalDataCount(Record):
    """How many rows carry one kind of personal data; never the data itself."""

    kind: str
    rows: int
    columns: tuple[str, ...]


class Split(Record):
    """Sizes of the four frozen, disjoint splits."""

    train: int
    calibrate: int
    select: int
    confirm: int


class Profile(Record):
    """The data as read, cleaned and split."""

    data: str = Field(description="Fingerprint of the rows that are used and their splits.")
    file_sha256: str
    encoding: str
    language: Literal["zh", "en"]
    rows_read: int
    rows_used: int
    exact_duplicates: int = Field(description="Rows that repeat an earlier row after white space is folded; removed.")
    conflicting_rows: int = Field(description="Rows of texts that carry two labels; removed.")
    near_duplicate_rows: int = Field(
        description="Used rows that nearly repeat another one; kept on one side of every split."
    )
    unusable_rows: int = Field(description="Rows without a label or without any input; removed.")
    classes: tuple[str, ...]
    class_counts: tuple[int, ...] = Field(description="Of the rows used, in the order of classes.")
    columns: tuple[ColumnProfile, ...]
    split: Split
    grouped_by: str | None = None
    ordered_by: str | None = None
    personal_data: tuple[PersonalDataCount, ...] = ()
    leakage_suspects: tuple[str, ...] = ()
    naive_score: Measurement | None = Field(
        None, description="Score of a linear model if duplicates were left in: what a careless split would read."
    )
    noise_ceiling: Measurement | None = Field(
        None, description="Best accuracy the labels allow, from estimated label noise; None until measured."
    )
    rows_to_prove_floor: int | None = Field(
        None,
        description="Confirm rows needed to prove the floor at the stated confidence if the true score is 2 points above it.",
    )
    advice: tuple[Advice, ...] = ()
