"""What a server does when things go wrong. Each part drives the real server with the project's own load generator.

poison: one client among 32 sends a row on which the runtime fails the whole batch; bar: no good request fails, throughput loss at
most 10 %, the bad one is told the reason. overload: three times the capacity for 60 s; bars: it was really sent, goodput at least 90 %
of the peak, answers within the limit (p99, from when they were due), the rest refused with Retry-After, memory flat, full speed (that of
a few clients before it and later) within 2 s. kill: a worker process is killed under load; bars: the longest stretch without a good
answer, to the end of the load, at most 1 s, every kill one process replaced, no wrong answer. Which rows were tried again the server does
not count; with one process computing, one batch is in flight. sigterm: 100 rounds under 32 clients, each ended while answers come; bar:
every accepted request is answered. start: time from the start of the process to the first correct answer beyond loading the model (bar
0.6 s), memory above the model's own (bar 80 MB).

``--parts`` picks, ``--rounds`` and ``--seconds`` shorten. ``--peers`` adds the poison test of other servers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from bakeoff.loadgen.client import Run
from benchmarks import _overload, finish
from benchmarks._clients import CLIENTS, FLOWING, asked, closed, labels, longest_gap, once_answered, status, wrong
from benchmarks._overload import overload
from benchmarks._serve_models import POISON, Network, make
from benchmarks._serve_peers import PEERS, body, running

REASON = "cannot process this row"


# -------------------------------------------------------------------------------------------------------------- poison


def poison(folder: Path, seconds: float, rounds: int, servers: Sequence[str]) -> dict[str, Any]:
    """31 good clients and a bad one, in turns with 32 good ones."""
    network = make("enc6", folder)
    found = {}
    for name in servers:
        with running(name, network, folder) as (_, url):
            good = asked(name, network, url)
            bad = asked(name, network, url, [f"{POISON} {network.rows[0]}"])
            closed(url, good, 1.0)
            clean, mixed, failed, total, statuses, said = [], [], 0, 0, Counter[int](), ""
            for _ in range(rounds):
                alone = closed(url, good, seconds)
                clean.append(alone.good.sum() / alone.wall)
                with ThreadPoolExecutor(1) as pool:
                    other = pool.submit(closed, url, bad, seconds, 1, bodies=True)
                    found_good = closed(url, good, seconds, CLIENTS - 1)
                    found_bad = other.result()
                mixed.append((found_good.good.sum()) / found_good.wall * CLIENTS / (CLIENTS - 1))
                failed, total = failed + int((~found_good.good).sum()), total + len(found_good)
                statuses.update(found_bad.status.tolist())
                said = said or next((text.decode(errors="replace") for text in found_bad.bodies.values()), "")
            found[name] = {
                "good_failed": failed, "good_requests": total, "share_failed": round(failed / max(1, total), 4),
                "throughput_kept": round(float(statistics.median(m / c for m, c in zip(mixed, clean, strict=True))), 3),
                "bad_requests": statuses.total(), "bad_statuses": dict(sorted(statuses.items())), "bad_answer": said[:300], "rounds": rounds,
            }  # fmt: skip
            print(f"poison {name}: {failed} of {total} good requests failed, bad ones got {dict(statuses)}: "
                  f"{said[:100]}; throughput kept {found[name]['throughput_kept']}", flush=True)  # fmt: skip
    return found


# ---------------------------------------------------------------------------------------------------------------- kill


def kill(folder: Path, rounds: int) -> dict[str, Any]:
    """Kill the computing process under load; how long no good answer came, and whether any was wrong."""
    network, seconds = make("wide", folder), 4.0
    gaps, bad, failed, total = [], 0, 0, 0
    with running("bakeoff", network, folder, "--compute", "processes", "--replicas", "1") as (process, url):
        requests = asked("bakeoff", network, url)
        truth = labels(closed(url, requests, 60.0, 1, count=len(requests), bodies=True))
        before = _replaced(url)
        for _ in range(rounds):
            _settle(process, 2)
            victim = min(process.children(), key=lambda one: one.create_time())
            killer = once_answered(url, victim.kill, 1.5)
            found = closed(url, requests, seconds, bodies=True)
            killer.join()
            gaps.append(longest_gap(found, seconds))
            failed, total = failed + int((~found.good).sum()), total + len(found)
            bad += wrong(found, truth)
        replaced = _replaced(url) - before
    print(
        f"kill -9: longest stretch without a good answer {max(gaps):.3f} s, {failed} of {total} failed, {bad} wrong answers, "
        f"{rounds} rounds, {replaced} processes replaced",
        flush=True,
    )
    return {"longest_gap_s": round(max(gaps), 3), "median_gap_s": round(statistics.median(gaps), 3), "failed": failed,
            "wrong": bad, "requests": total, "rounds": rounds, "replaced": replaced, "rows_known": len(truth)}  # fmt: skip


def _replaced(url: str) -> int:
    return int(status(url)["compute"]["worker_restarts"])


def _settle(process: psutil.Process, count: int) -> None:
    end = time.monotonic() + 20
    while len(process.children()) < count and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1.0)  # the spare has loaded


# ------------------------------------------------------------------------------------------------------------- sigterm


def sigterm(folder: Path, rounds: int) -> dict[str, Any]:
    """End a server under 32 clients, again and again; every request it took must be answered."""
    network = make("tiny", folder)
    answered, refused, lost, unclean = [], 0, 0, 0
    loaded = 0
    for number in range(rounds):
        with running("bakeoff", network, folder) as (process, url):
            requests = asked("bakeoff", network, url)
            ender = once_answered(url, process.terminate, 0.01 * (number % 30))
            found = closed(url, requests, 1.6)
            ender.join()
            if process.poll() is None:  # no answers came, and this round shows nothing
                process.terminate()
            unclean += process.wait(20) != 0
        loaded += under_load(found)
        answered.append(int(found.good.sum()))
        refused += int((found.status == -1).sum())
        lost += int(((found.status < -1) | (found.status >= 400)).sum())
    print(
        f"SIGTERM: {rounds} rounds, {loaded} of them under load, {sum(answered)} answered (at least {min(answered)} a round), {lost} lost, "
        f"{refused} refused connections afterwards, {unclean} unclean exits",
        flush=True,
    )
    return {"rounds": rounds, "under_load": loaded, "answered": sum(answered), "answered_least": min(answered), "lost": lost,
            "refused_after": refused, "unclean_exits": unclean}  # fmt: skip


def under_load(found: Run) -> bool:
    """Say whether a server was ended while clients asked: many were answered, and then nobody was there."""
    return int(found.good.sum()) >= FLOWING and bool((found.status == -1).any())


# --------------------------------------------------------------------------------------------------------------- start

_BARE = """
import sys, time, json, psutil
base = psutil.Process().memory_info().rss
import numpy, onnxruntime
from tokenizers import Tokenizer
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.enable_cpu_mem_arena = 1, False
begin, spent = time.perf_counter(), time.process_time()
session = onnxruntime.InferenceSession(sys.argv[1] + "/model/model.onnx", options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(sys.argv[1] + "/model/tokenizer.json")
seconds, cpu = time.perf_counter() - begin, time.process_time() - spent
ids = numpy.ones((16, 32), numpy.int64)
session.run(None, {"input_ids": ids, "attention_mask": ids})
resident = (psutil.Process().memory_info().rss - base) / 1e6
ids = numpy.array([tokenizer.encode(sys.argv[2], add_special_tokens=False).ids], numpy.int64)
found = session.run(["probabilities"], {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})[0]
print(json.dumps([seconds, cpu, resident, f"c{found[0].argmax()}"]))
"""


def start(folder: Path, rounds: int) -> dict[str, Any]:
    """Time and memory of a server beyond those of its model, in turns with a bare interpreter that loads the same graph.

    The model's own memory is the runtime's library, the graph and one batch. CPU seconds are what the clock would show on a quiet machine.
    """
    network = make("enc6", folder)
    extra, whole, resident, own, spent = [], [], [], [], []
    for _ in range(rounds):
        bare = subprocess.run(
            [sys.executable, "-c", _BARE, str(network.bundle), network.rows[0]],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds, busy, megabytes, right = json.loads(bare.stdout)
        begin = time.perf_counter()
        url, process = _started(network)
        try:
            data = json.dumps(body("bakeoff", network, network.rows[0])).encode()
            asked_for = urllib.request.Request(f"{url}/v1/predict", data, {"content-type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(asked_for, timeout=20) as answer:  # noqa: S310 - loopback
                label = json.load(answer)["predictions"][0]["label"]
            took = time.perf_counter() - begin
            if label != right:
                message = f"the first answer was {label}, the model says {right}"
                raise RuntimeError(message)
            server = psutil.Process(process.pid)
            resident.append(server.memory_info().rss / 1e6)
            spent.append(server.cpu_times().user + server.cpu_times().system - busy)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        whole.append(took)
        extra.append(took - seconds)
        own.append(resident[-1] - megabytes)
    found = {
        "first_answer_s": round(statistics.median(whole), 3), "beyond_model_s": round(statistics.median(extra), 3),
        "beyond_model_cpu_s": round(statistics.median(spent), 3), "beyond_model_s_range": [round(min(extra), 3), round(max(extra), 3)],
        "resident_mb": round(statistics.median(resident), 1), "beyond_model_mb": round(statistics.median(own), 1), "rounds": rounds,
    }  # fmt: skip
    print(f"start: {found}", flush=True)
    return found


def _started(network: Network) -> tuple[str, subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bakeoff.serving", str(network.bundle), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as spoken:  # it says nothing more
        return spoken.readline().strip(), process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, print."""
    parse = argparse.ArgumentParser(description="what a server does when things go wrong")
    names = ("poison", "overload", "kill", "sigterm", "start")
    parse.add_argument("--parts", nargs="+", choices=names, default=list(names))
    parse.add_argument("--rounds", type=int, default=100, help="rounds of SIGTERM; the others take a tenth")
    parse.add_argument("--seconds", type=float, default=60.0, help="length of the overload; the others take a tenth")
    parse.add_argument("--peers", nargs="*", choices=PEERS, default=[])
    given = parse.parse_args(arguments)
    few, short = max(2, given.rounds // 10), max(2.0, given.seconds / 10)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Any]] = {
            "poison": lambda: poison(folder, short, min(few, 5), ["bakeoff", *given.peers]),
            "overload": lambda: overload(folder, given.seconds),
            "kill": lambda: kill(folder, few),
            "sigterm": lambda: sigterm(folder, given.rounds),
            "start": lambda: start(folder, few),
        }
        for part in given.parts:
            found[part] = parts[part]()
    finish("fault", **found, met=met(found), load_1min=round(os.getloadavg()[0], 2), cpus=os.cpu_count())
    return 0


def met(found: dict[str, Any]) -> dict[str, bool]:
    """Return which bars the parts that ran have met."""
    bars: dict[str, bool] = {}
    if row := found.get("poison", {}).get("bakeoff"):
        bars["poison: no good request fails"] = row["good_failed"] == 0 < row["good_requests"]
        bars["poison: throughput"] = row["throughput_kept"] >= 0.9
        refused = row["bad_requests"] > 0 and all(400 <= code < 500 for code in row["bad_statuses"])
        bars["poison: the bad one gets 4xx with the reason"] = refused and REASON in row["bad_answer"]
    if row := found.get("overload"):
        bars |= _overload.met(row)
    if row := found.get("kill"):
        bars["kill: back within 1 s"] = row["longest_gap_s"] <= 1.0
        bars["kill: every kill replaced one process"] = row["replaced"] == row["rounds"]
        bars["kill: no wrong answer"] = row["wrong"] == 0 and row["failed"] == 0 < row["requests"]
    if row := found.get("sigterm"):
        bars["sigterm: nothing lost"] = row["lost"] == 0 and row["unclean_exits"] == 0
        bars["sigterm: every round under load"] = row["under_load"] == row["rounds"] > 0
    if row := found.get("start"):
        bars["start: 0.6 s on the clock"] = row["beyond_model_s"] <= 0.6
        bars["start: 0.6 s of CPU"] = row["beyond_model_cpu_s"] <= 0.6
        bars["start: 80 MB"] = row["beyond_model_mb"] <= 80
    return bars


if __name__ == "__main__":
    sys.exit(main())
