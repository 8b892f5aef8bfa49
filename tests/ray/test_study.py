"""A whole real study on a cluster, a node of which is killed on the way: it decides what it decides on one machine."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bakeoff.evaluation.events import Event
from bakeoff.evaluation.job import Job
from bakeoff.evaluation.launchers.ray import RayLauncher
from bakeoff.schema.decision import Decision
from bakeoff.store.archive import Archive
from bakeoff.study import Study
from tests.ray.conftest import Nodes
from tests.road.conftest import reviews, write_csv, write_spec


def settled(study: Path) -> dict[tuple[Any, ...], float | None]:
    """Return what does not depend on a clock: the scores of every step that succeeded."""
    rows = [row.result for row in Archive(study).evidence().results]
    return {
        (
            row.candidate,
            row.name,
            row.purpose,
            row.fidelity.fraction,
            row.fidelity.seed,
            row.fidelity.split,
            row.round,
        ): score.value if (score := row.metric("macro_f1")) else None
        for row in rows
        if row.status == "ok"
    }


class Watched(RayLauncher):
    """Counts how often each job was placed, by its last step: more than once when the node was lost under it."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.placed = Counter[str]()

    def _start(self, job: Job, *given: Any, **options: Any) -> Any:
        self.placed[job.steps[-1].key] += 1
        return super()._start(job, *given, **options)

    @property
    def retried(self) -> bool:
        return max(self.placed.values(), default=0) > 1


def kill_at_work(nodes: Nodes, launcher: Watched, ready: threading.Event, over: threading.Event) -> None:
    """Once ``ready``, kill a node that does a job; another one, should that job have ended in the same moment."""
    ready.wait()
    while not launcher.retried and not over.wait(0.01):
        node = next((node for node in nodes.workers if nodes.at_work(node)), None)
        if node is None:
            continue
        nodes.kill(node)
        for _ in range(100):
            if launcher.retried or over.wait(0.2):
                return
        nodes.grow(2)


def test_a_study_that_loses_a_node_decides_what_one_machine_decides(tmp_path: Path, nodes: Nodes) -> None:
    pytest.importorskip("sklearn")
    nodes.grow(2)
    write_csv(tmp_path / "reviews.csv", reviews(400))
    spec = write_spec(
        tmp_path,
        candidates={"include": ["linear.char.none.native"]},
        budget={"time": "10m"},
        measuring={"requests": 90, "rounds": 2},
        requirements={  # what no busy machine breaks: outcomes are compared, not clocks
            "quality": {"metric": "macro_f1", "floor": 0.6},
            "latency": {"p95": "10s"},
            "memory": {"max": "2GiB"},
        },
        search={"trials": 0},
    )
    seen: list[Event] = []

    ready, over = threading.Event(), threading.Event()

    def note(event: Event) -> None:
        if event.kind == "step" and not event.reused:
            seen.append(event)
            if len(seen) == 6:
                ready.set()

    here: Decision = Study.open(spec, out=tmp_path / "here").run()
    launcher = Watched(nodes.address)
    killer = threading.Thread(target=kill_at_work, args=(nodes, launcher, ready, over))
    killer.start()
    try:
        there = Study.open(spec, out=tmp_path / "there").run(on_event=note, launcher=launcher)
    finally:
        over.set()
        ready.set()
        killer.join()
    assert len(seen) > 6
    assert launcher.retried, "a node was killed while it worked: its job must have been placed again"
    assert there.outcome == here.outcome
    assert there.recommended is not None
    assert here.recommended is not None
    assert there.recommended.id == here.recommended.id
    assert settled(tmp_path / "there") == settled(tmp_path / "here")
    done = [event.result.key for event in seen if event.result is not None]
    assert len(done) == len(set(done))
    assert not [event for event in seen if event.result is not None and event.result.failure is not None]
