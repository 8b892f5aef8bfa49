"""``bakeoff serve --ray``: the model in replicas on a Ray cluster, the front where the command runs.

The front stays what it is on one machine: routes, validation, limits, keys, back-pressure, draining. Behind its queue, instead of
threads, are replicas that Ray Serve places, restarts and scales with the number of batches in flight. Nothing of Ray listens for
requests: its own HTTP proxy is off. A node fetches the bundle once and checks signature and hashes like any server; that it is the
bundle the front opened, and whom to trust, comes with the deployment. The key to decrypt with never travels: each node has it.

The deployment lives as long as the front: when that is killed, the replicas notice and go (``lease``).

Does: deploy, compute there, scale, tidy up. Does not know: HTTP.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bakeoff.assets.cache import root
from bakeoff.evaluation.launchers.parcels import Depot, Parcel, Sender
from bakeoff.evaluation.launchers.ray_cluster import connect
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.errors import BundleError, UserError
from bakeoff.serving import curve, engine, lease
from bakeoff.serving.computing import Answer, LostError, Predictor
from bakeoff.serving.lease import Lease
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import Opened, Served, load, made_up, open_bundle
from bakeoff.serving.service import Service

if TYPE_CHECKING:
    from bakeoff.data.transforms.rule import Classifier
    from bakeoff.serving.batching import Batcher
    from bakeoff.serving.workers import Pool

_PEM = "-----BEGIN"
_MOST_ONGOING = 4
_STARTING = 300.0
"""Seconds the first replica may take: it may have to fetch the bundle."""
_UPSCALE, _DOWNSCALE = 5.0, 60.0
"""Seconds that more, or less, must be needed before replicas are added or taken away."""
_MEASURE = 1.0
"""Seconds on the clock spent on the batch curve, about: batches travel, so more of them are needed than at home."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How many replicas.

    Attributes:
        address: of the cluster; None starts one on this machine alone.
        least: replicas kept when nobody asks.
        most: replicas at most.
        threads: of each replica's model, and processors Ray lends it; the contract's when None.

    """

    address: str | None = None
    least: int = 1
    most: int = 4
    threads: int | None = None

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: fewer than one replica, or less at most than at least.

        """
        if not 1 <= self.least <= self.most:
            what = "replicas must be at least 1, and not fewer at most than at least"
            raise UserError(what, where="--min-replicas, --max-replicas", got=f"{self.least}, {self.most}")


class Replica:
    """One copy of the model, on some node.

    Args:
        parcel: the bundle.
        threads: of the model; the contract's when None.
        expected: SHA-256 of the manifest the front opened.
        public: the public keys it trusts (PEM); what the node's environment says when None.
        name: of the application, which ends with its lease.
        allowed: endpoints that the model may ask; see ``runtimes.endpoints``.

    """

    def __init__(
        self,
        parcel: Parcel,
        threads: int | None,
        expected: str,
        public: str | None,
        name: str,
        allowed: tuple[str, ...] = (),
    ) -> None:
        import ray

        lease.watch(name)
        place = root().parent / "nodes" / "depot"
        self._opened = open_bundle(Depot(place, ray.get).fetch(parcel), Keys.given(public, allowed=allowed), expected)
        self._service = Service(load(self._opened, threads))

    def predict(self, rows: Sequence[Any]) -> Answer:
        """Compute a batch."""
        return self._service.served.classifier.predict(rows)

    def seconds(self, batch: int) -> float:
        """Return what a batch takes here, travel not counted."""
        service = self._service
        found = curve.measure(service.served.classifier, service.reader, self._opened, most=batch, seconds=_MEASURE / 4)
        return found.row(batch) * batch


class Replicas:
    """A predictor that is a deployment: whichever replica is free computes.

    Args:
        handle: Ray Serve's.
        seconds: time a batch may take.
        lost: takes Ray's names of the replicas that were found dead.

    """

    def __init__(self, handle: Any, seconds: float, lost: set[str] | None = None) -> None:  # noqa: ANN401 - Ray's
        self._handle, self._seconds = handle, seconds
        self._lost = set() if lost is None else lost

    def predict(self, rows: Sequence[Any]) -> Answer:
        """Compute a batch in one of them.

        Raises:
            LostError: the replica died or was too slow; the next call goes to another.
            ValueError: the model failed.

        """
        return cast("Answer", self._asked("predict", rows))

    def alone(self, batch: int) -> float:
        """Return what a batch takes in a replica, travel not counted; raises like ``predict``."""
        return float(self._asked("seconds", batch))

    def _asked(self, what_for: str, given: object) -> Any:  # noqa: ANN401 - what the replica answers
        from ray.serve.exceptions import RayServeException

        import ray

        try:
            return getattr(self._handle, what_for).remote(given).result(timeout_s=self._seconds)
        except ray.exceptions.RayTaskError as error:
            message = f"the model failed in its replica: {type(error.cause).__name__}"
            raise ValueError(message) from None
        except (ray.exceptions.RayError, RayServeException, TimeoutError) as error:
            if isinstance(error, ray.exceptions.ActorDiedError):  # several batches may tell of the same one
                self._lost.add(str(error.actor_id))
            what = f"the replica that computed is gone ({type(error).__name__})"
            raise LostError(what) from None

    def close(self) -> None:
        """The deployment ends with the engine."""


