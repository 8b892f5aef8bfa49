"""What the connections of a server share: its clock, the memory that bodies may occupy, and who answers."""

from __future__ import annotations

from typing import Protocol

from bakeoff.serving.limits import Limits
from bakeoff.serving.protocol import Connection
from bakeoff.serving.request import Request

_LARGE = 256 << 10
"""Bytes of a body after which the allocator is asked to give memory back: it would keep the largest for ever."""


class Handler(Protocol):
    """What answers requests: ``App`` in production.

    Attributes:
        probes: targets that are answered even where there are too many connections.

    """

    limits: Limits
    probes: frozenset[bytes]

    def admit(self, request: Request) -> None:
        """Look at a request whose body has not come yet; raise ``Problem`` to refuse it before anything is kept."""

    def handle(self, request: Request) -> None:
        """Answer a complete request, now or later, by calling ``request.respond`` once."""

    def forget(self, request: Request) -> None:
        """Spare what a request would still cost: its client went away."""


class Hub:
    """What the connections of a server share.

    Args:
        handler: answers the requests.

    """

    def __init__(self, handler: Handler) -> None:
        self.handler, self.limits = handler, handler.limits
        self.connections: set[Connection] = set()
        self.now = 0.0
        """Event-loop time, refreshed ten times a second: precise enough for limits of seconds, and free."""
        self.draining = False
        # half of what bodies may occupy is every connection's own share, so that a few large bodies lock nobody out
        self.share = self.limits.bodies // (2 * max(1, self.limits.connections))
        self.large = False  # whether a large body came since memory was last given back
        self.held = 0
        """Bytes of the bodies that are larger than the share."""

    def connect(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self)

    def tick(self, now: float) -> None:
        """Cut connections that exceed their time."""
        self.now = now
        for connection in list(self.connections):
            connection.check(now)

    def hold(self, request: Request, size: int) -> bool:
        """Count a body that has grown to ``size`` bytes; say whether there is room for it. One alone always has room."""
        others = self.held - request.held
        if others and others + size > self.limits.bodies // 2:
            return False
        self.held, request.held = others + size, size
        self.large = self.large or size > _LARGE
        return True

    def release(self, request: Request) -> None:
        """Stop counting a request's body."""
        self.held, request.held = self.held - request.held, 0

    @property
    def busy(self) -> bool:
        """Whether a request is being received, computed or answered."""
        return any(connection.busy for connection in self.connections)
