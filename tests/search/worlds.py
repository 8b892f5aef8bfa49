"""A simulated world to run the search in: planted qualities and latencies, answers in microseconds, no model anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bakeoff.schema.base import Words, content_key
from bakeoff.schema.candidate import Candidate, CostPrior, Variant
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.profile import Profile, Split
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Elimination, Failure, Proposal, StepResult, Trial
from bakeoff.search import ask
from bakeoff.store.archive import made_up
from bakeoff.store.evidence import Evidence, StudyEvidence

SPLIT = Split(train=6000, calibrate=800, select=1500, confirm=1500)


def words(text: str) -> Words:
    """The same text in both languages."""
    return Words(zh=text, en=text)


def profile() -> Profile:
    """A two-class text data set of ordinary size."""
    return Profile(
        data="data", file_sha256="0" * 64, encoding="utf-8", language="zh", rows_read=9800, rows_used=9800, exact_duplicates=0,
        conflicting_rows=0, near_duplicate_rows=0, unusable_rows=0, classes=("neg", "pos"), class_counts=(4900, 4900),
        columns=(), split=SPLIT,
    )  # fmt: skip


@dataclass(frozen=True)
class Stack:
    """A planted candidate: accuracy at the full train split, how much it loses on little data, latency, cost."""

    name: str
    accuracy: float
    hunger: float = 0.05
    latency: float = 0.001
    per_1000: float = 0.2
    fails: bool = False
    trains: bool = True
    simplicity: int = 5
    params: tuple[tuple[str, object], ...] = ()

    def candidate(self) -> Candidate:
        """The candidate of this stack."""
        family, variant, compression, runtime = self.name.split(".")
        cost = CostPrior(build_per_1000=self.per_1000, predict_per_1000=1000 * self.latency)
        return Candidate(
            family=family, variant=Variant(
                name=variant, label=words(variant), cost=cost, trains=self.trains, simplicity=self.simplicity, params=dict(self.params)
            ),
            compression=compression, runtime=runtime, label=words(self.name),
        )  # fmt: skip


@dataclass
class World:
    """Runs proposals by looking answers up; counts what was asked for."""

    spec: Spec
    stacks: Sequence[Stack]
    rows: list[Evidence] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    extra: dict[str, Candidate] = field(default_factory=dict)
    eliminations: tuple[Elimination, ...] = ()

    def evidence(self) -> StudyEvidence:
        """What the ledger would hold."""
        candidates = {stack.name: stack.candidate() for stack in self.stacks} | self.extra
        return StudyEvidence(self.spec, profile(), tuple(candidates.values()), (), tuple(self.rows))

    def run(self, shortlist: Callable[[Proposal], Sequence[str]] = lambda proposal: proposal.finalists[:1]) -> Proposal:
        """Ask and tell until the search is finished, and return its last word."""
        chosen: Sequence[str] | None = None
        for _ in range(50):
            proposal = ask(self.spec, self.evidence(), chosen or ())
            if not proposal.trials:
                if chosen is not None:
                    return proposal
                chosen = shortlist(proposal)
                continue
            for trial in proposal.trials:
                self.tell(trial)
        message = "the search does not end"
        raise AssertionError(message)

    def tell(self, trial: Trial) -> None:
        """Answer one trial."""
        self.trials.append(trial)
        if made_up(trial.candidate):
            self.extra[trial.candidate.id] = trial.candidate
        stack = next((s for s in self.stacks if s.name == trial.candidate.id), Stack(trial.candidate.id, 0.86))
        if stack.fails:
            self._add(trial, "build", status="failed", failure=Failure(code="crash", reason="SIGABRT"))
            return
        if trial.purpose == "risk":
            for name in trial.checks:
                self._add(trial, "risk", name=f"risk:{name}")
            return
        if trial.purpose == "probe" or trial.round is not None:
            latency = Measurement(
                name="latency_p95",
                value=stack.latency,
                low=0.9 * stack.latency,
                high=1.1 * stack.latency,
                n=90,
                unit="s",
            )
            self._add(trial, "time", measurements=(latency,))
        if trial.purpose != "probe" and not trial.round:
            self._add(trial, "predict", arrays=self._answers(stack, trial), cpu_seconds=self._seconds(trial))

    @staticmethod
    def _seconds(trial: Trial) -> float:
        """What building and judging take by the stack's own prior."""
        cost, rows = trial.candidate.variant.cost, trial.fidelity.limit or SPLIT.select
        trained = trial.fidelity.fraction * SPLIT.train if trial.candidate.variant.trains else 0.0
        return (
            cost.build_fixed
            + cost.build_per_1000 * trained / 1000
            + cost.predict_fixed
            + cost.predict_per_1000 * rows / 1000
        )

    def _answers(self, stack: Stack, trial: Trial) -> dict[str, np.ndarray]:
        rows = trial.fidelity.limit or getattr(SPLIT, trial.fidelity.split)
        base = {"select": 0, "confirm": 5000}[trial.fidelity.split]
        hard = np.random.default_rng(base).random(rows or 1)
        own = np.random.default_rng(int(content_key(stack.name, trial.fidelity.seed)[:8], 16)).random(len(hard))
        fraction = trial.fidelity.fraction if stack.trains else 1.0
        accuracy = stack.accuracy - stack.hunger * -np.log10(max(fraction, 0.01))
        right = (0.8 * hard + 0.2 * own) < np.quantile(0.8 * hard + 0.2 * own, min(max(accuracy, 0.0), 1.0))
        actual = (np.arange(len(hard)) % 2).astype(np.int16)
        predicted = np.where(right, actual, 1 - actual).astype(np.int16)
        probabilities = np.stack([predicted == 0, predicted == 1], axis=1).astype(np.float32) * 0.8 + 0.1
        indices = np.arange(base, base + len(hard)).astype(np.int32)
        return {"indices": indices, "predicted": predicted, "actual": actual, "probabilities": probabilities}

    def _add(
        self,
        trial: Trial,
        kind: str,
        *,
        name: str | None = None,
        arrays: dict[str, np.ndarray] | None = None,
        **facts: object,
    ) -> None:
        key = content_key(trial, kind, name, len(self.rows))
        fields = {
            "key": key, "kind": kind, "name": name or kind, "candidate": trial.candidate.id, "purpose": trial.purpose,
            "fidelity": trial.fidelity, "rung": trial.rung, "round": trial.round, "data": "data", **facts,
        }  # fmt: skip
        self.rows.append(Evidence(StepResult.model_validate(fields), arrays or {}))
