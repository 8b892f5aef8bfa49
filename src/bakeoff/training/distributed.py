"""Fine-tuning in several processes on a Ray cluster: PyTorch's DistributedDataParallel (gloo), started and restarted by Ray Train.

Every process gets the same network, rows and seed, takes its share of each batch, and averages gradients with the others. Checkpoints
are safetensors in an actor beside whoever asked for the training, so that the nodes need no disk in common; when a process dies, all
start again from the last one. Heavy: imports PyTorch; Ray with the first call.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from bakeoff.data.transforms import network as net
from bakeoff.schema.candidate import Strategy
from bakeoff.schema.errors import StepError
from bakeoff.training import checkpoint, ray_local
from bakeoff.training.torch_loop import Encoded, Group, Loop, TrainingLog, freeze

_RESTARTS = 3
_CHECKPOINTS = 8
"""Checkpoints of a run, about."""
_CONFIG = "config.json"


@dataclass(frozen=True)
class Processes:
    """Who trains.

    Args:
        count: processes.
        threads: of each, and processors Ray lends it.
        cluster: address of the Ray cluster; None: whatever is connected, else one on this machine alone.

    """

    count: int
    threads: int = 1
    cluster: str | None = None


def fit(
    network: net.TextNetwork, train: Encoded, calibrate: Encoded, strategy: Strategy,
    *, seed: int, pad: int, min_steps: int, processes: Processes,
) -> TrainingLog:  # fmt: skip
    """Train ``network`` in place, as ``torch_loop.Loop`` would alone.

    Raises:
        StepError: 'non_finite' loss; 'error' when processes died again and again; 'interrupted' when the keeper of the checkpoints did;
            'unavailable' without Ray, or without what its training needs.

    """
    ray = _connected(processes.cluster)
    keeper = _beside(ray, Keeper).remote(
        _task(network, train, calibrate, strategy, seed, pad, min_steps, processes.threads)
    )
    try:
        log, failure = _run(keeper, processes)
        if failure is not None:
            raise StepError(**failure)
        weights = load(ray.get(keeper.finished.remote()))
    except ray.exceptions.RayActorError as error:
        what = "the process that kept the checkpoints was lost"
        raise StepError("interrupted", what, zh="保存检查点的进程丢失了") from error
    finally:
        ray.kill(keeper)
    with torch.no_grad():
        own = network.state_dict()
        for name, value in weights.items():
            own[name].copy_(value)
    network.eval()
    return TrainingLog(**log)


def _beside(ray: Any, cls: type) -> Any:  # noqa: ANN401 - Ray's module, Ray's class of actors
    """Return a class of actors that live on this node: they are lost with whoever asks for the training, and not before."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(cls)


class Keeper:
    """An actor that holds what the processes need, and what they want kept.

    Args:
        task: what is to be trained, and how.

    """

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._checkpoint: bytes | None = None
        self._finished: bytes = b""

    def task(self) -> dict[str, Any]:
        """Return what is to be trained."""
        return self._task

    def keep(self, data: bytes) -> None:
        """Keep a checkpoint in place of the last one."""
        self._checkpoint = data

    def kept(self) -> bytes | None:
        """Return the last checkpoint, None when there is none."""
        return self._checkpoint

    def finish(self, data: bytes) -> None:
        """Take the trained weights."""
        self._finished = data

    def finished(self) -> bytes:
        """Return the trained weights."""
        return self._finished


