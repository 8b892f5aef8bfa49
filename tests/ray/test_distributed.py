"""Two processes train what one does: the same losses, the same weights, also when one of them is killed on the way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from bakeoff.data.frozen import Frozen  # noqa: E402
from bakeoff.data.transforms import network as net  # noqa: E402
from bakeoff.evaluation.launchers.ray import RayLauncher  # noqa: E402
from bakeoff.schema import Candidate, Fidelity, Spec, StepError, Strategy, Trial, Variant, Words  # noqa: E402
from bakeoff.training import checkpoint, distributed  # noqa: E402
from bakeoff.training import torch_loop as loop  # noqa: E402
from tests.evaluation.conftest import Laboratory  # noqa: E402
from tests.models import tiny  # noqa: E402
from tests.ray.conftest import Nodes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # its own settings, read by itself
GIVEN = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "max_length": 32, "class_weights": True, "patience": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_encoder(tmp_path_factory.mktemp("encoder"))


def network(folder: Path) -> net.TextNetwork:
    """Without dropout, whose draws differ between processes."""
    torch.manual_seed(0)
    net.set_threads(1)
    encoder = net.pretrained_encoder(folder)
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0  # type: ignore[union-attr]
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    made = net.TextNetwork(encoder, 2, pooling="mean", normalise=False, dropout=0.0)
    loop.initialise(made.head, "default")
    return made


def encoded(count: int, seed: int) -> loop.Encoded:
    found = tiny.rows(count, seed)
    number = tiny.tokenizer()["model"]["vocab"]
    return loop.Encoded([[0, *(number[sign] for sign in row["text"]), 2] for row in found.rows], found.labels)


def alone(folder: Path, rows: int, **changes: object) -> tuple[net.TextNetwork, loop.Loop]:
    made = network(folder)
    strategy = Strategy.model_validate({**GIVEN, **changes})
    return made, loop.Loop(made, encoded(rows, 1), encoded(40, 2), strategy, seed=0, pad=1)


def together(folder: Path, nodes: Nodes, rows: int, **changes: object) -> tuple[net.TextNetwork, loop.TrainingLog]:
    made = network(folder)
    log = distributed.fit(
        made, encoded(rows, 1), encoded(40, 2), Strategy.model_validate({**GIVEN, **changes}), seed=0, pad=1, min_steps=0,
        processes=distributed.Processes(2, 1, nodes.address),
    )  # fmt: skip
    return made, log


def furthest(one: net.TextNetwork, two: net.TextNetwork) -> float:
    theirs = two.state_dict()
    return max(float((value - theirs[name]).abs().max()) for name, value in one.state_dict().items())


@pytest.mark.parametrize("rows", [8, 7, 1])
def test_the_average_of_the_processes_gradients_is_that_of_the_whole_batch(
    folder: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DistributedDataParallel", lambda module: module)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor)
    batch = np.arange(rows)

    def gradient(group: loop.Group) -> tuple[dict[str, torch.Tensor], float]:
        made = network(folder)
        strategy = Strategy.model_validate(GIVEN)
        run = loop.Loop(made, encoded(20, 1), encoded(4, 2), strategy, seed=0, pad=1, group=group)
        loss, value = run._loss(batch)
        loss.backward()
        return {name: value.grad for name, value in run.learnt() if value.grad is not None}, value

    whole, value = gradient(loop.ALONE)
    parts = [gradient(loop.Group(rank, 2)) for rank in range(2)]
    assert sum(part for _, part in parts) == pytest.approx(value, rel=1e-5)
    for name, expected in whole.items():
        mean = (parts[0][0][name] + parts[1][0][name]) / 2
        assert torch.allclose(mean, expected, atol=1e-6, rtol=1e-4), name


def test_processes_stop_by_the_first_ones_loss_not_each_by_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DistributedDataParallel", lambda module: module)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, source: tensor.fill_(0.25 + source))
    strategy = Strategy.model_validate({**GIVEN, "patience": 1})
    run = loop.Loop(network(folder), encoded(20, 1), encoded(4, 2), strategy, seed=0, pad=1, group=loop.Group(1, 2))
    assert [run._evaluate(), run._evaluate()] == [False, True]  # the first process sees no progress
    assert run.log.calibrate_loss == [0.25, 0.25]


class Somewhere:
    """An actor that says where it is."""

    def node(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())


def test_checkpoints_are_kept_beside_whoever_asked_for_the_training(nodes: Nodes) -> None:
    nodes.grow(2)
    ray = distributed._connected(nodes.address)
    keepers = [distributed._beside(ray, Somewhere).remote() for _ in range(2)]
    assert set(ray.get([keeper.node.remote() for keeper in keepers])) == {ray.get_runtime_context().get_node_id()}
    for keeper in keepers:
        ray.kill(keeper)


def test_without_what_rays_training_needs_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(StepError, match=r"bakeoff\[ray\]") as caught:
        distributed._run(None, distributed.Processes(2))
    assert caught.value.code == "unavailable"


@pytest.mark.slow
def test_two_processes_train_what_one_does_though_one_of_them_is_killed(
    folder: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.grow(2)
    keepers: list[Any] = []
    killed: list[int] = []
    over = threading.Event()
    run = distributed._run

    def watched(keeper: Any, processes: distributed.Processes) -> Any:
        keepers.append(keeper)
        return run(keeper, processes)

    def kill() -> None:
        """Kill a process as soon as there is a checkpoint to go on from, however long this machine takes to start them."""
        import ray

        while not keepers or ray.get(keepers[0].kept.remote()) is None:
            if over.wait(0.02):
                return
        victim = nodes.working("RayTrainWorker")[0]
        victim.kill()
        killed.append(victim.pid)

    monkeypatch.setattr(distributed, "_run", watched)
    one, only = alone(folder, 161, epochs=12)  # the last batch has one row: nothing for the second process
    expected = only.run()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        two, log = together(folder, nodes, 161, epochs=12)
    finally:
        over.set()
        killer.join()
    assert killed
    assert log.steps == expected.steps
    assert log.stopped_early == expected.stopped_early
    assert log.train_loss == pytest.approx(expected.train_loss, abs=0.02)
    assert log.train_loss[:2] == pytest.approx(expected.train_loss[:2], abs=1e-4)
    held = encoded(100, 3)
    assert abs(net.run(one, held.ids, 1) - net.run(two, held.ids, 1)).max() < 0.05
    assert furthest(one, network(folder)) > 0.01  # something was learnt


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(folder: Path) -> None:
    whole, only = alone(folder, 80)
    expected = only.run()
    _, first = alone(folder, 80)
    kept: list[bytes] = []

    def stop() -> None:
        if first.log.steps == 13:  # in the second epoch
            kept.append(checkpoint.saved(first))
            raise KeyboardInterrupt

    first.after_step = stop
    with pytest.raises(KeyboardInterrupt):
        first.run()
    again, second = alone(folder, 80)
    checkpoint.restore(second, kept[0])
    assert second.log.steps == 13
    log = second.run()
    assert log.record() == expected.record()
    assert furthest(whole, again) == 0.0
    assert b"__reduce__" not in kept[0]
    assert kept[0][8:9] == b"{"


@pytest.mark.slow
def test_a_trial_of_an_encoder_is_trained_by_two_nodes(
    folder: Path,
    nodes: Nodes,
    tmp_path: Path,
    frozen: Frozen,
    make_spec: Callable[..., Spec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes.grow(2)
    monkeypatch.setattr("bakeoff.evaluation.bench.weights_of", lambda _: folder)
    words = Words(zh="小", en="tiny")
    strategy = Strategy(epochs=1, batch_size=16, max_length=32)
    variant = Variant(name="tiny", label=words, weights="tiny", strategy=strategy, params={"head_start": False})
    candidate = Candidate(family="encoder", variant=variant, runtime="pytorch", label=words)
    trial = Trial(candidate=candidate, purpose="rung", rung=0, fidelity=Fidelity(limit=60))
    laboratory = Laboratory(tmp_path / "study", make_spec(), frozen, launcher=lambda: RayLauncher(nodes.address, 2))
    trained: list[int] = []
    over = threading.Event()

    def look() -> None:
        """Note on how many nodes a process of the training runs."""
        while not over.wait(0.05):
            trained.append(sum(bool(nodes.working("RayTrainWorker", node)) for node in nodes.workers))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        laboratory.run([trial])
    finally:
        over.set()
        looking.join()
    assert max(trained) == 2
    built = next(row for row in laboratory.rows() if row.name == "build")
    assert built.status == "ok", built.failure
    assert built.artifact is not None
    assert built.artifact.meta["training"]["steps"] > 0
    assert [row.status for row in laboratory.rows()] == ["ok"] * 3
