"""An imagined run: the search asked again and again, and answered from plausible made-up outcomes instead of measurements.

What a run will take depends on what it finds, so it is found out by running the very same ``ask`` on imagined answers, a few times over
with other luck. Nothing imagined is ever kept, and nothing is decided from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.base import Words, content_key
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.measurement import Measurement
from bakeoff.schema.trial import StepResult, Trial
from bakeoff.search.amounts import Embedded
from bakeoff.search.ask import ask
from bakeoff.search.costs import CostModel
from bakeoff.search.factors import Seconds
from bakeoff.search.prefix import StepId, steps_of
from bakeoff.store.evidence import Evidence, StudyEvidence

_ASKS = 400
_GOOD = 0.86
_ARMS_DIFFER = 0.02
_FAMILIES_DIFFER = 0.03
_HUNGER = 0.04
"""Accuracy lost with every factor of ten of training rows less, on average; measured on the recorded tables' studies."""
_OWN = 0.2
"""Share of a row's difficulty that is a model's own; the rest is common to all models."""
_TAIL = 1.3
_OUT_OF_TIME = Words(zh="到达时间上限", en="the time limit is reached")
_OUT_OF_TRIALS = Words(zh="到达试验次数上限", en="the limit on the number of trials is reached")
_NO_END = Words(zh="推演没有走到终点", en="the rehearsal was cut short")


@dataclass(frozen=True)
class Imagined:
    """How one imagined run went: its trials in order with what each takes, seconds of computing in all, and the rule that ended it."""

    trials: tuple[tuple[Trial, Seconds], ...]
    computing: float
    stop: Words
    finished: bool


