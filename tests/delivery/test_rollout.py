"""A canary, a shadow and the gate before them: what they get, how long it may take, and where the guide's recipe ends."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest

from bakeoff.delivery import rollout
from bakeoff.loadgen.gate import spans
from bakeoff.schema.base import Words
from bakeoff.schema.contract import Contract, Promise
from bakeoff.schema.measurement import Measurement
from tests.delivery.test_kubernetes import RESOURCES, SIZING, load
from tests.docs.pages import ROOT


def test_the_canary_gets_its_share_and_the_shadow_a_copy() -> None:
    rules = {
        name: RESOURCES[f"overlays/{name}/route.yaml"]["spec"]["rules"]
        for name in ("production", "canary-live", "shadow-live")
    }
    weights = {name: {to["name"]: to["weight"] for to in found[0]["backendRefs"]} for name, found in rules.items()}
    assert weights == {
        "production": {"reviews": 100}, "canary-live": {"reviews": 90, "reviews-canary": 10}, "shadow-live": {"reviews": 100},
    }  # fmt: skip
    assert "filters" not in rules["canary-live"][0]
    mirror = rules["shadow-live"][0]["filters"][0]
    assert mirror["type"] == "RequestMirror"
    assert mirror["requestMirror"]["backendRef"]["name"] == "reviews-shadow"


@pytest.mark.parametrize(("replicas", "weight", "percent"), [(2, 10, 50), (3, 10, 33), (25, 4, 4), (400, 1, 1)])
def test_one_replica_beside_the_others_gets_no_more_than_its_share(replicas: int, weight: int, percent: int) -> None:
    files = rollout.variants(dataclasses.replace(SIZING, replicas=replicas))
    for track in ("canary", "shadow"):
        assert load(files[f"overlays/{track}/deployment.yaml"])["spec"]["replicas"] == 1
    live = load(files["overlays/canary-live/route.yaml"])["spec"]["rules"][0]
    assert [to["weight"] for to in live["backendRefs"]] == [100 - weight, weight]
    mirror = load(files["overlays/shadow-live/route.yaml"])["spec"]["rules"][0]["filters"][0]["requestMirror"]
    assert mirror["percent"] == percent
    assert f" {weight} % of the requests" in files["overlays/canary/kustomization.yaml"]
    assert f" {percent} % of the requests" in files["overlays/shadow/kustomization.yaml"]


@pytest.mark.parametrize(
    "name", ["overlays/canary/gate.yaml", "overlays/shadow/gate.yaml", "argo/analysistemplate.yaml"]
)
def test_the_gate_verifies_the_bundle_in_its_own_image_then_asks_the_new_server(name: str) -> None:
    document = RESOURCES[name]
    job = document["spec"] if document["kind"] == "Job" else document["spec"]["metrics"][0]["provider"]["job"]["spec"]
    pod = job["template"]["spec"]
    assert [holder["command"] for holder in pod["initContainers"]] == [["bakeoff", "verify", "/bundle"]]
    asks = pod["containers"][0]
    track = "shadow" if "shadow" in name else "canary"
    assert asks["command"][:4] == ["bakeoff", "load", f"http://reviews-{track}", "--gate"]
    assert asks["command"][4:6] == ["--bundle", "/bundle"]
    assert pod["restartPolicy"] == "Never"
    assert job["podFailurePolicy"]["rules"] == [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]
    assert job["backoffLimit"] > 0, "what says nothing (exit code 4) is tried again"
    header = asks["command"][asks["command"].index("--header") + 1].partition("@")[2]
    mounted = {mount["name"]: mount["mountPath"] for mount in asks["volumeMounts"]}
    assert header == f"{mounted['gate']}/authorization"


@pytest.mark.parametrize(("promises", "least"), [({}, 600), ({"throughput": 0.2, "latency_p99": 1.0}, 4590)])
def test_the_gate_may_take_as_long_as_the_contract_lets_it(promises: dict[str, float], least: float) -> None:
    """A p99 needs 918 requests: at a promised 0.2 a second that is 4590 s, and there are three tries."""
    clauses = tuple(
        Promise(name=name, direction="max", limit=limit, unit="s", trial=Measurement(name=name, value=limit, unit="s"))
        for name, limit in promises.items()
    )
    contract = Contract(
        candidate="c",
        label=Words(zh="c", en="c"),
        task="t",
        metric="m",
        confidence=0.95,
        threads=1,
        promises=clauses,
        rows=200,
    )
    longest = sum(spans(contract, contract.rows))
    assert longest >= least
    files = rollout.variants(dataclasses.replace(SIZING, gate=longest))
    job = load(files["overlays/canary/gate.yaml"])["spec"]
    assert job["activeDeadlineSeconds"] >= (job["backoffLimit"] + 1) * longest
    waits = re.search(r"--timeout=(\d+)m", files["overlays/canary/kustomization.yaml"])
    assert waits
    assert 60 * int(waits[1]) == job["activeDeadlineSeconds"]


def test_the_gates_network_policy_selects_the_gate_and_reaches_the_server() -> None:
    for track in ("canary", "shadow"):
        gate, policy = (RESOURCES[f"overlays/{track}/{name}.yaml"] for name in ("gate", "gate-networkpolicy"))
        assert policy["spec"]["podSelector"]["matchLabels"] == gate["spec"]["template"]["metadata"]["labels"]
        reached = policy["spec"]["egress"][0]["to"][0]["podSelector"]["matchLabels"]
        server = RESOURCES[f"overlays/{track}/deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
        assert reached.items() <= server.items()
        stable = RESOURCES["base/deployment.yaml"]["spec"]["selector"]["matchLabels"]
        assert not stable.items() <= server.items()


KUBECTL = """#!/bin/sh
# kubectl of a cluster in which the Job of the gate ends in the condition $ENDS at the second look.
echo "$*" >>"$CALLS"
case "$1 $*" in
    wait*condition=complete*) [ "$ENDS" = Complete ] ;;
    get*) [ "$(grep -c '^get' "$CALLS")" -lt 2 ] || echo "FailureTarget $ENDS" ;;
esac
"""


@pytest.mark.parametrize("page", ["deploy.md", "deploy.zh.md"])
@pytest.mark.parametrize("ends", ["Complete", "Failed"])
def test_the_guides_recipe_ends_where_the_gate_fails(tmp_path: Path, page: str, ends: str) -> None:
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    recipe = next(block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "overlays/canary-live" in block)
    for name, content in (("kubectl", KUBECTL), ("sleep", "#!/bin/sh\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "ENDS": ends}
    done = subprocess.run(["sh", "-c", recipe], env=environment, check=False, timeout=30)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "apply -k kubernetes/overlays/canary" in calls
    assert ("apply -k kubernetes/overlays/canary-live" in calls) is (ends == "Complete")
    assert "apply -k kubernetes/overlays/production" not in calls, "that is another day's decision"
    assert (done.returncode == 0) is (ends == "Complete")