def work(given: dict[str, Any]) -> dict[str, Any]:
    """Train in one process; runs in every one of Ray Train's workers. Rank 0 keeps checkpoints and hands the weights over."""
    import ray
    from ray import train as ray_train

    keeper = given["keeper"]
    task = ray.get(keeper.task.remote())
    context: Any = ray_train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size())
    strategy = Strategy.model_validate_json(task["strategy"])
    net.set_threads(task["threads"])
    network = _network(task)
    freeze(network, strategy.freeze)
    train, calibrate = (Encoded(ids, labels) for ids, labels in (task["train"], task["calibrate"]))

    def after_step() -> None:
        if group.rank == 0 and loop.log.steps % every == 0:
            ray.get(keeper.keep.remote(checkpoint.saved(loop)))

    loop = Loop(
        network,
        train,
        calibrate,
        strategy,
        seed=task["seed"],
        pad=task["pad"],
        min_steps=task["min_steps"],
        group=group,
    )
    loop.after_step = after_step
    every = max(1, loop.total // _CHECKPOINTS)
    kept = ray.get(keeper.kept.remote())
    if kept is not None:
        checkpoint.restore(loop, kept)
    try:
        log = loop.run()
    except StepError as error:  # every process sees the same loss, so all end here: another try would end here too
        return {"failure": {"code": error.code, "what": error.what, "try_": error.try_}, "log": {}}
    if group.rank == 0:
        ray.get(keeper.finish.remote(save({name: value.detach().contiguous() for name, value in loop.learnt()})))
    return {"failure": None, "log": vars(log)}


def _run(keeper: Any, processes: Processes) -> tuple[dict[str, Any], dict[str, Any] | None]:  # noqa: ANN401 - Ray's handle
    import ray

    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError
    except ImportError as error:
        what = f"Ray's training cannot be loaded ({error})"
        hint, zh = "pip install 'bakeoff[ray]'", f"无法加载 Ray 的训练组件（{error}）"
        raise StepError("unavailable", what, zh=zh, try_=hint) from error
    with tempfile.TemporaryDirectory(prefix="bakeoff-ddp-") as folder:
        function: Any = work  # declared without a value to return, which is read from the result all the same
        trainer = TorchTrainer(
            function, train_loop_config={"keeper": keeper}, torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(
                num_workers=processes.count, resources_per_worker={"CPU": processes.threads}, placement_strategy="SPREAD"
            ),
            run_config=RunConfig(name="ddp", storage_path=folder, failure_config=FailureConfig(max_failures=_RESTARTS)),
        )  # fmt: skip
        try:
            found: Any = trainer.fit()
        except TrainingFailedError as error:
            ray.get(keeper.finished.remote())  # raises when the keeper was lost: then that is why
            what = f"the training processes failed {_RESTARTS + 1} times: {str(error).strip().splitlines()[-1][:300]}"
            raise StepError("error", what, zh=f"训练进程先后失败了 {_RESTARTS + 1} 次") from error
    returned = found.return_value
    return returned["log"], returned["failure"]


def _task(
    network: net.TextNetwork, train: Encoded, calibrate: Encoded, strategy: Strategy, seed: int, pad: int, min_steps: int, threads: int
) -> dict[str, Any]:  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bakeoff-ddp-") as folder:
        net.save(network, Path(folder))
        files = {name: (Path(folder) / name).read_bytes() for name in (_CONFIG, net.WEIGHTS)}
    return {
        "files": files, "meta": {"pooling": network.pooling, "normalise": network.normalise}, "classes": network.head.out_features,
        "dropout": network.dropout.p, "train": ([list(ids) for ids in train.ids], train.labels),
        "calibrate": ([list(ids) for ids in calibrate.ids], calibrate.labels), "strategy": strategy.model_dump_json(),
        "seed": seed, "pad": pad, "min_steps": min_steps, "threads": threads,
    }  # fmt: skip


def _network(task: dict[str, Any]) -> net.TextNetwork:
    with tempfile.TemporaryDirectory(prefix="bakeoff-ddp-") as folder:
        for name, content in task["files"].items():
            (Path(folder) / name).write_bytes(content)
        network = net.load(Path(folder), task["meta"], task["classes"])
    network.dropout.p = task["dropout"]
    return network


def _connected(cluster: str | None) -> Any:  # noqa: ANN401 - the module ray
    try:
        ray = ray_local.imported(starting=cluster is None)
    except ImportError as error:
        what = "training in several processes needs Ray, which is not installed"
        raise StepError(
            "unavailable", what, zh="多进程训练需要 Ray，但尚未安装", try_="pip install 'bakeoff[ray]'"
        ) from error
    if not ray.is_initialized():
        if cluster is None:
            ray_local.start(ray)
        else:
            ray.init(address=cluster, **ray_local.QUIET)
    return ray
