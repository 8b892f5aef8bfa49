"""One encoder, whole and in two stages, made once for the session."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from bakeoff.delivery.shards import Split, split_artifact
from tests.shards import making


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unsplit artefact."""
    return making.onnx_artifact(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def split(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The same in two stages."""
    return split_artifact(whole, tmp_path_factory.mktemp("shards"), 2, making.ROWS)
