"""Every manifest against the published schemas, as files and as kustomize renders them; what the schemas do not say, asserted."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from bakeoff.delivery import container, kubernetes, operators, rollout
from bakeoff.serving.__main__ import parser
from tests.delivery import kustomize

Document = dict[str, Any]
CRDS = Path(__file__).parent / "crds"
SIZING = container.Sizing("reviews", "0123456789ab", "3.11", 2, 3e8, 3, latency=0.25, signed=True, encrypted=True)
LONGEST = container.Sizing(container.object_name("a" * 80, "t"), "0123456789ab", "3.11", 1, None, 2, remote=True)
OVERLAYS = {
    ".": {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"},
    "overlays/production": {"HTTPRoute"},
    "overlays/canary": {"Deployment", "Service", "Job", "NetworkPolicy"},
    "overlays/canary-live": {"HTTPRoute", "Job"},
    "overlays/shadow": {"Deployment", "Service", "Job", "NetworkPolicy"},
    "overlays/shadow-live": {"HTTPRoute", "Job"},
    "kserve": {"InferenceService", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"},
    "argo": {"Rollout", "AnalysisTemplate", "HorizontalPodAutoscaler", "Deployment"},
}


def load(text: str) -> Any:
    """Return the one document of a text."""
    return yaml.load(text, yaml.CSafeLoader)


@cache
def manifests(sizing: container.Sizing) -> dict[str, str]:
    """Return all files."""
    return kubernetes.base(sizing) | rollout.variants(sizing) | operators.operators(sizing)


FILES = manifests(SIZING)
RESOURCES = {
    name: load(text)
    for name, text in FILES.items()
    if not name.endswith("kustomization.yaml") and not name.startswith("monitoring/")
}


def check(document: Document) -> None:
    """Validate one resource against the newest schemas of Kubernetes, or against the definition of a custom one."""
    group, _, version = document["apiVersion"].rpartition("/")
    custom = CRDS / f"{document['kind'].lower()}-{group.split('.')[0]}-{version}.json"
    if custom.is_file():
        jsonschema.Draft202012Validator(json.loads(custom.read_text())).validate(document)
    else:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def pods(node: Any) -> Iterator[Document]:
    """Yield every specification of a pod in a document."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from pods(value)
    elif isinstance(node, list):
        for value in node:
            yield from pods(value)


