"""The client as a process of its own, so that it shares no interpreter with what it measures; ``process`` is what runs in it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from bakeoff.loadgen.engine import Plan
from bakeoff.loadgen.process import request
from bakeoff.schema.errors import BakeoffError, UserError

__all__ = ["Address", "Run", "address", "read", "request", "run"]
_GRACE = 60.0


@dataclass(frozen=True)
class Run:
    """What one run noted: arrays of one entry a request (n,), times in seconds from the start.

    Args:
        request: index of the request sent.
        intended: when it was due.
        sent: when it was handed to the kernel.
        done: when its answer was whole, or given up.
        status: HTTP status; -1 refused, -2 closed without an answer, -3 timed out, -4 not HTTP.
        digest: CRC-32 of the body.
        cpu: CPU seconds of the client, start-up not counted.
        wall: seconds from first to last.
        idle: seconds of them that the client slept because there was nothing to do.
        opened: connections opened.
        crowded: times that a request was due and every connection was taken.
        bodies: (request, digest) → body, when asked for.

    """

    request: NDArray[np.int64]
    intended: NDArray[np.float64]
    sent: NDArray[np.float64]
    done: NDArray[np.float64]
    status: NDArray[np.int64]
    digest: NDArray[np.int64]
    cpu: float
    wall: float
    idle: float
    opened: int
    crowded: int
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.status)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which were answered with a status below 300, (n,)."""
        return (self.status >= 200) & (self.status < 300)

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from the moment each was due to its answer, (n,)."""
        return self.done - self.intended

    @property
    def lag(self) -> NDArray[np.float64]:
        """Seconds by which each was sent late, (n,)."""
        return self.sent - self.intended


class Address(NamedTuple):
    """Where a server is, as ``Plan`` takes it."""

    host: str
    port: int
    tls: bool


def address(url: str) -> Address:
    """Return where a URL leads.

    Raises:
        UserError: neither HTTP nor HTTPS, or no host.

    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        what = "the load generator speaks HTTP and HTTPS only"
        raise UserError(what, got=url, allowed="http://HOST:PORT or https://HOST:PORT")
    tls = parts.scheme == "https"
    try:
        return Address(parts.hostname, parts.port or (443 if tls else 80), tls)
    except ValueError:
        what = "no such port"
        raise UserError(what, got=url) from None


def run(plan: Plan, requests: Sequence[bytes], out: Path | None = None) -> Run:
    """Send ``requests`` after ``plan`` from a process of its own; ``out`` keeps the log there (``out.npz``, ``out.json``).

    Raises:
        BakeoffError: the client itself failed.

    """
    with tempfile.TemporaryDirectory() as folder:
        job, target = Path(folder) / "job.json", out or Path(folder) / "out"
        np.savez(
            job.with_suffix(".npz"),
            blob=np.frombuffer(b"".join(requests), np.uint8),
            ends=np.cumsum([len(one) for one in requests]),
        )
        job.write_text(json.dumps({**asdict(plan), "requests": str(job.with_suffix(".npz"))}))
        command = [sys.executable, "-P", "-m", "bakeoff.loadgen.process", str(job), str(target)]
        limit = plan.seconds + plan.timeout + _GRACE
        try:
            done = subprocess.run(command, capture_output=True, timeout=limit, check=False, text=True)
        except subprocess.TimeoutExpired:
            what = f"the load generator's client did not end within {limit:.0f} s"
            raise BakeoffError(what) from None
        if done.returncode:
            what = f"the load generator's client failed: {done.stderr.strip()[-600:]}"
            raise BakeoffError(what)
        return read(target)


def read(path: Path) -> Run:
    """Read what a client process wrote at ``path`` (without suffix)."""
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    bodies = {(index, digest): base64.b64decode(body) for index, digest, body in facts.pop("bodies")}
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        return Run(**{name: stored[name] for name in stored.files}, **facts, bodies=bodies)
