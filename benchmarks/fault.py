"""What a server does when things go wrong. Each part drives the real server with the project's own load generator.

poison: one client among 32 sends a row on which the runtime fails the whole batch; bar: no good request fails, throughput loss at
most 10 %. overload: three times the capacity for 60 s; bars: goodput at least 90 % of the peak, answers within the limit (p99), the
rest refused with Retry-After, memory flat, full speed (that of a few clients before it and later) within 2 s. kill: a worker process
is killed under load; bars: back within 1 s, no wrong answer. sigterm: 100 rounds under 32 clients; bar: every accepted request is
answered. start: time from the start of the process to the first correct answer beyond loading the model (bar 0.6 s), memory above
the model's own (bar 80 MB).

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
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from bakeoff.loadgen.client import Run, request, run
from bakeoff.loadgen.engine import Plan
from benchmarks import finish
from benchmarks._serve_models import POISON, Network, make
from benchmarks._serve_peers import PEERS, body, memory, running

CLIENTS = 32
FEW = 8
"""Clients that measure the speed under a limit: more would be refused, ask again at once, and take the model's time for that."""
WAIT = 0.3
"""Longest time [s] to an answer that the overloaded server accepts."""


def closed(url: str, requests: Sequence[bytes], seconds: float, clients: int = CLIENTS, *, bodies: bool = False) -> Run:
    """Keep ``clients`` requests in flight."""
    parts = urlsplit(url)
    plan = Plan(
        host=str(parts.hostname), port=int(parts.port or 0), connections=clients, seconds=seconds, bodies=bodies
    )
    return run(plan, requests)


def asked(name: str, network: Network, url: str, rows: Sequence[object] | None = None) -> list[bytes]:
    """Return ready-made requests."""
    return [request(url, json.dumps(body(name, network, row)).encode()) for row in rows or network.rows]


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
            clean, mixed, failed, total, statuses = [], [], 0, 0, set()
            for _ in range(rounds):
                alone = closed(url, good, seconds)
                clean.append(alone.good.sum() / alone.wall)
                with ThreadPoolExecutor(1) as pool:
                    other = pool.submit(closed, url, bad, seconds, 1)
                    found_good = closed(url, good, seconds, CLIENTS - 1)
                    found_bad = other.result()
                mixed.append((found_good.good.sum()) / found_good.wall * CLIENTS / (CLIENTS - 1))
                failed, total = failed + int((~found_good.good).sum()), total + len(found_good)
                statuses |= set(found_bad.status.tolist())
            found[name] = {
                "good_failed": failed, "good_requests": total, "share_failed": round(failed / max(1, total), 4),
                "throughput_kept": round(float(statistics.median(m / c for m, c in zip(mixed, clean, strict=True))), 3),
                "bad_statuses": sorted(statuses), "rounds": rounds,
            }  # fmt: skip
            print(f"poison {name}: {failed} of {total} good requests failed, bad ones got {sorted(statuses)}, "
                  f"throughput kept {found[name]['throughput_kept']}", flush=True)  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------------------ overload


def overload(folder: Path, seconds: float) -> dict[str, Any]:
    """An open loop at three times the peak; the speed for few clients before it and at once after it.

    The peak is that of a server without the limit, under the clients of the other parts, before and after.
    """
    network, brief = make("enc6", folder), min(8.0, seconds)
    with (
        running("bakeoff", network, folder / "unlimited", "--queue-seconds", "60") as (_, free),
        running("bakeoff", network, folder, "--queue-seconds", str(WAIT)) as (process, url),
    ):
        requests = asked("bakeoff", network, url)
        closed(free, requests, 1.0)
        closed(url, requests, 1.0, FEW)
        peaks = [_speed(closed(free, requests, brief))]
        few = _speed(closed(url, requests, brief, FEW))
        start_memory = memory(process)
        loaded, most_memory = _too_much(process, url, requests, 3 * peaks[0], seconds)
        after = closed(url, requests, 2.0, FEW)
        again = _speed(closed(url, requests, brief, FEW))
        peaks.append(_speed(closed(free, requests, brief)))
    latency = (loaded.done - loaded.sent)[loaded.good]
    half = loaded.sent < loaded.sent.max() / 2
    found = {
        "peak_per_s": [round(peak, 1) for peak in peaks], "offered_per_s": round(len(loaded) / seconds, 1), "seconds": seconds,
        "goodput_share": round(_speed(loaded, refused=True) / statistics.mean(peaks), 3), "accepted": int(loaded.good.sum()),
        "statuses": {int(code): int(count) for code, count in zip(*np.unique(loaded.status, return_counts=True), strict=True)},
        "accepted_p50_ms": round(1000 * float(np.quantile(latency, 0.5)), 1),
        "accepted_p99_ms": round(1000 * float(np.quantile(latency, 0.99)), 1), "wait_limit_ms": 1000 * WAIT,
        "memory_mb": [round(start_memory, 1), round(most_memory, 1)],
        "second_half_share": round(float(loaded.good[~half].sum() / max(1, loaded.good[half].sum())), 3),
        "few_per_s": [round(few, 1), round(again, 1)], "first_2s_refused": int((~after.good).sum()),
        "first_2s_after": round(_speed(after, refused=True) / statistics.mean((few, again)), 3),
    }  # fmt: skip
    print(f"overload: {found}", flush=True)
    return found


