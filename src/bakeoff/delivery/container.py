"""What runs a bundle elsewhere: the files of its image and of its cluster, sized from what was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bakeoff.delivery.locks import FILE, Lock

_MIB = 2**20
_STEP = 32
_HEADROOM = 1.5
_WITHOUT_FIGURE = 512
_QUEUED = 0.2
"""Share of the promised latency that a request may spend waiting before replicas are added."""
_QUEUED_WITHOUT_PROMISE = 0.05

USER = 10001
DRAIN, STOP = 10, 30
"""Seconds: readiness is withdrawn and requests still come; then what was accepted is answered."""
SECRETS = "/run/secrets/bakeoff"
API_KEYS, VERIFY_KEY, BUNDLE_KEY = f"{SECRETS}/api-keys.json", f"{SECRETS}/verify.pem", f"{SECRETS}/bundle.key"


@dataclass(frozen=True)
class Sizing:
    """What one replica gets, and what it has to be given.

    Attributes:
        name: DNS-1123 name of every Kubernetes object.
        tag: image tag, from the artefact's content.
        python: minor version of the interpreter the contract was measured with.
        threads: threads of the serving process, and of each stage of a split model.
        memory: resident bytes, measured or added up; None when nothing was measured.
        replicas: processes needed at the peak, at least two so that one may go away.
        latency: promised seconds; None when none was promised.
        remote: whether the model asks an endpoint outside.
        signed: whether the signature is to be checked at start.
        encrypted: whether the bundle needs a key to be read.
        stages: processes that compute at the same time, more than one of a split model.
        gate: seconds for which the gate sends requests at most.

    """

    name: str
    tag: str
    python: str
    threads: int
    memory: float | None
    replicas: int
    latency: float | None = None
    remote: bool = False
    signed: bool = False
    encrypted: bool = False
    stages: int = 1
    gate: float = 0.0

    @property
    def cpu(self) -> int:
        """Cores asked for."""
        return self.threads * self.stages

    @property
    def request(self) -> int:
        """MiB asked for: what was measured, rounded up."""
        measured = self.memory / _MIB if self.memory else _WITHOUT_FIGURE / _HEADROOM
        return max(_STEP, math.ceil(measured * 1.1 / _STEP) * _STEP)

    @property
    def limit(self) -> int:
        """MiB allowed: half as much again, for batches larger than the trial's single requests."""
        return math.ceil(self.request * _HEADROOM / _STEP) * _STEP

    @property
    def queued(self) -> int:
        """Milliseconds of waiting above which replicas are added."""
        return max(1, round(1e3 * (self.latency * _QUEUED if self.latency else _QUEUED_WITHOUT_PROMISE)))

    @property
    def image(self) -> str:
        """Name and tag of the image."""
        return f"{self.name}:{self.tag}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that name the files of keys inside the container."""
        found = {"BAKEOFF_API_KEYS": API_KEYS}
        if self.signed:
            found["BAKEOFF_VERIFY_KEY"] = VERIFY_KEY
        if self.encrypted:
            found["BAKEOFF_BUNDLE_KEY"] = BUNDLE_KEY
        return found


def object_name(study: str, tag: str) -> str:
    """Return a DNS-1123 label made of the study's name, or of the tag when nothing of the name can be used."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")[:40].strip("-")
    return cleaned if cleaned and cleaned[0].isalpha() else f"model-{cleaned or tag}"


def texts(sizing: Sizing, pins: Mapping[str, str], lock: Lock) -> dict[str, str]:
    """Return path in the bundle → content of everything that builds the image and runs it.

    Args:
        sizing: what one replica gets.
        pins: distribution → version the contract was measured with.
        lock: every distribution of the image with its hashes, or what no hash is known of.

    """
    from bakeoff.delivery import dockerfile, kubernetes, operators, rollout

    manifests = kubernetes.base(sizing) | rollout.variants(sizing) | operators.operators(sizing)
    return {
        "Dockerfile": dockerfile.dockerfile(sizing, pins, lock.unknown),
        ".dockerignore": dockerfile.IGNORED,
        **({FILE: lock.text} if lock.text else {}),
        **{f"kubernetes/{name}": text for name, text in manifests.items()},
    }
