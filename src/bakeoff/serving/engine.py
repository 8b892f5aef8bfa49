"""What computes behind the queue, and why: chosen from what the model was measured to cost on this machine.

*inline*: on the event loop, for models cheaper than a thread hand-off. *threads*: N threads and one queue; the runtimes let go of
the interpreter while they compute. *processes*: N worker processes and one queue, for models that do not, and for models that may
take their process down with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from bakeoff.runtimes import cores
from bakeoff.serving import curve, model
from bakeoff.serving.batching import Batcher
from bakeoff.serving.computing import Predictor
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import Opened, Served, made_up
from bakeoff.serving.pressure import Pressure
from bakeoff.serving.service import Service

if TYPE_CHECKING:
    from bakeoff.data.transforms.rule import Classifier
    from bakeoff.serving.workers import Pool

Mode = Literal["auto", "inline", "threads", "processes"]

_WAIT = 1.0
"""Longest expected wait [s] where neither the flags nor the contract say one."""
_MEASURE = 0.1
"""Seconds spent on the batch curve at most, about; larger batches of dear models are tried under load."""
_SHARED = frozenset({"onnxruntime"})
"""Runtimes whose loaded model several threads may run at once, without holding the interpreter; of others each thread loads its own."""
_OVERLAP = 1.5
"""Two threads that finish in less than 1.5 times the time of one overlap: the model lets go of the interpreter."""
_LOOKS = 3
_BUSY = 0.5
"""Share of the time of a batch that this process computed, below which somebody else did."""


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How to compute; flags of ``python -P -m bakeoff.serving``.

    Attributes:
        threads: threads of one copy of the model; the contract's when None.
        replicas: batches computed at the same time; None: as many as the cores hold, where one loaded model serves them all.
        mode: where; ``auto`` decides by measuring.
        worker: command that starts a worker process; ours when None.
        loader: gives a predictor for (artefact, directory, runtime, threads); that of the bundle's runtime when None.

    """

    threads: int | None = None
    replicas: int | None = None
    mode: Mode = "auto"
    worker: tuple[str, ...] | None = None
    loader: model.Loader | None = None


