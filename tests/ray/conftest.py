"""A real cluster on this machine: a head that lends nothing, and worker nodes that may be killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.evaluation.conftest import fakes, frozen, make_spec, table, trial  # noqa: F401 - fixtures
from tests.serving.conftest import text_bundle  # noqa: F401 - a fixture

pytest.importorskip("ray")
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}

LOOPBACK = "127.0.0.2"
"""Ray takes 127.0.0.1 for a name of this machine and replaces it by the address others see."""


class Nodes:
    """A cluster and its worker nodes, which inherit ``home``; this process keeps its own, tests after these look for assets there."""

    def __init__(self, home: Path) -> None:
        from ray.cluster_utils import Cluster

        head = {
            "num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": False, "node_ip_address": LOOPBACK,
            "_system_config": {"health_check_period_ms": 500, "health_check_timeout_ms": 5000, "health_check_failure_threshold": 3},
        }  # fmt: skip
        self.home = home
        with self._at_home():
            self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.workers: list[Any] = []

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def grow(self, count: int, cpus: int = 1, **resources: float) -> None:
        """Have so many worker nodes."""
        with self._at_home():
            while len(self.workers) < count:
                self.workers.append(
                    self.cluster.add_node(
                        num_cpus=cpus, object_store_memory=80 << 20, node_ip_address=LOOPBACK, resources=resources
                    )
                )

    def kill(self, node: Any) -> None:
        """Kill a node and all that works on it without warning, as when its machine is lost."""
        self.workers.remove(node)
        for process in _of(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)

    @contextmanager
    def _at_home(self) -> Iterator[None]:
        """Have what starts meanwhile keep its files in a folder of its own."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("BAKEOFF_HOME", str(self.home))
            yield

    def working(self, words: str, *nodes: Any) -> list[psutil.Process]:
        """Return the processes on these nodes, or on all workers, that have these words in their command lines."""
        found = []
        for process in (process for node in nodes or self.workers for process in _of(node)):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def at_work(self, *nodes: Any) -> set[int]:
        """Return the processes on these nodes, or on all workers, that do jobs, not those that only start such."""
        workers = self.working("bakeoff.evaluation.worker", *nodes)
        starters, found = {process.pid for process in workers}, set()
        for process in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.ppid() in starters or "--serve" not in process.cmdline():
                    found.add(process.pid)
        return found


def _of(node: Any) -> list[psutil.Process]:
    """Return a node's own process and all below it."""
    (started,) = node.all_processes["raylet"]
    try:
        raylet = psutil.Process(started.process.pid)
        return [raylet, *raylet.children(recursive=True)]
    except psutil.NoSuchProcess:  # it was killed
        return []


@pytest.fixture(scope="package")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """One cluster for the tests of this folder, and ended with the last of them: an idle one takes a tenth of a core.

    Its workers keep their files in a folder of their own.
    """
    import ray

    found = Nodes(tmp_path_factory.mktemp("home"))
    yield found
    ray.shutdown()
    found.cluster.shutdown()
