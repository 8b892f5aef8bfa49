"""How a new bundle takes over: a gate that tests the contract in the cluster, a canary, a shadow.

A canary or a shadow is the *new* bundle beside the running one, so its manifests stand alone: applying them leaves the stable
Deployment, and the image it runs, untouched. It gets traffic only when the second step of the canary is applied, after the gate.
"""

from __future__ import annotations

import math
from typing import Any

from bakeoff.delivery.container import SECRETS, Sizing
from bakeoff.delivery.kubernetes import (
    NAMES,
    PORT,
    Document,
    Track,
    container,
    deployment,
    kustomization,
    labels,
    metadata,
    outside,
    pod,
    service,
    title,
    written,
)

_SETTINGS = ["../../components/settings"]
_WEIGHT = 10
"""Percent of the requests that a canary gets, unless that is more than its one replica takes."""
_BROKEN = 3
"""Exit code of ``bakeoff verify`` and of ``bakeoff load --gate`` when a promise is broken: trying again would be cheating. A run that says
nothing, with a busy neighbour for instance, ends in another one and is tried again."""
_TRIES = 3
"""Runs of the gate at most."""
_BESIDE_LOAD = 3600
"""Seconds for all that the gate does but sending requests, tries included: images, verification, pauses between tries."""
_SPARE = 512
"""MiB that a test needs beside the model: the rows, the answers, the command line itself."""
_AUTHORIZATION = f"{SECRETS}-gate/authorization"

_CANARY = """# 1. kubectl apply -k kubernetes/overlays/canary           the new bundle beside the old one, without traffic; the gate runs
# 2. kubectl wait --for=condition=complete --timeout={minutes}m job/{job}
#    Go on only if that succeeds: a broken promise fails the Job, and the running bundle stays.
# 3. kubectl apply -k kubernetes/overlays/canary-live      {weight} % of the requests
# 4. kubectl apply -k kubernetes/overlays/production       all of them, then: kubectl delete -k kubernetes/overlays/canary
"""
_SHADOW = """# 1. kubectl apply -k kubernetes/overlays/shadow           the new bundle beside the old one, without traffic; the gate runs
# 2. kubectl wait --for=condition=complete --timeout={minutes}m job/{job}
#    Go on only if that succeeds: a broken promise fails the Job, and the running bundle stays.
# 3. kubectl apply -k kubernetes/overlays/shadow-live      it gets a copy of {weight} % of the requests, as many as its one replica takes;
#    its answers are thrown away, its metrics stay
# 4. kubectl apply -k kubernetes/overlays/production of the running bundle, then: kubectl delete -k kubernetes/overlays/shadow
"""
GATED = """# The contract as the gate, in the cluster: hashes, signature, parity and promises on this hardware, then the same over HTTP.
# Exit code 3 (a promise is broken) fails the Job at once, 4 (the run says nothing) is tried again. The key that it asks with comes from a Secret:
#   kubectl create secret generic {name}-gate --from-literal=authorization="Bearer KEY"
"""


def variants(sizing: Sizing) -> dict[str, str]:
    """Return file name below ``kubernetes`` → YAML of the overlays."""
    most = _share(sizing)
    weight = min(_WEIGHT, most)
    stable, canary = _backend(sizing, "stable", 100 - weight), _backend(sizing, "canary", weight)
    alone = {**stable, "weight": 100}
    mirror = {"backendRef": {"name": title(sizing, "shadow"), "port": 80}, "percent": most}
    return {
        **_routed("production", "../../base", _route(sizing, [alone])),
        **_beside(sizing, "canary", _CANARY, weight),
        **_routed("canary-live", "../canary", _route(sizing, [stable, canary])),
        **_beside(sizing, "shadow", _SHADOW, most),
        **_routed(
            "shadow-live",
            "../shadow",
            _route(sizing, [alone], filters=[{"type": "RequestMirror", "requestMirror": mirror}]),
        ),
    }