def _too_much(
    process: psutil.Process, url: str, requests: Sequence[bytes], rate: float, seconds: float
) -> tuple[Run, float]:
    """Send ``rate`` requests per second, answered or not; return also the most memory [MB] seen meanwhile."""
    parts = urlsplit(url)
    plan = Plan(host=str(parts.hostname), port=int(parts.port or 0), rate=rate, connections=1000, seconds=seconds)
    seen: list[float] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process, seen, stop))
    watcher.start()
    found = run(plan, requests)
    stop.set()
    watcher.join()
    return found, max(seen)


def _speed(found: Run, *, refused: bool = False) -> float:
    """Return the good answers per second; unless some may be refused, all must be good: who is refused asks again at once."""
    if not refused and not found.good.all():
        message = f"{int((~found.good).sum())} of {len(found)} requests failed where none should"
        raise RuntimeError(message)
    return float(found.good.sum() / found.wall)


def _watch(process: psutil.Process, seen: list[float], stop: threading.Event) -> None:
    while not stop.is_set():
        seen.append(memory(process))
        stop.wait(0.5)


# ---------------------------------------------------------------------------------------------------------------- kill


def kill(folder: Path, rounds: int) -> dict[str, Any]:
    """Kill the computing process under load; how long no answer came, and whether any was wrong."""
    network = make("wide", folder)
    gaps, wrong, failed, total = [], 0, 0, 0
    with running("bakeoff", network, folder, "--compute", "processes", "--replicas", "1") as (process, url):
        requests = asked("bakeoff", network, url)
        truth = _labels(closed(url, requests, 3.0, 1, bodies=True))
        for _ in range(rounds):
            _settle(process, 2)
            victim = min(process.children(), key=lambda one: one.create_time())
            timer = threading.Timer(1.5, victim.send_signal, (signal.SIGKILL,))
            timer.start()
            found = closed(url, requests, 4.0, bodies=True)
            done = np.sort(found.done[found.good])
            gaps.append(float(np.diff(done).max()))
            failed, total = failed + int((~found.good).sum()), total + len(found)
            for index, labels in _labels(found).items():
                wrong += labels != truth.get(index, labels)
    print(
        f"kill -9: longest gap {max(gaps):.3f} s, {failed} of {total} failed, {wrong} wrong answers, {rounds} rounds",
        flush=True,
    )
    return {"longest_gap_s": round(max(gaps), 3), "median_gap_s": round(statistics.median(gaps), 3), "failed": failed,
            "wrong": wrong, "requests": total, "rounds": rounds}  # fmt: skip


def _labels(found: Run) -> dict[int, set[str]]:
    labels: dict[int, set[str]] = {}
    for (index, _), text in found.bodies.items():
        answer = json.loads(text)
        if "predictions" in answer:
            labels.setdefault(index, set()).add(answer["predictions"][0]["label"])
    return labels


def _settle(process: psutil.Process, count: int) -> None:
    end = time.monotonic() + 20
    while len(process.children()) < count and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1.0)  # the spare has loaded


