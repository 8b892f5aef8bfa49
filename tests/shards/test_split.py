from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from bakeoff.delivery.shards import Split, split_artifact
from bakeoff.runtimes.loading import read_artifact, verify_files
from bakeoff.runtimes.onnxruntime import open_session
from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.plan import ShardPlan, read_plan
from bakeoff.runtimes.shards.predictor import open_local, together
from bakeoff.schema import StepError, UserError
from tests.shards import making


def test_the_plan_is_written_and_its_figures_are_measured(split: Split) -> None:
    plan = read_plan(read_artifact(split.directory), split.directory)
    assert plan == split.plan
    assert len(plan.stages) == 2
    assert plan.rows == 64
    assert set(plan.inputs) == {"input_ids", "attention_mask"}
    for stage in plan.stages:
        assert stage.predicted_seconds > 0
        assert stage.measured_seconds > 0
        assert stage.measured_memory > 0
        assert stage.weights > 0
    text = split.text()
    assert "predicted" in text
    assert "measured" in text


def test_every_file_is_listed_with_its_hash_and_the_whole_graph_is_gone(split: Split) -> None:
    artifact = read_artifact(split.directory)
    verify_files(artifact.files, split.directory)
    names = {entry.path for entry in artifact.files}
    assert {"shards/0/model.onnx", "shards/1/model.onnx.data", "shards.json", "tokenizer.json"} <= names
    assert "model.onnx" not in names


def test_no_stage_holds_the_whole(split: Split, whole: Path) -> None:
    total = (whole / "model.onnx").stat().st_size
    for stage in split.plan.stages:
        assert sum(entry.size for entry in stage.files) < 0.9 * total
    tables = [
        [
            item.dims
            for item in onnx.load(split.directory / stage.files[0].path, load_external_data=False).graph.initializer
        ]
        for stage in split.plan.stages
    ]
    words = max(
        onnx.load(whole / "model.onnx").graph.initializer, key=lambda item: item.dims[0] if item.dims else 0
    ).dims
    assert sum(words in table for table in tables) == 1, "the word table goes to one stage only"


def test_the_balance_follows_the_measured_time(split: Split) -> None:
    """Four equal layers in two stages: neither may take much more than the other."""
    predicted = [stage.predicted_seconds for stage in split.plan.stages]
    assert max(predicted) < 0.75 * sum(predicted)


def test_a_limit_on_memory_moves_the_cut(whole: Path, split: Split, tmp_path: Path) -> None:
    total = sum(stage.weights for stage in split.plan.stages)
    found = split_artifact(whole, tmp_path, 3, making.ROWS[:8], memory=int(0.45 * total))
    assert len(found.plan.stages) == 3
    assert all(stage.weights <= 0.45 * total for stage in found.plan.stages)
    np.testing.assert_allclose(making.answers(tmp_path, "sharded"), making.answers(whole), atol=1e-5)


def test_a_graph_that_protobuf_cannot_write_is_split_too(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 2 GiB on weights lie beside the graph while it is opened; here from the first byte on."""
    monkeypatch.setattr("bakeoff.delivery.shards.timing._LARGEST", 0)

    def by_path(source: Path | bytes, threads: int) -> object:
        assert isinstance(source, Path)
        return open_session(source, threads)

    monkeypatch.setattr("bakeoff.delivery.shards.timing.open_session", by_path)
    found = split_artifact(whole, tmp_path, 2, making.ROWS[:8])
    assert len(found.plan.stages) == 2
    np.testing.assert_allclose(making.answers(tmp_path, "sharded"), making.answers(whole), atol=1e-5)


def test_a_limit_that_cannot_be_kept_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="bytes of weights"):
        split_artifact(whole, tmp_path, 2, making.ROWS[:4], memory=1000)


@pytest.mark.parametrize("shards", [0, 1, 65])
def test_a_senseless_number_is_refused(whole: Path, tmp_path: Path, shards: int) -> None:
    with pytest.raises(UserError, match="makes no sense"):
        split_artifact(whole, tmp_path, shards, making.ROWS)


def test_more_shards_than_places_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="cannot be cut in 60") as caught:
        split_artifact(whole, tmp_path, 60, making.ROWS[:2])
    assert caught.value.code == "unsupported"


def test_other_formats_and_no_rows_are_refused(split: Split, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="only ONNX graphs"):
        split_artifact(split.directory, tmp_path, 2, making.ROWS)
    words = read_artifact(whole).model_copy(update={"transform": {"kind": "char-ids"}})
    (tmp_path / "artifact.json").write_text(words.model_dump_json(), encoding="utf-8")
    with pytest.raises(StepError, match="only graphs of transformers"):
        split_artifact(tmp_path, tmp_path, 2, making.ROWS)
    with pytest.raises(UserError, match="real rows"):
        split_artifact(whole, tmp_path, 2, [])


def test_int8_graphs_are_split_too(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales come from the rows of a batch, so each row is computed by itself, also when several travel together."""
    source = making.int8_artifact(whole, tmp_path / "int8")
    out = tmp_path / "shards"
    out.mkdir()
    found = split_artifact(source, out, 2, making.ROWS[:8])
    assert found.plan.micro_batch == 1
    with closing(open_local(found.artifact, out, 1)) as predictor:
        one_by_one = [predictor.predict_proba([row]) for row in making.ROWS]
        np.testing.assert_allclose(np.concatenate(one_by_one), making.answers(source), atol=1e-5)
        for count in (7, 16):
            monkeypatch.setattr("bakeoff.runtimes.shards.predictor.together", lambda *_, count=count: count)
            before = predictor.pipeline._number
            np.testing.assert_array_equal(predictor.predict_proba(making.ROWS), np.concatenate(one_by_one))
            assert predictor.pipeline._number - before == math.ceil(len(making.ROWS) / count)
        bad = {"input_ids": np.array([[5, 10**6]]), "attention_mask": np.ones((1, 2), np.int64)}
        future = predictor.pipeline.submit(wire.packed([bad, bad]), 2)
        with pytest.raises(StepError, match="cannot compute these rows"):
            future.result(30)


def test_short_micro_batches_travel_together_and_long_ones_alone(split: Split) -> None:
    def plan(seconds: float, size: int) -> ShardPlan:
        stages = [stage.model_copy(update={"measured_seconds": seconds}) for stage in split.plan.stages]
        return split.plan.model_copy(update={"stages": tuple(stages), "micro_batch": size})

    assert together(plan(1.5e-3, 1), 384) == 9
    assert together(plan(1.5e-3, 1), 8) == 1
    assert together(plan(5e-3, 8), 48) == 1
    assert together(plan(0.0, 1), 10_000) == 16
    assert together(plan(1.5e-3, 1), 0) == 1


def test_rows_are_padded_as_the_artefact_says(split: Split, whole: Path) -> None:
    """With buckets a micro-batch of several lengths becomes several, each padded as the unsplit graph would."""
    artifact = split.artifact.model_copy(update={"meta": {**split.artifact.meta, "bucket": 4}})
    seen: list[set[int]] = []
    with closing(open_local(artifact, split.directory, 1)) as predictor:
        submit = predictor.pipeline.submit

        def watched(tensors: wire.Tensors, parts: int = 1) -> object:
            seen.append({value.shape[1] for value in tensors.values()})
            return submit(tensors, parts)

        predictor.pipeline.submit = watched  # type: ignore[assignment, method-assign]
        found = predictor.predict_proba(making.ROWS)
    np.testing.assert_allclose(found, making.answers(whole), atol=1e-5)
    assert all(width % 4 == 0 for widths in seen for width in widths)
    assert len(set.union(*seen)) > 1
