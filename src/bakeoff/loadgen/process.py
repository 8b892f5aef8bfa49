"""What runs in the client's process: ``python -m bakeoff.loadgen.process JOB.json OUT``.

The job names the plan and the requests; ``OUT.npz`` gets one entry a request (``request``, ``intended``, ``sent``, ``done``, ``status``,
``digest``; times in seconds from the start), ``OUT.json`` the client's own CPU seconds and, when asked for, the bodies. Imports
little, because a load test starts many of these.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bakeoff.loadgen.engine import Engine, Log, Plan


def request(
    url: str, body: bytes | None = None, *, method: str = "POST", headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Return the bytes of one HTTP/1.1 request that keeps its connection open."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = [("host", parts.netloc), *headers]
    if body is not None:
        if not any(name.lower() == "content-type" for name, _ in headers):
            fields.append(("content-type", "application/json"))
        fields.append(("content-length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


def write(log: Log, path: Path) -> None:
    """Write a log in the order in which requests were due."""
    order = np.argsort(np.asarray(log.intended, np.float64), kind="stable")
    columns: dict[str, Any] = {
        name: np.asarray(getattr(log, name), kind)[order]
        for name, kind in {
            "request": np.int64, "intended": np.float64, "sent": np.float64, "done": np.float64, "status": np.int64, "digest": np.int64,
        }.items()
    }  # fmt: skip
    np.savez(path.with_suffix(".npz"), **columns)
    bodies = [(index, digest, base64.b64encode(body).decode()) for (index, digest), body in log.bodies.items()]
    facts = {
        "cpu": log.cpu,
        "wall": log.wall,
        "idle": log.idle,
        "opened": log.opened,
        "crowded": log.crowded,
        "bodies": bodies,
    }
    path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job.

    The job is a JSON object with the fields of ``Plan`` and ``requests``: the path of an npz with ``blob`` (bytes) and ``ends`` (where
    each request ends).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 2:
        sys.stderr.write("usage: python -m bakeoff.loadgen.process JOB.json OUT\n")
        return 2
    job = json.loads(Path(given[0]).read_text(encoding="utf-8"))
    with np.load(job.pop("requests"), allow_pickle=False) as arrays:
        blob, ends = arrays["blob"].tobytes(), arrays["ends"].tolist()
    requests = [blob[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    write(Engine(Plan(**job), requests).run(), Path(given[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