@dataclass
class Deployment:
    """What was deployed, and how to take it away again."""

    name: str
    ours: bool
    lease: Lease
    handle: Any = field(default=None, repr=False)
    lost: set[str] = field(default_factory=set)

    @property
    def restarts(self) -> int:
        """Replicas found dead; Ray starts others in their place."""
        return len(self.lost)

    def close(self) -> None:
        """Take the replicas away; a cluster that was started here ends."""
        serve = _serve()
        serve.delete(self.name)
        self.lease.close()
        if self.ours:
            import ray

            serve.shutdown()
            ray.shutdown()


class RayEngine(engine.Engine):
    """An engine whose predictors are replicas of a deployment."""

    def status(self, batcher: Batcher) -> dict[str, Any]:
        """Return what ``/v1/status`` shows."""
        found = super().status(batcher)
        found["compute"] |= {"mode": "ray", "replicas": _running(cast("Deployment", self._pool).name)}
        return found


def build(opened: Opened, limits: Limits, scaling: Scaling) -> engine.Engine:
    """Deploy a bundle, measure it through the cluster, choose batch size and scaling from that.

    Raises:
        BundleError: the model does not load on a node.
        StudyError: there is no cluster at the address.
        UnavailableError: Ray is not installed.

    """
    scaling.check()
    ray, ours = connect(scaling.address)
    _serve().start(proxy_location="Disabled")
    lease.sweep(_serve())
    threads = scaling.threads or opened.contract.threads
    name = f"{lease.PREFIX}{opened.manifest.study}-{opened.sealed.sha256[:8]}-{secrets.token_hex(4)}"  # every front has its own
    deployed = Deployment(name, ours, Lease(name))
    try:
        parcel = Sender(None, ray.put).send(opened.root)
        deployed.handle = _deploy(name, opened, parcel, threads, scaling, limits, ongoing=1)
        first = Replicas(deployed.handle, _STARTING)
        service = _service(opened, limits, first)
        most = limits.batch or curve.MOST
        measured = curve.measure(first, service.reader, opened, most=most, seconds=_MEASURE, cpu=time.perf_counter)
        size = limits.batch or measured.batch(engine.longest_batch(service))
        ongoing = in_flight(measured.row(size) * size, first.alone(size))
        if ongoing > 1:
            deployed.handle = _deploy(name, opened, parcel, threads, scaling, limits, ongoing=ongoing)
    except BaseException as error:
        deployed.close()
        if isinstance(error, LostError | ValueError):
            what = "the model does not answer on the cluster"
            raise BundleError(what, where=str(opened.root), got=str(error)) from error
        raise
    one: Predictor = Replicas(deployed.handle, limits.request_seconds, deployed.lost)
    many = [one] * (scaling.most * ongoing)
    return RayEngine(service, many, mode="threads", size=size, measured=measured, pool=cast("Pool", deployed))


def in_flight(travelled: float, alone: float) -> int:
    """Return the batches that must be on their way to keep one replica busy: Little's law, at most 4.

    Args:
        travelled: seconds from sending a batch to its answer.
        alone: seconds of it that the replica computes.

    """
    return max(1, min(_MOST_ONGOING, math.ceil(travelled / max(alone, 1e-6) - 0.1)))


def _deploy(
    name: str, opened: Opened, parcel: Parcel, threads: int, scaling: Scaling, limits: Limits, *, ongoing: int
) -> Any:  # noqa: ANN401 - Ray's handle
    """Deploy; a deployment of the same name is replaced, replica by replica."""
    serve = _serve()
    deployment = serve.deployment(
        Replica, name="model", max_ongoing_requests=2 * ongoing,
        ray_actor_options={"num_cpus": threads}, graceful_shutdown_timeout_s=limits.stop_seconds,
        autoscaling_config={
            "min_replicas": scaling.least, "max_replicas": scaling.most, "target_ongoing_requests": ongoing,
            "upscale_delay_s": _UPSCALE, "downscale_delay_s": _DOWNSCALE,
        },
    )  # fmt: skip
    try:
        bound = deployment.bind(
            parcel, threads, opened.sealed.sha256, public_text(Keys.given()), name, opened.endpoints
        )
        return serve.run(bound, name=name, route_prefix=None)
    except RuntimeError as error:
        what = "the bundle cannot be deployed on the cluster"
        raise BundleError(what, where=str(opened.root), got=str(error)[-500:]) from error


def public_text(keys: Keys) -> str | None:
    """Return the public keys trusted as text, because nodes do not have this machine's files; None when none were given."""
    if keys.verify is None or keys.verify.startswith(_PEM):
        return keys.verify
    text = Path(keys.verify).read_text(encoding="utf-8")
    return text[text.find(_PEM) :]


def _service(opened: Opened, limits: Limits, predictor: Replicas) -> Service:
    """Return what validates and words; the model itself is elsewhere."""
    return Service(Served(opened, cast("Classifier", predictor), made_up(opened.artifact.inputs)), limits)


def _running(name: str) -> int:
    """Return the replicas that run now."""
    found = _serve().status().applications.get(name)
    states = found.deployments["model"].replica_states if found else {}
    return int(states.get("RUNNING", 0))


def _serve() -> Any:  # noqa: ANN401 - the module, whose types say less than its documentation
    from ray import serve

    return serve
