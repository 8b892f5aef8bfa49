"""The requirement specification: what a team needs, one YAML file (see ``docs/reference/spec.md``)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bakeoff.schema.base import Record
from bakeoff.schema.units import Bytes, Growth, Money, PerHour, PerSecond, Price, Seconds, Share

Task = Literal["text-classification", "tabular-classification"]
Metric = Literal["accuracy", "macro_f1", "balanced_accuracy", "f1", "roc_auc"]
Preset = Literal["quick", "standard", "rigorous"]
Tuner = Literal["auto", "tpe", "gp", "grid", "random", "nsga2", "none"]


class SplitSpec(Record):
    """Structure that no split may break."""

    group: str | None = Field(
        None, description="Column whose equal values stay on one side of every split (a customer, a device)."
    )
    time: str | None = Field(
        None, description="Column that orders the rows; later rows are never used to judge earlier ones."
    )


class DataSpec(Record):
    """The team's own data."""

    file: str = Field(description="csv, tsv, jsonl or parquet file, relative to the specification.")
    input: str | tuple[str, ...] = Field(
        "*", description="Input column(s); '*' is every column but target, group, time and ignore."
    )
    target: str = Field(description="Column that holds the label.")
    ignore: tuple[str, ...] = Field((), description="Columns no candidate may see (ids, columns that leak the answer).")
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = Field(
        "auto", description="File format; auto goes by the name."
    )
    encoding: str = Field("auto", description="auto tries UTF-8 (with or without BOM), then GB18030.")
    language: Literal["auto", "zh", "en"] = Field("auto", description="Language of the text columns.")
    positive: str | None = Field(
        None, description="The label counted as positive by f1 and roc_auc; default: the rarer one."
    )
    instruction: str | None = Field(None, description="One sentence that tells a language model what to decide.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="Label → the words a language model should read for it."
    )
    split: SplitSpec = Field(default_factory=SplitSpec, description="Groups and time to honour in every split.")


class Quality(Record):
    """How good an answer must be, measured on rows nobody trained or selected on."""

    metric: Metric = Field("macro_f1", description="The quality metric, larger is better.")
    floor: float | None = Field(None, ge=0, le=1, description="Hard lower limit of the metric.")


class Latency(Record):
    """Limits of the time one request takes, pre- and post-processing included."""

    p50: Seconds | None = Field(None, description="Limit of the median.")
    p95: Seconds | None = Field(None, description="Limit of the 95th percentile (needs at least 90 requests).")
    p99: Seconds | None = Field(None, description="Limit of the 99th percentile (needs at least 459 requests).")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        given = [(name, value) for name in ("p50", "p95", "p99") if (value := getattr(self, name)) is not None]
        for (low, smaller), (high, larger) in pairwise(given):
            if smaller > larger:
                message = f"contradiction: the {low} limit is above the {high} limit; raise {high} or lower {low}"
                raise ValueError(message)
        return self


class Throughput(Record):
    """Requests per second one serving process must sustain within the latency limits."""

    min: PerSecond | None = Field(None, description="Sustained rate that must be served (open-loop arrivals).")


class Ceiling(Record):
    """An upper limit in bytes."""

    max: Bytes | None = Field(None, description="Upper limit.")


class Requirements(Record):
    """Hard limits: a candidate that breaks one is not chosen, whatever else it offers."""

    quality: Quality = Field(default_factory=Quality)
    latency: Latency = Field(default_factory=Latency)
    throughput: Throughput = Field(default_factory=Throughput)
    memory: Ceiling = Field(default_factory=Ceiling, description="Resident memory of the serving process.")
    size: Ceiling = Field(default_factory=Ceiling, description="Bytes on disk of what is delivered.")


class Traffic(Record):
    """How much will be asked, and for how long."""

    volume: PerSecond = Field(10_000 / 86400, description="Average request rate.")
    peak: PerSecond | None = Field(None, description="Highest rate to serve; default: ten times the average.")
    growth: Growth = Field(0.0, description="Growth of the volume a year.")
    horizon: Seconds = Field(31_557_600.0, description="Time over which cost and value are added up.")

    @property
    def peak_rate(self) -> float:
        """Peak requests per second, ten times the average where none is given."""
        return self.peak if self.peak is not None else 10 * self.volume


class Value(Record):
    """What right and wrong answers are worth; without it quality alone is maximised."""

    currency: str = Field("CNY", min_length=3, max_length=3, description="ISO 4217 code of every amount in this file.")
    per_correct: Money = Field(0.0, description="Worth of one right answer.")
    errors: dict[str, Price] = Field(
        default_factory=dict, description="'actual->predicted': cost of that mistake, positive numbers."
    )

    @property
    def priced(self) -> bool:
        """Whether the specification puts a price on answers."""
        return self.per_correct > 0 or any(cost > 0 for cost in self.errors.values())


class Costs(Record):
    """Prices of the team's own resources; what is not given comes from the price book."""

    people: PerHour = Field(300.0, description="One working hour of the people who build and run it.")
    label: Money = Field(0.5, description="One new labelled row.")
    hardware: tuple[str, ...] = Field(
        ("local",), min_length=1, description="Machines to deploy on: local or names from the price book."
    )
    retrain: Seconds | None = Field(None, description="Time between re-trainings; default: never within the horizon.")
    refresh: Share = Field(0.1, description="Share of the training rows newly labelled at each re-training.")
    price_book: str | None = Field(None, description="A price book of your own, relative to the specification.")


