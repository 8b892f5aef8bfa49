"""Hostile clients, as ``make bench-fuzz`` sends them, in small numbers: never a 5xx, never a connection without an answer."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks._hostile import Client
from benchmarks._mutations import misframed, mutated, request
from benchmarks.fuzz import schemathesis, seeds
from tests.serving.running import Running

GOOD = request("/v1/predict", json.dumps({"texts": ["很好", "太差"]}).encode())


def test_mutated_bodies_and_strange_frames_are_always_answered(texts: Running) -> None:
    paths, draw = seeds(texts.port), random.Random(7)
    assert {path.rsplit("/", 1)[1] for path in paths} == {"predict", "infer", "completions"}
    with Client(texts.port) as client:
        right = client.send(GOOD)
        for _ in range(1500):
            path = draw.choice(list(paths))
            client.send(request(path, mutated(paths[path], draw)))
        for _ in range(300):
            path = draw.choice(list(paths))
            client.send(misframed(path, paths[path], draw), fresh=True, close=True)
        assert right[0] == 200
        assert client.send(GOOD, fresh=True) == right
    assert not client.dropped
    assert not client.faults
    assert len([status for status in client.statuses if 400 <= status < 500]) >= 5


@pytest.mark.slow
def test_schemathesis_finds_nothing(texts: Running) -> None:
    pytest.importorskip("schemathesis")
    found = schemathesis(texts.url, 8)
    assert found["cases"] > 100
    assert found["failures"] == 0, found