class Engine:
    """One model, ready to compute.

    Args:
        service: the model.
        predictors: one per batch computed at the same time; the service's own model when empty.
        mode: where they compute, ``auto`` no longer.
        size: rows of a batch.
        measured: the batch curve, where there is one.
        pool: the worker processes, where there are any.
        clock: of what a batch costs, read by the thread that asks for it; see ``_clock``.

    """

    def __init__(
        self, service: Service, predictors: list[Predictor] | None = None, *, mode: Mode = "threads", size: int | None = None,
        measured: curve.Curve | None = None, pool: Pool | None = None, clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.service, self.mode = service, mode
        self.predictors = predictors or [service.served.classifier]
        self.size = size or service.limits.batch or curve.MOST
        self.measured, self._pool, self.clock = measured, pool, clock
        self._batcher: Batcher | None = None
        self.started = time.time()
        # the model itself: one that is spread over stages or replicas can tell how they fare
        self._spread: Any = getattr(self.predictors[0], "predictor", None)

    @property
    def restarts(self) -> int:
        """Worker processes replaced since the start."""
        return self._pool.restarts if self._pool else 0

    @property
    def healthy(self) -> bool:
        """Whether rows can be computed now, as far as that is known without computing any.

        The last batch did not fail altogether, and where stages, replicas or processes compute, there are some.
        """
        if self._batcher is not None and self._batcher.failing:
            return False
        return all(getattr(part, "healthy", True) for part in (self._spread, self._pool))

    def look_again(self) -> None:
        """Find out whether what failed altogether has come back; called about once a second."""
        if self._batcher is not None:
            self._batcher.look_again(self.service.row, time.perf_counter() + self.service.limits.request_seconds)

    def batcher(self, on_batch: Callable[[int, float], None], on_fault: Callable[[BaseException], None]) -> Batcher:
        """Return the queue with what computes behind it; ``start`` is the caller's."""
        computes = [self.service.compute(predictor) for predictor in self.predictors]
        row = self.measured.row(self.size) if self.measured else 0.0
        batcher = Batcher(
            computes, self.service.reader.join, size=self.size, queue=self.service.limits.queue,
            pressure=Pressure(len(computes), _longest_wait(self.service), row, self.size), inline=self.mode == "inline",
            on_batch=on_batch, on_fault=on_fault,
        )  # fmt: skip
        batcher.tuner, batcher.clock = self._tuner(), self.clock
        self._batcher = batcher
        return batcher

    def _tuner(self) -> curve.Tuner | None:
        """Return what tries larger batches under load, unless the size was given."""
        if self.measured is None or self.service.limits.batch:
            return None
        longest = longest_batch(self.service)
        return curve.Tuner(self.size, curve.MOST, min(longest, curve.INLINE) if self.mode == "inline" else longest)

    def status(self, batcher: Batcher) -> dict[str, Any]:
        """Return what ``/v1/status`` shows: the curve, what was chosen from it, and how it goes."""
        return {
            "compute": {
                "mode": "inline" if batcher.inline else "threads" if self.mode == "inline" else self.mode,
                "replicas": len(self.predictors), "batch": batcher.chosen, "batching": batcher.chosen > 1,
                "worker_restarts": self.restarts,
            },
            "curve": self.measured.document() if self.measured else None,
            "queue": {
                "rows": batcher.waiting, "requests": batcher.inflight, "expected_seconds": batcher.delay,
                "longest_seconds": batcher.pressure.longest, "seconds_per_row": batcher.pressure.row,
                "margin": batcher.pressure.margin,
            },
            "uptime_seconds": time.time() - self.started,
            **(self._spread.describe() if hasattr(self._spread, "describe") else {}),
        }  # fmt: skip

    def close(self) -> None:
        """Release models and processes."""
        if self._pool is not None:
            self._pool.close()
            return
        for predictor in self.predictors:
            cast("Classifier", predictor).close()


def _longest_wait(service: Service) -> float:
    """Return the longest expected time [s] to an answer before requests are refused: the flag's, the contract's latency limit, or 1 s."""
    if service.limits.queue_seconds > 0:
        return service.limits.queue_seconds
    promised = [
        clause.limit / 1000.0 if clause.unit == "ms" else clause.limit
        for clause in service.served.opened.contract.promises
        if clause.name.startswith("latency") and clause.unit in {"s", "ms"}
    ]
    return min(promised, default=_WAIT)


def longest_batch(service: Service) -> float:
    """Return the seconds a batch may take: who comes while one is computed waits for it and for his own."""
    return _longest_wait(service) / 2


def build(opened: Opened, limits: Limits, how: Computing) -> Engine:
    """Load the model where it will compute, measure it, choose.

    Raises:
        BundleError: the model does not load.
        UserError: something the runtime needs is not installed.

    """
    if how.mode == "processes":
        return _in_processes(opened, limits, how)
    served = model.load(opened, how.threads, how.loader)
    service = Service(served, limits)
    concurrency = int(getattr(getattr(served.classifier, "predictor", None), "concurrency", 1))
    if concurrency > 1:  # several batches at once, in other processes: only the clock on the wall tells what one takes
        measured, size = _measured(service, served.classifier, time.perf_counter)
        many: list[Predictor] = [served.classifier] * max(how.replicas or 1, concurrency)
        return Engine(service, many, mode="threads", size=size, measured=measured)
    measured, size = _measured(service, served.classifier)
    shared = opened.manifest.runtime in _SHARED
    replicas = how.replicas or (_fitting(opened, how) if shared else 1)
    several = (how.replicas or 1) > 1  # asked for, not only fitting: then never on the event loop
    mode = how.mode
    if mode == "auto":
        mode = "threads"
        small = limits.batch or min(size, measured.batch(curve.INLINE))
        if not several and measured.inline(small, size, replicas):
            mode, size = "inline", small
        elif several and not shared and not _overlaps(service, size):
            served.classifier.close()
            return _in_processes(opened, limits, how)
    predictors: list[Predictor] = [served.classifier]
    if mode == "threads":
        predictors += [
            served.classifier if shared else model.load(opened, how.threads).classifier for _ in range(replicas - 1)
        ]
    clock = _clock(measured, how.threads or opened.contract.threads)
    return Engine(service, predictors, mode=mode, size=size, measured=measured, clock=clock)


def _clock(measured: curve.Curve, threads: int) -> Callable[[], float]:
    """Return the clock of what a batch costs: the CPU time of the thread that computes it, or the wall's where others compute.

    Others are more threads, an accelerator or an endpoint: while those compute, the time passes and this process is idle.
    """
    alone = threads == 1 and any(point.cpu > _BUSY * point.wall for point in measured.points)
    return time.thread_time if alone else time.perf_counter


def _measured(
    service: Service, predictor: Predictor, cpu: Callable[[], float] = time.process_time
) -> tuple[curve.Curve, int]:
    opened, limits = service.served.opened, service.limits
    most = limits.batch or curve.MOST
    measured = curve.measure(predictor, service.reader, opened, most=most, seconds=_MEASURE, cpu=cpu)
    return measured, limits.batch or measured.batch(longest_batch(service))


def _fitting(opened: Opened, how: Computing) -> int:
    """Return how many batches the cores can compute at the same time: what the costs of a decision are reckoned with."""
    return max(1, cores.usable() // (how.threads or opened.contract.threads))


def _overlaps(service: Service, size: int) -> bool:
    """Say whether two threads compute at the same time; on a busy machine they may, and yet not in every moment."""
    return any(_overlap(service, size) for _ in range(_LOOKS))


def _overlap(service: Service, size: int) -> bool:
    rows, _ = curve.sample(service.reader, service.served.opened)
    batch = service.reader.join([[rows[0]] * size])

    def some() -> None:
        for _ in range(4):
            service.served.classifier.predict(batch)

    begin = time.perf_counter()
    some()
    alone = time.perf_counter() - begin
    pair = [threading.Thread(target=some) for _ in range(2)]
    begin = time.perf_counter()
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    return time.perf_counter() - begin < _OVERLAP * alone


def _in_processes(opened: Opened, limits: Limits, how: Computing) -> Engine:
    from bakeoff.serving.workers import Pool

    how = replace(how, threads=how.threads or opened.contract.threads)
    pool = Pool(opened, how, limits.request_seconds)
    try:
        predictors = pool.predictors()
        # the model lives in the workers only; what the service knows of it goes through the first of them
        served = Served(opened, cast("Classifier", predictors[0]), made_up(opened.artifact.inputs))
        service = Service(served, limits)
        measured, size = _measured(service, predictors[0], time.perf_counter)
    except BaseException:
        pool.close()
        raise
    return Engine(service, list(predictors), mode="processes", size=size, measured=measured, pool=pool)
