"""What runs on a node of a Ray cluster: one job, in a process group of its own as on a single machine, its results sent as they come.

A step that crashes, hangs or eats memory takes down its own process, never the Ray worker around it, so that its end arrives as an
outcome with a reason. What is not the step's doing (folders that do not arrive, a full disk) is told as a loss: another node does it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import bakeoff
from bakeoff.assets.cache import root
from bakeoff.evaluation.environment import environment_key, host, with_packages
from bakeoff.evaluation.job import Job
from bakeoff.evaluation.launchers.cargo import Cargo, unpack
from bakeoff.evaluation.launchers.parcels import Depot, read_pieces
from bakeoff.evaluation.process import Limits, run_worker
from bakeoff.evaluation.recorder import failure_of
from bakeoff.evaluation.starting import Starter
from bakeoff.registry import INJECT, versions
from bakeoff.schema.errors import StepError, StudyError
from bakeoff.schema.plugin import Needs
from bakeoff.schema.trial import Failure, StepResult
from bakeoff.store.artifacts import ArtifactStore

Message = tuple[Any, ...]
"""``environment`` JSON · ``file`` key, name, bytes · ``stored`` key, folder key · ``artifact`` key · ``result`` JSON, npz · ``end`` failure ·
``lost`` node, reason, whether what was sent is to be sent again."""
_DISK = frozenset({"disk"})
_NOT_ITS_DOING = _DISK | {"interrupted"}
"""Failures that a step writes down and that say nothing about it: on another node it may well succeed."""


def describe(threads: int) -> dict[str, str]:
    """Return this node's description as JSON, and the version of this package on it."""
    return {"host": host(threads).model_dump_json(), "bakeoff": bakeoff.__version__}


def carry_out(cargo: Cargo, bounds: dict[str, float | None], url: str | None, plugins: str) -> Iterator[Message]:
    """Do a job and yield what it leaves, each result as soon as it is there.

    Args:
        cargo: the job and what it reads.
        bounds: ``seconds`` and ``memory`` of a step, ``left`` seconds of the whole run or None.
        url: where artefacts are put for the coordinator; None sends them in pieces.
        plugins: value of the environment variable that adds plugins; empty for none.

    """
    import ray

    place = root().parent / "nodes"
    work = place / "work" / f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        _clear(place / "work")
        work.mkdir(parents=True)
        depot = Depot(place / "depot", ray.get)
        depot.sweep()
        job = unpack(cargo, work, depot, place / "features")
        yield from _done(job, work, Limits(**_limits(bounds)), url, plugins)
    except Exception as error:  # noqa: BLE001 - what steps raise became results; all else is this node's or the journey's doing
        yield _lost(error)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _done(job: Job, work: Path, limits: Limits, url: str | None, plugins: str) -> Iterator[Message]:
    other = _other_versions(job)
    if other is not None:
        yield "end", other.model_dump_json()
        return
    records = {plan.key: with_packages(host(job.threads), plan.packages) for plan in job.steps}
    update: dict[str, Any] = {"environments": {key: environment_key(record) for key, record in records.items()}}
    if job.processes > 1:
        import ray

        update["cluster"] = ray.get_runtime_context().gcs_address
    job = job.model_copy(update=update)
    for text in sorted({record.model_dump_json() for record in records.values()}):
        yield "environment", text
    running = _Running(job, work, limits, _starter(job.threads, plugins))
    try:
        for number in iter(running.next, None):
            yield from _left(job, number, url)
    finally:
        running.end()
    _refuse(running.failure, _DISK)  # ended from outside is for the run to judge, as on one machine
    yield "end", running.failure.model_dump_json() if running.failure is not None else ""


def _refuse(failure: Failure | None, codes: frozenset[str] = _NOT_ITS_DOING) -> None:
    """Raise for a failure that is not the step's doing."""
    if failure is not None and failure.code in codes:
        raise StudyError(failure.reason)


