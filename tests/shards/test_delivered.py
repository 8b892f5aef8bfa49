"""A split model in a bundle: shipped, verified, served, encrypted, spoilt."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from bakeoff.data.examples import Examples
from bakeoff.data.transforms.rule import Classifier
from bakeoff.delivery import verify
from bakeoff.delivery.sealing import Seal
from bakeoff.delivery.shards import Split
from bakeoff.runtimes.keys import Keys
from bakeoff.runtimes.loading import load_predictor, read_artifact
from bakeoff.schema import BundleError, UserError
from bakeoff.serving.model import load, open_bundle
from bakeoff.serving.shards import loader
from tests.delivery import making as delivering
from tests.serving.running import Running, running
from tests.shards import making


@pytest.fixture(scope="module")
def bundle(whole: Path, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The split model with what the *whole* one answered as contract rows."""
    root = tmp_path_factory.mktemp("bundle")
    _ship(root, whole, split)
    return root / "bundle"


def _ship(root: Path, whole: Path, split: Split, **changes: Any) -> None:
    artifact = read_artifact(whole)
    predictor = load_predictor(artifact, whole, "onnxruntime", 1)
    expected = Classifier(predictor, artifact).predict(making.ROWS)
    predictor.close()
    chosen = making.candidate()
    delivering.ship_(
        root, decision=delivering.decision(chosen, delivering.METRICS), candidate=chosen, artifact_dir=split.directory,
        contract_rows=Examples(making.ROWS, expected[0]), expected=expected, **changes,
    )  # fmt: skip


def test_verify_finds_the_answers_of_the_whole_model(bundle: Path) -> None:
    found = verify(bundle, quick=True)
    assert found.same_labels == found.rows == len(making.ROWS)
    assert found.largest_drift is not None
    assert found.largest_drift <= 1e-5
    assert open_bundle(bundle).manifest.runtime == "sharded"


def test_nothing_of_speed_or_memory_is_promised_as_measured(bundle: Path) -> None:
    """The trial measured the model in one piece: what it answers is the same, how fast and in how much memory is not known."""
    opened = open_bundle(bundle)
    trial = {promise.name: promise.trial for promise in opened.contract.promises}
    assert opened.manifest.measured_as == "onnx"
    assert trial["macro_f1"].value == delivering.METRICS["macro_f1"].value
    assert {"latency_p95", "memory"} <= set(trial)
    for name, found in trial.items():
        assert name == "macro_f1" or (found.value, found.validity) == (None, "refused")
    lines = (bundle / "README.md").read_text(encoding="utf-8").splitlines()
    latency = next(line for line in lines if line.startswith("| 95th percentile of latency"))
    assert latency.endswith("not measured (n = 0) |")


def test_a_pod_has_room_for_the_front_and_every_stage(bundle: Path, split: Split) -> None:
    manifest = yaml.safe_load((bundle / "kubernetes/base/deployment.yaml").read_text(encoding="utf-8"))
    asked = manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert asked["cpu"] == str(2 * open_bundle(bundle).contract.threads)
    stages = sum(stage.measured_memory for stage in split.plan.stages)
    assert int(asked["memory"].removesuffix("Mi")) * 2**20 > stages + 3 * (
        delivering.METRICS["memory"].value - split.plan.whole_memory
    )


def test_a_server_answers_with_it(bundle: Path, whole: Path, split: Split, tmp_path: Path) -> None:
    expected = making.answers(whole)[:8]
    classes = read_artifact(whole).classes
    shutil.copytree(bundle, tmp_path / "bundle")
    with running(tmp_path / "bundle", tmp_path) as server:
        answer = server.client.post("/v1/predict", json={"rows": list(making.ROWS[:8])})
        assert answer.status_code == 200, answer.text
        status = server.client.get("/v1/status").json()
        _lose_and_find_a_file(server, tmp_path / "bundle/model/shards/1/model.onnx.data")
    labels = [one["label"] for one in answer.json()["predictions"]]
    assert labels == [classes[at] for at in expected.argmax(axis=1)]
    assert status["compute"]["mode"] == "threads"
    assert status["compute"]["replicas"] == 3, "enough batches at once to keep two stages busy"
    assert status["pipeline"]["healthy"]
    assert [stage["weights_bytes"] for stage in status["pipeline"]["stages"]] == [
        stage.weights for stage in split.plan.stages
    ]


def _lose_and_find_a_file(server: Running, path: Path) -> None:
    """A stage that cannot be started again takes the server out of the load balancer until it can."""

    def readiness(wanted: int) -> None:
        end = time.monotonic() + 60
        while server.client.get("/readyz").status_code != wanted:
            assert time.monotonic() < end
            time.sleep(0.05)

    readiness(200)
    path.rename(path.with_suffix(".gone"))
    for stage in psutil.Process(server.process.pid).children():
        stage.kill()
    readiness(503)
    assert server.client.get("/healthz").status_code == 200
    assert server.metric("bakeoff_ready") == 0
    assert not server.client.get("/v1/status").json()["pipeline"]["healthy"]
    assert server.client.post("/v1/predict", json={"rows": list(making.ROWS[:1])}).status_code >= 500
    path.with_suffix(".gone").rename(path)
    readiness(200)
    assert server.client.post("/v1/predict", json={"rows": list(making.ROWS[:1])}).status_code == 200


def test_an_encrypted_one_is_opened_from_memory(whole: Path, split: Split, tmp_path: Path) -> None:
    secret = bytes(range(32))
    key = tmp_path / "key"
    key.write_text(secret.hex(), encoding="ascii")
    _ship(tmp_path, whole, split, seal=Seal.given(None, str(key), None))
    assert not list((tmp_path / "bundle/model").rglob("model.onnx.data")), "nothing readable is on the disk"
    opened = open_bundle(tmp_path / "bundle", Keys.given(None, str(key)))
    served = load(opened)
    try:
        found = served.classifier.predictor.predict_proba(making.ROWS)
    finally:
        served.classifier.close()
    np.testing.assert_allclose(found, making.answers(whole), atol=1e-5)


def test_a_spoilt_stage_is_refused_before_anything_starts(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    path = tmp_path / "bundle/model/shards/1/model.onnx.data"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"shards/1/model\.onnx\.data"):
        open_bundle(tmp_path / "bundle")


def test_stages_are_asked_for_of_a_split_model_only(whole: Path) -> None:
    with pytest.raises(UserError, match="was not split"):
        loader("local")(read_artifact(whole), whole, "onnxruntime", 1)
