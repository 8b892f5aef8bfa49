"""The decision and everything a person needs to defend it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bakeoff.schema.base import Record, Words, both
from bakeoff.schema.candidate import Unavailable
from bakeoff.schema.economics import CostEstimate
from bakeoff.schema.measurement import Finding, Measurement, Provenance, Validity
from bakeoff.schema.profile import Profile
from bakeoff.schema.trial import EliminationKind, Environment

Outcome = Literal["winner", "no_clear_winner", "infeasible"]
Verdict = Literal["meets", "misses", "unproven", "refused", "not_required"]
CandidateStatus = Literal[
    "winner", "within_indifference", "dominated", "infeasible", "eliminated", "failed", "unavailable", "not_reached"
]


class Metric(Record):
    """One number of one candidate, judged against the requirement it answers to."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    provenance: Provenance = "measured"
    validity: Validity = "valid"
    verdict: Verdict = "not_required"
    remark: str = ""
    remark_zh: str = Field("", description="The remark in Chinese; empty where it was never written.")

    @property
    def remark_words(self) -> Words:
        """The remark in both languages; English stands in for Chinese that was never written."""
        return both(self.remark, self.remark_zh)


class CandidateVerdict(Record):
    """What became of one candidate, and why, in one sentence."""

    id: str
    label: Words
    family: str
    status: CandidateStatus
    reason: Words
    fraction: float | None = Field(None, description="Share of the train split behind the numbers.")
    stage: str | None = Field(None, description="probe, rung N or final: the last stage reached.")
    p_best: float | None = None
    p_good: float | None = Field(
        None, description="Chance to be short of the best by no more than the indifference zone."
    )
    p_feasible: float | None = None
    regret: float | None = Field(
        None, description="Expected loss against the best feasible candidate, in units of the objective."
    )
    metrics: dict[str, Metric] = Field(default_factory=dict)
    cost: CostEstimate | None = None
    pareto: bool = False
    simplicity: int = 9
    missing: str | None = Field(None, description="Command that would make an unavailable candidate available.")


class ConstraintVerdict(Record):
    """One hard limit and how the recommended candidate (or the nearest miss) stands to it."""

    name: str
    label: Words
    limit: float
    unit: str
    direction: Literal["min", "max"]
    metric: Metric
    verdict: Verdict
    p_meets: float | None = None
    text: Words


class Relaxation(Record):
    """The smallest change of one limit that lets a candidate in."""

    constraint: str
    limit: float
    needed: float
    unit: str
    admits: tuple[str, ...]
    text: Words


class Flip(Record):
    """The value of one premise at which the choice changes."""

    premise: str = Field(description="Dotted path in the specification, or 'labelled_rows'.")
    label: Words
    today: float
    flips_at: float
    direction: Literal["up", "down"]
    factor: float = Field(
        description="flips_at / today, or today / flips_at, whichever is above 1; how near the flip is."
    )
    unit: str
    to: str | None = Field(description="Candidate chosen beyond it; None when nothing is feasible there.")
    to_label: Words
    provenance: Provenance
    text: Words


class CurvePoint(Record):
    """One point of a learning curve."""

    rows: int
    value: float
    low: float
    high: float
    seeds: int = 1


class LearningCurve(Record):
    """Quality of one arm against labelled rows, with what 1,000 more rows would bring (predicted)."""

    arm: str
    label: Words
    points: tuple[CurvePoint, ...]
    next_1000: Measurement | None = None


class Acceptability(Record):
    """How often one finalist comes first when the weights of everything that counts vary over all that was declared possible."""

    id: str
    label: Words
    first: float = Field(
        description="Share of the weightings, and of the draws of what is uncertain, in which it ranks first."
    )
    second: float = Field(description="Share in which it ranks second.")
    weights: dict[str, float] | None = Field(
        None,
        description="Mean weight of each criterion where it ranks first: what one has to value to want it; null: never first.",
    )


class Recommended(Record):
    """What to ship."""

    id: str
    label: Words


class RaceLook(Record):
    """One look at one arm during the search: what it was built on, how it was judged, and what the run had spent by then.

    All paths (compression, runtime) of an arm share its looks; the score is that of the path nearest to how it was trained.
    """

    number: int = Field(description="Place among the looks, from 1, in the order they ended.")
    arm: str
    label: Words
    stage: Literal["probe", "rung", "tune", "final"]
    fraction: float | None = Field(
        None, description="Share of the training rows it was built on; 0 of a probe; null: it learns from none."
    )
    seed: int = Field(0, description="Training seed.")
    rows: int = Field(description="Rows it was judged on; 0 of a probe, which judges nothing.")
    score: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float = Field(description="Processor seconds of this look alone.")
    at: float = Field(description="Processor seconds the whole run had spent when it ended.")


