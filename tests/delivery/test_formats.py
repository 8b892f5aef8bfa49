"""A model shipped in another format than it was measured in: same answers, honest promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bakeoff.delivery import verify
from bakeoff.delivery.convert import convert
from bakeoff.runtimes import sealed
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.contract import Contract
from tests.delivery import making


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TF-IDF model, measured natively and shipped as ONNX."""
    pytest.importorskip("onnxruntime")
    root = tmp_path_factory.mktemp("converted")
    artifact = making.tfidf(root / "measured")
    confirm = making.reviews(200, 2)
    answers = making.classifier(root / "measured", artifact).predict(confirm.rows)
    (root / "onnx").mkdir()
    made = convert(root / "measured", root / "onnx", "onnx", "native", confirm.rows)
    chosen = making.candidate()
    making.ship_(
        root, decision=making.decision(chosen, making.METRICS), candidate=chosen, artifact_dir=root / "onnx",
        contract_rows=confirm, expected=answers, runtime=made.runtime, measured_as=artifact.format,
    )  # fmt: skip
    return root / "bundle"


def test_the_manifest_says_what_was_measured_and_what_loads_it(converted: Path) -> None:
    manifest = sealed.read_manifest(converted)
    assert (manifest.runtime, manifest.measured_as, manifest.formats) == ("onnxruntime", "tfidf-linear", ("onnx",))
    assert "onnxruntime" in manifest.packages
    assert manifest.candidate == "linear.char.none.native"


def test_quality_stands_and_the_rest_is_promised_unmeasured(converted: Path) -> None:
    contract = Contract.model_validate_json((converted / "contract.json").read_bytes())
    trials = {promise.name: promise.trial for promise in contract.promises}
    assert trials["macro_f1"].value == 0.94
    for name in ("latency_p95", "memory", "size"):
        assert (trials[name].value, trials[name].validity) == (None, "refused")
        assert "tfidf-linear" in trials[name].remark
    assert "not measured" in (converted / "README.md").read_text()


def test_verify_measures_what_the_trial_could_not(converted: Path) -> None:
    report = verify(converted, keys=Keys())
    assert report.parity
    assert report.largest_drift is not None
    assert report.largest_drift < 1e-4
    found = {promise.promise.name: promise for promise in report.promises}
    assert found["latency_p95"].verdict == "kept"
    assert np.isfinite(found["latency_p95"].here.value or np.nan)
    assert report.kept


def test_a_bundle_in_the_measured_format_says_nothing_of_it(shipped: Path) -> None:
    assert sealed.read_manifest(shipped).measured_as is None
