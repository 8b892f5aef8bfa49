"""Carries out trials against the ledger: what is in it is not done again, what is finished is in it at once.

Making (build, export, compress) may run several workers side by side; measuring runs alone on its machine, with nothing else of ours at
work there. Where there are several machines, trials that time nothing are measured side by side; what is timed is timed in turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.bench import Bench
from bakeoff.evaluation.events import Event, EventKind
from bakeoff.evaluation.job import StepPlan
from bakeoff.evaluation.launchers.base import Launcher
from bakeoff.evaluation.launchers.process import ProcessLauncher
from bakeoff.evaluation.steps import Facts, make_steps, member_trial, steps_of
from bakeoff.schema.errors import BakeoffError, StepError
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Environment, Failure, StepResult, Trial
from bakeoff.store.archive import Archive

OnEvent = Callable[[Event], None]
_WINDOW = 2
"""Trials a worker that runs beside others takes at a time before what they made is measured."""


@dataclass
class _Walk:
    """One trial on its way: its steps, and why it ended if it did."""

    trial: Trial
    number: int
    total: int
    plans: tuple[StepPlan, ...] = ()
    failure: Failure | None = None


class Executor:
    """Carries out trials. Use as a context manager: it clears away what dead runs left, and its own working files at the end.

    Args:
        archive: the study, open for writing.
        frozen: its data.
        spec: the specification.
        workers: jobs that make artefacts side by side; None: what the launcher thinks right, one on this machine.
        on_event: told what happens; called from one thread at a time.
        launcher: where jobs run; None: in processes of this machine.

    """

    def __init__(
        self, archive: Archive, frozen: Frozen, spec: Spec, *, workers: int | None = None, on_event: OnEvent | None = None,
        launcher: Launcher | None = None,
    ) -> None:  # fmt: skip
        self._archive, self._spec, self._frozen = archive, spec, frozen
        self._launcher = launcher or ProcessLauncher()
        self._launcher.begin(spec, workers, _timed_on(archive), archive.ledger.put_environment, _url(archive))
        self._on_event = on_event
        self._guard = threading.RLock()
        self._locks: dict[str, threading.Lock] = {}
        self._bench = Bench(archive, frozen, spec, self._launcher)
        self.exhausted = False

    def __enter__(self) -> Self:
        self._bench.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bench.close()

    def run(self, trials: Sequence[Trial], *, deadline: float | None = None) -> None:
        """Carry out the trials in order; when this returns, all they found is in the ledger.

        Args:
            trials: what to do.
            deadline: ``time.monotonic()`` at which to stop; what is at work then is ended and not recorded.

        Raises:
            StudyError: the disk is full, or the ledger cannot be written; what was finished is kept.

        """
        self._bench.begin(deadline)
        walks = [_Walk(trial, number, len(trials)) for number, trial in enumerate(trials, 1)]
        side = max(self._launcher.makers, self._launcher.measurers)
        window = 1 if side == 1 else side * _WINDOW
        try:
            for start in range(0, len(walks), window):
                if not self._window(walks[start : start + window]):
                    break
        except BaseException:
            self._bench.stop.set()  # threads that still make something end with us
            raise
        self._bench.prune()

    def _window(self, walks: Sequence[_Walk]) -> bool:
        """Make what the trials need, then measure them; return False when the time is over."""
        for walk in walks:
            self._tell("started", walk)
            self._plan(walk)
        if any(self._row(plan, walk) is None for walk in walks for plan in walk.plans):
            self._launcher.ready()
        self._make_all([walk for walk in walks if walk.failure is None])
        beside = [walk for walk in walks if _untimed(walk)] if self._launcher.measurers > 1 else []
        alone = [walk for walk in walks if walk not in beside]
        return self._side_by_side(beside) and all(self._finish(walk) for walk in alone)

    def _side_by_side(self, walks: Sequence[_Walk]) -> bool:
        """Measure trials on machines of their own; return False when the time is over."""
        if not walks:
            return True
        with ThreadPoolExecutor(self._launcher.measurers, thread_name_prefix="measure") as pool:
            try:
                return all(list(pool.map(self._finish, walks)))
            except BaseException:
                self._bench.stop.set()
                raise

    def _finish(self, walk: _Walk) -> bool:
        """Measure one trial, if it was made; return False when the time is over."""
        if walk.failure is None:
            walk.failure = self._measure(walk)
        if self._bench.over:
            self.exhausted = True
            self._tell("stopped", walk)
            return False
        self._tell("finished", walk, failure=walk.failure)
        return True

    def _plan(self, walk: _Walk) -> None:
        try:
            walk.plans = steps_of(walk.trial, self._spec, self._facts())
        except StepError as error:
            walk.failure = self._refuse(walk, error)
        except BakeoffError as error:
            walk.failure = self._refuse(walk, StepError("unsupported", str(error)))

    def _refuse(self, walk: _Walk, error: StepError) -> Failure:
        """Record that a stack does not fit together, so that it is not asked for again."""
        failure = Failure(code="unsupported", reason=str(error), reason_zh=error.zh)
        result = self._bench.refused(walk.trial, failure)
        self._tell("step", walk, result=result)
        return failure

    # ------------------------------------------------------------------------------------------------------- making

    def _make_all(self, walks: Sequence[_Walk]) -> None:
        workers = self._launcher.makers
        if workers == 1 or len(walks) == 1:
            for walk in walks:
                walk.failure = self._make(walk)
            return
        for group in (
            [w for w in walks if not w.trial.candidate.members],
            [w for w in walks if w.trial.candidate.members],
        ):
            with ThreadPoolExecutor(workers, thread_name_prefix="make") as pool:
                try:
                    for walk, failure in zip(group, pool.map(self._make, group), strict=True):
                        walk.failure = failure
                except BaseException:
                    self._bench.stop.set()
                    raise

    def _make(self, walk: _Walk) -> Failure | None:
        """Build what a trial measures, members of an ensemble first; nothing when it is all there or all was measured already."""
        made = [plan for plan in walk.plans if plan.site == "make"]
        rows = [self._row(plan, walk) for plan in walk.plans]
        if all(row is not None and row.status == "ok" for row in rows):
            for row in rows[: len(made)]:
                self._tell("step", walk, result=row, reused=True)
            return None
        there = rows[len(made) - 1] is not None and self._bench.has(made[-1])
        for name in () if there else walk.trial.candidate.members:
            member = _Walk(member_trial(walk.trial, name, self._facts()), walk.number, walk.total)
            member.plans = make_steps(member.trial, self._spec, self._facts())
            failure = self._chain(member, member.plans)
            if failure is not None:
                return self._blame(walk, made[0], name, failure)
        return self._chain(walk, made)

    def _blame(self, walk: _Walk, plan: StepPlan, name: str, failure: Failure) -> Failure:
        """Fail an ensemble for its member's reason, in the ledger too."""
        update = {"reason": f"member {name}: {failure.reason}", "reason_zh": f"成员 {name}{failure.clause.zh}"}
        blamed = failure.model_copy(update=update)
        if not self._bench.over:
            self._tell("step", walk, result=self._bench.failed(walk.trial, plan, blamed))
        return blamed

    def _chain(self, walk: _Walk, plans: Sequence[StepPlan]) -> Failure | None:
        """Do the making steps that have no artefact yet; trials that share a build wait for each other here."""
        with self._guard:
            lock = self._locks.setdefault(plans[0].key, threading.Lock())
        with lock:
            rows = [self._row(plan, walk) for plan in plans]
            for row in rows:
                if row is not None and row.failure is not None:
                    self._tell("step", walk, result=row, reused=True)
                    return row.failure
            have = next((n for n in reversed(range(len(plans))) if rows[n] and self._bench.has(plans[n])), -1)
            for row in rows[: have + 1]:
                self._tell("step", walk, result=row, reused=True)
            if have == len(plans) - 1 or self._bench.over:
                return None
            return self._bench.make(walk.trial, plans, have, self._teller(walk))

    # ---------------------------------------------------------------------------------------------------- measuring

    def _measure(self, walk: _Walk) -> Failure | None:
        plans = [plan for plan in walk.plans if plan.site != "make"]
        missing = []
        for plan in plans:
            row = self._row(plan, walk)
            if row is None:
                missing.append(plan)
                continue
            self._tell("step", walk, result=row, reused=True)
            if row.failure is not None and plan.site == "measure":
                return row.failure
        if not missing or self._bench.over:
            return None
        artifact = next(plan.key for plan in reversed(walk.plans) if plan.site == "make")
        if walk.trial.purpose == "risk":
            return self._bench.check(walk.trial, missing, artifact, self._teller(walk))
        return self._bench.measure(walk.trial, missing, self._teller(walk))

    # -------------------------------------------------------------------------------------------------------- telling

    def _row(self, plan: StepPlan, walk: _Walk) -> StepResult | None:
        return self._bench.known(plan, walk.trial)

    def _teller(self, walk: _Walk) -> Callable[[str, StepResult | None], None]:
        def tell(doing: str, result: StepResult | None) -> None:
            self._tell("running" if result is None else "step", walk, doing=doing, result=result)

        return tell

    def _tell(
        self, kind: EventKind, walk: _Walk, *, doing: str = "", result: StepResult | None = None, failure: Failure | None = None,
        reused: bool = False,
    ) -> None:  # fmt: skip
        if self._on_event is None:
            return
        with self._guard:
            self._on_event(Event(kind, walk.trial, walk.number, walk.total, doing, result, failure, reused))

    def _facts(self) -> Facts:
        return self._bench.facts()


def _untimed(walk: _Walk) -> bool:
    """Whether nothing of the trial is timed."""
    return all(plan.kind != "time" for plan in walk.plans)


def _url(archive: Archive) -> str | None:
    """Return the place through which this study shares its artefacts, if there is one."""
    return archive.objects.url if archive.objects is not None else None


def _timed_on(archive: Archive) -> list[Environment]:
    """Return the machines that earlier runs of the study timed on, without packages."""
    keys = {row.result.environment for row in archive.ledger.evidence() if row.result.kind == "time"}
    known = archive.ledger.environments()
    return [known[key].model_copy(update={"packages": {}}) for key in sorted(keys) if key in known]
