"""Complete stacks, and the neutral records that describe how one is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakeoff.schema.base import Record, Words


class Strategy(Record):
    """How a network is trained; a record no framework owns. A family refuses what it cannot do, with the reason."""

    epochs: int = Field(1, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    schedule: Literal["constant", "linear", "cosine", "one_cycle", "reduce_on_plateau"] = "linear"
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps spent warming up.")
    weight_decay: float = Field(0.01, ge=0)
    patience: int | None = Field(
        None, ge=1, description="Early stopping: evaluations on calibrate without improvement."
    )
    class_weights: bool = Field(False, description="Weigh the loss by inverse class frequency.")
    freeze: Literal["none", "embeddings", "body"] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    max_length: int = Field(64, ge=8, description="Tokens kept of each text.")
    initialiser: Literal["default", "xavier", "he"] = Field("default", description="Of newly added layers.")
    augmentation: tuple[str, ...] = ()
    clip_norm: float | None = Field(1.0, gt=0)


class CostPrior(Record):
    """Shipped guesses of what a variant's steps cost, in seconds on two ordinary cores; the planner's currency."""

    build_fixed: float = 1.0
    build_per_1000: float = Field(0.1, description="Seconds per 1,000 training rows.")
    predict_fixed: float = 1.0
    predict_per_1000: float = Field(0.1, description="Seconds per 1,000 rows predicted.")


class Variant(Record):
    """A named setting of a model family, small enough to list: what the catalogue shows and the search starts from."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    label: Words
    params: dict[str, Any] = Field(default_factory=dict)
    strategy: Strategy | None = None
    weights: str | None = Field(None, description="Name of the asset that holds pretrained weights.")
    hub: str | None = Field(
        None, description="Hub id when the weights are only on a hub, e.g. 'BAAI/bge-small-zh-v1.5'."
    )
    licence: str | None = Field(None, description="SPDX id of the weights.")
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = Field((), description="Empty: every task of its family.")
    trains: bool = Field(True, description="False: more training rows change nothing (prompting, majority).")
    remote: bool = Field(False, description="Rows leave the premises.")
    min_rows: int = Field(0, description="Training rows below which building makes no sense.")
    cost: CostPrior = Field(default_factory=CostPrior)
    simplicity: int = Field(5, ge=0, le=9, description="0 the simplest to run and explain; breaks ties.")
    base: str | None = Field(None, description="Name of the listed variant this one was tuned from.")


class Candidate(Record):
    """A complete stack: family.variant.compression.runtime, plus the members when it combines others.

    ``id`` is made of those four names and never changes for the same content.
    """

    family: str
    variant: Variant
    compression: str = "none"
    runtime: str
    members: tuple[str, ...] = Field((), description="Ids of the candidates an ensemble combines.")
    label: Words

    @property
    def id(self) -> str:
        """The readable identity used everywhere a candidate is named."""
        return f"{self.family}.{self.variant.name}.{self.compression}.{self.runtime}"

    @property
    def arm(self) -> str:
        """What is trained: candidates of one arm share every build."""
        return f"{self.family}.{self.variant.name}"


class Unavailable(Record):
    """A stack that cannot take part: listed with the reason and the command that would change it, never dropped silently."""

    id: str
    label: Words
    reason: Words
    command: str | None = None
