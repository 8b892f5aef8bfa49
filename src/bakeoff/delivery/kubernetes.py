"""Kubernetes manifests of one bundle: what runs without anything but Kubernetes itself.

Built as documents and written as YAML, so that nothing is indented by hand. The pods meet the *restricted* profile of the Pod
Security Standards. ``rollout.py`` adds what takes a gateway, a canary or an operator.
"""

from __future__ import annotations

from typing import Any, Literal

import yaml

from bakeoff.delivery.container import DRAIN, SECRETS, STOP, USER, Sizing

Document = dict[str, Any]
Track = Literal["stable", "canary", "shadow"]
_NAME, _COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
PORT = 8000

_SETTINGS = """# The one file to change: where the image was pushed to, and which gateway the routes hang on.
# Change a copy of the folder kubernetes outside of the bundle: a bundle with a changed file is refused.
# Pin the image by what was pushed: put digest: sha256:… in the place of newTag.
"""
_KEYS = """# Keys come from the Secret {name}-keys; without it the pods wait. Nothing of it belongs into version control:
#   bakeoff keys add CLIENT --file api-keys.json
#   kubectl create secret generic {name}-keys --from-file=api-keys.json{more}
{endpoint}# External Secrets, Vault and the like fill the same Secret; kustomize's secretGenerator can too.
"""
_POLICY = """# Who may ask: pods of this namespace, namespaces labelled bakeoff-clients=true (the gateway's), and Prometheus.
# What the server may ask: {outside}.
"""
_SCALING = """# bakeoff_queue_seconds: how long requests wait, the worst of a minute; monitoring/prometheus-adapter.yaml makes it a pod's metric.
# Without an adapter the CPU alone adds replicas and none is taken away: use components/cpu-autoscaling then.
"""


def base(sizing: Sizing) -> dict[str, str]:
    """Return file name below ``kubernetes`` → YAML of what production consists of."""
    documents = {
        "deployment": deployment(sizing, "stable"),
        "service": service(sizing, "stable"),
        "hpa": _autoscaler(sizing),
        "pdb": budget(sizing, labels(sizing, "stable")),
        "networkpolicy": policy(sizing, labels(sizing)),
        "serviceaccount": account(sizing),
    }
    more = (" --from-file=verify.pem" if sizing.signed else "") + (
        " --from-file=bundle.key" if sizing.encrypted else ""
    )
    secret = f"#   kubectl create secret generic {sizing.name}-endpoint --from-literal=VARIABLE=KEY   (its name: model/artifact.json)\n"
    unsigned = "#   and --from-literal=BAKEOFF_ALLOW_ENDPOINT=URL in it: nobody signed this bundle, so the server asks no endpoint you do not name\n"
    endpoint = (secret if sizing.signed else secret + unsigned) if sizing.remote else ""
    heads = {
        "deployment": _KEYS.format(name=sizing.name, more=more, endpoint=endpoint),
        "hpa": _SCALING,
        "networkpolicy": admitted(sizing),
    }
    return {
        "kustomization.yaml": written(
            kustomization(resources=["base"], components=["components/settings"]), "# kubectl apply -k kubernetes\n"
        ),
        "components/settings/kustomization.yaml": written(_settings(sizing), _SETTINGS),
        "components/cpu-autoscaling/kustomization.yaml": written(_by_cpu()),
        "base/kustomization.yaml": written(kustomization(resources=[f"{name}.yaml" for name in documents])),
        **{f"base/{name}.yaml": written(document, heads.get(name, "")) for name, document in documents.items()},
    }


def admitted(sizing: Sizing) -> str:
    """Return the comment of a server's NetworkPolicy."""
    return _POLICY.format(outside="the endpoint of its model, over HTTPS" if sizing.remote else "nothing")


def written(document: Document, head: str = "") -> str:
    """Return a document as YAML in the order it was made, with comment lines before it."""
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def kustomization(*, component: bool = False, **fields: Any) -> Document:  # noqa: ANN401 - fields of kustomize
    """Return a Kustomization, or a Component, which several may use."""
    version, kind = ("v1alpha1", "Component") if component else ("v1beta1", "Kustomization")
    return {"apiVersion": f"kustomize.config.k8s.io/{version}", "kind": kind, **fields}


def patch(kind: str, path: str, value: Any) -> Document:  # noqa: ANN401 - a field of any kind
    """Return the patch that replaces one field in every object of a kind."""
    operations = [{"op": "replace", "path": path, "value": value}]
    return {"target": {"kind": kind}, "patch": yaml.safe_dump(operations, sort_keys=False)}


def title(sizing: Sizing, track: Track) -> str:
    """Return the name of a track's objects: the bundle's own for the stable one."""
    return sizing.name if track == "stable" else f"{sizing.name}-{track}"


def labels(sizing: Sizing, track: Track | None = None) -> dict[str, str]:
    """Return what selects the servers of a track, or of all of them."""
    found = {_NAME: sizing.name, _COMPONENT: "server"}
    return {**found, "track": track} if track else found


def metadata(sizing: Sizing, name: str, **extra: str) -> Document:
    """Return name and labels of an object."""
    own = {_NAME: sizing.name, "app.kubernetes.io/version": sizing.tag, "app.kubernetes.io/managed-by": "bakeoff"}
    return {"name": name, "labels": {**own, **extra}}


def service(sizing: Sizing, track: Track) -> Document:
    """Return the Service of a track."""
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(sizing, title(sizing, track), track=track),
        "spec": {
            "selector": labels(sizing, track),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}],
        },
    }  # fmt: skip


