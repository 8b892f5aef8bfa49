"""Runs the application on uvicorn: sockets, signals, draining, slow clients."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.schema.errors import UnavailableError, UserError
from bakeoff.serving.limits import Limits

if TYPE_CHECKING:
    from bakeoff.serving.app import App

logger = logging.getLogger("bakeoff.serving")
_SWITCH = 1e-3
"""Seconds a thread keeps the interpreter: lower than Python's 5 ms, so that computing features does not hold up answers."""


def serve(
    bundle: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int | None = None,
    limits: Limits | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve a bundle until SIGTERM or SIGINT; requests in flight are answered before this returns.

    Args:
        bundle: a folder written by ``bakeoff ship``.
        host: address to bind, the loopback interface unless told otherwise.
        port: TCP port; 0 takes a free one.
        threads: threads of the model; the contract's when None.
        limits: what is accepted.
        announce: called with the base URL once the socket listens.

    Raises:
        BundleError: the bundle is altered or does not load.
        UserError: the port is taken.

    """
    _require()
    from bakeoff.serving.app import App
    from bakeoff.serving.model import load, open_bundle

    limits = limits or Limits()
    served = load(open_bundle(bundle), threads)
    app = App(served, limits)
    sys.setswitchinterval(_SWITCH)
    try:
        run(app, host, port, announce)
    finally:
        served.classifier.close()


def run(app: App, host: str, port: int, announce: Callable[[str], None] | None = None) -> None:
    """Run an application on a socket of its own until a signal ends it."""
    from bakeoff.serving.draining import Server

    socket = _listen(host, port)
    url = _url(host, socket.getsockname()[1])
    server = Server(app)
    logger.info("serving %s on %s", app.served.opened.manifest.candidate, url)

    async def main() -> None:
        task = asyncio.ensure_future(server.serve(sockets=[socket]))
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has a flag, not an event
            await asyncio.sleep(0.005)
        if announce and server.started:
            announce(url)
        await task

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main())
    logger.info("stopped")


def _require() -> None:
    lacking = [name for name in ("uvicorn", "orjson", "prometheus_client") if find_spec(name) is None]
    if lacking:
        what = "the server needs packages that are not installed"
        raise UnavailableError(what, got=", ".join(lacking), try_="pip install 'bakeoff[serve]'")


def _listen(host: str, port: int) -> Any:  # noqa: ANN401 - a socket; the module is imported late
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        what = f"cannot listen there: {error}"
        raise UserError(what, where=f"{host}:{port}", try_="another --port") from None
    bound.setblocking(False)
    return bound


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
