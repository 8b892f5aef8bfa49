"""A lease on what a front deployed: it ends with the front's process, however that ends, and what was deployed goes with it.

The lease is an actor that belongs to the front's connection, so Ray ends it when that is gone; if the actor alone dies, Ray starts it again.
Every replica looks for it from time to time and has the application deleted when it is gone; a front that starts deletes applications that
have none. Does not know: what was deployed.
"""

from __future__ import annotations

import threading
import time
from typing import Any

PREFIX = "bakeoff-"
_NAMESPACE = "bakeoff"
_LOOKS = 2.0
"""Seconds between two looks."""
_MISSING = 2
"""Looks in a row that must find none."""


class _Lease:
    """An actor that is there."""

    def there(self) -> bool:
        """Answer."""
        return True


class Lease:
    """The right to have an application deployed.

    Args:
        name: of the application; begins with ``PREFIX``.

    """

    def __init__(self, name: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        import ray

        self._name, self._ray = name, ray
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = ray.remote  # whose types know no name
        made = remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(_Lease)
        self._actor = made.options(name=name, namespace=_NAMESPACE).remote()
        ray.get(self._actor.there.remote())

    def close(self) -> None:
        """Give it back."""
        self._ray.kill(self._actor)


def held(name: str) -> bool:
    """Whether the front that deployed the application still lives."""
    import ray

    try:
        ray.get_actor(name, namespace=_NAMESPACE)
    except ValueError:
        return False
    return True


def sweep(serve: Any) -> list[str]:  # noqa: ANN401 - the module, whose types say less than its documentation
    """Delete the applications of fronts that are gone; return their names."""
    gone = [name for name in serve.status().applications if name.startswith(PREFIX) and not held(name)]
    for name in gone:
        serve.delete(name)
    return gone


def watch(name: str) -> None:
    """Have the application deleted when its lease ends; called in every replica."""
    threading.Thread(target=_watch, args=(name,), name="lease", daemon=True).start()


def _watch(name: str) -> None:
    from ray.exceptions import RayError

    from ray import serve

    missed = 0
    while True:
        time.sleep(_LOOKS)
        try:
            missed = 0 if held(name) else missed + 1
            if missed >= _MISSING:
                serve.delete(name, _blocking=False)
        except (RayError, RuntimeError):  # the cluster does not answer: that says nothing about the front
            missed = 0