def env(holder: Document) -> dict[str, str]:
    """Return the variables of a container."""
    return {variable["name"]: variable["value"] for variable in holder["env"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, written."""
    root = tmp_path_factory.mktemp("kubernetes")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@cache
def rendered(folder: Path, overlay: str) -> list[Document]:
    """Return what kustomize makes of an overlay, by our own account of it."""
    return kustomize.build(folder / overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_real_tool_makes_the_same_of_it(folder: Path, overlay: str) -> None:
    tool = next((found for found in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(found[0])), None)
    if tool is None:
        pytest.skip("neither kustomize nor kubectl is here; what it would make is tested all the same")
    done = subprocess.run([*tool, str(folder / overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def sorted_(documents: list[Document]) -> list[Document]:
        return sorted(documents, key=lambda found: (found["kind"], found["metadata"]["name"]))

    real = [found for found in yaml.load_all(done.stdout, yaml.CSafeLoader) if found]
    assert sorted_(real) == sorted_(rendered(folder, overlay))


@pytest.mark.parametrize("name", RESOURCES)
def test_every_manifest_meets_its_published_schema(name: str) -> None:
    check(RESOURCES[name])
    check(load(manifests(LONGEST)[name]))


@pytest.mark.parametrize("name", RESOURCES)
def test_the_schemas_refuse_what_does_not_exist(name: str) -> None:
    spoilt = json.loads(json.dumps(RESOURCES[name]))
    where = spoilt.get("spec", spoilt)
    if spoilt["kind"] == "AnalysisTemplate":
        where = spoilt["spec"]["metrics"][0]["provider"]["job"]["spec"]["template"]["spec"]["containers"][0]
    where["nonsense"] = 1
    with pytest.raises(jsonschema.ValidationError):
        check(spoilt)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_renders_every_overlay_and_the_result_is_valid(folder: Path, overlay: str) -> None:
    documents = rendered(folder, overlay)
    assert {found["kind"] for found in documents} >= OVERLAYS[overlay]
    identities = [(found["kind"], found["metadata"]["name"]) for found in documents]
    assert len(set(identities)) == len(identities)
    for document in documents:
        check(document)
        for pod in pods(document):
            images = {holder["image"] for holder in [*pod["containers"], *pod.get("initContainers", ())]}
            assert images == {SIZING.image}


def test_one_file_says_where_the_image_is_and_which_gateway_is_meant(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "changed")
    settings = tmp_path / "changed/components/settings/kustomization.yaml"
    document = load(settings.read_text())
    digest = "sha256:" + "a" * 64
    document["images"] = [{"name": "reviews", "newName": "registry.example.com/ml/reviews", "digest": digest}]
    document["patches"][0]["patch"] = yaml.safe_dump(
        [{"op": "replace", "path": "/spec/parentRefs", "value": [{"name": "public", "namespace": "edge"}]}]
    )
    settings.write_text(yaml.safe_dump(document))
    for overlay in OVERLAYS:
        for found in rendered(tmp_path / "changed", overlay):
            for pod in pods(found):
                images = {holder["image"] for holder in [*pod["containers"], *pod.get("initContainers", ())]}
                assert images == {f"registry.example.com/ml/reviews@{digest}"}, (overlay, found["kind"])
            if found["kind"] == "HTTPRoute":
                assert found["spec"]["parentRefs"] == [{"name": "public", "namespace": "edge"}]


def test_the_component_for_clusters_without_an_adapter_leaves_the_cpu(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "changed")
    path = tmp_path / "changed/kustomization.yaml"
    document = load(path.read_text())
    document["components"].append("components/cpu-autoscaling")
    path.write_text(yaml.safe_dump(document))
    scaler = next(found for found in rendered(tmp_path / "changed", ".") if found["kind"] == "HorizontalPodAutoscaler")
    check(scaler)
    assert [metric["type"] for metric in scaler["spec"]["metrics"]] == ["Resource"]


@pytest.mark.parametrize("overlay", ["overlays/canary", "overlays/shadow"])
def test_a_new_bundle_leaves_the_running_one_alone(folder: Path, overlay: str) -> None:
    def identities(which: str) -> set[tuple[str, str]]:
        return {(found["kind"], found["metadata"]["name"]) for found in rendered(folder, which)}

    production = identities("overlays/production")
    assert not identities(overlay) & production
    assert identities(f"{overlay}-live") & production == {("HTTPRoute", "reviews")}


def test_a_split_model_asks_for_the_cores_of_its_stages() -> None:
    files = manifests(dataclasses.replace(SIZING, stages=3))
    for name in ("base/deployment.yaml", "kserve/inferenceservice.yaml"):
        serve = next(pods(load(files[name])))["containers"][0]
        assert serve["resources"]["requests"]["cpu"] == str(3 * SIZING.threads)


@pytest.mark.parametrize("name", RESOURCES)
def test_every_pod_meets_the_restricted_profile(name: str) -> None:
    """Pod Security Standards, profile *restricted*, rule by rule."""
    for pod in pods(RESOURCES[name]):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {"emptyDir", "secret"}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == container.USER != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for holder in [*pod["containers"], *pod.get("initContainers", ())]:
            rights = holder["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["readOnlyRootFilesystem"] is True
            assert not any("hostPort" in port for port in holder.get("ports", ()))
            assert {"requests", "limits"} <= set(holder["resources"])


def test_the_service_reaches_the_pods_and_the_probes_the_server() -> None:
    spec = RESOURCES["base/deployment.yaml"]["spec"]
    serve = spec["template"]["spec"]["containers"][0]
    labels = spec["template"]["metadata"]["labels"]
    service = RESOURCES["base/service.yaml"]["spec"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] in {port["name"] for port in serve["ports"]}
    assert serve["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {serve[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/healthz"}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > container.DRAIN + container.STOP
    for name in ("pdb", "networkpolicy"):
        found = RESOURCES[f"base/{name}.yaml"]["spec"]
        chosen = found.get("selector", found.get("podSelector"))["matchLabels"]
        assert chosen.items() <= labels.items()


@pytest.mark.parametrize("overlay", ["overlays/production", "argo"])
def test_nothing_says_a_number_of_replicas_that_the_autoscaler_owns(folder: Path, overlay: str) -> None:
    documents = {(found["kind"], found["metadata"]["name"]): found for found in rendered(folder, overlay)}
    scaler = documents["HorizontalPodAutoscaler", "reviews"]["spec"]
    target = scaler["scaleTargetRef"]
    assert target["kind"] == ("Rollout" if overlay == "argo" else "Deployment")
    assert scaler["minReplicas"] == SIZING.replicas
    for kind in {target["kind"], "Deployment"}:  # the Rollout's template too: Argo has scaled it to zero
        assert "replicas" not in documents[kind, target["name"]]["spec"]


def test_the_pods_of_kserve_are_guarded_like_those_of_base(folder: Path) -> None:
    def by_kind(overlay: str) -> dict[str, Document]:
        return {found["kind"]: found for found in rendered(folder, overlay)}

    kserve, base = by_kind("kserve"), by_kind(".")
    own = {"matchLabels": {"serving.kserve.io/inferenceservice": kserve["InferenceService"]["metadata"]["name"]}}
    assert kserve["NetworkPolicy"]["spec"] == {**base["NetworkPolicy"]["spec"], "podSelector": own}
    assert kserve["PodDisruptionBudget"]["spec"] == {**base["PodDisruptionBudget"]["spec"], "selector": own}
    port = kserve["InferenceService"]["spec"]["predictor"]["containers"][0]["ports"][0]["containerPort"]
    assert kserve["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]


def test_the_server_understands_the_arguments() -> None:
    for name in ("base/deployment.yaml", "kserve/inferenceservice.yaml"):
        serve = next(pods(RESOURCES[name]))["containers"][0]
        assert parser().parse_args(["/bundle", *serve["args"]]).public == ["/metrics"]


def test_keys_are_files_of_a_secret_and_never_in_a_manifest() -> None:
    serve = RESOURCES["base/deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    assert env(serve) == {
        "BAKEOFF_API_KEYS": "/run/secrets/bakeoff/api-keys.json", "BAKEOFF_BUNDLE_KEY": "/run/secrets/bakeoff/bundle.key",
        "BAKEOFF_VERIFY_KEY": "/run/secrets/bakeoff/verify.pem",
    }  # fmt: skip
    mount = next(found for found in serve["volumeMounts"] if found["name"] == "keys")
    assert mount["readOnly"] is True
    assert all(Path(value).parent == Path(mount["mountPath"]) for value in env(serve).values())
    plain = load(manifests(LONGEST)["base/deployment.yaml"])["spec"]["template"]["spec"]["containers"][0]
    assert set(env(plain)) == {"BAKEOFF_API_KEYS"}
    assert not [name for name, found in RESOURCES.items() if found["kind"] == "Secret"]


def test_the_autoscaler_reads_the_queue_of_the_metric_that_the_adapter_makes() -> None:
    metric = RESOURCES["base/hpa.yaml"]["spec"]["metrics"][0]["pods"]
    assert metric["target"] == {"type": "AverageValue", "averageValue": "50m"}, "a fifth of the promised 0.25 s"
    rule = load(FILES["monitoring/prometheus-adapter.yaml"])["rules"]["custom"][0]
    assert rule["name"]["as"] == metric["metric"]["name"] == "bakeoff_queue_seconds"
    assert rule["seriesQuery"].startswith("bakeoff_queue_seconds{")


def test_a_server_may_ask_nothing_unless_its_model_is_elsewhere() -> None:
    assert RESOURCES["base/networkpolicy.yaml"]["spec"]["egress"] == []
    remote = load(manifests(LONGEST)["base/networkpolicy.yaml"])["spec"]
    assert {port["port"] for rule in remote["egress"] for port in rule["ports"]} == {443, 53}
    assert set(remote["policyTypes"]) == {"Ingress", "Egress"}
    gate = load(manifests(LONGEST)["overlays/canary/gate-networkpolicy.yaml"])["spec"]
    assert {port["port"] for rule in gate["egress"] for port in rule["ports"]} == {443, 53, 8000}
    pod = load(manifests(LONGEST)["base/deployment.yaml"])["spec"]["template"]["spec"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": f"{LONGEST.name}-endpoint"}}]
    assert not any(
        "envFrom" in holder for found in RESOURCES.values() for pod in pods(found) for holder in pod["containers"]
    )


def test_names_fit_and_comments_name_what_exists() -> None:
    for name, text in manifests(LONGEST).items():
        assert "&id0" not in text, f"{name}: repeated by reference"
        document = load(text)
        if "metadata" in document:
            assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", document["metadata"]["name"])
    for track in ("canary", "shadow"):
        head = FILES[f"overlays/{track}/kustomization.yaml"]
        assert f"job/{RESOURCES[f'overlays/{track}/gate.yaml']['metadata']['name']}\n" in head
        for named in re.findall(r"-k kubernetes/(\S+)", head):
            assert f"{named.rstrip(',')}/kustomization.yaml" in FILES