def deployment(sizing: Sizing, track: Track) -> Document:
    """Return the Deployment of a track: a single replica, or as many as the autoscaler says, whose number no manifest may reset."""
    alone = {} if track == "stable" else {"replicas": 1}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(sizing, title(sizing, track), track=track),
        "spec": {
            **alone,
            "selector": {"matchLabels": labels(sizing, track)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": {**labels(sizing, track), "app.kubernetes.io/version": sizing.tag},
                    "annotations": {
                        "prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics",
                    },
                },
                "spec": {
                    **pod(sizing),
                    "containers": [server(sizing)],
                    "topologySpreadConstraints": _spread(sizing, track),
                },
            },
        },
    }  # fmt: skip


def pod(sizing: Sizing) -> Document:
    """Return what every pod of ours has in common: no rights, no token, its keys and a small place to write."""
    return {
        "serviceAccountName": sizing.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN + STOP + 5,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "keys", "secret": {"secretName": f"{sizing.name}-keys", "defaultMode": 0o440}},
        ],
    }  # fmt: skip


def container(sizing: Sizing, name: str, spare: int = 0, **extra: Any) -> Document:  # noqa: ANN401 - fields of a container
    """Return a container of the bundle's image: without rights, nothing to write to but /tmp, what was measured plus ``spare`` MiB."""
    # the variable that holds the key of the model's endpoint
    endpoint = {"envFrom": [{"secretRef": {"name": f"{sizing.name}-endpoint"}}]} if sizing.remote else {}
    return {
        "name": name,
        "image": sizing.name,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": {"cpu": str(sizing.cpu), "memory": f"{sizing.request + spare}Mi"},
            "limits": {"memory": f"{sizing.limit + spare}Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "env": [{"name": variable, "value": value} for variable, value in sizing.environment.items()],
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod alone
            {"name": "keys", "mountPath": SECRETS, "readOnly": True},
        ],
        **endpoint,
        **extra,
    }  # fmt: skip


def server(sizing: Sizing, name: str = "serve") -> Document:
    """Return the container that serves, with its probes."""

    def probe(path: str, period: int, timeout: int, failures: int) -> Document:
        check = {"path": path, "port": "http"}
        return {"httpGet": check, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}

    # a pod is one replica: without a CPU limit the server would see, and use, the cores of the whole node
    arguments = ["--replicas", "1", "--drain-seconds", str(DRAIN), "--stop-seconds", str(STOP), "--public", "/metrics"]
    return container(
        sizing, name, args=arguments, ports=[{"name": "http", "containerPort": PORT}],
        startupProbe=probe("/healthz", 2, 2, 60), livenessProbe=probe("/healthz", 10, 3, 3),
        readinessProbe=probe("/readyz", 2, 2, 2),
    )  # fmt: skip


def _spread(sizing: Sizing, track: Track) -> list[Document]:
    """Return: over nodes and zones as evenly as there is room."""
    return [
        {
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels(sizing, track)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]  # fmt: skip


def account(sizing: Sizing) -> Document:
    """Return the identity of the pods, which may do nothing."""
    return {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(sizing, sizing.name),
        "automountServiceAccountToken": False,
    }  # fmt: skip


def _cpu() -> Document:
    target = {"type": "Utilization", "averageUtilization": 70}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _autoscaler(sizing: Sizing) -> Document:
    target = {"type": "AverageValue", "averageValue": f"{sizing.queued}m"}
    queue = {"type": "Pods", "pods": {"metric": {"name": "bakeoff_queue_seconds"}, "target": target}}
    return {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata(sizing, sizing.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": sizing.name},
            "minReplicas": sizing.replicas,
            "maxReplicas": max(4, sizing.replicas * 3),
            "metrics": [queue, _cpu()],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
            },
        },
    }  # fmt: skip


def _by_cpu() -> Document:
    """Return the component that leaves the autoscaler nothing but the CPU."""
    return kustomization(component=True, patches=[patch("HorizontalPodAutoscaler", "/spec/metrics", [_cpu()])])


def budget(sizing: Sizing, chosen: dict[str, str]) -> Document:
    """Return: of the pods with these labels one may be taken away at a time."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(sizing, sizing.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": chosen}},
    }  # fmt: skip


def policy(sizing: Sizing, chosen: dict[str, str]) -> Document:
    """Return who may ask the servers with these labels, and whom they may ask."""
    here: Document = {"podSelector": {}}
    gateway = {"namespaceSelector": {"matchLabels": {"bakeoff-clients": "true"}}}
    prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(sizing, sizing.name),
        "spec": {
            "podSelector": {"matchLabels": chosen},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [here, gateway, prometheus], "ports": [{"protocol": "TCP", "port": PORT}]}],
            "egress": outside(sizing),
        },
    }  # fmt: skip


def outside(sizing: Sizing) -> list[Document]:
    """Return what a pod may reach outside: nothing, or the endpoint of its model and the name service."""
    return [{"ports": [{"protocol": "TCP", "port": 443}]}, NAMES] if sizing.remote else []


NAMES: Document = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
"""Egress to the name service."""


def _settings(sizing: Sizing) -> Document:
    return kustomization(
        component=True,
        images=[{"name": sizing.name, "newName": sizing.name, "newTag": sizing.tag}],
        patches=[patch("HTTPRoute", "/spec/parentRefs", [{"name": "gateway"}])],
    )
