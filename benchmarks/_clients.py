"""Clients of one server: the project's own load generator, and single requests beside it, whose headers are read."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bakeoff.loadgen.client import Run, request, run
from bakeoff.loadgen.engine import Plan
from benchmarks._serve_models import Network
from benchmarks._serve_peers import body

CLIENTS = 32
FLOWING = 2 * CLIENTS
"""So many answers say that the load has begun."""
_PATIENCE = 20.0


def closed(
    url: str,
    requests: Sequence[bytes],
    seconds: float,
    clients: int = CLIENTS,
    *,
    count: int | None = None,
    bodies: bool = False,
) -> Run:
    """Keep ``clients`` requests in flight, for some seconds or until ``count`` were sent."""
    parts = urlsplit(url)
    plan = Plan(
        host=str(parts.hostname), port=int(parts.port or 0), connections=clients, seconds=seconds, count=count, bodies=bodies
    )  # fmt: skip
    return run(plan, requests)


def asked(name: str, network: Network, url: str, rows: Sequence[object] | None = None) -> list[bytes]:
    """Return ready-made requests."""
    return [request(url, json.dumps(body(name, network, row)).encode()) for row in rows or network.rows]


def speed(found: Run, *, refused: bool = False) -> float:
    """Return the good answers per second; unless some may be refused, all must be good: who is refused asks again at once."""
    if not refused and not found.good.all():
        message = f"{int((~found.good).sum())} of {len(found)} requests failed where none should"
        raise RuntimeError(message)
    return float(found.good.sum() / found.wall)


def longest_gap(found: Run, seconds: float) -> float:
    """Return the longest stretch [s] without a good answer, from the first one to the end of the load.

    What was killed meanwhile took no longer than this to the next good answer: the stretch begins before. A server that never answers
    again has one to the end.
    """
    done = np.sort(found.done[found.good])
    if not len(done):
        return max(seconds, found.wall)
    return float(np.diff(np.append(done, max(seconds, float(done[-1])))).max())


def labels(found: Run) -> dict[int, str]:
    """Return the label that each request got, by its index; empty where a good answer holds none."""
    return {index: label for (index, _), label in _labels(found).items()}


def wrong(found: Run, truth: dict[int, str]) -> int:
    """Count the good answers with another label than ``truth``; a request that is not in it, or an answer not kept, is wrong too."""
    seen = _labels(found)
    pairs = zip(found.request[found.good].tolist(), found.digest[found.good].tolist(), strict=True)
    return sum(not (label := seen.get((index, digest))) or label != truth.get(index) for index, digest in pairs)


def _labels(found: Run) -> dict[tuple[int, int], str]:
    good = set(zip(found.request[found.good].tolist(), found.digest[found.good].tolist(), strict=True))
    return {pair: _label(text) for pair, text in found.bodies.items() if pair in good}


def _label(text: bytes) -> str:
    try:
        (prediction,) = json.loads(text)["predictions"]
        return str(prediction["label"])
    except (ValueError, KeyError, TypeError):
        return ""


# -------------------------------------------------------------------------------------------------- beside the load


def once_answered(url: str, act: Callable[[], None], wait: float = 0.0) -> threading.Thread:
    """Start a thread that acts ``wait`` seconds after a load has begun to be answered, however long its client takes to start.

    It ends without acting when no answers come.
    """
    before = _answered(url)

    def watch() -> None:
        end = time.monotonic() + _PATIENCE
        while _answered(url) < before + FLOWING:
            if time.monotonic() > end:
                return
            time.sleep(0.01)
        time.sleep(wait)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def _answered(url: str) -> int:
    """Return how many requests a server of ours has answered well, by its own count."""
    with urllib.request.urlopen(urlsplit(url)._replace(path="/metrics").geturl(), timeout=20) as answer:  # noqa: S310 - loopback
        text = answer.read().decode()
    return int(
        sum(
            float(value)
            for value in re.findall(r'^bakeoff_requests_total\{.*status="200".*\} (\S+)', text, re.MULTILINE)
        )
    )


def status(url: str) -> dict[str, Any]:
    """Return what a server of ours says of itself."""
    with urllib.request.urlopen(urlsplit(url)._replace(path="/v1/status").geturl(), timeout=20) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


def probe(url: str, data: bytes, stop: threading.Event, pause: float = 0.1) -> list[tuple[int, str | None]]:
    """Ask now and then until ``stop``; return each status and Retry-After, status 0 for no answer."""
    parts = urlsplit(url)
    found: list[tuple[int, str | None]] = []
    connection = http.client.HTTPConnection(str(parts.hostname), int(parts.port or 0), timeout=20)
    while not stop.wait(pause):
        try:
            connection.request("POST", parts.path, data, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            found.append((answer.status, answer.headers.get("retry-after")))
        except (OSError, http.client.HTTPException):
            connection.close()
            found.append((0, None))
    connection.close()
    return found