class RaceExit(Record):
    """Candidates of one arm that went no further, when, and why."""

    arm: str
    label: Words
    candidates: tuple[str, ...] = Field(description="Its paths that left together, for the same reason.")
    kind: EliminationKind
    ends: bool = Field(True, description="Whether none of its paths was left.")
    at: float | None = Field(
        None, description="Processor seconds the whole run had spent at its last look; null: never looked at."
    )
    fraction: float | None = Field(
        None, description="Share of the training rows it had been built on by then; null: on none."
    )
    reason: Words


class ProbeError(Record):
    """How one figure of finished candidates compares with what the probe had measured with initial weights."""

    figure: str = Field(description="latency_p50, latency_p95, memory or size.")
    median: float = Field(description="Final over probe, the median candidate's.")
    worst: float = Field(description="Final over probe where the two are farthest apart.")
    candidate: str = Field(description="Whose the farthest is.")
    n: int = Field(description="Candidates that were probed and finished.")


class CostError(Record):
    """How well the run's time was foreseen when it began, from shipped guesses and this machine's earlier studies."""

    ratio: float = Field(description="Predicted over taken, all steps together.")
    typical: float = Field(description="Predicted over taken of a typical step (geometric mean).")
    spread: float = Field(ge=1, description="Two in three steps are within this factor of that (geometric deviation).")
    n: int = Field(description="Steps.")
    studies: int = Field(0, description="Earlier studies on the machine that the prediction drew on.")


class RunSummary(Record):
    """What the measuring took and why it stopped."""

    trials: int
    steps: int
    steps_failed: int
    wall_seconds: float
    cpu_seconds: float
    looks_at_confirm: int = Field(description="How many candidates were evaluated on the confirm rows.")
    candidates_considered: int
    stop_rule: Words
    harness_seconds: float | None = Field(
        None, description="The harness's own cost per trial, from its null candidate."
    )
    exhaustive_seconds: float | None = Field(
        None,
        description="Predicted processor seconds of training every listed candidate in full and judging it once; null: not predicted.",
    )
    probe_error: tuple[ProbeError, ...] = Field((), description="Probes against finished candidates.")
    cost_error: CostError | None = Field(None, description="The run's predicted time against what it took.")
    race: tuple[RaceLook, ...] = Field((), description="Every look of the search, in the order they ended.")
    exits: tuple[RaceExit, ...] = Field((), description="Who was dropped, when and why, the earliest first.")


class DecisionProvenance(Record):
    """From what, exactly, this was decided; enough to compute it again."""

    bakeoff: str
    spec_key: str
    data: str
    file_sha256: str
    ledger_rows: int
    seed: int
    draws: int
    overrides: dict[str, Any] = Field(default_factory=dict, description="What-if changes of the specification.")
    environments: tuple[Environment, ...] = ()


class Decision(Record):
    """The answer: what to ship, how sure, what it meets and costs, what could go wrong, what would change it."""

    schema_version: Literal[1] = 1
    study: str
    task: str
    outcome: Outcome
    recommended: Recommended | None
    p_best: float | None
    p_good: float | None = Field(
        None, description="Chance that the recommended is short of the best by no more than the indifference zone."
    )
    headline: Words
    summary: Words
    metric: str
    confidence: float = Field(0.95, description="Level of every interval below, and the P(best) that was asked for.")
    score: Measurement | None = Field(
        None, description="Score of the recommended on confirm, corrected for having been selected."
    )
    regret: float | None = None
    regret_unit: str = ""
    runner_up: str | None = None
    candidates: tuple[CandidateVerdict, ...]
    unavailable: tuple[Unavailable, ...] = ()
    constraints: tuple[ConstraintVerdict, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    cost: CostEstimate | None = None
    risks: tuple[Finding, ...] = ()
    flips: tuple[Flip, ...] = ()
    pareto: tuple[str, ...] = ()
    curves: tuple[LearningCurve, ...] = ()
    labels_value: Measurement | None = Field(
        None,
        description="Worth of 1,000 more labelled rows over the horizon, less their price; only where answers are priced.",
    )
    acceptability: tuple[Acceptability, ...] = Field(
        (),
        description="How the rank of the finalists holds over all weightings of decision.criteria; empty without criteria.",
    )
    rows_to_separate: int | None = Field(None, description="Confirm rows that would separate the finalists.")
    profile: Profile
    run: RunSummary
    provenance: DecisionProvenance
