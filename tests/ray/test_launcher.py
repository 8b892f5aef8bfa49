"""Trials on the nodes of a real cluster: they leave what they leave here, and a node that dies takes nothing with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.events import Event
from bakeoff.evaluation.job import Job
from bakeoff.evaluation.launchers.arrivals import Arrivals
from bakeoff.evaluation.launchers.ray import RayLauncher
from bakeoff.evaluation.process import Limits
from bakeoff.schema import Spec, StudyError, Trial
from bakeoff.store.archive import Archive
from bakeoff.testing import candidate
from tests.evaluation.conftest import Laboratory
from tests.ray.conftest import Nodes

TRIAL = Callable[..., Trial]
SPEC = Callable[..., Spec]
CHAIN = ["build", "export:fake-exported", "compress:fake_pass", "load", "time", "predict"]


@pytest.fixture
def cluster(nodes: Nodes) -> Nodes:
    nodes.grow(2)
    return nodes


@pytest.fixture
def laboratory(tmp_path: Path, make_spec: SPEC, frozen: Frozen, fakes: None, cluster: Nodes) -> Laboratory:
    return Laboratory(tmp_path / "study", make_spec(), frozen, launcher=lambda: RayLauncher(cluster.address))


def stack(name: str = "well", **params: Any) -> Any:
    return candidate(name, runtime="fake_other", compression="fake_pass", **params)


def kill_once(cluster: Nodes, when: Callable[[Event], bool]) -> Callable[[Event], None]:
    """Return a hook that kills the node at work when something happens, and brings another up in its place."""
    killed: list[Any] = []

    def hook(event: Event) -> None:
        if not killed and when(event):
            killed.append(cluster.workers[0])
            cluster.kill(cluster.workers[0])
            cluster.grow(1)

    hook.killed = killed  # type: ignore[attr-defined]
    return hook


def test_a_trial_on_a_node_leaves_what_it_leaves_here(laboratory: Laboratory, trial: TRIAL, tmp_path: Path) -> None:
    laboratory.run([trial(stack(), "final")])
    here = Laboratory(tmp_path / "here", laboratory.spec, laboratory.frozen)
    here.run([trial(stack(), "final")])
    there = {row.key: row for row in laboratory.rows()}
    assert [row.name for row in there.values()] == CHAIN
    assert {row.key for row in here.rows()} == set(there)  # of one kind of machine, so nothing tells them apart
    with contextlib.closing(Archive(laboratory.directory).ledger) as ledger:
        found = {row.result.name: row.arrays for row in ledger.evidence()}
        known = ledger.environments()
    with contextlib.closing(Archive(here.directory).ledger) as ledger:
        expected = {row.result.name: row.arrays for row in ledger.evidence()}
    assert np.array_equal(found["predict"]["probabilities"], expected["predict"]["probabilities"])
    assert all(known[row.environment].cores > 0 for row in there.values())
    built = {path.parent.name for path in (laboratory.directory / "artifacts").glob("*/artifact.json")}
    assert built == {row.key for row in there.values() if row.artifact is not None}
    assert not [path for path in (laboratory.directory / "artifacts").iterdir() if path.name.startswith(".")]


def test_what_a_step_does_to_itself_is_an_outcome_not_a_loss(
    tmp_path: Path,
    make_spec: SPEC,
    frozen: Frozen,
    fakes: None,
    cluster: Nodes,
    trial: TRIAL,
) -> None:
    spec = make_spec(budget={"step_time": "6s", "step_memory": "300MiB"})
    laboratory = Laboratory(tmp_path / "study", spec, frozen, launcher=lambda: RayLauncher(cluster.address))
    bad = {"crash": "crash", "segfault": "crash", "hang": "timeout", "eat": "memory", "raise": "error"}
    laboratory.run([trial(candidate(name, behave=name)) for name in bad] + [trial(candidate("after"))], workers=2)
    assert {name: laboratory.rows(name)[-1].failure.code for name in bad} == bad  # type: ignore[union-attr]
    assert [row.failure.signal for row in laboratory.rows("crash") if row.failure] == ["SIGABRT"]
    assert "about to abort" in laboratory.rows("crash")[-1].failure.tail  # type: ignore[union-attr]
    assert [row.status for row in laboratory.rows("after")] == ["ok"] * 3
    assert laboratory.done().count("build") == len(bad) + 1  # each was tried once


def test_a_node_that_dies_while_it_builds_is_replaced(laboratory: Laboratory, trial: TRIAL, cluster: Nodes) -> None:
    cluster.kill(cluster.workers[1])
    hook = kill_once(cluster, lambda event: event.kind == "running")
    laboratory.run([trial(candidate(build_seconds=1.5))], hook=hook)
    assert hook.killed  # type: ignore[attr-defined]
    assert [(row.name, row.status) for row in laboratory.rows()] == [("build", "ok"), ("load", "ok"), ("predict", "ok")]
    assert laboratory.done() == ["build", "load", "predict"]


def test_steps_that_arrived_before_a_node_died_are_not_done_again(
    laboratory: Laboratory,
    trial: TRIAL,
    cluster: Nodes,
) -> None:
    cluster.kill(cluster.workers[1])
    hook = kill_once(cluster, lambda event: event.result is not None and event.result.name == "build")
    laboratory.run([trial(stack(flip=0.01), "final")], hook=hook)
    assert hook.killed  # type: ignore[attr-defined]
    assert laboratory.done() == CHAIN
    rows = {row.name: row for row in laboratory.rows()}
    for name in CHAIN[1:3]:  # what the lost node built is still what its conversions are compared with
        agreement = rows[name].metric("parity_agreement")
        assert agreement is not None
        assert agreement.n > 0


def test_without_a_node_of_its_kind_a_study_stops_and_keeps_what_it_has(
    laboratory: Laboratory,
    trial: TRIAL,
    cluster: Nodes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bakeoff.evaluation.launchers.ray._PATIENCE", 1.0)
    cluster.kill(cluster.workers[1])
    killed = []

    def hook(event: Event) -> None:
        if not killed and event.result is not None and event.result.name == "load":
            killed.append(cluster.kill(cluster.workers[0]))

    slow = trial(candidate(sleep=0.01), "final")  # requests sleep, so that timing is not over before the node is killed
    with pytest.raises(StudyError, match="no node"):
        laboratory.run([slow], hook=hook)
    assert [row.name for row in laboratory.rows()] == ["build", "load"]
    cluster.grow(1)
    laboratory.run([slow])
    assert laboratory.done() == ["time", "predict"]


def test_a_stopped_run_leaves_no_process_behind(laboratory: Laboratory, trial: TRIAL, cluster: Nodes) -> None:
    seen, over = set[int](), threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            seen.update(cluster.at_work())

    looking = threading.Thread(target=look)
    looking.start()
    for seconds in (6, 12, 24):  # whatever a machine needs to start what is to be stopped
        laboratory.run([trial(candidate("long", build_seconds=60.0))], deadline=time.monotonic() + seconds)
        if seen:
            break
    over.set()
    looking.join()
    assert laboratory.rows() == []
    assert seen
    end = time.monotonic() + 10
    while (left := seen & cluster.at_work()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left
    laboratory.run([trial(candidate())])  # the processors are free again
    assert [row.status for row in laboratory.rows()] == ["ok"] * 3


def test_what_keeps_nodes_from_doing_a_job_is_not_its_candidates_failure(
    laboratory: Laboratory, trial: TRIAL, cluster: Nodes
) -> None:
    work = cluster.home / "nodes" / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.parent.mkdir(exist_ok=True)
    work.write_text("in the way, as a full disk would be")
    with pytest.raises(StudyError, match="cannot be carried out on the nodes"):
        laboratory.run([trial(candidate())])
    assert laboratory.rows() == []
    work.unlink()
    laboratory.run([trial(candidate())])
    assert [row.status for row in laboratory.rows()] == ["ok"] * 3


def nothing() -> Iterator[None]:
    """Yield nothing."""
    yield from ()


def test_a_job_for_which_no_node_is_left_is_not_waited_for(
    laboratory: Laboratory, cluster: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bakeoff.evaluation.launchers.ray._WAITING", 0.3)
    launcher = RayLauncher(cluster.address)
    launcher.begin(laboratory.spec, 1, (), lambda _: "", None)
    options = {"num_cpus": 64}
    stream = launcher._connected().ray.remote(num_returns="streaming")(nothing).options(**options).remote()
    job = Job.model_construct(out=str(tmp_path), store=str(tmp_path))
    arrivals = Arrivals(job, 0, None, lambda _: "", lambda: 0)
    launcher._follow(stream, options, arrivals, Limits(60.0, 1e9), threading.Event())
    assert arrivals.loss is not None
    assert "no node is left" in arrivals.loss.reason
    training = Job.model_construct(site="make", processes=2, threads=1, steps=())
    with launcher._seat(training, {cluster.workers[0].node_id}) as seat:
        assert seat["scheduling_strategy"].node_id == cluster.workers[1].node_id
    launcher.close()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_is_started_here_asks_for_a_token(tmp_path: Path) -> None:
    """One of our own, although another one runs on this machine."""
    program = (
        "from bakeoff.training import ray_local\n"
        "ray = ray_local.imported(starting=True)\n"
        "ray_local.start(ray)\n"
        "print(ray_local.guarded(), flush=True)\n"
        "ray.shutdown()"
    )
    unset = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")}

    def run(**changes: str) -> subprocess.CompletedProcess[str]:
        command, environment = [sys.executable, "-c", program], {**unset, "HOME": str(tmp_path), **changes}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)

    started = run()
    assert started.stdout == "True\n", started.stderr[-2000:]
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    refused = run(RAY_AUTH_MODE="disabled")
    assert "UnavailableError" in refused.stderr
    assert refused.stdout == ""


def test_artefacts_travel_through_a_shared_place(
    tmp_path: Path,
    make_spec: SPEC,
    frozen: Frozen,
    fakes: None,
    cluster: Nodes,
    trial: TRIAL,
) -> None:
    from bakeoff.evaluation.executor import Executor

    good, url = stack(), f"file://{tmp_path}/shared"
    with Archive.writing(tmp_path / "study", artifacts=url) as archive:
        archive.begin(make_spec(), frozen.profile, [good], [])
        with Executor(archive, frozen, make_spec(), launcher=RayLauncher(cluster.address)) as executor:
            executor.run([trial(good, "final")])
        rows = [row.result for row in archive.evidence().results]
    assert [(row.name, row.status) for row in rows] == [(name, "ok") for name in CHAIN]
    assert list((tmp_path / "shared" / "objects").glob("*/*"))


@pytest.mark.parametrize(
    ("address", "advice"),
    [("ray://127.0.0.1:10001", "num-cpus=0"), ("127.0.0.1:9", "no Ray cluster answers"), ("nonsense:x", "answers")],
)
def test_an_address_that_is_no_clusters_is_refused_with_what_to_do(address: str, advice: str) -> None:
    program = f"from bakeoff.evaluation.launchers.ray_cluster import connect; connect({address!r})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert "StudyError" in found.stderr
    assert advice in found.stderr
