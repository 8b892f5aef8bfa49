"""Runs the application: sockets, signals, the clock, draining."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.schema.errors import UnavailableError, UserError
from bakeoff.serving.limits import Limits
from bakeoff.serving.tracing import tracer

if TYPE_CHECKING:
    import ssl

    from bakeoff.serving.access import Access
    from bakeoff.serving.app import App
    from bakeoff.serving.auth import Keys
    from bakeoff.serving.engine import Computing, Engine
    from bakeoff.serving.on_ray import Scaling

logger = logging.getLogger("bakeoff.serving")
_SWITCH = 1e-3
"""Seconds a thread keeps the interpreter: lower than Python's 5 ms, so that computing features does not hold up answers."""
_TICK, _TICKS = 0.1, 10
"""Seconds between two looks at deadlines, and how many of those pass between two looks at the file of keys and at what failed."""
_BACKLOG = 2048
_UNTRUSTED = {
    "none": "nobody signed this bundle, so whoever could write to it chose what is served (bakeoff ship --sign, then --key)",
    "untrusted": "this bundle is signed, but no --key says whom to trust: anybody may have signed it",
}
"""What to say of a bundle when it is served, by the state of its signature."""
_IDLE_GRACE = 0.25
"""Seconds an idle connection is kept when draining: a request that is on its way to it is answered."""


