"""``bakeoff serve --ray`` on a real cluster: the same answers, from replicas that may die."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bakeoff.assets.cache import root
from bakeoff.delivery.sealing import Seal
from bakeoff.evaluation.launchers.parcels import Parcel
from bakeoff.runtimes import signing
from bakeoff.runtimes.keys import Keys
from bakeoff.schema import BundleError, UserError
from bakeoff.serving import engine, lease
from bakeoff.serving.app import App
from bakeoff.serving.computing import LostError
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import open_bundle
from bakeoff.serving.on_ray import Deployment, RayEngine, Replica, Replicas, Scaling, in_flight, public_text
from tests.delivery import making
from tests.ray.conftest import Nodes
from tests.serving.running import SRC, running

TEXTS = ["很好 干净", "很差 吵", "一般", "位置 好 早餐 好", "不会 再 来"]


@contextmanager
def on_ray(bundle: Path, address: str, *flags: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run the verb in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "bakeoff.cli",
        "serve",
        str(bundle),
        "--ray",
        "--address",
        address,
        "--port",
        "0",
        *flags,
    ]
    environment = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{SRC.parent}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert " at http://" in line, process.stderr.read()
        url = line.split(" at ")[1].split(" ")[0]
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def labels(client: httpx.Client) -> Any:
    """Ask; come again when told to, which is what happens while the only replica is started anew."""
    for _ in range(60):
        answer = client.post("/v1/predict", json={"rows": [{"text": text} for text in TEXTS]})
        if answer.status_code != 503:
            break
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.5)
    assert answer.status_code == 200, answer.text
    return answer.json()


def replicas_under_load(client: httpx.Client) -> int:
    """Keep more batches on their way than one replica is meant for; return the replicas, at the latest when there are two."""
    rows, over = [{"text": text} for text in TEXTS * 40], threading.Event()

    def ask() -> None:
        while not over.is_set():
            client.post("/v1/predict", json={"rows": rows})

    end, count = time.monotonic() + 300, 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        while count < 2 and time.monotonic() < end:
            time.sleep(0.2)
            count = client.get("/v1/status").json()["compute"]["replicas"]
        over.set()
    for one in asked:
        one.result()
    return int(count)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A signed bundle; its public key lies beside it, where no node looks."""
    signing.generate(tmp_path / "ours")
    signing.generate(tmp_path / "theirs")
    making.bundle(tmp_path, seal=Seal.given(str(tmp_path / "ours"), None))
    return tmp_path / "bundle"


@pytest.mark.slow
def test_same_answers_as_one_machine_also_after_a_replica_died(signed: Path, nodes: Nodes, tmp_path: Path) -> None:
    nodes.grow(2)
    with running(signed, tmp_path) as here:
        expected = labels(here.client)
    flags = ("--key", str(tmp_path / "ours.pub"), "--min-replicas", "1", "--max-replicas", "2")
    with on_ray(signed, nodes.address, *flags) as (process, client):
        assert client.get("/readyz").status_code == 200
        assert labels(client) == expected
        assert client.post("/v1/predict", json={"rows": [{"wrong": 1}]}).status_code == 422
        compute = client.get("/v1/status").json()["compute"]
        assert compute["mode"] == "ray"
        assert compute["replicas"] == 1

        [replica] = nodes.working("ServeReplica:bakeoff")
        replica.kill()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: labels(client), range(12))) == [expected] * 12

        with on_ray(signed, nodes.address, *flags[:2], "--max-replicas", "1"):  # of the same bundle
            both = nodes.working("ServeReplica:bakeoff")
            assert len(both) == 2
        end = time.monotonic() + 30  # that front was killed
        while len(left := nodes.working("ServeReplica:bakeoff")) > 1 and time.monotonic() < end:
            time.sleep(0.2)
        assert len(left) == 1
        assert labels(client) == expected

        assert replicas_under_load(client) == 2
        assert labels(client) == expected

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_replica_takes_the_bundle_its_front_opened_from_whom_it_trusts(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "node"))
    monkeypatch.setattr(lease, "watch", lambda _: None)  # there is no front, and no cluster to ask
    shutil.copytree(signed, root().parent / "nodes" / "depot" / "key")  # as if it had been fetched
    parcel, sha256 = Parcel("key"), open_bundle(signed, Keys()).sealed.sha256
    ours, theirs = (public_text(Keys(str(tmp_path / f"{name}.pub"))) for name in ("ours", "theirs"))
    _, shares = Replica(parcel, 1, sha256, ours, "bakeoff-test").predict([{"text": TEXTS[0]}])
    assert shares.shape == (1, 2)
    with pytest.raises(BundleError, match="another bundle"):
        Replica(parcel, 1, "0" * 64, ours, "bakeoff-test")
    with pytest.raises(BundleError, match="sign"):
        Replica(parcel, 1, sha256, theirs, "bakeoff-test")


class Overrun:
    """A handle of a deployment that takes nothing more."""

    predict = property(lambda self: self)

    def remote(self, rows: object) -> object:
        from ray.serve.exceptions import BackPressureError

        raise BackPressureError(num_queued_requests=9, max_queued_requests=9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Serve's own, when it is imported
def test_what_ray_serve_itself_refuses_is_to_be_tried_again() -> None:
    with pytest.raises(LostError, match="BackPressureError"):
        Replicas(Overrun(), 1.0).predict([{}])


class Dying:
    """A handle whose replicas die, each with two batches on its way."""

    predict = property(lambda self: self)

    def __init__(self) -> None:
        self.asked = 0

    def remote(self, rows: object) -> object:
        from ray.exceptions import ActorDiedError

        error = ActorDiedError()
        error.actor_id = f"replica {self.asked // 2}"
        self.asked += 1
        raise error


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_replicas_that_died_are_counted_once() -> None:
    handle, deployed = Dying(), Deployment("name", ours=False, lease=None)  # type: ignore[arg-type]
    for replicas in [Replicas(handle, 1.0, deployed.lost) for _ in range(2)] * 3:
        with pytest.raises(LostError, match="ActorDiedError"):
            replicas.predict([{}])
    assert deployed.restarts == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_front_whose_replicas_are_gone_is_not_ready(text_bundle: Path) -> None:
    service = engine.build(open_bundle(text_bundle), Limits(), engine.Computing()).service
    built = RayEngine(service, [Replicas(Overrun(), 1.0)], size=1)

    async def main() -> tuple[bool, int, bool]:
        app = App(service.served, service.limits, built)
        app.start()
        before, told = built.healthy, asyncio.get_running_loop().create_future()
        app.batcher.submit(
            [{"text": "x"}], time.perf_counter() + 60, lambda _, problem: told.set_result(problem.status)
        )
        status = await told
        app.stop()
        return before, status, built.healthy

    assert asyncio.run(main()) == (True, 503, False)


@pytest.mark.parametrize(
    ("travelled", "alone", "expected"), [(1.0, 1.0, 1), (1.05, 1.0, 1), (1.5, 1.0, 2), (9.0, 1.0, 4), (1.0, 0.0, 4)]
)
def test_batches_in_flight_follow_from_what_travel_costs(travelled: float, alone: float, expected: int) -> None:
    assert in_flight(travelled, alone) == expected


def test_fewer_replicas_at_most_than_at_least_are_refused() -> None:
    with pytest.raises(UserError, match="replicas"):
        Scaling(least=3, most=2).check()
