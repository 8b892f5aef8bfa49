"""A split encoder against the unsplit one. Bars: identical labels, score drift at most 1e-5, at least 0.9 of ideal pipelining.

Two stages, each a process bound to a core of its own with one thread, stand for two nodes; the front is a third process on the same two
cores, so what it costs counts against the pipeline. Ideal pipelining: both stages compute the same micro-batches at the same time with
their inputs already in memory, nothing is sent, and the rate is that of the slower one. Ideal, pipeline and unsplit take turns in rounds,
because machines drift; the ratio is taken within a round. ``ratio_text`` compares with an ideal whose front makes ids of the same texts on the
same two cores: what is left is what sending costs. The bar is on ``ratio``.

``python -m benchmarks.shard [--rounds N] [--rows N] [--models NAME…]``
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bakeoff.delivery.shards import split_artifact
from bakeoff.runtimes._graphs import Feeder
from bakeoff.runtimes.loading import load_predictor, read_artifact
from bakeoff.runtimes.shards.local import Processes
from bakeoff.runtimes.shards.plan import ShardPlan
from bakeoff.runtimes.shards.predictor import ShardedPredictor
from benchmarks import finish, spread
from benchmarks._shards import MODELS, Alone, high_water, quantise, rows_of, stage_inputs, write_artifact

LENGTH = 64
BAR_RATIO, BAR_DRIFT = 0.9, 1e-5


@dataclass
class Round:
    """Seconds for all rows: walls, and CPU of the slowest stage and of the front."""

    ideal: float
    ideal_text: float
    pipeline: float
    whole: float
    ideal_cpu: float
    pipeline_cpu: float
    front_cpu: float


def main() -> int:
    """Compare, print."""
    parse = argparse.ArgumentParser()
    parse.add_argument("--rounds", type=int, default=11)
    parse.add_argument("--rows", type=int, default=384)
    parse.add_argument("--models", nargs="+", default=[*MODELS, "all-minilm-l6-v2-int8"])
    given = parse.parse_args()
    figures = {}
    for name in given.models:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = compare(name, Path(folder), given.rounds, given.rows)
    finish(
        "shard", stages="processes on this host", cores=os.cpu_count(), rounds=given.rounds, rows=given.rows, models=figures,
        met=all(found["met"] for found in figures.values()),
    )  # fmt: skip
    return 0


def compare(name: str, folder: Path, rounds: int, count: int) -> dict[str, Any]:
    """Split one model in two, run the rounds, print and return the figures."""
    model = name.removesuffix("-int8")
    source = write_artifact(model, folder, LENGTH)
    if name != model:
        source = quantise(source, folder / "int8")
    rows = [row for row, _ in rows_of(model, count)]
    out = folder / "shards"
    out.mkdir()
    split = split_artifact(source, out, 2, rows)
    print(f"{name}: {split.text()}")
    with closing(load_predictor(read_artifact(source), source, "onnxruntime", 1)) as whole:
        expected = whole.predict_proba(rows)
    cores = sorted(os.sched_getaffinity(0))[:2]
    with ExitStack() as stack:
        (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
        unsplit = stack.enter_context(Alone(cores[0], "whole", source, folder / "rows.json"))
        alone = _stages_alone(stack, split.plan, out, rows, folder, cores)
        placement = Processes(split.plan.stages, out, 1, [[core] for core in cores])
        sharded = stack.enter_context(closing(ShardedPredictor(split.artifact, out, split.plan, placement)))
        found = sharded.predict_proba(rows)
        measured = [_round(number, unsplit, alone, sharded, placement, rows) for number in range(rounds)]
        memory = {"stages": [high_water(pid) for pid in placement.pids]}
        unsplit.start()
        memory["whole"] = unsplit.result()["memory"]
    return _figures(split.plan, measured, memory, expected, found)


def _stages_alone(
    stack: ExitStack, plan: ShardPlan, out: Path, rows: Sequence[dict[str, Any]], folder: Path, cores: Sequence[int]
) -> list[Alone]:
    feeder, size = Feeder(read_artifact(out), out), plan.micro_batch
    batches = [feeder(rows[at : at + size], plan.inputs) for at in range(0, len(rows), size)]
    inputs = stage_inputs(plan, out, batches, folder)
    return [
        stack.enter_context(Alone(core, "stage", out, number, path))
        for number, (core, path) in enumerate(zip(cores, inputs, strict=True))
    ]


def _round(
    number: int, unsplit: Alone, alone: Sequence[Alone], sharded: ShardedPredictor, placement: Processes, rows: Sequence[Any]
) -> Round:  # fmt: skip
    found: dict[str, Any] = {}
    turns = ["ideal", "pipeline", "whole", "text"]
    for turn in turns[number % 4 :] + turns[: number % 4]:
        if turn == "text":
            found["ideal_text"] = _with_text(alone, sharded, rows)
        elif turn == "ideal":
            for stage in alone:
                stage.start()
            results = [stage.result() for stage in alone]
            found["ideal"] = max(result["wall"] for result in results)
            found["ideal_cpu"] = max(result["cpu"] for result in results)
        elif turn == "whole":
            unsplit.start()
            found["whole"] = unsplit.result()["wall"]
        else:
            found |= _pipelined(sharded, placement, rows)
    return Round(**found)


def _with_text(alone: Sequence[Alone], sharded: ShardedPredictor, rows: Sequence[Any]) -> float:
    """Return the wall seconds of ideal pipelining while this process turns the same texts into ids, on the same cores as ever."""
    begin = time.perf_counter()
    for stage in alone:
        stage.start()
    for at in range(0, len(rows), sharded.size):
        list(sharded.parts(rows, at))
    for stage in alone:
        stage.result()
    return time.perf_counter() - begin


def _pipelined(sharded: ShardedPredictor, placement: Processes, rows: Sequence[Any]) -> dict[str, float]:
    processes = [psutil.Process(pid) for pid in placement.pids]
    before = [sum(process.cpu_times()[:2]) for process in processes]
    wall, cpu = time.perf_counter(), time.process_time()
    sharded.predict_proba(rows)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    spent = [sum(process.cpu_times()[:2]) - start for process, start in zip(processes, before, strict=True)]
    return {"pipeline": wall, "pipeline_cpu": max(spent), "front_cpu": cpu}


def _figures(
    plan: ShardPlan, rounds: Sequence[Round], memory: dict[str, Any], expected: Any, found: Any  # noqa: ANN401 - arrays
) -> dict[str, Any]:  # fmt: skip
    ratio = [one.ideal / one.pipeline for one in rounds]
    drift = float(np.abs(expected - found).max())
    same = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    rows = len(expected)
    figures: dict[str, Any] = {
        "rows_same": same, "drift": drift, "ratio": spread(ratio, 3),
        "ratio_text": spread([one.ideal_text / one.pipeline for one in rounds], 3),
        "ratio_cpu": spread([one.ideal_cpu / one.pipeline_cpu for one in rounds], 3),
        "speed_up": spread([one.whole / one.pipeline for one in rounds], 3),
        "rows_per_second": {
            "ideal": round(rows / float(np.median([one.ideal for one in rounds])), 1),
            "pipeline": round(rows / float(np.median([one.pipeline for one in rounds])), 1),
            "unsplit": round(rows / float(np.median([one.whole for one in rounds])), 1),
        },
        "front_ms_per_row": round(1e3 * float(np.median([one.front_cpu for one in rounds])) / rows, 3),
        "memory_mb": {"stages": [round(one / 1e6, 1) for one in memory["stages"]], "unsplit": round(memory["whole"] / 1e6, 1)},
        "weights_mb": [round(stage.weights / 1e6, 1) for stage in plan.stages],
        "micro_batch": plan.micro_batch,
    }  # fmt: skip
    smaller = all(one < memory["whole"] for one in memory["stages"])
    figures["met"] = same == rows and drift <= BAR_DRIFT and figures["ratio"]["median"] >= BAR_RATIO and smaller
    print(f"  labels {same} of {rows} the same, largest drift {drift:.1e}")
    print(
        f"  throughput {figures['ratio']['median']:.3f} of ideal pipelining (quartiles {figures['ratio']['q1']:.3f} to "
        f"{figures['ratio']['q3']:.3f}, {len(rounds)} rounds; by CPU time {figures['ratio_cpu']['median']:.3f}; "
        f"with the texts' work in the ideal {figures['ratio_text']['median']:.3f}), "
        f"{figures['speed_up']['median']:.2f} times the unsplit graph on one core"
    )
    print(f"  peak memory of a node {figures['memory_mb']['stages']} MB, unsplit {figures['memory_mb']['unsplit']} MB")
    return figures


if __name__ == "__main__":
    sys.exit(main())
