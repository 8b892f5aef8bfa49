"""Weights that people bring from a hub are really used: built on, told apart by content, named with a hash in a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.evaluation.conftest import Laboratory
from tests.models import tiny

from bakeoff import assets
from bakeoff.delivery import provenance
from bakeoff.evaluation import steps
from bakeoff.evaluation.materials import weights_of
from bakeoff.models.embedding_head import PLUGIN
from bakeoff.schema import Candidate, Trial
from bakeoff.schema.trial import Failure

HUB = "BAAI/bge-small-zh-v1.5"


@pytest.fixture
def candidate(laboratory: Laboratory) -> Candidate:
    found = {
        variant.name: variant
        for variant in PLUGIN.variants(laboratory.spec, laboratory.frozen.profile.model_copy(update={"language": "zh"}))
    }
    variant = found["bge-small-zh"]
    assert (variant.weights, variant.hub) == (None, HUB)
    return Candidate(family="embedding_head", variant=variant, runtime="pytorch", label=variant.label)


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "hub" / "baai--bge-small-zh-v1.5"
    tiny.write_other(folder, "xlm-roberta")
    steps._brought.cache_clear()
    return folder


@pytest.mark.slow
def test_a_candidate_on_them_is_built_and_measured(
    laboratory: Laboratory, candidate: Candidate, brought: Path, trial: Callable[..., Trial]
) -> None:
    pytest.importorskip("transformers")
    laboratory.run([trial(candidate, limit=None)])
    rows = laboratory.rows("bge-small-zh")
    assert rows
    assert [row.failure.reason for row in rows if row.failure is not None] == []
    assert {"build", "predict"} <= {row.kind for row in rows}


def test_other_content_is_another_step(candidate: Candidate, brought: Path) -> None:
    before = steps._weights(candidate)
    config = brought / "config.json"
    config.write_text(config.read_text() + " ")
    steps._brought.cache_clear()
    assert before is not None
    assert steps._weights(candidate) not in {before, None}


def test_what_is_not_here_is_said_with_the_command(
    candidate: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: Callable[..., Trial]
) -> None:
    monkeypatch.setenv("BAKEOFF_HOME", str(tmp_path))
    found = weights_of(trial(candidate))
    assert isinstance(found, Failure)
    assert assets.hub_command(HUB) in found.reason


def test_the_manifest_names_their_content(candidate: Candidate, brought: Path) -> None:
    (one,) = provenance.weights([candidate])
    assert (one.name, one.sha256) == (HUB, assets.content_hash(brought))
    model = brought / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    (other,) = provenance.weights([candidate])
    assert other.sha256 not in {one.sha256, None}
