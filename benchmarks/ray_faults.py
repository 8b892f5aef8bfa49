"""What trials on a Ray cluster cost beside processes of this machine, and what the death of a node costs. Bar: nothing lost, nothing twice.

A real cluster (a head that lends nothing, two nodes) on the loopback interface. Each round runs the same new trials three times: in
processes, on the cluster, and on the cluster while a node is killed. Seconds are the wall's; the nodes share this machine's cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bakeoff import registry
from bakeoff.data.freeze import prepare
from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.events import Event
from bakeoff.evaluation.executor import Executor
from bakeoff.evaluation.launchers.base import Launcher
from bakeoff.evaluation.launchers.ray import RayLauncher
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.store.archive import Archive
from bakeoff.testing import candidate
from benchmarks import finish
from benchmarks.harness import spec_and_data

_LOOPBACK = "127.0.0.2"
"""Ray takes 127.0.0.1 for a name of this machine and replaces it by the address others see."""
_STORE = 80 << 20


@dataclass
class Nodes:
    """A cluster whose nodes can be killed."""

    cluster: Any = None
    workers: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """Start the head and two nodes."""
        from ray.cluster_utils import Cluster

        noticing = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
        head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False, "_system_config": noticing}
        self.cluster = Cluster(initialize_head=True, head_node_args={**head, "node_ip_address": _LOOPBACK})
        self.fill()

    def fill(self) -> None:
        """Have two nodes."""
        while len(self.workers) < 2:
            self.workers.append(
                self.cluster.add_node(num_cpus=1, object_store_memory=_STORE, node_ip_address=_LOOPBACK)
            )

    def kill(self) -> None:
        """Kill the first node without warning; one is left."""
        self.cluster.remove_node(self.workers.pop(0), allow_graceful=False)


def once(
    folder: Path,
    spec: Spec,
    frozen: Frozen,
    trials: list[Trial],
    launcher: Launcher | None,
    kill: Callable[[], None] | None,
) -> dict[str, Any]:
    """Run the trials; return wall seconds, and what became of their steps."""
    done: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "step" and event.result is not None and not event.reused:
            done.append(event.result.key)
            if kill is not None and len(done) == len(trials):
                kill()

    with Archive.writing(folder) as archive:
        archive.begin(spec, frozen.profile, [trials[0].candidate], [])
        begin = time.perf_counter()
        with Executor(archive, frozen, spec, workers=2, on_event=note, launcher=launcher) as executor:
            executor.run(trials)
        seconds = time.perf_counter() - begin
        rows = [row.result for row in archive.evidence().results]
    return {
        "seconds": seconds, "lost": 3 * len(trials) - len([row for row in rows if row.status == "ok"]),
        "twice": sum(count - 1 for count in Counter(done).values()),
    }  # fmt: skip


def main() -> int:
    """Measure, print, finish with one JSON line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", registry.INJECT: "bakeoff.testing:PLUGINS"}
    nodes, found = Nodes(), dict[str, list[dict[str, Any]]]()
    with tempfile.TemporaryDirectory(prefix="bakeoff-ray-") as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        os.environ["BAKEOFF_HOME"] = str(folder / "home")
        nodes.start()
        stack.callback(nodes.cluster.shutdown)
        spec = spec_and_data(folder, 2000)
        frozen = prepare(spec, folder)
        for number in range(chosen.rounds + 1):  # the first warms up and is left out
            trials = [
                Trial(candidate=candidate(build_seconds=0.5), purpose="rung", rung=0, fidelity=Fidelity(seed=100 * number + at))
                for at in range(chosen.trials)
            ]  # fmt: skip
            for name, launcher, kill in (
                ("processes", None, None), ("cluster", RayLauncher(nodes.cluster.address), None),
                ("killed", RayLauncher(nodes.cluster.address), nodes.kill),
            ):  # fmt: skip
                nodes.fill()
                result = once(folder / f"{name}-{number}", spec, frozen, trials, launcher, kill)
                if number:
                    found.setdefault(name, []).append(result)
    return said(found, chosen.trials, chosen.rounds)


def said(found: dict[str, list[dict[str, Any]]], trials: int, rounds: int) -> int:
    """Print what was found."""
    seconds = {name: statistics.median(one["seconds"] for one in results) for name, results in found.items()}
    for name, value in seconds.items():
        print(f"{name:10} {value:6.2f} s for {trials} trials")
    lost = sum(one["lost"] for results in found.values() for one in results)
    twice = sum(one["twice"] for results in found.values() for one in results)
    print(f"lost {lost}, done twice {twice}  {'met' if not lost and not twice else 'MISSED'}")
    finish(
        "ray_faults", trials=trials, rounds=rounds, seconds=seconds, cluster_to_processes=seconds["cluster"] / seconds["processes"],
        seconds_a_death_costs=seconds["killed"] - seconds["cluster"], steps_lost=lost, steps_twice=twice, met=not lost and not twice,
        cores=os.cpu_count(), load_1min=round(os.getloadavg()[0], 2),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
