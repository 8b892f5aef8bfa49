from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.models._contexts import context, labelled, variant

from bakeoff.models.base import ExportContext
from bakeoff.models.baseline import PLUGIN
from bakeoff.runtimes.native import PLUGIN as NATIVE
from bakeoff.schema import StepError


def test_it_answers_with_the_training_shares(tmp_path: Path) -> None:
    train = labelled(["x"] * 98, [0] * 79 + [1] * 19)
    artifact = PLUGIN.build(context(tmp_path, train, variant()))
    found = NATIVE.load(artifact, tmp_path, 1).predict_proba([{"text": "anything"}, {}])
    np.testing.assert_allclose(found, [[0.8, 0.2], [0.8, 0.2]])


def test_a_class_without_rows_is_never_impossible(tmp_path: Path) -> None:
    artifact = PLUGIN.build(context(tmp_path, labelled(["x", "y"], [0, 0]), variant(), classes=("a", "b", "c")))
    assert artifact.meta["prior"] == [0.6, 0.2, 0.2]


def test_it_has_no_other_format(tmp_path: Path) -> None:
    artifact = PLUGIN.build(context(tmp_path, labelled(["x", "y"], [0, 1]), variant()))
    with pytest.raises(StepError, match="no other format"):
        PLUGIN.export(ExportContext(artifact, tmp_path, tmp_path, "onnx", 1))
