"""Load with wrk, what the server spent on it, and whether its answers are those of another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks._serve_models import Network
from benchmarks._serve_peers import body, cpu

ROWS = 32
"""Rows whose answers are compared."""
DRIFT = 0.01
"""Largest difference of a probability on the same row: less than between any two rows, more than what int8 makes of another rounding."""
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    """One run: requests answered well, requests refused, seconds, server CPU seconds, latencies [s]."""

    good: int
    refused: int
    seconds: float
    cpu: float
    p50: float
    p99: float

    @property
    def each(self) -> float:
        """Server CPU per good request [µs]."""
        return 1e6 * self.cpu / max(1, self.good)


def script(name: str, network: Network, folder: Path) -> Path:
    """Write the wrk script that sends one row at a time, another one each time."""
    path = folder / f"{name}-{network.name}.lua"
    bodies = ",\n".join(f"[==[{json.dumps(body(name, network, row))}]==]" for row in network.rows)
    path.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"local bodies = {{{bodies}}}\nlocal requests, at = {{}}, 0\n"
        "init = function() for i, one in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, one) end end\n"
        "request = function() at = at % #requests + 1; return requests[at] end\n",
        encoding="utf-8",
    )
    return path


def drive(process: psutil.Process, url: str, lua: Path, *, seconds: float, clients: int = 32) -> Load:
    """Keep ``clients`` requests in flight for some seconds."""
    before = cpu(process)
    done = subprocess.run(
        [str(shutil.which("wrk")), "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency", "-s", str(lua), url],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    spent = cpu(process) - before
    total = int(_found(r"(\d+) requests in", done))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    refused = int(bad[1]) if bad else 0
    took = _time(_found(r"requests in ([\d.]+\w+)", done))
    p50, p99 = (_time(_found(rf"{share}%\s+([\d.]+\w+)", done)) for share in (50, 99))
    return Load(total - refused, refused, took, spent, p50, p99)


def _found(pattern: str, text: str) -> str:
    found: Any = re.search(pattern, text)
    return str(found[1])


def _time(text: str) -> float:
    found: Any = re.match(r"([\d.]+)(\w+)", text)
    return float(found[1]) * _UNITS[found[2]]


def answers(name: str, network: Network, url: str) -> NDArray[np.float64]:
    """Ask about the first rows, one after another; return the probabilities, (rows, classes)."""
    found = []
    for row in network.rows[:ROWS]:
        data = json.dumps(body(name, network, row)).encode()
        asked = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            document = json.load(answer)
        (prediction,) = document if isinstance(document, list) else document["predictions"]
        shares = prediction["probabilities"]
        found.append(list(shares.values()) if isinstance(shares, dict) else shares)
    return np.array(found, np.float64)


def same(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float]:
    """Count the rows that two servers answer alike; also the largest difference of a probability."""
    if ours.shape != theirs.shape:
        return {"rows": len(ours), "same": 0, "drift": 1.0}
    apart = np.abs(ours - theirs).max(axis=1)
    return {"rows": len(ours), "same": int((apart <= DRIFT).sum()), "drift": float(f"{apart.max():.2e}")}