def serve(
    bundle: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    computing: Computing | None = None,
    cluster: Scaling | None = None,
    access: Access | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve a bundle until SIGTERM or SIGINT; requests in flight are answered before this returns.

    Args:
        bundle: a folder written by ``bakeoff ship``.
        host: address to bind, the loopback interface unless told otherwise.
        port: TCP port; 0 takes a free one.
        limits: what is accepted.
        computing: replicas and where they compute; measured when None.
        cluster: replicas on a Ray cluster instead.
        access: API keys, rates, HTTPS, the request log; nothing of it when None, which is for the loopback interface only.
        announce: called with the base URL once the socket listens.

    Raises:
        BundleError: the bundle is altered or does not load.
        UserError: the port is taken, or other machines could ask without showing a key.

    """
    require()
    from bakeoff.serving import engine
    from bakeoff.serving.access import Access
    from bakeoff.serving.model import open_bundle

    access = access or Access()
    access.check(host)  # before anything is loaded: these mistakes should show at once
    context, keys = access.context(), access.read_keys()
    limits, computing = limits or Limits(), computing or engine.Computing()
    sys.setswitchinterval(_SWITCH)
    opened = open_bundle(bundle)
    if (signed := _UNTRUSTED.get(opened.sealed.signature.state)) is not None:
        logger.warning("%s: %s", bundle, signed)
    if cluster is not None:
        from bakeoff.serving import on_ray

        built = on_ray.build(opened, limits, cluster)
    else:
        built = engine.build(opened, limits, computing)
    try:
        run(_application(built, access, keys), host, port, announce, context=context, keys=keys)
    finally:
        built.close()


def _application(built: Engine, access: Access, keys: Keys | None) -> App:
    """Put HTTP before what computes: who may ask, and what is noted of it."""
    from bakeoff.serving.access import from_here
    from bakeoff.serving.app import App
    from bakeoff.serving.journal import journal

    app = App(built.service.served, built.service.limits, built)
    app.guards += access.guards(keys)
    app.keyed = keys is not None
    if access.unguarded:
        app.checks[b"origin"] = from_here
    known = {route.path for route in app.routes.values()}
    if not access.paths <= known:
        what = "there is nothing at this path"
        raise UserError(what, where="--public", got=", ".join(sorted(access.paths - known)), allowed=sorted(known))
    app.tracer, app.journal = tracer(), journal(access.log)
    return app


def run(
    app: App,
    host: str,
    port: int,
    announce: Callable[[str], None] | None = None,
    *,
    context: ssl.SSLContext | None = None,
    keys: Keys | None = None,
) -> None:
    """Run an application on a socket of its own until a signal ends it."""
    listening = _listen(host, port)
    url = _url(host, listening.getsockname()[1], "https" if context else "http")
    logger.info("serving %s on %s", app.served.opened.manifest.candidate, url)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(Server(app, listening, context, keys).serve(lambda: announce(url) if announce else None))
    logger.info("stopped")


class Server:
    """Serves one application on a bound socket.

    Args:
        app: the application; its limits say how long to drain and how long clients may take.
        listening: a bound TCP socket.
        context: speak HTTPS with it.
        keys: API keys to read again when their file changes.

    """

    def __init__(
        self, app: App, listening: socket.socket, context: ssl.SSLContext | None = None, keys: Keys | None = None
    ) -> None:
        from bakeoff.serving.hub import Hub

        self._app, self._limits, self._context, self._keys = app, app.limits, context, keys
        self._hub = Hub(app)
        # a second handle on the same queue of clients: what is in it when listening ends can still be taken
        self._socket, self._spare = listening, listening.dup()
        self._stop = asyncio.Event()
        self._force = False

    async def serve(self, started: Callable[[], None]) -> None:
        """Serve until a signal; then answer what was accepted, and return."""
        loop = asyncio.get_running_loop()
        self._hub.now = loop.time()
        self._app.start()
        server = await loop.create_server(self._hub.connect, sock=self._socket, backlog=_BACKLOG, **self._secure())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        clock = asyncio.ensure_future(self._tick())
        started()
        try:
            await self._stop.wait()
            if not self._force:
                await self._pause(self._limits.drain_seconds)
            await self._drain(server)
        finally:
            clock.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            self._app.stop()

    def _signalled(self) -> None:
        """Stop being ready at once and listening after ``drain_seconds``; a second signal does not wait."""
        self._force = self._stop.is_set()
        self._app.withdraw()
        self._stop.set()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless a second signal comes."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not self._force:  # noqa: ASYNC110 - two things may end it
            await asyncio.sleep(min(0.02, seconds))

    async def _drain(self, server: asyncio.Server) -> None:
        """Stop listening, take who is in the queue already, answer everybody, close."""
        loop = asyncio.get_running_loop()
        server.close()
        greeted = [asyncio.ensure_future(self._greet(client)) for client in self._waiting()]
        self._hub.draining = True
        begin = loop.time()
        # with TLS a client that is still in its handshake is not a connection yet
        while (
            (self._hub.connections or not all(task.done() for task in greeted) or (self._context and loop.time() - begin < _IDLE_GRACE))
            and not self._force and loop.time() - begin < self._limits.stop_seconds
        ):  # fmt: skip
            if loop.time() - begin > _IDLE_GRACE:
                for connection in list(self._hub.connections):
                    connection.close_idle()
            await asyncio.sleep(0.01)
        for task in greeted:
            task.cancel()
        for connection in list(self._hub.connections):
            connection.abort()
        await asyncio.sleep(0)

    def _secure(self) -> dict[str, Any]:
        """Return what sockets need to be told for HTTPS; a client that does not finish its handshake is cut like a slow one."""
        if self._context is None:
            return {}
        return {"ssl": self._context, "ssl_handshake_timeout": self._limits.header_seconds}

    def _waiting(self) -> list[socket.socket]:
        """Take everybody out of the queue of the socket, before any of them is spoken to."""
        found = []
        self._spare.setblocking(False)
        while True:
            try:
                client, _ = self._spare.accept()
            except OSError:  # nobody left
                break
            client.setblocking(False)
            found.append(client)
        self._spare.close()
        return found

    async def _greet(self, client: socket.socket) -> None:
        """Serve a client taken from the queue; one that fails its handshake or has left is no reason to lose the others."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._hub.connect, client, **self._secure())

    async def _tick(self) -> None:
        """Look after deadlines ten times a second."""
        from time import perf_counter

        loop, ticks = asyncio.get_running_loop(), 0
        while True:
            await asyncio.sleep(_TICK)
            ticks += 1
            steps: list[Callable[[], None]] = [
                partial(self._hub.tick, loop.time()),
                partial(self._app.batcher.expire, perf_counter()),
            ]
            if ticks % _TICKS == 0:
                steps.append(self._app.engine.look_again)
            if self._keys is not None and ticks % _TICKS == 0:
                steps.append(partial(self._refresh, self._keys))
            if self._hub.large and ticks % _TICKS == 0:
                self._hub.large = False
                steps.append(_give_back)
            for step in steps:
                try:
                    step()
                except Exception:  # without a clock nothing is ever cut, expired or revoked
                    logger.exception("a look at the deadlines failed")

    def _refresh(self, keys: Keys) -> None:
        try:
            keys.refresh()
        except UserError as error:
            logger.warning("revoked API keys stay valid, because their file cannot be read again: %s", error)


def _give_back() -> None:
    """Ask the C library to return freed memory to the system; elsewhere than on Linux with glibc nothing happens."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def require() -> None:
    """Say at once what is not installed.

    Raises:
        UnavailableError: a package of the extra ``serve`` is missing.

    """
    lacking = [name for name in ("httptools", "orjson", "prometheus_client") if find_spec(name) is None]
    if lacking:
        what = "the server needs packages that are not installed"
        raise UnavailableError(what, got=", ".join(lacking), try_="pip install 'bakeoff[serve]'")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop

    factory: Any = uvloop.new_event_loop
    return factory  # type: ignore[no-any-return]


def _listen(host: str, port: int) -> socket.socket:
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


def _url(host: str, port: int, scheme: str) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
