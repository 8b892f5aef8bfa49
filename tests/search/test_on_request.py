"""Runtimes that few deploy on take part where they are named, not because of a bare star."""

from __future__ import annotations

from typing import Any

import pytest

from bakeoff import registry
from bakeoff.schema import Spec
from bakeoff.search.space import compose
from tests.contracts._cases import profile_of

ASKED = {name for name, runtime in registry.plugins("runtimes").items() if runtime.traits.on_request}


def _runtimes(include: list[str], task: str = "text-classification", **more: Any) -> set[str]:
    spec = Spec.model_validate(
        {
            "name": "s",
            "task": task,
            "data": {"file": "r.csv", "target": "label"},
            "candidates": {"include": include},
            **more,
        }
    )
    found, lacking = compose(spec, profile_of(task, language="en"))
    return {name.rpartition(".")[2] for name in (*(one.id for one in found), *(one.id for one in lacking))}


def test_there_are_such_runtimes() -> None:
    assert {"openvino", "litert"} == ASKED


@pytest.mark.parametrize("include", [["*"], ["linear*", "encoder.*"], ["*.none.*"]])
def test_a_star_does_not_ask(include: list[str]) -> None:
    assert not _runtimes(include) & ASKED


def test_a_name_asks() -> None:
    pytest.importorskip("openvino")
    assert "openvino" in _runtimes(["*", "*.openvino"])
    assert "litert" not in _runtimes(["*", "*.openvino"])
    assert "openvino" in _runtimes(["linear.scorecard.none.openvino", "linear*"], "tabular-classification")
    assert _runtimes(["*"], "tabular-classification", preset="rigorous") >= ASKED


def test_nothing_is_composed_that_cannot_be_exported() -> None:
    """Trees and n-grams have no OpenVINO or LiteRT form; the excuse is in the family's traits."""
    spec = {
        "name": "s",
        "data": {"file": "r.csv", "target": "label"},
        "candidates": {"include": ["*", "*.openvino", "*.litert"]},
    }
    for task in ("text-classification", "tabular-classification"):
        found, _ = compose(Spec.model_validate({**spec, "task": task}), profile_of(task, language="en"))
        paths = {one.id for one in found if one.runtime in ASKED}
        assert not [path for path in paths if path.startswith(("boosting.", "linear.char", "linear.word"))]
        assert not [path for path in paths if path.startswith("encoder.") and path.endswith(".litert")]
