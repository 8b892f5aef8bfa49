"""What needs no cluster: where is measured, how folders travel, what is refused on arrival."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.environment import host
from bakeoff.evaluation.job import Job, StepPlan, rest_of
from bakeoff.evaluation.launchers import ray_node
from bakeoff.evaluation.launchers.arrivals import Arrivals
from bakeoff.evaluation.launchers.parcels import Depot, Parcel, Sender
from bakeoff.evaluation.launchers.ray_cluster import Node, choose_place, measuring_nodes
from bakeoff.evaluation.steps import Facts, _build
from bakeoff.registry import plugin
from bakeoff.schema import Candidate, Fidelity, Spec, StepError, StudyError, Trial, Variant, Words
from bakeoff.schema.trial import Environment, Failure, StepResult
from bakeoff.store.objects import DamagedError

SMALL = host(1).model_copy(update={"cpu": "small", "cores": 2})
LARGE = host(1).model_copy(update={"cpu": "large", "cores": 64})


def node(name: str, place: Environment, *, reserved: bool = False) -> Node:
    return Node(name, 2.0, 1e9, reserved, place)


def test_one_kind_of_machine_is_measured_on() -> None:
    few, many = [node("a", LARGE)], [node("b", SMALL), node("c", SMALL)]
    assert choose_place([], []) is None
    assert choose_place([*few, *many], []) == SMALL  # most of that kind
    assert choose_place([*few, *many], [LARGE]) == LARGE  # as before
    assert choose_place([*few, *many[:1]], []) == LARGE  # as many: the larger
    apart = node("d", LARGE, reserved=True)
    assert choose_place([*many, apart], [SMALL]) == LARGE  # set apart for it
    assert measuring_nodes([*few, *many, apart], LARGE) == [apart]
    assert measuring_nodes([*few, *many], SMALL) == many


class Carrier:
    """Pieces by number, as Ray's object store holds them by reference."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def put(self, piece: bytes) -> int:
        self.pieces.append(piece)
        return len(self.pieces) - 1

    def get(self, reference: int) -> bytes:
        return self.pieces[reference]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "large.bin").write_bytes(bytes(range(256)) * 40_000)  # more than one piece
    (made / "empty").touch()
    (made / "中文.txt").write_text("行", encoding="utf-8")
    return made


def content(path: Path) -> dict[str, bytes]:
    return {found.relative_to(path).as_posix(): found.read_bytes() for found in path.rglob("*") if found.is_file()}


@pytest.mark.parametrize("shared", [False, True])
def test_a_folder_arrives_as_it_was_and_is_fetched_once(folder: Path, tmp_path: Path, *, shared: bool) -> None:
    carrier = Carrier()
    sender = Sender(f"file://{tmp_path}/shared" if shared else None, carrier.put)
    parcel = sender.send(folder)
    assert sender.send(folder) is parcel
    assert len(carrier.pieces) == (0 if shared else 3)
    depot = Depot(tmp_path / "depot", carrier.get)
    arrived = depot.fetch(parcel)
    assert content(arrived) == content(folder)
    carrier.pieces.clear()
    assert depot.fetch(parcel) == arrived
    (folder / "empty").write_text("no longer")
    assert sender.send(folder).key != parcel.key


def test_only_so_much_of_what_passes_through_is_remembered(tmp_path: Path) -> None:
    carrier = Carrier()
    sender = Sender(None, carrier.put, most=100)
    folders = [tmp_path / str(number) for number in range(4)]
    for place in folders:
        place.mkdir()
        (place / "model").write_bytes(place.name.encode() * 60)
    kept = sender.send(folders[0], keep=True)
    first, second = (sender.send(place, keep=False) for place in folders[1:3])
    assert sender.send(folders[2], keep=False) is second
    assert sender.send(folders[0]) is kept
    again = sender.send(folders[1], keep=False)
    assert again == Parcel(first.key, first.files, (3,))  # the same content, put anew


def test_what_was_found_damaged_is_sent_again(folder: Path, tmp_path: Path) -> None:
    sender = Sender(f"file://{tmp_path}/shared", Carrier().put)
    parcel = sender.send(folder)
    [stored] = (path for path in (tmp_path / "shared" / "objects").glob("*/*") if path.stat().st_size > 10_000)
    stored.write_bytes(b"x" * stored.stat().st_size)
    depot = Depot(tmp_path / "depot", Carrier().get)
    with pytest.raises(DamagedError):
        depot.fetch(parcel)
    assert content(depot.fetch(sender.send(folder, again=True))) == content(folder)


