"""Manifests for clusters with more on them: KServe, Argo Rollouts, and the Prometheus adapter that the autoscaler reads."""

from __future__ import annotations

from typing import Any

from bakeoff.delivery.container import Sizing
from bakeoff.delivery.kubernetes import (
    Document,
    account,
    admitted,
    budget,
    kustomization,
    labels,
    metadata,
    patch,
    pod,
    policy,
    server,
    service,
    title,
    written,
)
from bakeoff.delivery.rollout import GATED, gate_labels, gate_policy, job

_SETTINGS = ["../components/settings"]
_ADAPTER = """# Values for the Helm chart prometheus-adapter: makes the gauge of each pod a metric that the autoscaler can read.
"""
_KSERVE = """# KServe: kubectl apply -k kubernetes/kserve. Clients speak the Open Inference Protocol v2.
# Plain Deployments without Knative; who may ask, and how many pods may go away at a time, is as in base.
# For a canary use overlays/canary, or spec.canary of KServe 0.20.
"""
_ARGO = """# Argo Rollouts: kubectl apply -k kubernetes/argo. The Deployment stays the template; Argo takes its pods away once the Rollout's
# serve, and no manifest says a number that would bring them back. Of a new image one pod starts, the gate
# tests it, and only then does it get the requests, all at once; for a share of them use overlays/canary and canary-live.
"""


def operators(sizing: Sizing) -> dict[str, str]:
    """Return file name below ``kubernetes`` → YAML."""
    return {
        "monitoring/prometheus-adapter.yaml": written(_adapter(), _ADAPTER),
        **_kserve(sizing),
        **_argo(sizing),
    }


def _adapter() -> Document:
    rule = {
        "seriesQuery": 'bakeoff_queue_seconds{namespace!="",pod!=""}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"matches": "^bakeoff_queue_seconds$", "as": "bakeoff_queue_seconds"},
        "metricsQuery": "max by (<<.GroupBy>>) (max_over_time(<<.Series>>{<<.LabelMatchers>>}[1m]))",
    }
    return {"rules": {"custom": [rule]}}


def _kserve(sizing: Sizing) -> dict[str, str]:
    """Return the InferenceService, and for the pods that KServe makes of it what base has for its own."""
    chosen = {"serving.kserve.io/inferenceservice": sizing.name}  # KServe's own label, on every pod of the service
    files = {
        "inferenceservice": written(_inference_service(sizing)),
        "serviceaccount": written(account(sizing)),
        "pdb": written(budget(sizing, chosen)),
        "networkpolicy": written(policy(sizing, chosen), admitted(sizing)),
    }
    whole = kustomization(resources=[f"{name}.yaml" for name in files], components=_SETTINGS)
    return {
        "kserve/kustomization.yaml": written(whole, _KSERVE),
        **{f"kserve/{name}.yaml": text for name, text in files.items()},
    }


def _inference_service(sizing: Sizing) -> Document:
    serve = server(sizing, "kserve-container")
    serve["env"].append({"name": "PROTOCOL", "value": "v2"})
    predictor: dict[str, Any] = {
        "minReplicas": sizing.replicas, "maxReplicas": max(4, sizing.replicas * 3),
        **pod(sizing), "containers": [serve],
    }  # fmt: skip
    return {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {**metadata(sizing, sizing.name), "annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
        "spec": {"predictor": predictor},
    }  # fmt: skip


def _argo(sizing: Sizing) -> dict[str, str]:
    """Return the Rollout that takes the Deployment as its template, and its gate."""
    scaled = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": sizing.name}
    whole = kustomization(
        resources=["../base", "rollout.yaml", "analysistemplate.yaml", "service.yaml", "gate-networkpolicy.yaml"],
        components=_SETTINGS,
        patches=[patch("HorizontalPodAutoscaler", "/spec/scaleTargetRef", scaled)],
    )
    # every pod of a Rollout has the template's labels; the controller tells old from new by a label it adds to both selectors
    preview = service(sizing, "canary")
    preview["spec"]["selector"] = labels(sizing, "stable")
    return {
        "argo/kustomization.yaml": written(whole, _ARGO),
        "argo/rollout.yaml": written(_rollout(sizing)),
        "argo/analysistemplate.yaml": written(_analysis(sizing), GATED.format(name=sizing.name)),
        "argo/service.yaml": written(preview),
        "argo/gate-networkpolicy.yaml": written(gate_policy(sizing, "canary")),
    }


def _rollout(sizing: Sizing) -> Document:
    workload = {"apiVersion": "apps/v1", "kind": "Deployment", "name": sizing.name, "scaleDown": "onsuccess"}
    gated = {
        "activeService": sizing.name, "previewService": title(sizing, "canary"), "previewReplicaCount": 1,
        "autoPromotionEnabled": True, "prePromotionAnalysis": {"templates": [{"templateName": f"{sizing.name}-gate"}]},
    }  # fmt: skip
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata(sizing, sizing.name),
        "spec": {
            "selector": {"matchLabels": labels(sizing, "stable")},
            "workloadRef": workload,
            "strategy": {"blueGreen": gated},
        },
    }  # fmt: skip


def _analysis(sizing: Sizing) -> Document:
    spec = job(sizing, f"http://{title(sizing, 'canary')}", gate_labels(sizing, "canary"))
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": metadata(sizing, f"{sizing.name}-gate"),
        "spec": {"metrics": [{"name": "contract", "provider": {"job": {"spec": spec}}}]},
    }  # fmt: skip