class RiskRules(Record):
    """What may not happen, whatever it would save."""

    personal_data: Literal["report", "mask", "forbid"] = Field(
        "report", description="What to do about personal data found in rows."
    )
    data_may_leave: bool = Field(False, description="Whether rows may be sent to a remote model.")
    licences: tuple[str, ...] | None = Field(
        None, description="SPDX ids accepted for weights; default: every stated licence that allows commercial use."
    )
    encrypt: bool = Field(False, description="Encrypt the bundle at rest.")


class Endpoint(Record):
    """An OpenAI-compatible endpoint that may be asked as a candidate."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Short name, part of the candidate's id.")
    url: str = Field(pattern=r"^https?://", description="Base URL, usually ending in /v1.")
    model: str = Field(description="Model name sent to the endpoint.")
    api_key_env: str | None = Field(None, description="Environment variable that holds the key; never the key itself.")
    input_price: Money | None = Field(None, description="Price of a million input tokens.")
    output_price: Money | None = Field(None, description="Price of a million output tokens.")


class CandidateRules(Record):
    """Which stacks may take part; patterns match candidate ids with * and ?."""

    include: tuple[str, ...] = Field(("*",), description="Only candidates that match one of these take part.")
    exclude: tuple[str, ...] = Field((), description="Candidates that match one of these do not.")
    endpoints: tuple[Endpoint, ...] = Field((), description="Remote or local OpenAI-compatible endpoints to try.")


class SearchRules(Record):
    """How the settings of surviving families are tuned."""

    tuner: Tuner = Field(
        "auto",
        description="tpe and gp are Bayesian, nsga2 weighs quality against seconds, grid and random need no library; "
        "auto is tpe where Optuna is installed, else none.",
    )
    trials: int = Field(
        12, ge=0, le=1000, description="Largest number of tuned settings tried around one surviving setting."
    )
    warm_start: tuple[str, ...] = Field(
        (), description="Folders of earlier studies to learn good settings from, relative to the specification."
    )

    @field_validator("tuner", mode="before")
    @classmethod
    def _none(cls, given: object) -> object:
        """Take the null that ``--set search.tuner=none`` writes for the word."""
        return "none" if given is None else given


class Measuring(Record):
    """How timing is done."""

    threads: int = Field(1, ge=1, le=256, description="Threads of one serving process; pinned and recorded.")
    requests: int | None = Field(
        None, ge=20, description="Timed requests per finalist; default by preset, never below the percentile rule."
    )
    rounds: int | None = Field(None, ge=2, description="Interleaved rounds the requests are spread over.")


class Budget(Record):
    """Caps. Evaluations are what is budgeted; time and money only cap them."""

    trials: int = Field(200, ge=1, description="Largest number of trials.")
    time: Seconds = Field(
        1200.0, description="Planned seconds of the whole run; also a hard deadline at 1.5 times that."
    )
    money: Money | None = Field(None, description="Largest amount to be spent on paid endpoints.")
    step_time: Seconds = Field(600.0, description="Hard limit of one step.")
    step_memory: Bytes = Field(float(6 * 2**30), description="Hard limit of one step's resident memory.")


class Indifference(Record):
    """Differences that do not matter to the team."""

    quality: Share = Field(0.005, description="In units of the quality metric: 0.005 is half a point.")
    cost: Share = Field(0.02, description="As a share of the larger cost.")


class Criterion(Record):
    """Something that counts and has no price: skills, lock-in, maturity."""

    weight: Share | tuple[Share, Share] = Field(
        (0.0, 0.3), description="Share of the whole judgement it deserves: one number, or lowest and highest."
    )
    scores: dict[str, Share] = Field(
        default_factory=dict,
        description="Pattern of candidate ids → how good, 0 to 1; the longest that matches counts, without one it is unknown.",
    )

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest weight."""
        return self.weight if isinstance(self.weight, tuple) else (self.weight, self.weight)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.range[0] > self.range[1]:
            message = "contradiction: the lowest weight is above the highest; write the smaller one first"
            raise ValueError(message)
        return self


class DecisionRules(Record):
    """How sure the decision must be."""

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.95, description="Needed P(best), and level of every interval."
    )
    indifference: Indifference = Field(default_factory=Indifference)
    draws: int = Field(2000, ge=200, le=100_000, description="Joint draws of the uncertainty.")
    criteria: dict[str, Criterion] = Field(
        default_factory=dict,
        description="What counts but has no price: name → weight and scores; shown as how the rank holds over all weightings, chooses nobody.",
    )

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if sum(found.range[0] for found in self.criteria.values()) > 1.0:
            message = "contradiction: the lowest weights of decision.criteria add up to more than 1; lower them"
            raise ValueError(message)
        return self


class Spec(Record):
    """A requirement specification. Four lines are enough: name, task, data, quality."""

    name: str = Field(pattern=r"^[\w.-]{1,64}$", description="Short name of the study.")
    task: Task = Field(description="What is to be decided for each row.")
    data: DataSpec
    requirements: Requirements = Field(default_factory=Requirements)
    traffic: Traffic = Field(default_factory=Traffic)
    value: Value = Field(default_factory=Value)
    costs: Costs = Field(default_factory=Costs)
    risk: RiskRules = Field(default_factory=RiskRules)
    candidates: CandidateRules = Field(default_factory=CandidateRules)
    search: SearchRules = Field(default_factory=SearchRules)
    measuring: Measuring = Field(default_factory=Measuring)
    budget: Budget = Field(default_factory=Budget)
    decision: DecisionRules = Field(default_factory=DecisionRules)
    preset: Preset = Field("standard", description="quick, standard or rigorous: how much is measured.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of splits, training and draws.")