# ------------------------------------------------------------------------------------------------------------- sigterm


def sigterm(folder: Path, rounds: int) -> dict[str, Any]:
    """End a server under 32 clients, again and again; every request it took must be answered."""
    network = make("tiny", folder)
    lost = answered = refused = unclean = 0
    for number in range(rounds):
        with running("bakeoff", network, folder) as (process, url):
            requests = asked("bakeoff", network, url)
            timer = threading.Timer(0.7 + 0.01 * (number % 30), process.terminate)
            timer.start()
            found = closed(url, requests, 1.6)
            unclean += process.wait(20) != 0
        answered += int(found.good.sum())
        refused += int((found.status == -1).sum())
        lost += int(((found.status < -1) | (found.status >= 500)).sum())
    print(
        f"SIGTERM: {rounds} rounds, {answered} answered, {lost} lost, {refused} refused connections afterwards, {unclean} unclean exits",
        flush=True,
    )
    return {"rounds": rounds, "answered": answered, "lost": lost, "refused_after": refused, "unclean_exits": unclean}


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
print(json.dumps([seconds, cpu, (psutil.Process().memory_info().rss - base) / 1e6]))
"""


def start(folder: Path, rounds: int) -> dict[str, Any]:
    """Time and memory of a server beyond those of its model, in turns with a bare interpreter that loads the same graph.

    The model's own memory is the runtime's library, the graph and one batch. CPU seconds are what the clock would show on a quiet machine.
    """
    network = make("enc6", folder)
    extra, whole, resident, own, spent = [], [], [], [], []
    for _ in range(rounds):
        bare = subprocess.run(
            [sys.executable, "-c", _BARE, str(network.bundle)], capture_output=True, text=True, check=True
        )
        seconds, busy, megabytes = json.loads(bare.stdout)
        begin = time.perf_counter()
        place, url, process = _started(network)
        try:
            data = json.dumps(body("bakeoff", network, network.rows[0])).encode()
            asked_for = urllib.request.Request(f"{url}/v1/predict", data, {"content-type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(asked_for, timeout=20) as answer:  # noqa: S310 - loopback
                label = json.load(answer)["predictions"][0]["label"]
            took = time.perf_counter() - begin
            if not label:
                raise RuntimeError(place)
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


def _started(network: Network) -> tuple[str, str, subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bakeoff.serving", str(network.bundle), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    return str(network.bundle), process.stdout.readline().strip(), process


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
    finish("fault", **found, met=_met(found), load_1min=round(os.getloadavg()[0], 2), cpus=os.cpu_count())
    return 0


def _met(found: dict[str, Any]) -> dict[str, bool]:
    met: dict[str, bool] = {}
    if row := found.get("poison", {}).get("bakeoff"):
        met["poison: no good request fails"] = row["good_failed"] == 0
        met["poison: throughput"] = row["throughput_kept"] >= 0.9
        met["poison: the bad one gets 4xx"] = all(400 <= status < 500 for status in row["bad_statuses"])
    if row := found.get("overload"):
        met["overload: goodput"] = row["goodput_share"] >= 0.9
        met["overload: accepted keep the limit (p99)"] = row["accepted_p99_ms"] <= row["wait_limit_ms"]
        met["overload: only 200, 429 and 503"] = set(row["statuses"]) <= {200, 429, 503}
        met["overload: memory"] = row["memory_mb"][1] <= 1.05 * row["memory_mb"][0] + 10
        met["overload: back in 2 s"] = row["first_2s_after"] >= 0.9
    if row := found.get("kill"):
        met["kill: back within 1 s"] = row["longest_gap_s"] <= 1.0
        met["kill: no wrong answer"] = row["wrong"] == 0 and row["failed"] == 0
    if row := found.get("sigterm"):
        met["sigterm: nothing lost"] = row["lost"] == 0 and row["unclean_exits"] == 0
    if row := found.get("start"):
        met["start: 0.6 s on the clock"] = row["beyond_model_s"] <= 0.6
        met["start: 0.6 s of CPU"] = row["beyond_model_cpu_s"] <= 0.6
        met["start: 80 MB"] = row["beyond_model_mb"] <= 80
    return met


if __name__ == "__main__":
    sys.exit(main())