def _share(sizing: Sizing) -> int:
    """Return the percent of the peak's requests that one replica takes, rounded down: no autoscaler adds to a canary or a shadow."""
    return max(1, 100 // sizing.replicas)


def _routed(overlay: str, servers: str, route: Document) -> dict[str, str]:
    """Return the overlay that sends requests to what another one holds."""
    whole = kustomization(resources=[servers, "route.yaml"], components=_SETTINGS)
    folder = f"overlays/{overlay}"
    return {f"{folder}/kustomization.yaml": written(whole), f"{folder}/route.yaml": written(route)}


def _beside(sizing: Sizing, track: Track, head: str, weight: int) -> dict[str, str]:
    """Return the overlay of a server beside the stable one, with its gate."""
    folder = f"overlays/{track}"
    resources = ["deployment.yaml", "service.yaml", "gate.yaml", "gate-networkpolicy.yaml"]
    whole = kustomization(resources=resources, components=_SETTINGS)
    filled = head.format(job=_job_name(sizing, track), weight=weight, minutes=_minutes(sizing))
    return {
        f"{folder}/kustomization.yaml": written(whole, filled),
        f"{folder}/deployment.yaml": written(deployment(sizing, track)),
        f"{folder}/service.yaml": written(service(sizing, track)),
        f"{folder}/gate.yaml": written(_gate(sizing, track), GATED.format(name=sizing.name)),
        f"{folder}/gate-networkpolicy.yaml": written(gate_policy(sizing, track)),
    }


def _route(sizing: Sizing, backends: list[Document], **rule: Any) -> Document:  # noqa: ANN401 - fields of a rule
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata(sizing, sizing.name),
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{**rule, "backendRefs": backends}]},
    }  # fmt: skip


def _backend(sizing: Sizing, track: Track, weight: int) -> Document:
    return {"name": title(sizing, track), "port": 80, "weight": weight}


def _tests(sizing: Sizing, url: str) -> Document:
    """Return the pod that verifies the bundle where it will run, then loads a server of it."""
    common = pod(sizing)
    secret = {"secretName": f"{sizing.name}-gate", "defaultMode": 0o440}
    volumes = [*common["volumes"], {"name": "gate", "secret": secret}]
    header = f"Authorization: @{_AUTHORIZATION}"
    command = ["bakeoff", "load", url, "--gate", "--bundle", "/bundle", "--header", header]
    load = container(sizing, "load", spare=_SPARE, command=command)
    load["volumeMounts"].append({"name": "gate", "mountPath": f"{SECRETS}-gate", "readOnly": True})
    return {
        **common,
        "restartPolicy": "Never",
        "initContainers": [container(sizing, "verify", spare=_SPARE, command=["bakeoff", "verify", "/bundle"])],
        "containers": [load],
        "volumes": volumes,
    }


def job(sizing: Sizing, url: str, whose: dict[str, str]) -> Document:
    """Return the specification of the Job."""
    broken = {"operator": "In", "values": [_BROKEN]}
    return {
        "backoffLimit": _TRIES - 1,
        "activeDeadlineSeconds": 60 * _minutes(sizing),
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": broken}]},
        "template": {"metadata": {"labels": whose}, "spec": _tests(sizing, url)},
    }


def _minutes(sizing: Sizing) -> int:
    """Return how long the gate may take in all: every try as long as the contract lets it."""
    return math.ceil((_BESIDE_LOAD + _TRIES * sizing.gate) / 60)


def gate_labels(sizing: Sizing, track: str) -> dict[str, str]:
    """Return what selects the pods of a track's gate."""
    return {"app.kubernetes.io/name": sizing.name, "app.kubernetes.io/component": "gate", "track": track}


def _job_name(sizing: Sizing, track: Track) -> str:
    """Return a name per bundle, since a Job cannot be changed; at most 63 characters."""
    return f"{title(sizing, track)}-gate-{sizing.tag[:8]}"


def _gate(sizing: Sizing, track: Track) -> Document:
    spec = job(sizing, f"http://{title(sizing, track)}", gate_labels(sizing, track))
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(sizing, _job_name(sizing, track), track=track),
        "spec": {"ttlSecondsAfterFinished": 86400, **spec},
    }  # fmt: skip


def gate_policy(sizing: Sizing, track: str) -> Document:
    """Return: nobody asks the gate, and it asks the servers, the name service and what the model itself asks."""
    servers = {"to": [{"podSelector": {"matchLabels": labels(sizing)}}], "ports": [{"protocol": "TCP", "port": PORT}]}
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": metadata(sizing, f"{sizing.name}-{track}-gate", track=track),
        "spec": {
            "podSelector": {"matchLabels": gate_labels(sizing, track)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [servers, *(outside(sizing) or [NAMES])],
        },
    }  # fmt: skip
