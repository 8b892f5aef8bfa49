"""Copies of one encoder on execution providers behind a router: held to what a CPU answers, an accelerator too where there is one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.loading import read_artifact
from bakeoff.schema import StepError, UserError
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.serving import replicas
from bakeoff.serving.router import Router
from tests.shards import making

DRIFT = 1e-3


def _route(whole: Path, text: str) -> Router:
    found = replicas.loader(text)(read_artifact(whole), whole, "onnxruntime", 1)
    assert isinstance(found, Router)
    return found


def test_copies_on_execution_providers_answer_alike(whole: Path) -> None:
    with closing(_route(whole, "cpu:1,cpu:2")) as router:
        np.testing.assert_allclose(router.predict_proba(making.ROWS), making.answers(whole), atol=1e-5)
        assert [one["name"] for one in router.status()] == ["cpu:1", "cpu:2"]
        assert all(one["rows_per_second"] > 0 for one in router.status())
        assert router.healthy
        assert router.describe() == {"router": router.status()}


@pytest.mark.parametrize("text", ["abacus:1", "cpu:0", "cpu:x", "azure", ""])
def test_replicas_that_cannot_be_made_are_refused(whole: Path, text: str) -> None:
    del whole
    with pytest.raises(UserError, match="no such replica"):
        replicas.parse(text, 1)


def test_auto_takes_what_is_here() -> None:
    pytest.importorskip("onnxruntime")
    assert ("cpu", 3) in replicas.parse("auto", 3)
    assert "azure" not in replicas.available(), "rows do not leave the machine because a library can"


class Off:
    """A predictor whose probabilities are off by so much."""

    def __init__(self, predictor: Predictor, by: float) -> None:
        self._predictor, self._by, self.close = predictor, by, predictor.close

    def predict_proba(self, rows: Any) -> Any:
        return self._predictor.predict_proba(rows) + self._by


@pytest.mark.parametrize(("by", "taken"), [(0.9 * DRIFT, True), (1.1 * DRIFT, False), (float("nan"), False)])
def test_a_copy_that_does_not_answer_like_a_cpu_is_refused(
    whole: Path, monkeypatch: pytest.MonkeyPatch, by: float, taken: bool
) -> None:
    real = replicas.load_on

    def load_on(artifact: Any, directory: Path, threads: int, providers: Any) -> Any:
        found = real(artifact, directory, threads, providers)
        return Off(found, by) if threads == 2 else found

    monkeypatch.setattr(replicas, "load_on", load_on)
    if taken:
        _route(whole, "cpu:1,cpu:2").close()
        return
    with pytest.raises(StepError, match="does not answer like a CPU") as caught:
        _route(whole, "cpu:1,cpu:2")
    assert caught.value.code == "parity"
    assert caught.value.where == "cpu:2"


def test_auto_leaves_out_what_does_not_answer_like_a_cpu(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, said = replicas.load_on, []
    monkeypatch.setattr(replicas.logger, "warning", lambda text, *values: said.append(text % values))

    def load_on(artifact: Any, directory: Path, threads: int, providers: Any) -> Any:
        if providers != (replicas.CPU,):
            return Off(real(artifact, directory, threads, (replicas.CPU,)), 0.01)
        return real(artifact, directory, threads, providers)

    monkeypatch.setattr(replicas, "load_on", load_on)
    monkeypatch.setattr(replicas, "available", lambda: ["odd", "cpu"])
    monkeypatch.setattr(replicas, "_preferred", lambda name, device: ((name, {"device_id": device}), replicas.CPU))
    with closing(_route(whole, "auto")) as router:
        assert [one["name"] for one in router.status()] == ["cpu:1"]
    assert "odd:0 is left out" in said[0]
    assert "does not answer like a CPU" in said[0]


def test_a_model_of_which_nothing_is_known_is_not_spread(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = replicas.load_on
    monkeypatch.setattr(replicas, "load_on", lambda *given: Off(real(*given), float("nan")))
    for text in ("cpu:1", "auto"):
        with pytest.raises(StepError, match="finite"):
            _route(whole, text)


def test_rows_to_compare_answers_on_are_of_all_kinds() -> None:
    columns: Any = [
        {"name": "age", "kind": "number", "fill": 40.0},
        {"name": "job", "kind": "category", "values": ["cook", "smith", "baker"]},
    ]
    inputs = [InputColumn(name="age", kind="number"), InputColumn(name="job", kind="category")]
    artifact = Artifact(
        format="onnx", task="tabular-classification", classes=("a", "b"), inputs=tuple(inputs),
        transform={"kind": "tabular", "columns": columns}, meta={}, files=(),
    )  # fmt: skip
    rows = replicas._looks(artifact)
    ages = np.array([row["age"] for row in rows]) - 40.0
    assert (ages < -10).any()
    assert (ages > 10).any()
    assert (abs(ages) < 3).any()
    assert {row["job"] for row in rows} == {"cook", "smith", "baker"}


def test_accelerators_that_are_here_answer_like_the_processor_alone_and_beside_it(whole: Path) -> None:
    """On a machine with an accelerator and its ONNX Runtime, such as ``onnxruntime-gpu``; elsewhere there is nothing to see."""
    others = [name for name in replicas.available() if name != "cpu"]
    if not others:
        pytest.skip("this ONNX Runtime has the CPU only")
    with closing(_route(whole, "auto")) as router:
        names = [one["name"] for one in router.status()]
        found = [router.predict_proba(making.ROWS) for _ in range(5)]
        status = router.status()
    if len(names) == 1:
        pytest.skip(f"none of {others} starts on this machine")
    for one in found:
        np.testing.assert_allclose(one, making.answers(whole), atol=DRIFT)
    assert all(one["alive"] and not one["losses"] for one in status)
    for name in names:
        with closing(_route(whole, name if name != "cpu:1" else "cpu:2")) as router:
            np.testing.assert_allclose(router.predict_proba(making.ROWS), making.answers(whole), atol=DRIFT)
