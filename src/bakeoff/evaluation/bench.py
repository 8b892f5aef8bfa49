"""The work bench of a run: turns steps into jobs, takes results into the ledger as they come, keeps artefacts in order."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bakeoff import registry
from bakeoff.data.frozen import Frozen, save_frozen
from bakeoff.evaluation.environment import with_packages
from bakeoff.evaluation.job import Job, MemberRef, StepPlan, read_results, rest_of
from bakeoff.evaluation.launchers.base import Launcher
from bakeoff.evaluation.materials import (
    arm_of,
    labelled,
    prediction_on_confirm,
    save_arrays,
    seed_scores,
    weights_of,
    write_rows,
)
from bakeoff.evaluation.process import Limits
from bakeoff.evaluation.steps import Facts, make_steps, member_trial
from bakeoff.schema.base import content_key
from bakeoff.schema.errors import StepError, StudyError
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Failure, StepResult, Trial
from bakeoff.schema.units import say_bytes
from bakeoff.store.archive import Archive
from bakeoff.store.evidence import Evidence

Tell = Callable[[str, StepResult | None], None]
FEATURES, WORK = "features", "work"
_AGAIN = frozenset({"timeout", "interrupted", "disk", "unavailable"})
"""Failures that another run may not meet: such a step is done again, once a run."""
_LARGE = 32 * 2**20
_OUTSIDE_TRIES = 2


class Bench:
    """One run's working place in the study folder.

    Args:
        archive: the study, open for writing.
        frozen: its data.
        spec: the specification.
        launcher: where jobs run.

    """

    def __init__(self, archive: Archive, frozen: Frozen, spec: Spec, launcher: Launcher) -> None:
        self._archive, self._ledger, self._frozen, self._spec = archive, archive.ledger, frozen, spec
        self.artifacts = archive.artifacts
        self._work = archive.directory / WORK
        self._own = self._work / str(os.getpid())
        self._numbers = count()
        self._failed_now: set[str] = set()
        self._deadline: float | None = None
        self._facts: Facts | None = None
        self._launcher = launcher
        self._writing = threading.Lock()
        self.stop = threading.Event()

    # ------------------------------------------------------------------------------------------------ keeping order

    def clear(self) -> None:
        """Remove what dead runs left; share what they could not."""
        self.artifacts.sweep()
        self.artifacts.share_all()
        for path in self._work.glob("*") if self._work.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True)  # this run holds the study's lock: nobody else is at work here

    def close(self) -> None:
        """Remove this run's working files and end what the launcher started."""
        self._launcher.close()
        self.artifacts.sweep()  # half-built directories of workers that crashed
        shutil.rmtree(self._own, ignore_errors=True)

    def begin(self, deadline: float | None) -> None:
        """Start a batch of trials; candidates may have been added since the last one."""
        self._deadline, self._facts = deadline, None

    @property
    def over(self) -> bool:
        """Whether the time of the whole run is over."""
        return self.stop.is_set() or (self._deadline is not None and time.monotonic() > self._deadline)

    def facts(self) -> Facts:
        """Return what steps depend on besides trial and specification."""
        if self._facts is None:
            frozen = self._frozen
            self._facts = Facts(
                data=frozen.fingerprint, classes=frozen.classes, inputs=frozen.inputs, language=frozen.language,
                calibrate=len(frozen.indices("calibrate")), candidates={c.id: c for c in self._archive.evidence().candidates},
                place=self._launcher.place(), processes=self._launcher.processes,
            )  # fmt: skip
        return self._facts

    def prune(self) -> None:
        """Delete large artefacts nothing will use again: of probes, of other seeds, of smaller fractions of the same arm."""
        rows = [row.result for row in self._ledger.evidence(data=self._frozen.fingerprint)]
        large = [
            row
            for row in rows
            if row.artifact is not None and row.artifact.size > _LARGE and self.artifacts.has(row.key)
        ]
        for row in large:
            newer = any(
                arm_of(other) == arm_of(row) and other.name == row.name and other.fidelity.fraction > row.fidelity.fraction
                for other in large if not other.fidelity.probe
            )  # fmt: skip
            if row.fidelity.probe or row.fidelity.seed != self._spec.seed or newer:
                self.artifacts.remove(row.key)

    # ------------------------------------------------------------------------------------------------------ the ledger

    def has(self, plan: StepPlan) -> bool:
        """Whether the artefact of a making step is there; one that another machine made is fetched."""
        return self.artifacts.obtain(plan.key)

    def known(self, plan: StepPlan, trial: Trial) -> StepResult | None:
        """Return the row of a step when it need not be done; a row found for another trial is noted for this one as well."""
        found = self._ledger.get(plan.key)
        if found is None or self._to_do_again(found.result):
            return None
        if labelled(found.result, trial) or (plan.site == "make" and found.result.status == "ok"):
            return found.result
        key = content_key(
            "same", plan.key, trial.candidate.id, trial.fidelity, trial.round if plan.kind == "time" else None
        )
        noted = self._ledger.get(key)
        return noted.result if noted is not None else self._note(key, found, trial)

    def _note(self, key: str, found: Evidence, trial: Trial) -> StepResult:
        result = found.result.model_copy(
            update={
                "key": key, "candidate": trial.candidate.id, "purpose": trial.purpose, "fidelity": trial.fidelity, "rung": trial.rung,
                "round": trial.round, "wall_seconds": 0.0, "cpu_seconds": 0.0, "created": _now(),
            }
        )  # fmt: skip
        self._append(result, found)
        return result

    def _to_do_again(self, result: StepResult) -> bool:
        failure = result.failure
        if failure is None or result.key in self._failed_now:
            return False
        if failure.code == "memory":
            return say_bytes(self._spec.budget.step_memory) not in failure.reason
        return failure.code in _AGAIN

    def refused(self, trial: Trial, failure: Failure) -> StepResult:
        """Record a trial that has no steps."""
        key = content_key("refused", trial.candidate.id, trial.fidelity, failure.reason)
        return self.failed(trial, StepPlan(key=key, kind="build", name="build"), failure)

    def failed(self, trial: Trial, plan: StepPlan, failure: Failure) -> StepResult:
        """Record that a step failed for a reason its own process could not write down."""
        result = StepResult(
            key=plan.key, kind=plan.kind, name=plan.name, candidate=trial.candidate.id, purpose=trial.purpose, fidelity=trial.fidelity,
            rung=trial.rung, round=trial.round, data=self._frozen.fingerprint, inputs=plan.inputs, status="failed", failure=failure,
            created=_now(),
        )  # fmt: skip
        self._append(result, None)
        return result

    def _append(self, result: StepResult, found: Evidence | None) -> None:
        if result.failure is not None:
            self._failed_now.add(result.key)
        try:
            self._ledger.append(result, dict(found.arrays) if found is not None else {})
        except StepError as error:  # the disk is full: this one's, or that of the ledger's database
            raise StudyError(error.what, where=error.where, try_=error.try_) from error

    def _full(self) -> StudyError:
        what = "the disk is full"
        where, hint = str(self._archive.directory), "free some space and run again: everything measured so far is kept"
        return StudyError(what, where=where, try_=hint)

    # ------------------------------------------------------------------------------------------------------------ jobs

    def make(self, trial: Trial, plans: Sequence[StepPlan], have: int, tell: Tell) -> Failure | None:
        """Do the making steps after number ``have`` in one worker."""
        weights = weights_of(trial)
        if isinstance(weights, Failure):
            tell(plans[have + 1].name, self.failed(trial, plans[have + 1], weights))
            return weights
        with self._folder() as folder:
            build = self._ledger.get(plans[0].key) if have >= 0 else None
            job = self._job("make", trial, plans[have + 1 :], folder, self._launcher.making_threads).model_copy(
                update={
                    "weights": str(weights) if weights else None,
                    "arrays": save_arrays(folder / "build.npz", build),
                    "members": tuple(self._member(trial, name, folder) for name in trial.candidate.members),
                }
            )
            return self._carry_out(job, folder, tell)

    def measure(self, trial: Trial, plans: Sequence[StepPlan], tell: Tell) -> Failure | None:
        """Do the measuring steps in one worker of their own."""
        with self._folder() as folder:
            rows = write_rows(self._frozen, trial, plans, folder / "rows.jsonl", self._spec.seed)
            job = self._job("measure", trial, plans, folder, self._spec.measuring.threads)
            return self._carry_out(job.model_copy(update={"rows": str(rows)}), folder, tell)

    def check(self, trial: Trial, plans: Sequence[StepPlan], artifact: str, tell: Tell) -> Failure | None:
        """Do risk checks; when one takes the process down, the others go on in a new one."""
        place = {"artifact": str(self.artifacts.path(artifact).absolute())}
        left = [plan.model_copy(update={"detail": {**plan.detail, **place}}) for plan in plans]
        first: Failure | None = None
        while left and not self.over:
            with self._folder() as folder:
                rows = self._ledger.evidence(data=self._frozen.fingerprint)
                scores = seed_scores(rows, trial, self._spec.requirements.quality.metric)
                update = {
                    "arrays": save_arrays(folder / "confirm.npz", prediction_on_confirm(rows, trial)),
                    "seed_scores": scores,
                }
                job = self._job("risk", trial, left, folder, self._spec.measuring.threads).model_copy(update=update)
                failure = self._carry_out(job, folder, tell)
            first = first or failure
            left = [plan for plan in left if self.known(plan, trial) is None]
        return first

    def _job(self, site: str, trial: Trial, plans: Sequence[StepPlan], folder: Path, threads: int) -> Job:
        place = self._launcher.place().model_copy(update={"threads": threads})
        environments = {plan.key: self._ledger.put_environment(with_packages(place, plan.packages)) for plan in plans}
        params, processes = trial.candidate.variant.params, self._processes(site, trial)
        elsewhere = trial.candidate.variant.remote or any(name in params for name in ("endpoint", "url", "base_url"))
        return Job.model_validate({
            "site": site, "spec": self._spec, "trial": trial, "data": self._frozen.fingerprint, "steps": tuple(plans),
            "store": str(self.artifacts.directory.absolute()), "features": str(self._archive.directory / FEATURES),
            "frozen": str(self._frozen_folder()), "out": str(folder / "out"),
            "threads": threads, "environments": environments, "processes": processes, "network": elsewhere or processes > 1,
        })  # fmt: skip

    def _processes(self, site: str, trial: Trial) -> int:
        """Return how many processes train together in a job."""
        together = site == "make" and not trial.fidelity.probe
        return (
            self._launcher.processes
            if together and registry.plugin("models", trial.candidate.family).traits.parallel
            else 1
        )

    def _carry_out(self, job: Job, folder: Path, tell: Tell) -> Failure | None:
        """Run a worker, take in its results, and record what it could not record itself."""
        failure: Failure | None = None
        for _ in range(_OUTSIDE_TRIES):
            taken, failure = self._run(job, folder, tell)
            stopped_early = (
                taken.failure is not None and job.site != "risk"
            )  # by its own choice, with the reason written down
            if stopped_early or failure is None:
                return taken.failure
            if self.over and failure.code == "interrupted":
                return failure  # nothing is recorded: the step is simply still to be done
            job = rest_of(job, taken.count, folder)
            if failure.code != "interrupted":
                break
        return self._ended(job, failure, tell) if failure is not None else None

    def _run(self, job: Job, folder: Path, tell: Tell) -> tuple[_Intake, Failure | None]:
        shutil.rmtree(job.out, ignore_errors=True)
        Path(job.out).mkdir()
        taken = _Intake(self, job, Path(job.out), tell)
        limits = Limits(self._spec.budget.step_time, self._spec.budget.step_memory, self._deadline)
        return taken, self._launcher.run(job, folder, limits, taken, self.stop)

    def _ended(self, job: Job, failure: Failure, tell: Tell) -> Failure:
        """Record why a worker ended before its first step that is left was done."""
        if failure.code == "interrupted":  # again and again: it is the step's doing
            failure = failure.model_copy(update={"code": "crash"})
        plan = job.steps[0]
        self._ledger.unmark_running(plan.key)
        tell(plan.name, self.failed(job.trial, plan, failure))
        if failure.code == "disk":
            raise self._full()
        return failure

    def take(self, result: StepResult, arrays: dict[str, NDArray[Any]]) -> None:
        """Put one result of a worker into the ledger."""
        self._append(result, Evidence(result, arrays))
        if result.artifact is not None:
            self.artifacts.share(result.key)
        if result.failure is not None and result.failure.code == "disk":
            raise self._full()

    def begin_step(self, plan: StepPlan, tell: Tell) -> None:
        """Mark a step as running."""
        self._ledger.mark_running(plan.key)
        tell(plan.name, None)

    # ------------------------------------------------------------------------------------------------------- materials

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = (self._own / f"{next(self._numbers):05d}").absolute()
        try:
            folder.mkdir(parents=True)
            yield folder
        except OSError as error:
            import errno

            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise self._full() from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _frozen_folder(self) -> Path:
        """Return where the frozen data are on disk: where the study keeps them, else written once for this run."""
        for record in sorted(self._archive.data_directory.glob("**/frozen.json")):
            if self._frozen.fingerprint.encode() in record.read_bytes():
                return record.parent.absolute()
        folder = (self._own / "frozen").absolute()
        with self._writing:  # several makers may ask at once
            if not (folder / "frozen.json").exists():
                save_frozen(self._frozen, folder)
        return folder

    def _member(self, trial: Trial, name: str, folder: Path) -> MemberRef:
        member = member_trial(trial, name, self.facts())
        key = make_steps(member, self._spec, self.facts())[-1].key
        arrays = save_arrays(folder / f"member-{len(list(folder.glob('member-*')))}.npz", self._ledger.get(key))
        return MemberRef(
            candidate=name,
            runtime=member.candidate.runtime,
            directory=str(self.artifacts.path(key).absolute()),
            arrays=arrays or "",
        )


class _Intake:
    """Takes the results of one worker in as they appear; called on every tick, returns how many there are."""

    def __init__(self, bench: Bench, job: Job, out: Path, tell: Tell) -> None:
        self._bench, self._job, self._out, self._tell = bench, job, out, tell
        self.count = 0
        self.failure: Failure | None = None
        bench.begin_step(job.steps[0], tell)

    def __call__(self) -> int:
        for result, arrays in read_results(self._out, self.count):
            self.count += 1
            self._bench.take(result, arrays)
            self._tell(result.name, result)
            self.failure = self.failure or result.failure
            going_on = result.failure is None or self._job.site == "risk"
            if going_on and self.count < len(self._job.steps):
                self._bench.begin_step(self._job.steps[self.count], self._tell)
        return self.count


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
