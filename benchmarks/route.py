"""Copies of one model on different hardware behind the router, against each alone and two simpler ways. No bar; figures only.

Turns in rounds: every copy alone; all behind one router; the same number of rows for each copy; and one queue from which whoever is free takes
the next batch, which needs no speeds. As in the server, one caller more than there are copies hands over batches, here of 64 rows. The best a
router can do is the sum of what the copies do alone, on hardware that they do not share.

``python -m benchmarks.route [--replicas cpu:4,cuda:0] [--network enc6] [--rounds N] [--rows N]``; without ``--replicas`` whatever
execution providers start here, or two CPU copies of one thread where there is only the CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from bakeoff.runtimes.loading import load_predictor, read_artifact
from bakeoff.schema.artifact import Artifact
from bakeoff.serving import replicas
from bakeoff.serving.router import Router
from benchmarks import finish, spread
from benchmarks._serve_models import make

BATCH = 64
NAMES = ("enc6", "enc6-int8", "wide", "tiny")
Rows = list[dict[str, Any]]


def main() -> int:
    """Compare, print."""
    parse = argparse.ArgumentParser()
    parse.add_argument("--replicas", default="")
    parse.add_argument("--network", choices=NAMES, default="enc6")
    parse.add_argument("--rounds", type=int, default=7)
    parse.add_argument("--rows", type=int, default=1024)
    given = parse.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = make(given.network, Path(folder))
        directory = made.bundle / "model"
        artifact = read_artifact(directory)
        names = [column.name for column in artifact.inputs]
        values = [[row] if made.text else row for row in made.rows]
        rows = [dict(zip(names, values[at % len(values)], strict=True)) for at in range(given.rows)]
        figures = compare(artifact, directory, given.replicas or _here(artifact, directory), rows, given.rounds)
    finish("route", network=given.network, cores=os.cpu_count(), rounds=given.rounds, rows=given.rows, **figures)
    return 0


def _open(artifact: Artifact, directory: Path, text: str) -> Router:
    found = replicas.loader(text)(artifact, directory, "onnxruntime", 1)
    assert isinstance(found, Router)
    return found


def _here(artifact: Artifact, directory: Path) -> str:
    with closing(_open(artifact, directory, "auto")) as router:
        names = [one["name"] for one in router.status()]
    return ",".join(names) if len(names) > 1 else "cpu:1,cpu:1"


def compare(artifact: Artifact, directory: Path, text: str, rows: Rows, rounds: int) -> dict[str, Any]:
    """Run the rounds; print and return the figures."""
    with closing(load_predictor(artifact, directory, "onnxruntime", 1)) as cpu:
        expected = cpu.predict_proba(rows[:256])
    parts = text.split(",")
    with ExitStack() as stack:
        alone = [stack.enter_context(closing(_open(artifact, directory, part))) for part in parts]
        together = stack.enter_context(closing(_open(artifact, directory, text)))
        drift = [float(np.abs(one.predict_proba(rows[:256]) - expected).max()) for one in alone]
        size = -(-len(rows) // len(alone))
        equal = [rows[at * size : (at + 1) * size] for at in range(len(alone))]
        turns: list[Callable[[], float]] = [partial(_seconds, [one], [rows]) for one in (*alone, together)]
        turns += [partial(_seconds, alone, equal), partial(_pulled, alone, rows)]
        spent: list[list[float]] = [[] for _ in turns]
        for number in range(rounds):
            for turn in np.roll(np.arange(len(turns)), number):
                spent[turn].append(turns[turn]())
        shares = together.status()
    return _figures(parts, len(rows), spent, shares, drift)


def _seconds(routers: Sequence[Router], parts: Sequence[Rows]) -> float:
    """Return the wall seconds until every router answered its rows."""
    begin = time.perf_counter()
    with ExitStack() as stack:
        waiting = []
        for router, part in zip(routers, parts, strict=True):
            pool = stack.enter_context(ThreadPoolExecutor(router.concurrency))
            waiting += [pool.submit(router.predict_proba, part[at : at + BATCH]) for at in range(0, len(part), BATCH)]
        for one in waiting:
            one.result()
    return time.perf_counter() - begin


def _pulled(routers: Sequence[Router], rows: Rows) -> float:
    """Return the wall seconds of one queue of batches: each copy has two callers, who take the next one as soon as they are free."""
    begin = time.perf_counter()
    batches: SimpleQueue[Rows | None] = SimpleQueue()
    for at in range(0, len(rows), BATCH):
        batches.put(rows[at : at + BATCH])

    def pull(router: Router) -> None:
        while (batch := batches.get()) is not None:
            router.predict_proba(batch)

    with ThreadPoolExecutor(2 * len(routers)) as pool:
        waiting = [pool.submit(pull, router) for router in routers for _ in range(2)]
        for _ in waiting:
            batches.put(None)
        for one in waiting:
            one.result()
    return time.perf_counter() - begin


def _figures(
    parts: Sequence[str], rows: int, spent: Sequence[Sequence[float]], shares: Sequence[dict[str, Any]], drift: Sequence[float]
) -> dict[str, Any]:  # fmt: skip
    rates = rows / np.array(spent)
    *alone, together, equal, pulled = rates
    best = np.sum(alone, axis=0)
    copies: list[dict[str, Any]] = [
        {
            "name": name, "rows_per_second": spread(rate.tolist(), 1), "batch": share["batch"],
            "share": round(share["share"], 3), "due": round(float(np.median(rate / best)), 3), "drift": moved,
        }
        for name, rate, share, moved in zip(parts, alone, shares, drift, strict=True)
    ]  # fmt: skip
    figures: dict[str, Any] = {
        "copies": copies, "together": spread(together.tolist(), 1), "of_sum": spread((together / best).tolist(), 3),
        "against_fastest": spread((together / np.max(alone, axis=0)).tolist(), 3),
        "against_equal_split": spread((together / equal).tolist(), 3),
        "against_one_queue": spread((together / pulled).tolist(), 3),
    }  # fmt: skip
    for copy in copies:
        print(
            f"{copy['name']}: {copy['rows_per_second']['median']} rows/s alone, {copy['batch']} rows at once, "
            f"{copy['share']:.1%} of the work (due {copy['due']:.1%}), probabilities within {copy['drift']:.1e} of a CPU's"
        )
    print(
        f"together {figures['together']['median']} rows/s: {figures['of_sum']['median']} of the sum, "
        f"{figures['against_fastest']['median']} times the fastest alone, "
        f"{figures['against_equal_split']['median']} times an equal split, "
        f"{figures['against_one_queue']['median']} times one queue for all"
    )
    return figures


if __name__ == "__main__":
    sys.exit(main())
