"""Runs one step inside a worker, turns whatever happens into a row of the ledger, and writes it down at once."""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from bakeoff.evaluation.job import EXIT_DISK, Job, Outcome, StepPlan, write_result
from bakeoff.schema.errors import BakeoffError, StepError
from bakeoff.schema.trial import Failure, FailureCode, StepResult

_CODES = frozenset(get_args(FailureCode))
_TAIL = 2000
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


class Recorder:
    """Runs the steps of a job and writes what each found.

    Args:
        job: whose steps they are.

    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._out = Path(job.out)
        self._written = 0

    def run(self, plan: StepPlan, step: Callable[[], Outcome]) -> Outcome | None:
        """Do one step; return what it found, or None when it failed, which is written down like any result."""
        wall, cpu = time.perf_counter(), _cpu()
        found: Outcome | None = None
        failure: Failure | None = None
        try:
            found = step()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a third party's code raises, SystemExit included, is a result
            failure = failure_of(error)
        result = self._result(plan, found, failure, time.perf_counter() - wall, _cpu() - cpu)
        try:
            write_result(self._out, self._written, result, found.arrays if found else {})
        except OSError as error:
            os._exit(EXIT_DISK if error.errno in _DISK else 1)
        self._written += 1
        return found

    def _result(
        self, plan: StepPlan, found: Outcome | None, failure: Failure | None, wall: float, cpu: float
    ) -> StepResult:
        trial = self.job.trial
        fields: dict[str, Any] = dict(found.fields) if found else {}
        return StepResult(
            key=plan.key, kind=plan.kind, name=plan.name, candidate=trial.candidate.id, purpose=trial.purpose, fidelity=trial.fidelity,
            rung=trial.rung, round=trial.round, data=self.job.data, inputs=plan.inputs, status="failed" if failure else "ok",
            failure=failure, wall_seconds=wall, cpu_seconds=cpu, environment=self.job.environments.get(plan.key, ""),
            created=datetime.now(UTC).isoformat(timespec="milliseconds"), **fields,
        )  # fmt: skip


def failure_of(error: BaseException) -> Failure:
    """Turn whatever a step raised into a recorded reason."""
    tail = "".join(traceback.format_exception(error))[-_TAIL:]
    if isinstance(error, StepError):
        code = error.code if error.code in _CODES else "error"
        return Failure(code=code, reason=str(error), reason_zh=error.zh, tail=tail)  # type: ignore[arg-type]
    if isinstance(error, MemoryError):
        return Failure(
            code="memory",
            reason="an allocation was refused: not enough memory",
            reason_zh="申请内存被拒：内存不足",
            tail=tail,
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return Failure(code="disk", reason="the disk is full", reason_zh="磁盘已满", tail=tail)
    if isinstance(error, ModuleNotFoundError):
        reason = f"module {error.name} is not installed"
        return Failure(code="unavailable", reason=reason, reason_zh=f"没有安装模块 {error.name}", tail=tail)
    text = str(error).strip().splitlines()
    reason = (
        str(error)
        if isinstance(error, BakeoffError)
        else f"{type(error).__name__}: {text[0] if text else 'no message'}"
    )
    return Failure(code="error", reason=reason[:500], tail=tail)


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
