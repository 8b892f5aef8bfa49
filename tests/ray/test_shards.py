"""Stages of a split model on different nodes of a real cluster, one of which is killed."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from bakeoff.delivery.shards import split_artifact
from bakeoff.runtimes.shards.predictor import ShardedPredictor
from bakeoff.serving.shards import Actors, loader
from tests.ray.conftest import Nodes
from tests.shards import making


@pytest.mark.slow
def test_stages_are_on_different_nodes_and_outlive_one_of_them(nodes: Nodes, tmp_path: Path) -> None:
    whole = making.onnx_artifact(tmp_path)
    out = tmp_path / "shards"
    out.mkdir()
    artifact = split_artifact(whole, out, 2, making.ROWS[:8]).artifact
    expected = making.answers(whole)
    nodes.grow(3)
    predictor = loader("ray", nodes.address)(artifact, out, "sharded", 1)
    assert isinstance(predictor, ShardedPredictor)
    with closing(predictor):
        np.testing.assert_allclose(predictor.predict_proba(making.ROWS), expected, atol=1e-5)
        placement = predictor.pipeline._placement
        assert isinstance(placement, Actors)
        before = placement.nodes()
        assert len(set(before)) == 2
        victim = next(worker for worker in nodes.workers if worker.node_id == before[1])
        killer = threading.Timer(0.05, nodes.kill, (victim,))
        killer.start()
        while predictor.pipeline.repairs == 0:
            np.testing.assert_allclose(predictor.predict_proba(making.ROWS), expected, atol=1e-5)
        killer.join()
        after = placement.nodes()
        assert after[0] == before[0]
        assert after[1] not in before
    nodes.grow(2)
