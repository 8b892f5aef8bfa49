"""What one server accepts; every number is a flag of ``python -P -m bakeoff.serving``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from bakeoff.schema.errors import UserError

_MAY_BE_NONE = frozenset({"batch", "queue", "queue_seconds", "drain_seconds", "stop_seconds"})
"""Limits of which 0 has a meaning."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds that keep one client from taking the service away from the others.

    Attributes:
        body: bytes of a request body; a larger one is refused (413) before it is parsed.
        bodies: bytes that the bodies of all requests may occupy together; above it large ones are refused (503 with Retry-After).
        rows: rows of one request (422 above it).
        text: characters of one value (422 above it).
        head: bytes of a request line and its headers together (414 or 431 above it).
        batch: rows computed together at most; 0 measures at start-up what pays on this machine.
        queue: rows that may wait; above it requests are shed (503 with Retry-After).
        queue_seconds: longest expected time to an answer before requests are shed; 0 takes the contract's latency limit, or 1 s without one.
        connections: open connections; above it the server answers 503.
        body_seconds: time a client may take to send a body (408 after it).
        header_seconds: time a client may take to send its request line and headers (408 after it).
        request_seconds: time a request may wait and compute (504 after it).
        drain_seconds: time between "not ready" and closing the listening socket after SIGTERM.
        stop_seconds: time in-flight requests get after that.

    Raises:
        UserError: a number that is none, or leaves nothing that could be served.

    """

    body: int = 4 << 20
    bodies: int = 256 << 20
    rows: int = 1024
    text: int = 20_000
    head: int = 32 << 10
    batch: int = 0
    queue: int = 4096
    queue_seconds: float = 0.0
    connections: int = 1024
    body_seconds: float = 20.0
    header_seconds: float = 10.0
    request_seconds: float = 30.0
    drain_seconds: float = 0.0
    stop_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense: no time is later than NaN, and nobody waits for infinity."""
        for name in (field.name for field in fields(self)):
            value, zero = getattr(self, name), name in _MAY_BE_NONE
            if not 0 <= value < math.inf or not (value or zero):
                allowed = f"a finite number {'of at least' if zero else 'above'} 0"
                what = "nothing can be served within this limit"
                raise UserError(what, where=f"limit {name.replace('_', '-')}", got=f"{value:g}", allowed=allowed)


def limits_of(pairs: Sequence[str]) -> Limits:
    """Read ``NAME=VALUE`` pairs, as ``bakeoff serve --limit`` takes them.

    Raises:
        UserError: there is no such limit, or the value is no number of its kind or makes no sense.

    """
    kinds: dict[str, type[int | float]] = {
        field.name: float if isinstance(field.default, float) else int for field in fields(Limits)
    }
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds:
            what = "there is no such limit"
            raise UserError(what, got=pair, allowed=sorted(kinds))
        try:
            found[name] = kinds[name](value)
        except ValueError:
            what = "a limit is a number"
            raise UserError(what, got=pair, try_=f"--limit {name}={getattr(Limits, name)}") from None
    return Limits(**found)  # type: ignore[arg-type]