def test_only_what_dead_processes_of_this_machine_left_is_cleared(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = ray_node._machine()
    names = {f"{here}-{ended.pid}-a": False, f"{here}-{os.getpid()}-b": True, f"elsewhere-{ended.pid}-c": True}
    for name in names:
        (tmp_path / name).mkdir()
    ray_node._clear(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names


@pytest.mark.parametrize(("code", "message"), [("disk", "lost"), ("interrupted", "lost"), ("error", "result")])
def test_only_what_is_a_steps_own_doing_is_its_result(tmp_path: Path, code: str, message: str) -> None:
    failure = Failure.model_validate({"code": code, "reason": "because"})
    result = StepResult(
        key="k", kind="build", name="build", candidate="c", purpose="rung", fidelity=Fidelity(), status="failed", failure=failure,
        data="d", created="now",
    )  # fmt: skip
    (tmp_path / "000.json").write_text(result.model_dump_json())
    there = Job.model_construct(out=str(tmp_path))
    if message == "lost":
        with pytest.raises(StudyError, match="because"):
            list(ray_node._left(there, 0, None))
    else:
        assert [sent[0] for sent in ray_node._left(there, 0, None)] == ["result"]


def test_many_fetch_the_same_folder_at_once(folder: Path, tmp_path: Path) -> None:
    carrier = Carrier()
    parcel = Sender(None, carrier.put).send(folder)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(content(Depot(tmp_path / "depot", carrier.get).fetch(parcel))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content(folder)] * 8
    assert [path.name for path in (tmp_path / "depot").iterdir()] == [parcel.key]


def test_a_piece_that_changed_on_its_way_is_refused(folder: Path, tmp_path: Path) -> None:
    carrier = Carrier()
    parcel = Sender(None, carrier.put).send(folder)
    carrier.pieces[-1] = b"something else"
    with pytest.raises(StepError, match="changed on its way"):
        Depot(tmp_path / "depot", carrier.get).fetch(parcel)
    assert not any((tmp_path / "depot").iterdir())


def job(folder: Path, steps: list[StepPlan]) -> Job:
    return Job.model_construct(
        site="make", steps=tuple(steps), out=str(folder / "out"), store=str(folder / "store"), arrays=None
    )


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped", ""])
def test_a_node_cannot_write_outside_of_the_artefact(tmp_path: Path, name: str) -> None:
    arrivals = Arrivals(job(tmp_path, []), 0, None, lambda _: "", lambda: 0)
    with pytest.raises(StudyError, match="outside"):
        arrivals.take(("file", "key", name, b"x"))
    arrivals.close()
    assert not list(tmp_path.rglob("escaped"))


def test_an_artefact_that_changed_on_its_way_is_not_kept(tmp_path: Path) -> None:
    arrivals = Arrivals(job(tmp_path, []), 0, None, lambda _: "", lambda: 0)
    described = {
        "format": "fake", "task": "text-classification", "classes": ["a"], "inputs": [{"name": "text", "kind": "text"}],
        "files": [{"path": "model", "sha256": "0" * 64, "size": 1}],
    }  # fmt: skip
    arrivals.take(("file", "key", "model", b"x"))
    arrivals.take(("file", "key", "artifact.json", json.dumps(described).encode()))
    with pytest.raises(StudyError, match="changed on its way"):
        arrivals.take(("artifact", "key"))
    arrivals.close()
    assert not list((tmp_path / "store").iterdir())


def test_what_is_left_of_a_job_takes_along_what_its_build_found(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000.npz").write_bytes(b"found")
    steps = [StepPlan(key=name, kind="build" if name == "a" else "export", name=name) for name in "abc"]
    rest = rest_of(job(tmp_path, steps), 1, tmp_path)
    assert [step.key for step in rest.steps] == ["b", "c"]
    assert Path(str(rest.arrays)).read_bytes() == b"found"
    assert rest_of(job(tmp_path, steps[1:]), 1, tmp_path).arrays is None


def test_a_parcel_says_nothing_of_what_it_holds() -> None:
    assert "secret" not in repr(Parcel("key", (), ("secret",)))


def test_only_what_trains_together_has_another_key_for_it(frozen: Frozen) -> None:
    words = Words(zh="小", en="tiny")
    spec = Spec.model_validate(
        {"name": "t", "task": "text-classification", "data": {"file": "x.csv", "input": "text", "target": "label"}}
    )

    def key(family: str, processes: int, *, probe: bool = False) -> str:
        facts = Facts(
            data="d", classes=frozen.classes, inputs=frozen.inputs, language="en", calibrate=10, processes=processes
        )
        candidate = Candidate(family=family, variant=Variant(name="tiny", label=words), runtime="native", label=words)
        fidelity = Fidelity(fraction=0.0 if probe else 1.0, probe=probe)
        return _build(
            Trial(candidate=candidate, purpose="rung", fidelity=fidelity), spec, facts, plugin("models", family).traits
        ).key

    assert key("encoder", 2) != key("encoder", 1)
    assert key("encoder", 2, probe=True) == key("encoder", 1, probe=True)
    assert key("linear", 2) == key("linear", 1)