def _lost(error: Exception) -> Message:
    """Return the message that the job was not carried out for no fault of its own."""
    import ray
    from bakeoff.store.objects import DamagedError

    again = isinstance(error, DamagedError | StepError | ray.exceptions.RayError)
    return "lost", ray.get_runtime_context().get_node_id(), f"{socket.gethostname()}: {failure_of(error).reason}", again


def _left(job: Job, number: int, url: str | None) -> Iterator[Message]:
    """Yield what one step left: its artefact first, so that the row is true when it arrives."""
    text = (Path(job.out) / f"{number:03d}.json").read_bytes()
    result = StepResult.model_validate_json(text)
    _refuse(result.failure)
    if result.artifact is not None:
        directory = ArtifactStore(Path(job.store)).path(result.key)
        if url is not None:
            from bakeoff.store.objects import Objects

            yield "stored", result.key, Objects(url).put_folder(directory)
        else:
            yield from _pieces(result.key, directory)
        yield "artifact", result.key
    arrays = Path(job.out) / f"{number:03d}.npz"
    yield "result", text, arrays.read_bytes() if arrays.exists() else b""


def _pieces(key: str, directory: Path) -> Iterator[Message]:
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(directory).as_posix()
        yield "file", key, name, b""  # an empty file too
        for piece in read_pieces(path):
            yield "file", key, name, piece


class _Running:
    """A job at work in a thread of its own, so that its results can be sent while it goes on."""

    def __init__(self, job: Job, work: Path, limits: Limits, starter: Starter) -> None:
        self.failure: Failure | None = None
        self._job, self._seen = job, 0
        self._stop = threading.Event()
        self._ready: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(work, limits, starter), daemon=True)
        self._thread.start()

    def next(self) -> int | None:
        """Wait for a result and return its number, None when there will be no more."""
        found = self._ready.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def end(self) -> None:
        """End the job if it still runs."""
        self._stop.set()
        self._thread.join()

    def _run(self, work: Path, limits: Limits, starter: Starter) -> None:
        try:
            self.failure = run_worker(self._job, work, starter, limits, self._tick, self._stop)
            self._ready.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that sends
            self._ready.put(error)

    def _tick(self) -> int:
        while (Path(self._job.out) / f"{self._seen:03d}.json").exists():
            self._ready.put(self._seen)
            self._seen += 1
        return self._seen


@cache
def _starter(threads: int, plugins: str) -> Starter:
    """Return this Ray worker's starter, made in its main thread, with which it ends."""
    if plugins:
        os.environ[INJECT] = plugins
    else:
        os.environ.pop(INJECT, None)
    return Starter(threads)


def _limits(bounds: dict[str, float | None]) -> dict[str, Any]:
    left = bounds["left"]
    deadline = None if left is None else time.monotonic() + left
    return {"seconds": bounds["seconds"], "memory": bounds["memory"], "deadline": deadline}


def _other_versions(job: Job) -> Failure | None:
    """Refuse a job whose keys name other versions than are installed here."""
    wanted = {name: version for plan in job.steps for name, version in plan.packages.items()}
    found = versions(Needs(modules=tuple(wanted)))
    other = {name: [wanted[name], found[name]] for name in wanted if wanted[name] != found[name]}
    if not other:
        return None
    said = json.dumps(other, sort_keys=True)
    reason = f"a node has other versions than the coordinator (wanted, there): {said}; install the same on every node"
    zh = f"某节点上的软件版本与协调机不同（需要的版本、节点上的版本）：{said}；请在所有节点上安装相同的版本"
    return Failure(code="unavailable", reason=reason, reason_zh=zh)


@cache
def _machine() -> str:
    """Return a name of this machine, since it was started, and of this space of process numbers: homes are shared, processes are not."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with contextlib.suppress(OSError):
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _clear(works: Path) -> None:
    """Remove what jobs of dead processes of this machine left."""
    for path in works.glob(f"{_machine()}-*") if works.is_dir() else ():
        try:
            os.kill(int(path.name.split("-")[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, PermissionError):
            continue
