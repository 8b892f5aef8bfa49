"""Runs jobs as tasks of a Ray cluster. The coordinator alone writes the ledger; nodes get a job with all it reads and send results back.

Making asks for as many processors as it has threads, and memory; measuring asks for every processor of one node of one kind, so that it
runs alone there, and what is timed runs on the same node as long as that lives. Losing a node loses nothing: results that arrived are in
the ledger, the steps that are left run elsewhere. Ray's own retries are off, because they would do finished steps again.

Does: place, follow, retry what was lost. Does not know: what the steps do.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bakeoff.evaluation.job import Job, rest_of
from bakeoff.evaluation.launchers.arrivals import Arrivals, Loss
from bakeoff.evaluation.launchers.base import Keep
from bakeoff.evaluation.launchers.cargo import pack
from bakeoff.evaluation.launchers.parcels import Sender
from bakeoff.evaluation.launchers.ray_cluster import MEASURING, Cluster, Node, choose_place, measuring_nodes
from bakeoff.evaluation.process import Limits
from bakeoff.registry import INJECT
from bakeoff.schema.errors import StudyError
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Environment, Failure

_TRIES = 4
"""Times a job is placed when nodes are lost under it; then it is the job's doing."""
_TICK = 0.2
_PATIENCE = 60.0
"""Seconds to wait for a node of the kind that is needed to come back."""
_WAITING = 5.0
"""Seconds between two looks whether a node that could take a waiting job still lives."""


