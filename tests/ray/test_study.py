"""A whole real study on a cluster, a node of which is killed on the way: it decides what it decides on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.ray.conftest import Nodes
from tests.road.conftest import reviews, write_csv, write_spec

from bakeoff.evaluation.events import Event
from bakeoff.evaluation.launchers.ray import RayLauncher
from bakeoff.schema.decision import Decision
from bakeoff.store.archive import Archive
from bakeoff.study import Study


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

    def kill(event: Event) -> None:
        if event.kind == "step" and not event.reused:
            seen.append(event)
            if len(seen) == 6:
                nodes.kill(nodes.workers[0])

    here: Decision = Study.open(spec, out=tmp_path / "here").run()
    there = Study.open(spec, out=tmp_path / "there").run(on_event=kill, launcher=RayLauncher(nodes.address))
    assert len(seen) > 6
    assert there.outcome == here.outcome
    assert there.recommended is not None
    assert here.recommended is not None
    assert there.recommended.id == here.recommended.id
    assert settled(tmp_path / "there") == settled(tmp_path / "here")
    done = [event.result.key for event in seen if event.result is not None]
    assert len(done) == len(set(done))
    assert not [event for event in seen if event.result is not None and event.result.failure is not None]
