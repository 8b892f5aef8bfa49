"""Hostile clients against a served bundle. Bars: 0 answers of 5xx, 0 dropped connections, 413 for what is too large, memory growth < 5 %.

And 408 for who is too slow; good requests among and beside all that are answered as before.

``make bench-fuzz``; ``python -m benchmarks.fuzz --bodies 5000 --examples 20`` for a short one. One server, five attacks: Schemathesis with every
check over the server's own OpenAPI document; mutated bodies on keep-alive connections; requests whose framing is wrong, each on a
connection of its own; bodies of 20 MB, announced and chunked; senders that take their time while a good client goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import ROOT, finish, spread
from benchmarks._hostile import Client
from benchmarks._mutations import misframed, mutated, request
from benchmarks._small import bakeoff, write_study

_GOOD = {"texts": ["房间很干净，服务也好", "太差了，再也不来"]}
_HUGE = 20 << 20
_SLOW = 64


def main() -> int:
    """Serve, attack, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, help="serve this one instead of a small study's")
    parser.add_argument("--bodies", type=int, default=100_000, help="mutated bodies (default %(default)s)")
    parser.add_argument("--frames", type=int, default=5_000, help="misframed requests (default %(default)s)")
    parser.add_argument(
        "--examples", type=int, default=100, help="Schemathesis: examples per operation (default %(default)s)"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundle = given.bundle or _shipped(Path(name))
        server = subprocess.Popen(
            [sys.executable, "-m", "bakeoff.serving", str(bundle), "--port", "0", "--body-seconds", "2", "--header-seconds", "2"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            figures = attack(server, url, given)
            alive = server.poll() is None
        finally:
            server.terminate()
            server.wait(30)
    bars = judged(figures) | {"alive": alive}
    finish("fuzz", **figures, bars=bars, met=all(bars.values()))
    return 0


def judged(figures: dict[str, Any]) -> dict[str, bool]:
    """Return which bars the figures of the attacks meet; a slow sender is told 408, a good client beside any attack notices nothing."""
    huge, slow, checked = figures["huge"], figures["slow"], figures["schemathesis"]
    return {
        "five_hundreds": figures["five_hundreds"] == 0, "dropped": figures["dropped"] == 0 == slow["ends"]["closed"],
        "oversize_413": huge["statuses"] == {"413": huge["sent"]}, "slow_408": slow["ends"]["408"] == slow["senders"] > 0,
        "good_beside": figures["good_between"] and slow["good_wrong"] == 0 < slow["good"] and figures["good_after"] == 200,
        "memory": figures["memory_growth"] < 0.05, "schemathesis": checked["failures"] == 0 < checked["cases"],
    }  # fmt: skip


def attack(server: subprocess.Popen[str], url: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of all attacks."""
    port, process = int(url.rsplit(":", 1)[1]), psutil.Process(server.pid)
    paths = seeds(port)
    draw = random.Random(0)
    with Client(port) as warm:
        _bodies(warm, paths, max(2_000, given.bodies // 20), draw)  # allocators and caches settle
    before = _resident(process)
    print(f"server of {before / 1e6:.1f} MB; {given.bodies} mutated bodies over {', '.join(paths)}")
    with Client(port) as bodies:
        begin = time.perf_counter()
        good = _bodies(bodies, paths, given.bodies, draw)
        took = time.perf_counter() - begin
    held = {"bodies": _resident(process)}
    print(f"  {dict(sorted(bodies.statuses.items()))} in {took:.0f} s; good requests between them right: {good}")
    with Client(port) as frames:
        for _ in range(given.frames):
            path = draw.choice(list(paths))
            frames.send(misframed(path, paths[path], draw), fresh=True, close=True)
    print(f"misframed requests: {dict(sorted(frames.statuses.items()))}")
    held["frames"] = _resident(process)
    huge = _huge(port)
    held["huge"] = _resident(process)
    slow = _slow(port, paths["/v1/predict"])
    held["slow"] = _resident(process)
    checked = schemathesis(url, given.examples)
    with Client(port) as last:
        status, _ = last.send(request("/v1/predict", json.dumps(_GOOD).encode()))
    held["schemathesis"] = after = _resident(process)
    faults = [*bodies.faults, *frames.faults]
    for status_, start in faults[:5]:
        print(f"  {status_}: {start!r}")
    for start in [*bodies.dropped, *frames.dropped][:5]:
        print(f"  dropped: {start!r}")
    growth = after / before - 1
    print(f"memory after each attack [MB]: { {name: round(value / 1e6, 1) for name, value in held.items()} }")
    print(f"memory {before / 1e6:.1f} → {after / 1e6:.1f} MB ({growth:+.1%}); a good request at the end: {status}")
    return {
        "bodies": given.bodies, "statuses": {str(code): n for code, n in sorted(bodies.statuses.items())}, "good_between": good,
        "frames": given.frames, "frame_statuses": {str(code): n for code, n in sorted(frames.statuses.items())},
        "five_hundreds": len(faults), "dropped": len(bodies.dropped) + len(frames.dropped), "huge": huge, "slow": slow,
        "schemathesis": checked, "good_after": status, "memory_growth": round(growth, 4), "resident_mb": round(before / 1e6, 1),
        "resident_mb_after": {name: round(value / 1e6, 1) for name, value in held.items()}, "seconds": round(took, 1),
    }  # fmt: skip


def _shipped(folder: Path) -> Path:
    spec = write_study(folder, candidates={"include": ["linear.*"]}, budget={"time": "2m"})
    bakeoff("run", spec, "--out", folder / "study")
    bakeoff("ship", folder / "study", "-o", folder / "bundle")
    return folder / "bundle"


def seeds(port: int) -> dict[str, bytes]:
    """Return a valid body per POST route the server describes, by path."""
    with Client(port) as client:
        _, page = client.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    found = {"/v1/predict": json.dumps(_GOOD, ensure_ascii=False).encode()}
    described = json.loads(page)
    for path, methods in described["paths"].items():
        if "post" not in methods:
            continue
        if path.endswith("/infer"):
            tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": _GOOD["texts"]}
            found[path] = json.dumps({"id": "1", "inputs": [tensor]}, ensure_ascii=False).encode()
        elif "chat" in path:
            talk = {"model": described["info"]["title"], "messages": [{"role": "user", "content": _GOOD["texts"][0]}]}
            found[path] = json.dumps(talk, ensure_ascii=False).encode()
    return found


def _bodies(client: Client, paths: dict[str, bytes], count: int, draw: random.Random) -> bool:
    """Send mutated bodies; now and then a good request must get the same answer as at the beginning. Return whether it did."""
    good = request("/v1/predict", paths["/v1/predict"])
    right = client.send(good)
    same = right[0] == 200
    for number in range(count):
        path = draw.choice(list(paths))
        client.send(request(path, mutated(paths[path], draw)))
        if number % 500 == 0:
            same = same and client.send(good) == right
    return same


def _huge(port: int) -> dict[str, Any]:
    """Send bodies of 20 MB, half of them announced, half chunked."""
    body = b'{"texts": ["' + b"a" * _HUGE + b'"]}'
    chunk = (
        b"".join(b"10000\r\n" + body[at : at + 65536] + b"\r\n" for at in range(0, len(body) - 65536, 65536))
        + b"0\r\n\r\n"
    )
    chunked = (
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk
    )
    with Client(port) as client:
        for _ in range(5):
            client.send(request("/v1/predict", body), fresh=True)
            client.send(chunked, fresh=True)
    print(f"20 MB bodies: {dict(client.statuses)}")
    return {"sent": 10, "statuses": {str(code): n for code, n in client.statuses.items()}}


def _slow(port: int, body: bytes) -> dict[str, Any]:
    """Trickle headers and bodies on many connections while a good client goes on; return how each side fared."""
    whole = request("/v1/predict", body)
    trickles = [socket.create_connection(("127.0.0.1", port), timeout=15) for _ in range(_SLOW)]
    cut = len(whole) - len(body)
    for number, connection in enumerate(trickles):
        connection.sendall(whole[: 20 if number % 2 else cut + 5])
    latencies, wrong = [], 0
    with Client(port) as good:
        end = time.monotonic() + 6
        while time.monotonic() < end:
            begin = time.perf_counter()
            wrong += good.send(whole)[0] != 200
            latencies.append(time.perf_counter() - begin)
            time.sleep(0.005)
    answers = {"408": 0, "closed": 0, "open": 0}
    for connection in trickles:
        answers[_ending(connection)] += 1
        connection.close()
    print(f"{_SLOW} slow senders: {answers}; the good client beside them: {len(latencies)} requests, {wrong} wrong")
    return {
        "senders": _SLOW,
        "ends": answers,
        "good": len(latencies),
        "good_wrong": wrong,
        "good_ms": spread([1000 * value for value in latencies]),
    }


def _ending(connection: socket.socket) -> str:
    connection.settimeout(0.5)
    try:
        answer = connection.recv(4096)
    except TimeoutError:
        return "open"
    except OSError:
        return "closed"
    return "408" if b" 408 " in answer[:20] else "closed"


def schemathesis(url: str, examples: int, *headers: str) -> dict[str, Any]:
    """Run Schemathesis with all its checks; return how many cases it made and which kinds of failure it found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "benchmarks" / "schemathesis.toml"), "run",
            f"{url}/openapi.json", "--checks", "all", "--mode", "all", "-n", str(examples), "--seed", "1", "--continue-on-failure",
            "--warnings", "off", *(word for header in headers for word in ("--header", header)),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    cases = re.search(r"([\d,]+) generated", done.stdout)
    failures = re.findall(r"(ST\d+ [^:\n]+): (\d+)", done.stdout)
    print(f"Schemathesis: {cases[1] if cases else 'no'} cases, failures: {failures or 'none'}")
    if done.returncode:
        print(f"{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
    return {
        "cases": int(cases[1].replace(",", "")) if cases else 0, "exit": done.returncode,
        "failures": sum(int(count) for _, count in failures) if cases and (failures or not done.returncode) else -1,
    }  # fmt: skip


def _resident(process: psutil.Process) -> int:
    """Resident bytes of the server and its children."""
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


if __name__ == "__main__":
    sys.exit(main())
