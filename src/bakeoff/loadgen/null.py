"""A server that does nothing: what is measured on it is the client itself.

``python -m bakeoff.loadgen.null`` answers every request with the same bytes, so that latency and CPU time seen by the client are the
floor of everything it reports. ``--service`` makes each request take that long, one after another, which is a server whose
capacity is known; ``--fail``, ``--shed`` and ``--close`` misbehave on every Nth request.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

_LENGTH = b"content-length:"
_BODY = b'{"model":"null","predictions":[{"label":"null","probabilities":{"null":1.0}}]}'


def _answer(status: bytes, body: bytes = _BODY, *extra: bytes) -> bytes:
    fields = [b"content-type: application/json", b"content-length: %d" % len(body), *extra]
    return b"HTTP/1.1 " + status + b"\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body


_GOOD = _answer(b"200 OK")
_SHED = _answer(b"503 Service Unavailable", b"{}", b"retry-after: 1")
_FAIL = _answer(b"500 Internal Server Error", b"{}")


class Manners:
    """How the server behaves.

    Args:
        service: seconds each request takes, one after another.
        fail: every Nth request is answered 500; 0 for none.
        shed: every Nth request is answered 503 with Retry-After; 0 for none.
        close: the connection is closed instead of answering every Nth request; 0 for none.

    """

    def __init__(self, service: float = 0.0, fail: int = 0, shed: int = 0, close: int = 0) -> None:
        self.service, self._fail, self._shed, self._close = service, fail, shed, close
        self._count = 0

    def next(self) -> bytes | None:
        """Return the answer to the next request; None to close the connection."""
        self._count += 1
        if self.service:
            time.sleep(self.service)  # blocks the loop on purpose: one server, one queue
        if self._close and self._count % self._close == 0:
            return None
        if self._fail and self._count % self._fail == 0:
            return _FAIL
        return _SHED if self._shed and self._count % self._shed == 0 else _GOOD


class _Protocol(asyncio.Protocol):
    """Splits what comes into requests by their content length and answers each at once."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        while data:
            size = _size(data)
            if size is None or size > len(data):
                break
            answer = self._manners.next()
            if answer is None:
                self._transport.abort()
                return
            self._transport.write(answer)
            data = data[size:]
        self._rest = data


def _size(data: bytes) -> int | None:
    """Return the bytes of the first request; None while its head is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        return end + 4
    return end + 4 + int(head[at + len(_LENGTH) :].partition(b"\r\n")[0])


async def _serve(host: str, port: int, manners: Manners) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(manners), host, port, backlog=1024)
    bound = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://{host}:{bound}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()


@contextmanager
def started(*flags: str) -> Iterator[str]:
    """Run a null server in a process of its own and give its URL."""
    command = [sys.executable, "-P", "-m", "bakeoff.loadgen.null", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - opened as a pipe above
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; print the URL first."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.loadgen.null", description="A server that does nothing.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback only)")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes a free one")
    parser.add_argument("--service", type=float, default=0.0, help="seconds each request takes, one after another")
    for name in ("fail", "shed", "close"):
        parser.add_argument(f"--{name}", type=int, default=0, help="do so on every Nth request; 0 for none")
    given = parser.parse_args(arguments)
    manners = Manners(given.service, given.fail, given.shed, given.close)
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(given.host, given.port, manners))
    return 0


if __name__ == "__main__":
    sys.exit(main())