class RayLauncher:
    """A Ray cluster.

    Args:
        address: of the cluster, see ``Cluster``. Folders travel through the place where the study shares its artefacts, else through Ray.
        processes: that train one network together, by averaging gradients.

    """

    def __init__(self, address: str | None = None, processes: int = 1) -> None:
        self._address, self.processes = address, processes
        self._cluster: Cluster | None = None
        self._sender: Sender | None = None
        self._place: Environment | None = None
        self._pinned: str | None = None
        self._busy: set[str] = set()
        self._free = threading.Condition()
        self._turns = itertools.count()

    def begin(
        self, spec: Spec, workers: int | None, measured: Sequence[Environment], keep: Keep, url: str | None
    ) -> None:
        """Take note of the study; the connection is made when something about the cluster is asked."""
        self._spec, self._workers, self._measured, self._keep, self._url = spec, workers, measured, keep, url

    # ----------------------------------------------------------------------------------------------------- the cluster

    def _connected(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._address, self._spec.measuring.threads)
            self._sender = Sender(self._url, self._cluster.ray.put)
        return self._cluster

    def _nodes(self) -> list[Node]:
        """Return the nodes; wait a while for one, because a node that was lost may come back."""
        cluster, end = self._connected(), time.monotonic() + _PATIENCE
        while not (nodes := cluster.nodes()):
            if time.monotonic() > end or cluster.refused:
                what = "the cluster has no node with processors that runs this version of Bakeoff"
                hint = "ray status; install the same version everywhere, then run again: what was measured is kept"
                raise StudyError(what, got="; ".join(cluster.refused) or None, try_=hint)
            time.sleep(_TICK)
        return nodes

    @property
    def makers(self) -> int:
        """As many as asked for, else one per node."""
        return max(1, self._workers or len(self._nodes()))

    @property
    def measurers(self) -> int:
        """One per node of the kind that is measured on."""
        return max(1, len(measuring_nodes(self._nodes(), self.place())))

    @property
    def making_threads(self) -> int:
        """A node's processors, shared by the makers where there are more of them than nodes."""
        nodes = self._nodes()
        share = sum(node.cpus for node in nodes) // (self.makers * self.processes)
        return int(max(1, min(share, *(node.cpus for node in nodes))))

    def place(self) -> Environment:
        """Return the kind of machine that is measured on, chosen once."""
        if self._place is None:
            self._place = choose_place(self._nodes(), self._measured)
        assert self._place is not None  # noqa: S101 - there is a node
        return self._place

    def ready(self) -> None:
        """Connect."""
        self._connected()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._cluster is not None:
            self._cluster.close()
        self._cluster = None

    # ------------------------------------------------------------------------------------------------------------ jobs

    def run(
        self, job: Job, folder: Path, limits: Limits, on_tick: Callable[[], int], stop: threading.Event
    ) -> Failure | None:
        """Run a job on some node; when the node is lost, or cannot carry it out, run what is left of it on another."""
        done, loss, bad = 0, Loss(""), set[str]()
        for _ in range(_TRIES):
            with self._seat(job, bad) as options:
                arrivals = Arrivals(job, done, self._url, self._keep, on_tick)
                rest = rest_of(job, done, folder)
                if job.site == "make":  # the largest node may be gone since the job was made
                    rest = rest.model_copy(update={"threads": int(options["num_cpus"]) or job.threads})
                stream = self._start(rest, limits, options, again=loss.again)
                self._follow(stream, options, arrivals, limits, stop)
            done = on_tick()
            if arrivals.loss is None or done >= len(job.steps):
                return arrivals.failure
            loss = arrivals.loss
            bad |= {loss.node} - {""}
        if loss.node:
            what = "jobs cannot be carried out on the nodes"
            hint = "mend that on the nodes and run again: everything measured so far is kept"
            raise StudyError(what, got=loss.reason, try_=hint)
        return Failure(
            code="interrupted", reason=f"the node was lost under it {_TRIES} times: {loss.reason}",
            reason_zh=f"运行它的节点先后丢失了 {_TRIES} 次：{loss.reason}",
        )  # fmt: skip

    def _start(self, job: Job, limits: Limits, options: dict[str, Any], *, again: bool) -> Any:  # noqa: ANN401 - Ray's generator
        from bakeoff.evaluation.launchers.ray_node import carry_out

        assert self._sender is not None  # noqa: S101 - made with the connection
        left = None if limits.deadline is None else max(0.0, limits.deadline - time.monotonic())
        bounds = {"seconds": limits.seconds, "memory": limits.memory, "left": left}
        task = self._connected().ray.remote(num_returns="streaming", max_retries=0)(carry_out)
        cargo = pack(job, self._sender, again=again)
        return task.options(**options).remote(cargo, bounds, self._url, os.environ.get(INJECT, ""))

    def _follow(
        self, stream: Any, options: dict[str, Any], arrivals: Arrivals, limits: Limits, stop: threading.Event  # noqa: ANN401 - Ray's
    ) -> None:  # fmt: skip
        """Take in what a task sends until it ends or is lost."""
        ray = self._connected().ray
        try:
            for message in self._messages(stream, options, arrivals):
                if stop.is_set() or (limits.deadline is not None and time.monotonic() > limits.deadline):
                    arrivals.interrupt()
                elif message is not None:
                    arrivals.take(message)
        except ray.exceptions.OutOfMemoryError as error:
            arrivals.out_of_memory(str(error))
        except ray.exceptions.RayTaskError as error:  # before it could even begin: a package that is missing there
            arrivals.lose(str(error).strip().splitlines()[-1], "some node")
        except ray.exceptions.RayError as error:
            arrivals.lose(str(error).strip().splitlines()[0])
        finally:
            arrivals.close()
            if not arrivals.finished:
                ray.cancel(stream, force=True)  # the Ray worker takes the job's processes with it

    def _messages(self, stream: Any, options: dict[str, Any], arrivals: Arrivals) -> Iterator[tuple[Any, ...] | None]:  # noqa: ANN401
        """Yield what a task sends, None when it sends nothing for a while, until nothing more is to come of it."""
        ray, look = self._connected().ray, time.monotonic() + _WAITING
        while not arrivals.ended:
            if ray.wait([stream], timeout=_TICK)[0]:
                look = math.inf  # it has found a place
                reference = next(stream, None)
                if reference is None:
                    arrivals.lose("it ended without a word")
                    return
                yield ray.get(reference)
                continue
            yield None
            if time.monotonic() > look and not arrivals.ended:
                look = time.monotonic() + _WAITING
                if not self._room(options):
                    arrivals.lose("no node is left that has the processors and the memory it asks for", "all")

    def _room(self, options: dict[str, Any]) -> bool:
        """Whether some node that lives could take what asks for this; to those that come later Ray gives it by itself."""
        nodes = self._connected().nodes()
        return any(node.cpus >= options["num_cpus"] and node.memory >= options.get("memory", 0) for node in nodes)

    # ------------------------------------------------------------------------------------------------------- placement

    @contextmanager
    def _seat(self, job: Job, bad: set[str]) -> Iterator[dict[str, Any]]:
        """Yield how Ray is to place a job, not on a ``bad`` node if there are others; a node that measures does nothing else meanwhile."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if job.site == "make":
            nodes = self._nodes()
            able = [node.id for node in nodes if node.id not in bad] or [node.id for node in nodes]
            there = NodeAffinitySchedulingStrategy(able[next(self._turns) % len(able)], soft=True)
            if (
                job.processes > 1
            ):  # it waits, and those who train ask for the processors; Ray would put it on a node that lends none
                yield {"num_cpus": 0, "scheduling_strategy": there}
                return
            threads = int(min(job.threads, max(node.cpus for node in nodes)))
            largest = max(node.memory for node in nodes if node.cpus >= threads)
            memory = int(min(self._spec.budget.step_memory, 0.9 * largest))
            yield {"num_cpus": threads, "memory": memory, "scheduling_strategy": there if bad else "SPREAD"}
            return
        node = self._reserve(bad, timed=any(step.kind == "time" for step in job.steps))
        options = {
            "num_cpus": node.cpus, "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
            "resources": {MEASURING: 1} if node.reserved else {},
        }  # fmt: skip
        try:
            yield options
        finally:
            with self._free:
                self._busy.discard(node.id)
                self._free.notify_all()

    def _reserve(self, bad: set[str], *, timed: bool) -> Node:
        """Return a free node that may measure; what is timed goes to the same one as long as that lives."""
        end = time.monotonic() + _PATIENCE
        while True:
            nodes = measuring_nodes(self._nodes(), self.place())
            nodes = [node for node in nodes if node.id not in bad] or nodes
            with self._free:
                wanted = [node for node in nodes if node.id == self._pinned] or nodes if timed else nodes
                free = [node for node in wanted if node.id not in self._busy]
                if free:
                    self._pinned = free[0].id if timed else self._pinned
                    self._busy.add(free[0].id)
                    return free[0]
                if not nodes and time.monotonic() > end:
                    what = "no node is left of the kind that this study is measured on"
                    hint = "start such a node and run again: everything measured so far is kept"
                    raise StudyError(what, got=self.place().cpu, try_=hint)
                self._free.wait(1.0)
