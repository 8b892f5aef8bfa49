"""What the server says of itself: metrics, OpenAPI, the page, the contract, the Open Inference Protocol."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from bakeoff.serving.model import open_bundle
from tests.serving.running import Running

JSON = {"content-type": "application/json"}


def test_metrics_count_requests_latency_batches_and_labels(mixed: Running) -> None:
    before = {name: mixed.metric(name) for name in ("bakeoff_request_seconds_count", "bakeoff_predictions_total")}
    mixed.client.post("/v1/predict", json={"rows": [{"age": 1}, {"age": 2}]})
    mixed.client.post("/v1/predict", content=b"x", headers=JSON)
    answer = mixed.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    requests = {(s.labels["route"], s.labels["status"]): s.value for s in families["bakeoff_requests"].samples}
    assert requests[("/v1/predict", "200")] >= 1
    assert requests[("/v1/predict", "400")] >= 1
    assert mixed.metric("bakeoff_request_seconds_count") == before["bakeoff_request_seconds_count"] + 1, (
        "of answers only"
    )
    assert mixed.metric("bakeoff_predictions_total") == before["bakeoff_predictions_total"] + 2
    for name in ("bakeoff_batch_rows", "bakeoff_queue_rows", "bakeoff_inflight_requests", "bakeoff_model_info"):
        assert name.removesuffix("_info") in families or name in families
    assert mixed.metric("bakeoff_ready") == 1


def test_unknown_paths_share_one_label_so_that_nobody_can_flood_the_metrics(texts: Running) -> None:
    for number in range(5):
        texts.client.get(f"/scan/{number}")
    assert "/scan/" not in texts.client.get("/metrics").text


def test_the_openapi_document_is_valid_and_describes_what_is_answered(texts: Running, mixed: Running) -> None:
    for server, good in ((texts, {"texts": ["a"]}), (mixed, {"rows": [{"age": 1.0}]})):
        document = server.client.get("/openapi.json").json()
        validate(document)
        schemas = document["components"]["schemas"]
        check(good, "PredictRequest", schemas)
        check(server.client.post("/v1/predict", json=good).json(), "PredictResponse", schemas)
        check(server.client.post("/v1/predict", json={"rows": 1}).json(), "Error", schemas)
        with pytest.raises(jsonschema.ValidationError):
            check({"rows": []}, "PredictRequest", schemas)


def check(instance: Any, name: str, schemas: dict[str, Any]) -> None:
    """Validate ``instance`` against a schema of the document."""
    jsonschema.validate(instance, {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})


def test_every_path_in_the_document_exists(texts: Running) -> None:
    document = texts.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            assert texts.client.request(method, path).status_code not in {404, 405}, (method, path)


def test_the_page_loads_nothing_from_anywhere(mixed: Running) -> None:
    answer = mixed.client.get("/docs")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", answer.text)
    for column in ("age", "city", "note"):
        assert f'name="{column}"' in answer.text
    assert mixed.client.get("/").text == answer.text


def test_the_contract_is_the_bundles(texts: Running, text_bundle: Path) -> None:
    assert texts.client.get("/v1/contract").json() == json.loads((text_bundle / "contract.json").read_text())


def test_v2_metadata_and_health(texts: Running, text_bundle: Path) -> None:
    client = texts.client
    assert client.get("/v2").json()["name"] == "bakeoff"
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    model = client.get("/v2/models/reviews").json()
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in model["outputs"]] == ["label", "probabilities"]
    assert model["versions"] == [open_bundle(text_bundle).version]
    assert client.get("/v2/models/reviews/ready").json() == {"ready": True}


def infer(server: Running, document: Any) -> Any:
    """Post an inference request."""
    return server.client.post("/v2/models/reviews/infer", json=document)


def tensor(name: str = "text", data: Any = ("很好 满意", "失望"), **changes: Any) -> dict[str, Any]:
    """Return an input tensor."""
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": list(data), **changes}


def test_v2_infer_answers_as_v1_does(texts: Running) -> None:
    answer = infer(texts, {"id": "abc", "inputs": [tensor()]}).json()
    plain = texts.client.post("/v1/predict", json={"texts": ["很好 满意", "失望"]}).json()["predictions"]
    label, shares = answer["outputs"]
    assert (answer["model_name"], answer["id"]) == ("reviews", "abc")
    assert (label["datatype"], label["shape"], label["data"]) == ("BYTES", [2], [found["label"] for found in plain])
    assert (shares["datatype"], shares["shape"]) == ("FP32", [2, 2])
    assert shares["parameters"]["classes"] == "bad,good"
    expected = [found["probabilities"][name] for found in plain for name in ("bad", "good")]
    assert shares["data"] == pytest.approx(expected, abs=1e-6)


def test_v2_accepts_columns_of_one_and_the_versioned_path_and_picks_outputs(texts: Running) -> None:
    nested = tensor(data=[["很好"], ["失望"]], shape=[2, 1])
    version = texts.client.get("/v2/models/reviews").json()["versions"][0]
    answer = texts.client.post(
        f"/v2/models/reviews/versions/{version}/infer", json={"inputs": [nested], "outputs": [{"name": "label"}]}
    )
    assert answer.status_code == 200
    assert [output["name"] for output in answer.json()["outputs"]] == ["label"]


def test_v2_mixed_columns_with_missing_values(mixed: Running) -> None:
    inputs = [
        tensor("age", [1, 2.5, None], datatype="FP64"), tensor("city", ["a", None, "c"]), tensor("note", ["x", "y", "z"]),
    ]  # fmt: skip
    assert infer(mixed, {"inputs": inputs}).status_code == 200


@pytest.mark.parametrize(
    "document",
    [
        {}, {"inputs": []}, {"inputs": {}}, {"inputs": ["a"]}, {"inputs": [{}]}, {"inputs": [tensor("other")]},
        {"inputs": [tensor(shape=[3])]}, {"inputs": [tensor(shape=[])]}, {"inputs": [tensor(shape=[1, 2])]},
        {"inputs": [tensor(shape=["2"])]}, {"inputs": [tensor(shape=[-2])]}, {"inputs": [tensor(shape=[True, 1])]},
        {"inputs": [tensor(datatype="FP64")]}, {"inputs": [tensor(datatype=None)]}, {"inputs": [{**tensor(), "data": "ab"}]},
        {"inputs": [tensor(), tensor()]}, {"inputs": [tensor(extra=1)]}, {"inputs": [tensor()], "outputs": [{"name": "x"}]},
        {"inputs": [tensor()], "outputs": "label"}, {"inputs": [tensor()], "id": 5}, {"inputs": [tensor()], "x": 1},
    ],
)  # fmt: skip
def test_v2_errors_are_one_string(texts: Running, document: Any) -> None:
    answer = infer(texts, document)
    assert answer.status_code == 400, answer.text
    assert isinstance(answer.json()["error"], str)


def test_v2_binary_tensors_are_refused(texts: Running) -> None:
    answer = texts.client.post(
        "/v2/models/reviews/infer", content=b"{}", headers={**JSON, "inference-header-content-length": "2"}
    )
    assert answer.status_code == 400


def test_an_altered_bundle_is_not_served(text_bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(text_bundle, copy)
    with (copy / "model" / "weights.npz").open("ab") as stream:
        stream.write(b"x")
    done = subprocess.run(
        [sys.executable, "-m", "bakeoff.serving", str(copy)], capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert "weights.npz" in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_imports_nothing_but_schema_transforms_and_runtimes(text_bundle: Path) -> None:
    program = (
        "import sys, pathlib; from bakeoff.serving.model import load, open_bundle; from bakeoff.serving.app import App;"
        "from bakeoff.serving.limits import Limits; import bakeoff.serving.server;"
        f"App(load(open_bundle(pathlib.Path({str(text_bundle)!r}))), Limits());"
        "print(*sorted(name for name in sys.modules if name.startswith('bakeoff.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
    )  # fmt: skip
    allowed = ("bakeoff.serving", "bakeoff.schema", "bakeoff.data.transforms", "bakeoff.runtimes")
    foreign = [name for name in done.stdout.split() if not name.startswith(allowed) and name != "bakeoff.data"]
    assert foreign == []
