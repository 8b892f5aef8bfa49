"""Uvicorn's server with two habits added: readiness goes before the socket does, and clients that never finish are cut.

Heavy: imports uvicorn; ``server`` imports this when it is about to listen.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import uvicorn

if TYPE_CHECKING:
    from bakeoff.serving.app import App

_KEEP_ALIVE = 75
"""Seconds an idle connection is kept; longer than the usual load balancer's 60, so that it never reuses one we just closed."""
_TICKS = 10


class Server(uvicorn.Server):
    """Serves one application.

    Args:
        app: the application; its limits say how long to drain and how long clients may take.

    """

    def __init__(self, app: App) -> None:
        super().__init__(configuration(app))
        self._app, self._limits = app, app.limits
        self._silent: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop being ready at once and listening after ``drain_seconds``; a second signal does not wait."""
        del sig, frame
        if self._app.ready and self._limits.drain_seconds > 0:
            self._app.ready_until = monotonic() + self._limits.drain_seconds
        else:
            self.force_exit = self.should_exit
            self.should_exit = True
        self._app.withdraw()

    async def on_tick(self, counter: int) -> bool:
        """Look after deadlines ten times a second."""
        self._app.batcher.expire(asyncio.get_running_loop().time())
        if counter % _TICKS == 0:
            self._cut_silent()
        if self._app.ready_until is not None and monotonic() >= self._app.ready_until:
            self.should_exit = True
        return await super().on_tick(counter)

    def _cut_silent(self) -> None:
        """Close connections that have been in the middle of their headers for too long; uvicorn waits for ever."""
        now = monotonic()
        for connection in list(self.server_state.connections):
            cycle, timer = getattr(connection, "cycle", None), getattr(connection, "timeout_keep_alive_task", None)
            if timer is not None or (cycle is not None and not cycle.response_complete):
                self._silent.pop(connection, None)
            elif now - self._silent.setdefault(connection, now) > self._limits.header_seconds:
                connection.transport.close()


def configuration(app: App) -> uvicorn.Config:
    """Return uvicorn's settings: the fast parser where there is one, no access log, no headers about ourselves."""
    return uvicorn.Config(
        app,
        http="httptools" if find_spec("httptools") else "h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        limit_concurrency=app.limits.connections,
        timeout_graceful_shutdown=int(app.limits.stop_seconds),
    )
