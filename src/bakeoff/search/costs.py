"""How long steps take: predicted from shipped priors, what the machine's earlier studies taught, and this study's ledger.

Does: predict seconds with error bars, on the clock (``wall``) and of computing (``cpu``). Does not: read a clock or a disk.
Every part of a step (see ``schema.costs.COST_PARTS``) is the shipped guess times a factor; the factor of a path is made of the
machine's, its family's, its arm's and its own (``search.shrinkage``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.costs import COST_PARTS, CostBook, Factor
from bakeoff.schema.decision import CostError
from bakeoff.schema.profile import Profile
from bakeoff.schema.trial import StepResult, Trial
from bakeoff.search.amounts import Amounts, Embedded, Parts
from bakeoff.search.factors import NOISE, NOTHING, Fit, Seconds, Tree
from bakeoff.search.pauses import WITHIN, pauses, typical
from bakeoff.search.prefix import StepId, done_steps, steps_of
from bakeoff.search.shrinkage import Observed, fit
from bakeoff.store.evidence import StudyEvidence

GRID = 1.5
"""Ratio of neighbouring values of ``CostModel.planning``: what differs by less is the same to the planner."""
_TICK = 0.01
"""CPU time is counted in hundredths of a second."""
_START = 0.05
"""Seconds of computing that starting one process of a trial takes, measured (``make bench-harness``)."""


@dataclass(frozen=True)
class _Job:
    """Something that was done, and how long it took."""

    candidate: Candidate
    parts: Parts
    wall: float
    cpu: float


@dataclass(frozen=True)
class CostModel:
    """Predicts seconds; made by ``CostModel.of`` and never changed. Seconds are on the clock unless a method says otherwise.

    Args:
        amounts: what the shipped priors say for these data.
        candidates: by id.
        rows: steps that were done.
        book: what earlier studies on this machine taught, None without.
        done: steps the ledger holds, which cost nothing again.

    """

    amounts: Amounts
    candidates: Mapping[str, Candidate]
    rows: tuple[StepResult, ...]
    book: CostBook
    done: frozenset[StepId]

    @classmethod
    def of(
        cls,
        history: Iterable[StepResult],
        candidates: Iterable[Candidate],
        profile: Profile,
        book: CostBook | None = None,
    ) -> CostModel:
        """Return the model of one moment of a study: a pure function of what is handed in.

        Args:
            history: rows of the ledger, in its order.
            candidates: of the study; rows of others are left out.
            profile: of the data.
            book: factors the study started with.

        """
        rows = tuple(history)
        known = {candidate.id: candidate for candidate in candidates}
        return cls(Amounts(profile, known), known, rows, book or CostBook(), done_steps(rows))

    @classmethod
    def of_study(cls, evidence: StudyEvidence) -> CostModel:
        """Return the model of a study as its ledger stands."""
        rows = (row.result for row in evidence.results)
        return cls.of(rows, evidence.candidates, evidence.profile, evidence.costs)

    # -------------------------------------------------------------------------------------------------- predicting

    def build(self, candidate: Candidate, rows: float, *, probe: bool = False) -> Seconds:
        """Return the seconds of building on so many training rows, judging the calibrate rows included."""
        return self._wall.seconds(candidate, self.amounts.build(candidate, rows, probe=probe))

    def export(self, candidate: Candidate, *, probe: bool = False) -> Seconds:
        """Return the seconds of converting to the runtime's format, comparing answers included."""
        return self._wall.seconds(candidate, self.amounts.export(candidate, probe=probe))

    def compress(self, candidate: Candidate, *, probe: bool = False) -> Seconds:
        """Return the seconds of compressing, comparing answers included."""
        return self._wall.seconds(candidate, self.amounts.compress(candidate, probe=probe))

    def load(self, candidate: Candidate) -> Seconds:
        """Return the seconds of loading and warming up."""
        return self._wall.seconds(candidate, self.amounts.load(candidate))

    def predict(self, candidate: Candidate, rows: float) -> Seconds:
        """Return the seconds of judging so many rows in batches, the candidate loaded already."""
        return self._wall.seconds(candidate, self.amounts.predict(candidate, rows))

    def time(self, candidate: Candidate, requests: float, number: int | None = None) -> Seconds:
        """Return the seconds of timing so many requests: in a probe (None), or in a round of the final by its number."""
        return self._wall.seconds(candidate, self.amounts.time(candidate, requests, number))

    def request(self, candidate: Candidate) -> Seconds:
        """Return the seconds of one request."""
        return self._wall.seconds(candidate, self.amounts.requests(candidate, 1))

    def step(self, trial: Trial, step: StepId, embedded: Embedded | None = None) -> Seconds:
        """Return the seconds of one step of a trial, whether the ledger has it or not; ``embedded`` rows need not be read again."""
        return self._wall.seconds(trial.candidate, self.amounts.of(trial, step, embedded))

    def computing(self, trial: Trial, step: StepId, embedded: Embedded | None = None) -> Seconds:
        """Return the seconds of computing of one step, over all cores; else as ``step``."""
        return self._cpu.seconds(trial.candidate, self.amounts.of(trial, step, embedded))

    def trial(self, trial: Trial) -> Seconds:
        """Return the seconds a trial still takes: steps the ledger holds, shared ones too, cost nothing."""
        missing = self.missing(trial)
        if not missing:
            return NOTHING
        sites = len({step.makes for step in missing})
        return Seconds.total(
            [*(self.step(trial, step, self.embedded) for step in missing), *self.pauses_of(trial, sites)]
        )

    def alone(self, trial: Trial) -> Seconds:
        """Return the seconds of a trial as if nothing had been done before."""
        steps = steps_of(trial)
        sites = len({step.makes for step in steps})
        return Seconds.total([*(self.step(trial, step) for step in steps), *self.pauses_of(trial, sites)])

    def pauses_of(self, trial: Trial, sites: int) -> list[Seconds]:
        """Return the pauses before a trial and between its ``sites`` processes."""
        return [self.pauses[trial.purpose], *[self.pauses[WITHIN]] * (sites - 1)]

    def missing(self, trial: Trial) -> tuple[StepId, ...]:
        """Return the steps of a trial that the ledger lacks; loading alone is no reason to start."""
        missing = tuple(step for step in steps_of(trial) if step not in self.done)
        return () if all(step.kind == "load" for step in missing) else missing

    def cpu(self, trial: Trial) -> Seconds:
        """Return the seconds of computing a trial still takes, over all cores."""
        missing = self.missing(trial)
        return Seconds.total(self.computing(trial, step, self.embedded) for step in missing)

    def planning(self, trial: Trial) -> float:
        """Return the CPU seconds to plan by, on a grid of factor ``GRID``; 0 when nothing is left to do.

        Two runs of one study never measure the same time twice; what they plan by must differ only where the times really do.
        """
        missing = self.missing(trial)
        if not missing:
            return 0.0
        parts = (self.amounts.of(trial, step, self.embedded) for step in missing)
        computing = sum(self._cpu.middle(trial.candidate, part) for part in parts)
        return on_grid(computing + _START * len({step.makes for step in missing}))

    @property
    def embedded(self) -> Embedded:
        """Rows that frozen encoders have read, as the ledger stands; not to be changed."""
        return self._history[1]

    @cached_property
    def pauses(self) -> dict[str, Seconds]:
        """Seconds between steps by kind (``search.pauses``)."""
        return typical(self.paused, self.book.pauses)

    @cached_property
    def paused(self) -> dict[str, list[float]]:
        """The pauses so far, as far as rows tell."""
        return pauses(self.rows)

    @property
    def around(self) -> Seconds:
        """Seconds of a run outside of its steps: reading the data, deciding, writing the report."""
        mean = self.book.around_seconds if self.book.around_seconds is not None else self.amounts.around
        return Seconds(mean=mean, low=mean / 2, high=mean * 2)

    # ------------------------------------------------------------------------------------------------------ learning

    def learnt(self, around: float | None = None) -> CostBook:
        """Return the book after this study: its own factors, and the earlier ones of whatever it did not touch.

        Args:
            around: seconds this run took outside of its steps, None when it was not a whole run.

        """
        if not self._jobs:
            return self.book
        if around is not None and self.book.around_seconds is not None:
            around = (around + self.book.around_seconds) / 2
        return CostBook(
            wall=self.book.wall | self._wall.factors(),
            cpu=self.book.cpu | self._cpu.factors(),
            pauses={kind: round(found.mean, 4) for kind, found in self.pauses.items()},
            around_seconds=around if around is not None else self.book.around_seconds,
            studies=self.book.studies + 1,
        )

    def error(self) -> CostError | None:
        """Return how well the time of this study's steps was foreseen when it began; None before there are any."""
        jobs = self._jobs
        if not jobs:
            return None
        before = CostModel(self.amounts, self.candidates, (), self.book, frozenset())
        guessed = np.array([before._wall.seconds(job.candidate, job.parts).mean for job in jobs])
        took = np.array([job.wall for job in jobs])
        logs = np.log(np.maximum(guessed, _TICK) / np.maximum(took, _TICK))
        return CostError(
            ratio=float(guessed.sum() / took.sum()), typical=float(np.exp(logs.mean())), spread=float(np.exp(logs.std())),
            n=sum(row.wall_seconds > 0 for row in self.rows), studies=self.book.studies,
        )  # fmt: skip

    @cached_property
    def _wall(self) -> Fit:
        return self._fitted([job.wall for job in self._jobs], self.book.wall, _TICK / 2)

    @cached_property
    def _cpu(self) -> Fit:
        return self._fitted([job.cpu for job in self._jobs], self.book.cpu, _TICK)

    @property
    def _jobs(self) -> list[_Job]:
        return self._history[0]

    @cached_property
    def _history(self) -> tuple[list[_Job], Embedded]:
        """What to learn from: steps done for the first time, and successful; the risk checks of one trial count as one."""
        found: list[_Job] = []
        embedded = Embedded()
        checks: dict[tuple[str, str], list[StepResult]] = {}
        for row in self.rows:
            candidate = self.candidates.get(row.candidate)
            if candidate is None or row.status != "ok" or row.wall_seconds <= 0:
                continue
            if row.kind == "risk":
                checks.setdefault((row.candidate, repr(row.fidelity)), []).append(row)
                continue
            parts = self.amounts.of_row(candidate, row, embedded)
            found.append(_Job(candidate, parts, row.wall_seconds, row.cpu_seconds))
            self.amounts.note(candidate, row.kind, row.fidelity, embedded)
        for (name, _), rows in checks.items():
            candidate = self.candidates[name]
            parts = self.amounts.check(candidate, len(rows))
            found.append(_Job(candidate, parts, sum(r.wall_seconds for r in rows), sum(r.cpu_seconds for r in rows)))
        return found, embedded

    def _fitted(self, seconds: list[float], factors: Mapping[str, Factor], tick: float) -> Fit:
        tree = Tree(list(self.candidates.values()), factors)
        took = np.maximum(np.array(seconds, dtype=np.float64), tick)
        leaf = np.array([tree.places["path"][job.candidate.id] for job in self._jobs], dtype=np.int64)
        amounts = np.array([job.parts for job in self._jobs], dtype=np.float64).reshape(-1, len(COST_PARTS))
        observed = Observed(leaf, amounts, took, (tick / took) ** 2)
        return Fit(tree, fit(tree.levels, observed, NOISE), np.bincount(leaf, minlength=len(self.candidates)))


def on_grid(seconds: float) -> float:
    """Return the nearest power of ``GRID``."""
    return GRID ** round(math.log(max(seconds, 1e-3)) / math.log(GRID))
