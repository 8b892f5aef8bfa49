"""Serving: what a server spends on top of the model. Ours and four peers, CPU time, interleaved rounds, as many workers each.

Efficiency is the CPU time per row that ONNX Runtime needs offline at its best batch size (tokenising included), measured in the same
rounds, over the CPU time per request that the whole process tree of a server needs with 32 clients. Bars: 0.88 on a MiniLM-size
encoder, 0.85 on its int8 version, 60 µs on a tiny network, p99 at most 1.3 times p50 on the encoder, ahead of every peer everywhere. All
servers answer the same rows alike, and every request well; otherwise nobody is ahead. Without a peer that bar is null.

The bars are for one worker (``--workers 1``); with as many as the machine has cores the whole machine is compared.
``--models``, ``--servers``, ``--rounds``, ``--seconds`` narrow it down.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import finish
from benchmarks._serve_load import Load, answers, drive, same, script
from benchmarks._serve_models import NAMES, Network, make
from benchmarks._serve_peers import PEERS, VENV, alone, running, versions

EFFICIENCY = {"enc6": 0.88, "enc6-int8": 0.85}
TINY_US = 60.0
TAIL = 1.3
BATCHES = (1, 2, 4, 8, 16, 32, 64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print."""
    parse = argparse.ArgumentParser(description="serving efficiency beside four other servers")
    parse.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parse.add_argument("--servers", nargs="+", choices=("bakeoff", *PEERS), default=["bakeoff", *PEERS])
    parse.add_argument(
        "--workers", type=int, default=1, help="batches, or requests, that each server computes at the same time"
    )
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--seconds", type=float, default=5.0)
    given = parse.parse_args(arguments)
    if shutil.which("wrk") is None or not (VENV / ".installed").exists():
        subprocess.run(["/bin/sh", str(Path(__file__).with_name("peers-setup.sh"))], check=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for model in given.models:
            found[model] = compare(make(model, Path(name)), given, Path(name))
            show(model, found[model])
    finish(
        "serve", models=found, rounds=given.rounds, seconds=given.seconds, workers=given.workers, clients=32, met=met(found), versions=versions(),
        load_1min=round(os.getloadavg()[0], 2), cpus=os.cpu_count(),
    )  # fmt: skip
    return 0


def compare(network: Network, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start every server, load them in turns, and run the model offline in between."""
    servers, rounds, seconds = given.servers, given.rounds, given.seconds
    loads: dict[str, list[Load]] = defaultdict(list)
    curves: list[dict[int, float]] = []
    with ExitStack() as opened:
        places = {name: opened.enter_context(running(name, network, folder, workers=given.workers)) for name in servers}
        scripts = {name: script(name, network, folder) for name in servers}
        for name, (process, url) in places.items():
            drive(process, url, scripts[name], seconds=1)
        said = {name: answers(name, network, url) for name, (_, url) in places.items()}
        for number in range(rounds):
            order = [*places, ""]  # the bare loop takes its turn like a server
            for name in order[number % len(order) :] + order[: number % len(order)]:
                with alone(places[name][0] if name else None, [process for process, _ in places.values()]):
                    if name:
                        loads[name].append(drive(*places[name], scripts[name], seconds=seconds))
                    else:
                        curves.append(offline(network, seconds))
    best = {size: statistics.median(curve[size] for curve in curves if size in curve) for size in curves[0]}
    floor = min(best.values())
    return {
        "offline_us": round(floor, 2), "offline_batch": min(best, key=lambda size: best[size]),
        "offline_us_by_batch": {size: round(value, 2) for size, value in best.items()},
        "servers": {
            name: _summary(runs, [min(curve.values()) for curve in curves]) | {"answers": same(said.get("bakeoff", said[name]), said[name])}
            for name, runs in loads.items()
        },
    }  # fmt: skip


def _summary(runs: list[Load], floors: list[float]) -> dict[str, Any]:
    ratios = [floor / run.each for floor, run in zip(floors, runs, strict=True)]
    return {
        "cpu_us": round(statistics.median(run.each for run in runs), 1),
        "cpu_us_range": [round(min(run.each for run in runs), 1), round(max(run.each for run in runs), 1)],
        "efficiency": round(statistics.median(ratios), 3),
        "efficiency_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "requests_per_s": round(statistics.median(run.good / run.seconds for run in runs), 1),
        "p50_ms": round(1000 * statistics.median(run.p50 for run in runs), 2),
        "p99_over_p50": round(statistics.median(run.p99 / run.p50 for run in runs), 2),
        "not_answered_well": sum(run.refused for run in runs),
        "requests": sum(run.good for run in runs),
    }


_OFFLINE = """
import sys, time, json
sys.path.insert(0, sys.argv[1])
facts = json.loads(sys.stdin.read())
exec(facts["model"], globals())
model, rows, found = Model(), facts["rows"], {}
for size in facts["batches"]:
    batch = (rows * 2)[:size]
    model(batch)
    turns, spent, end = 0, time.process_time(), time.perf_counter() + facts["seconds"]
    while turns < 3 or time.perf_counter() < end:
        model(batch)
        turns += 1
    found[size] = 1e6 * (time.process_time() - spent) / turns / size
print(json.dumps(found))
"""


def offline(network: Network, seconds: float) -> dict[int, float]:
    """Return the CPU time per row [µs] by batch size of a bare loop over the runtime, the mean as for a server."""
    from benchmarks._serve_models import SEQUENCE
    from benchmarks._serve_peers import _MODEL

    head = "".join(
        f"{key} = {value!r}\n"
        for key, value in {
            "GRAPH": str(network.graph.resolve()), "TEXT": network.text, "SEQUENCE": SEQUENCE,
            "TOKENIZER": str((network.graph.parent / "tokenizer.json").resolve()),
        }.items()
    )  # fmt: skip
    facts = {
        "model": head + _MODEL, "rows": list(network.rows), "batches": BATCHES, "seconds": max(0.1, seconds / len(BATCHES)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _OFFLINE, "."], input=json.dumps(facts), capture_output=True, text=True, check=True
    )
    return {int(size): value for size, value in json.loads(done.stdout).items()}


def show(model: str, found: dict[str, Any]) -> None:
    """Print one model's table."""
    print(f"\n{model}: offline {found['offline_us']} µs CPU per row at batch {found['offline_batch']}")
    print(
        f"{'server':10} {'CPU µs':>10} {'efficiency':>11} {'ours / theirs':>14} {'req/s':>9} {'p50 ms':>8} {'p99/p50':>8} {'refused':>8}"
    )
    ours = found["servers"].get("bakeoff", {}).get("cpu_us")
    for name, row in found["servers"].items():
        ratio = f"{ours / row['cpu_us']:.2f}" if ours else "–"
        print(
            f"{name:10} {row['cpu_us']:10.1f} {row['efficiency']:11.3f} {ratio:>14} {row['requests_per_s']:9.1f} {row['p50_ms']:8.2f} "
            f"{row['p99_over_p50']:8.2f} {row['not_answered_well']:8}",
            flush=True,
        )


def met(found: dict[str, Any]) -> dict[str, bool | None]:
    """Return which bars the figures meet; None where nothing was there to compare with."""
    bars: dict[str, bool | None] = {}
    for model, row in found.items():
        ours = row["servers"].get("bakeoff")
        if ours is None:
            continue
        others = [other for name, other in row["servers"].items() if name != "bakeoff"]
        sound = all(map(_sound, row["servers"].values()))
        bars[f"{model}: every request answered, by all alike"] = sound
        ahead = sound and all(ours["cpu_us"] < other["cpu_us"] for other in others)
        bars[f"{model}: ahead of every peer"] = ahead if others else None
        if model in EFFICIENCY:
            bars[f"{model}: efficiency"] = ours["efficiency"] >= EFFICIENCY[model]
            bars[f"{model}: p99 over p50"] = ours["p99_over_p50"] <= TAIL
        if model == "tiny":
            bars["tiny: CPU per request"] = ours["cpu_us"] <= TINY_US
    return bars


def _sound(row: dict[str, Any]) -> bool:
    answered = row["not_answered_well"] == 0 < row["requests"]
    return bool(answered and row["answers"]["same"] == row["answers"]["rows"])


if __name__ == "__main__":
    sys.exit(main())
