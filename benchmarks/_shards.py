"""What ``benchmarks/shard.py`` compares: real encoders with a fitted head, and graphs that run alone in a process of their own."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from bakeoff import assets
from bakeoff.compression.base import CompressContext
from bakeoff.compression.dynamic_int8 import PLUGIN as INT8
from bakeoff.data.examples import Examples
from bakeoff.delivery.shards.measure import load, save
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.models.embedding_head import PLUGIN as HEAD
from bakeoff.runtimes.loading import ARTIFACT_FILE, load_predictor, read_artifact
from bakeoff.runtimes.sealed import entries
from bakeoff.runtimes.shards.plan import ShardPlan
from bakeoff.runtimes.shards.stage import mapped, open_graph, runner
from bakeoff.schema.artifact import Artifact, InputColumn
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Strategy, Variant

Row = dict[str, Any]

MODELS = {
    "all-minilm-l6-v2": ("bbc-news", "articles.csv", "en"),
    "multilingual-e5-small": ("chinese-reviews", "reviews.csv", "zh"),
}
_TRAIN = 200


def rows_of(model: str, count: int) -> list[tuple[Row, str]]:
    """Return real texts with their labels, shuffled with a fixed seed."""
    asset, name, _ = MODELS[model]
    with (assets.require(asset) / name).open(encoding="utf-8", newline="") as stream:
        found = [({"text": row["text"]}, row["label"]) for row in csv.DictReader(stream)]
    return random.Random(0).sample(found, count)


def write_artifact(model: str, folder: Path, length: int) -> Path:
    """Fit a head on the frozen encoder, whole vocabulary, and export it; return the folder of the ``onnx`` artefact."""
    found = rows_of(model, _TRAIN)
    classes = tuple(sorted({label for _, label in found}))
    examples = Examples([row for row, _ in found], np.array([classes.index(label) for _, label in found]))
    variant = Variant(
        name=model, label=Words(zh=model, en=model), weights=model, strategy=Strategy(max_length=length),
        params={"format": "transformer", "C": 1.0, "cut_vocabulary": False},
    )  # fmt: skip
    native, out = folder / "native", folder / "onnx"
    native.mkdir()
    out.mkdir()
    built = HEAD.build(
        BuildContext(
            task="text-classification", classes=classes, inputs=(InputColumn(name="text", kind="text"),), language=MODELS[model][2],
            train=examples, calibrate=examples, variant=variant, seed=0, threads=1, out=native, weights=assets.require(model),
        )
    )  # fmt: skip
    _finish(HEAD.export(ExportContext(built, native, out, "onnx", threads=1)), out)
    return out


def quantise(source: Path, out: Path) -> Path:
    """Write the dynamic int8 version of an artefact."""
    out.mkdir()
    _finish(INT8.apply(CompressContext(read_artifact(source), source, out, [], threads=1)), out)
    return out


def _finish(artifact: Artifact, folder: Path) -> None:
    artifact = artifact.model_copy(update={"files": entries(folder)})
    (folder / ARTIFACT_FILE).write_text(artifact.model_dump_json(), encoding="utf-8")


def stage_inputs(plan: ShardPlan, directory: Path, batches: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Write what reaches each stage for the same micro-batches, one file a stage."""
    found, tensors = [], [dict(batch) for batch in batches]
    for number, stage in enumerate(plan.stages):
        path = folder / f"stage-{number}.npz"
        save(path, tensors)
        content = {Path(entry.path).name: mapped(directory / entry.path) for entry in stage.files}
        run = runner(open_graph(content, 1), stage, content)
        tensors = [run(batch) for batch in tensors]
        found.append(path)
    return found


class Alone:
    """A child bound to one core that makes a pass over its rows each time it is told to.

    Args:
        core: it is bound to.
        words: ``stage DIRECTORY NUMBER INPUTS``, or ``whole DIRECTORY ROWS``.

    """

    def __init__(self, core: int, *words: str | int | Path) -> None:
        command = [sys.executable, "-m", "benchmarks._shards", str(core), *map(str, words)]
        # a session of its own, as the pipeline's stages have: schedulers share a busy core out between sessions
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def start(self) -> None:
        """Begin a pass."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for the pass to end; return its wall and CPU seconds and the process's peak memory [B]."""
        return self._line()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


def _work(words: Sequence[str]) -> Any:  # noqa: ANN401 - a function without arguments
    directory = Path(words[1])
    if words[0] == "whole":
        rows = json.loads(Path(words[2]).read_text(encoding="utf-8"))
        predictor = load_predictor(read_artifact(directory), directory, "onnxruntime", 1)
        return lambda: predictor.predict_proba(rows)
    plan = ShardPlan.model_validate_json((directory / "shards.json").read_bytes())
    stage, batches = plan.stages[int(words[2])], load(Path(words[3]))
    content = {Path(entry.path).name: mapped(directory / entry.path) for entry in stage.files}
    run = runner(open_graph(content, 1), stage, content)
    return lambda: [run(batch) for batch in batches]


def high_water(pid: int) -> int:
    """Return the peak resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    """Serve passes until standard input is closed."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    work = _work(sys.argv[2:])
    work()
    print(json.dumps({"ready": True}), flush=True)
    while sys.stdin.readline():
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**spent, "memory": high_water(os.getpid())}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
