"""What one server accepts; every number is a flag of ``python -m bakeoff.serving``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that keep one client from taking the service away from the others.

    Attributes:
        body: bytes of a request body; a larger one is refused (413) before it is parsed.
        rows: rows of one request (422 above it).
        text: characters of one value (422 above it).
        batch: rows computed together at most.
        queue: rows that may wait; above it requests are shed (503 with Retry-After).
        connections: open connections; above it the server answers 503.
        body_seconds: time a client may take to send a body (408 after it).
        header_seconds: time a client may take to send its request line and headers (the connection is closed).
        request_seconds: time a request may wait and compute (504 after it).
        drain_seconds: time between "not ready" and closing the listening socket after SIGTERM.
        stop_seconds: time in-flight requests get after that.

    """

    body: int = 4 << 20
    rows: int = 1024
    text: int = 20_000
    batch: int = 32
    queue: int = 4096
    connections: int = 1024
    body_seconds: float = 20.0
    header_seconds: float = 10.0
    request_seconds: float = 30.0
    drain_seconds: float = 0.0
    stop_seconds: float = 30.0