@dataclass
class Imagination:
    """Answers trials; what the ledger really holds is kept and taken as it is.

    Args:
        evidence: the study as its ledger stands.
        model: of what steps take.
        luck: seed of everything made up.
        second_price: money one second of measuring costs.

    """

    evidence: StudyEvidence
    model: CostModel
    luck: int
    second_price: float = 0.0
    rows: list[Evidence] = field(default_factory=list)
    made_up: dict[str, Candidate] = field(default_factory=dict)
    done: set[StepId] = field(default_factory=set)
    embedded: Embedded = field(default_factory=Embedded)
    computing: float = 0.0

    def run(self, most_asks: int = _ASKS) -> Imagined:
        """Ask and answer until the search is content or a budget ends it."""
        spec, spent = self.evidence.spec, 0.0
        taken: list[tuple[Trial, Seconds]] = []
        self.done, self.embedded = set(self.model.done), self.model.embedded.copy()
        shortlist: tuple[str, ...] = ()
        for _ in range(most_asks):
            proposal = ask(spec, self._evidence(), shortlist, second_price=self.second_price)
            if not proposal.trials:
                found = self._best(proposal.finalists)
                if set(found) <= set(shortlist):
                    return Imagined(tuple(taken), self.computing, proposal.stop_rule or _NO_END, finished=True)
                shortlist = found
                continue
            for trial in proposal.trials:
                if len(taken) >= spec.budget.trials or spent > 1.5 * spec.budget.time:
                    rule = _OUT_OF_TRIALS if len(taken) >= spec.budget.trials else _OUT_OF_TIME
                    return Imagined(tuple(taken), self.computing, rule, finished=True)
                seconds = self._answer(trial)
                taken.append((trial, seconds))
                spent += seconds.mean
        return Imagined(tuple(taken), self.computing, _NO_END, finished=False)

    def _evidence(self) -> StudyEvidence:
        names = {candidate.id: candidate for candidate in self.evidence.candidates} | self.made_up
        return replace(self.evidence, candidates=tuple(names.values()), results=(*self.evidence.results, *self.rows))

    def _best(self, finalists: Sequence[str]) -> tuple[str, ...]:
        """Whoever a decision would most likely name: who was named and checked already, else the two best of the final."""
        checked = {row.result.candidate for row in self.evidence.results if row.result.kind == "risk"}
        if checked & set(finalists):
            return tuple(name for name in finalists if name in checked)
        return tuple(sorted(finalists, key=lambda name: (-self._accuracy(name, 1.0), name))[:2])

    # ------------------------------------------------------------------------------------------------------ answering

    def _answer(self, trial: Trial) -> Seconds:
        """Make up what a trial finds, and return what it takes."""
        if (
            trial.candidate.id not in {candidate.id for candidate in self.evidence.candidates}
            or trial.candidate.members
        ):
            self.made_up[trial.candidate.id] = trial.candidate
        missing = [step for step in steps_of(trial) if step not in self.done]
        took = []
        for step in missing:
            took.append(self.model.step(trial, step, self.embedded))
            self.computing += self.model.computing(trial, step, self.embedded).mean
            self.model.amounts.note(trial.candidate, step.kind, trial.fidelity, self.embedded)
        for step, seconds in zip(missing, took, strict=True):
            self._tell(trial, step, seconds)
        for step in steps_of(trial):
            if step.kind in {"time", "predict"} and step not in missing:
                self._tell(trial, step, Seconds(mean=0.0, low=0.0, high=0.0))
        self.done.update(missing)
        return Seconds.total([*took, *self.model.pauses_of(trial, len({step.makes for step in missing}))])

    def _tell(self, trial: Trial, step: StepId, seconds: Seconds) -> None:
        found: tuple[Measurement, ...] = ()
        arrays: Mapping[str, NDArray[np.generic]] = {}
        if step.kind == "time":
            found = self._latencies(trial.candidate)
        elif step.kind == "predict":
            arrays = self._answers(trial)
        profile = self.evidence.profile
        key = content_key("imagined", self.luck, profile.data, len(self.evidence.results), trial, step)
        self.rows.append(Evidence(StepResult(
            key=key, kind=step.kind, name=step.name, candidate=trial.candidate.id,
            purpose=trial.purpose, fidelity=trial.fidelity, rung=trial.rung, round=trial.round, data=profile.data,
            measurements=found, wall_seconds=seconds.mean, cpu_seconds=seconds.mean,
        ), arrays))  # fmt: skip

    def _latencies(self, candidate: Candidate) -> tuple[Measurement, ...]:
        """Single requests take what the cost model says; a candidate near its limit is let pass."""
        middle = self.model.request(candidate)
        return tuple(
            Measurement(name=f"latency_{name}", value=value, low=0.8 * value, high=1.2 * value, n=90, unit="s")
            for name, value in (("p50", middle.mean), ("p95", _TAIL * middle.mean), ("p99", _TAIL**2 * middle.mean))
        )

    def _answers(self, trial: Trial) -> dict[str, NDArray[np.generic]]:
        indices, actual, hard = self._split(trial.fidelity.split)
        most = trial.fidelity.limit or len(indices)
        indices, actual, hard = indices[:most], actual[:most], hard[:most]
        own = np.random.default_rng(_number("own", self.luck, trial.candidate.arm, trial.fidelity.seed)).random(
            len(indices)
        )
        mixed = (1 - _OWN) * hard + _OWN * own
        classes = len(self.evidence.profile.classes)
        right = mixed < np.quantile(mixed, self._accuracy(trial.candidate.id, trial.fidelity.fraction))
        predicted = np.where(right, actual, (actual + 1) % classes).astype(np.int16)
        probabilities = np.full((len(indices), classes), 0.2 / max(1, classes - 1), dtype=np.float32)
        probabilities[np.arange(len(indices)), predicted] = 0.8
        return {"indices": indices, "predicted": predicted, "actual": actual, "probabilities": probabilities}

    def _accuracy(self, name: str, fraction: float) -> float:
        """Return a plausible accuracy: drawn for the family and the arm, raised from what was really seen where something was."""
        family, variant, *_ = name.split(".")
        seen = self._seen.get(f"{family}.{variant}")
        hunger = _HUNGER * math.log10(max(fraction, 0.01))
        if family == "baseline":
            counts = self.evidence.profile.class_counts
            return max(counts) / max(1, sum(counts))
        if seen is not None:
            accuracy = seen[1] - _HUNGER * math.log10(max(seen[0], 0.01)) + hunger
        else:
            draw = np.random.default_rng(_number("arm", self.luck, family, variant)).standard_normal()
            common = np.random.default_rng(_number("family", self.luck, family)).standard_normal()
            accuracy = _GOOD + _FAMILIES_DIFFER * float(common) + _ARMS_DIFFER * float(draw) + hunger
        return min(max(accuracy, 0.02), 0.98)

    @cached_property
    def _seen(self) -> dict[str, tuple[float, float]]:
        """The largest fraction each arm was really judged at, and its accuracy there."""
        found: dict[str, tuple[float, float]] = {}
        for row in self.evidence.results:
            result = row.result
            if result.kind != "predict" or result.status != "ok" or not len(row.arrays.get("actual", ())):
                continue
            arm = ".".join(result.candidate.split(".")[:2])
            accuracy = float(np.mean(row.arrays["actual"] == row.arrays["predicted"]))
            found[arm] = max(found.get(arm, (0.0, 0.0)), (result.fidelity.fraction, accuracy))
        return found

    def _split(self, split: str) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.float64]]:
        """Row numbers, labels and difficulties of a split: real ones as far as the ledger has them."""
        profile, size = self.evidence.profile, getattr(self.evidence.profile.split, split)
        draws = np.random.default_rng(_number("rows", split, profile.data))
        shares = np.array(profile.class_counts, dtype=np.float64)
        actual = draws.choice(len(shares), size, p=shares / shares.sum()).astype(np.int16)
        indices = (np.arange(size) + (10_000_000 if split == "confirm" else 20_000_000)).astype(np.int32)
        for row in self.evidence.results:
            if row.result.kind == "predict" and row.result.fidelity.split == split and "indices" in row.arrays:
                real = np.asarray(row.arrays["indices"])[:size]
                if not np.array_equal(indices[: len(real)], real):
                    indices[: len(real)], actual[: len(real)] = real, np.asarray(row.arrays["actual"])[:size]
        return indices, actual, np.random.default_rng(_number("hard", self.luck, split)).random(size)


def _number(*parts: object) -> int:
    return int(content_key(*[str(part) for part in parts])[:15], 16)
