"""A Ray cluster as the launcher sees it: its nodes, what they are, and which of them may time."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bakeoff
from bakeoff.evaluation.environment import environment_key
from bakeoff.schema.errors import StudyError, UnavailableError
from bakeoff.schema.trial import Environment
from bakeoff.training import ray_local

MEASURING = "bakeoff_measuring"
"""Custom resource that sets nodes apart for measuring: ``ray start --resources='{"bakeoff_measuring": 1}'``."""
_KNOCK = 10.0
"""Seconds the head may take to accept a connection."""
_DESCRIBING = 120.0
"""Seconds a node may take to describe itself; starting Python there is part of it."""


@dataclass(frozen=True)
class Node:
    """A living node with processors to lend.

    Args:
        id: Ray's name of it.
        cpus: processors that Ray may lend.
        memory: bytes that Ray may lend.
        reserved: whether it was set apart for measuring.
        host: what it is, with the threads of a serving process.

    """

    id: str
    cpus: float
    memory: float
    reserved: bool
    host: Environment


class Cluster:
    """The connection.

    Args:
        address: ``auto`` for the cluster this machine is a node of, ``HOST:PORT`` of its head; None starts one on this machine alone.
        threads: of a serving process.

    """

    def __init__(self, address: str | None, threads: int) -> None:
        self.ray, self._ours = connect(address)
        self._threads = threads
        self._guard = threading.Lock()
        self._known: dict[str, Environment | None] = {}
        self.refused: list[str] = []

    def close(self) -> None:
        """Leave the cluster if this object joined it; one that was started here ends."""
        if self._ours:
            self.ray.shutdown()

    def nodes(self) -> list[Node]:
        """Return the nodes that live now, by name."""
        with self._guard:
            alive = {
                str(row["NodeID"]): row["Resources"]
                for row in self.ray.nodes()
                if row["Alive"] and row["Resources"].get("CPU", 0) >= 1
            }
            self._describe([name for name in alive if name not in self._known])
            return [
                Node(name, got["CPU"], got.get("memory", 0.0), MEASURING in got, place)
                for name, got in sorted(alive.items())
                if (place := self._known.get(name)) is not None
            ]

    def _describe(self, names: Sequence[str]) -> None:
        """Ask nodes what they are; those with another version of this package are not used."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from bakeoff.evaluation.launchers.ray_node import describe

        task = self.ray.remote(num_cpus=0, max_retries=0)(describe)
        asked = {
            name: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote(
                self._threads
            )
            for name in names
        }
        for name, reference in asked.items():
            self._known[name] = self._answer(name, reference)

    def _answer(self, name: str, reference: Any) -> Environment | None:  # noqa: ANN401 - Ray's
        try:
            found = self.ray.get(reference, timeout=_DESCRIBING)
        except self.ray.exceptions.RayError as error:
            self.refused.append(f"{name[:8]}: {str(error).strip().splitlines()[-1][:200]}")
            return None
        if found["bakeoff"] != bakeoff.__version__:
            self.refused.append(f"{name[:8]}: bakeoff {found['bakeoff']}, here {bakeoff.__version__}")
            return None
        return Environment.model_validate_json(found["host"])


def connect(address: str | None) -> tuple[Any, bool]:
    """Connect to a cluster, or start one on this machine, guarded by a token; return the module and whether this call did it.

    Raises:
        UnavailableError: Ray is not installed, or would start without tokens.
        StudyError: there is no cluster at this address, or the address is one of Ray's client.

    """
    if address is not None and address.startswith("ray://"):
        what = "Ray's client cannot pass results on as they come"
        hint = "join the cluster instead: ray start --address=HEAD:6379 --num-cpus=0, then --address auto"
        raise StudyError(what, where="--address", got=address, try_=hint)
    try:
        ray = ray_local.imported(starting=address is None and not os.environ.get("RAY_ADDRESS"))
    except ImportError as error:
        what = "Ray is not installed"
        raise UnavailableError(what, try_="pip install 'bakeoff[ray]'") from error
    if ray.is_initialized():
        return ray, False
    _knock(address)
    try:
        if address is None and not os.environ.get("RAY_ADDRESS"):
            ray_local.start(ray)
        else:
            ray.init(address=address, **ray_local.QUIET)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _silent(address, error) from error
    return ray, True


def _knock(address: str | None) -> None:
    """Find out whether anything listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
    except OSError as error:
        raise _silent(address, error) from error


def _silent(address: str | None, error: BaseException) -> StudyError:
    what = f"no Ray cluster answers ({str(error).strip().splitlines()[0][:200]})"
    hint = "ray status on a node of it; the same RAY_AUTH_TOKEN here as there"
    return StudyError(what, where="--address", got=address, try_=hint)


def choose_place(nodes: Sequence[Node], measured: Sequence[Environment]) -> Environment | None:
    """Return the kind of machine that is measured on: one kind for a whole study, so that no two are ever compared by their clocks.

    Nodes set apart for measuring come first, then what the study was measured on before, then the kind there is most of, then the larger.
    """
    candidates = [node for node in nodes if node.reserved] or list(nodes)
    if not candidates:
        return None
    kinds = [node.host for node in candidates]
    return max(kinds, key=lambda kind: (kind in measured, kinds.count(kind), kind.cores, environment_key(kind)))


def measuring_nodes(nodes: Sequence[Node], place: Environment) -> list[Node]:
    """Return the nodes that may measure: of this kind, and set apart for it if any is."""
    same = [node for node in nodes if node.host == place]
    return [node for node in same if node.reserved] or same
