"""Stages of a split model on the nodes of a Ray cluster, each on a node of its own where there are enough.

Ray places the stages, moves them when a node is lost and carries each one's files to its node, once; micro-batches go from
stage to stage over sockets of their own (``runtimes.shards.wire``): a hop of 230 kB was measured to cost 0.2 ms of CPU that way and 2.5 ms
through Ray, which is what a whole stage of a small encoder takes for a row.

Does: place, find, move. Does not know: HTTP, what the stages compute.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bakeoff.assets.cache import root
from bakeoff.evaluation.launchers.parcels import Depot, Parcel, Sender
from bakeoff.evaluation.launchers.ray_cluster import connect
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.plan import ShardPlan, Stage, read_plan
from bakeoff.runtimes.shards.predictor import ShardedPredictor
from bakeoff.runtimes.shards.stage import load, serve
from bakeoff.runtimes.shards.wire import Address
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError, UserError

_PLACING = 120.0
"""Seconds that stages may wait for a node; a node that was lost may come back."""
_ASKING = 0.5


class StageActor:
    """One stage on some node.

    Args:
        parcel: the folder with the stage's own files.
        stage: its description, as JSON.
        threads: of one run.
        secret: the pipeline's.

    """

    def __init__(self, parcel: Parcel, stage: str, threads: int, secret: bytes) -> None:
        import ray

        described = Stage.model_validate_json(stage)
        folder = Depot(root().parent / "nodes" / "depot", ray.get).fetch(parcel)
        run = load(described, [folder / Path(entry.path).name for entry in described.files], threads)
        here: Any = ray.util  # without types
        self._listener = wire.listen(here.get_node_ip_address())
        threading.Thread(target=serve, args=(self._listener, secret, run), daemon=True).start()

    def address(self) -> Address:
        """Return where it listens."""
        host, port, *_ = self._listener.getsockname()
        return str(host), int(port)

    def node(self) -> str:
        """Return Ray's name of its node."""
        import ray

        return str(ray.get_runtime_context().get_node_id())


class Actors:
    """Stages as actors of a cluster; see ``runtimes.shards.local.Placement``.

    Args:
        plan: of the model.
        directory: its artefact.
        threads: of each stage, and processors Ray lends it.
        address: of the cluster; None starts one on this machine alone.

    Raises:
        StepError: the cluster has no room for the stages ('unavailable').
        StudyError: no cluster answers.
        UserError: the bundle is encrypted.

    """

    def __init__(self, plan: ShardPlan, directory: Path, threads: int, address: str | None = None) -> None:
        if any((directory / stage.files[0].path).is_symlink() for stage in plan.stages):
            what = (
                "an encrypted bundle is decrypted in this machine's memory only, so its stages cannot go to other nodes"
            )
            raise UserError(
                what, try_="--shards local, or ship without --encrypt to disks that are encrypted themselves"
            )
        self._ray, self._ours = connect(address)
        self._group: Any = None
        try:
            self.secret, self.host = secrets.token_bytes(32), str(self._ray.util.get_node_ip_address())
            sender = Sender(None, self._ray.put)
            self._made = [
                (sender.send((directory / stage.files[0].path).parent), stage.model_dump_json(), threads, self.secret)
                for stage in plan.stages
            ]
            self._group = self._room(len(plan.stages), threads)
            self._actors = [self._start(number) for number in range(len(plan.stages))]
        except BaseException:
            self.close()
            raise

    def _room(self, stages: int, threads: int) -> Any:  # noqa: ANN401 - Ray's
        """Reserve a place for every stage, on different nodes where there are enough."""
        able = [row for row in self._ray.nodes() if row["Alive"] and row["Resources"].get("CPU", 0) >= threads]
        strategy = "STRICT_SPREAD" if len(able) >= stages else "SPREAD"
        group = self._ray.util.placement_group([{"CPU": threads}] * stages, strategy=strategy)
        if not group.wait(_PLACING):
            self._ray.util.remove_placement_group(group)
            what = "the cluster has no room for the stages"
            raise StepError("unavailable", what, allowed=f"{stages} times {threads} free processors", try_="ray status")
        return group

    def _start(self, number: int) -> Any:  # noqa: ANN401 - Ray's
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        place = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=number)
        actor = self._ray.remote(num_cpus=self._made[number][2], max_restarts=-1, max_task_retries=-1)(StageActor)
        return actor.options(scheduling_strategy=place).remote(*self._made[number])

    def addresses(self) -> list[Address]:
        """Return where each stage listens; one that was lost is waited for while Ray starts it elsewhere.

        Raises:
            StepError: a stage does not start ('error'), or finds no node in time ('crash').

        """
        end = time.monotonic() + _PLACING
        while True:
            try:
                asked = [actor.address.remote() for actor in self._actors]
                return [(str(host), int(port)) for host, port in self._ray.get(asked, timeout=_PLACING)]
            except (self._ray.exceptions.ActorUnavailableError, self._ray.exceptions.NodeDiedError):
                if time.monotonic() > end:
                    raise StepError("crash", "a stage found no node in time", try_="ray status") from None
                time.sleep(_ASKING)
            except self._ray.exceptions.GetTimeoutError:
                raise StepError("crash", "a stage found no node in time", try_="ray status") from None
            except self._ray.exceptions.RayError as error:
                what = f"a stage does not start: {str(error).strip().splitlines()[-1][:300]}"
                raise StepError("error", what) from error

    def nodes(self) -> list[str]:
        """Return the node of each stage."""
        return [str(name) for name in self._ray.get([actor.node.remote() for actor in self._actors], timeout=_PLACING)]

    def kill(self) -> None:
        """End every stage; Ray starts them again."""
        for actor in self._actors:
            self._ray.kill(actor, no_restart=False)

    def close(self) -> None:
        """Give the places back; a cluster that was started here ends."""
        for actor in getattr(self, "_actors", []):
            self._ray.kill(actor)
        if self._group is not None:
            self._ray.util.remove_placement_group(self._group)
        if self._ours:
            self._ray.shutdown()


def loader(where: str, address: str | None = None) -> Callable[[Artifact, Path, str, int], Predictor]:
    """Return what loads a split model with its stages in the named place.

    Args:
        where: ``local`` (processes of this machine) or ``ray``.
        address: of the Ray cluster.

    """

    def open_(artifact: Artifact, directory: Path, runtime: str, threads: int) -> Predictor:
        from bakeoff.runtimes.loading import load_predictor

        if runtime != "sharded":
            what = "the model of this bundle was not split"
            raise UserError(what, where="--shards", got=runtime, try_="bakeoff ship STUDY -o BUNDLE --shards N")
        if where == "local":
            return load_predictor(artifact, directory, runtime, threads)
        plan = read_plan(artifact, directory)
        placement = Actors(plan, directory, threads, address)
        try:
            return ShardedPredictor(artifact, directory, plan, placement)
        except BaseException:
            placement.close()
            raise

    return open_
