"""HTTP/1.1 on a socket: one ``Connection`` per client, parsed by llhttp in its strict mode.

Does: keep-alive, pipelining (answers in order), chunked bodies, ``Expect``, HEAD; refuse what is too large before it is kept; cut
who is too slow; give every refusal an answer the client gets to see (the rest of its request is read and dropped first).
Does not know: routes, models, JSON. Leniencies of the parser stay off, so that two readers of one stream agree on where a request ends.
Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from bakeoff.serving.problems import Problem
from bakeoff.serving.request import Request

if TYPE_CHECKING:
    from bakeoff.serving.hub import Hub

_HEADERS = 100
_DROPPED = 64 << 20
"""Bytes of a refused request that are read and dropped so that the client sees the answer instead of a reset."""
_LINGER = 2.0
_KEEP_ALIVE = 75.0
"""Seconds an idle connection is kept; longer than the usual load balancer's 60, so that it never reuses one we just closed."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
_CLOSED = 7
"""The state of a TCP socket that was reset, first byte of ``TCP_INFO``; Linux alone tells it."""

IDLE, HEAD, BODY, LINGER = "idle", "head", "body", "linger"


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_active", "_closing", "_dispatching", "_dropped", "_head", "_headers", "_hub", "_parser", "_paused", "_pending", "_plain",
        "_request", "_served", "_since", "_state", "_stuck", "_surplus", "transport",
    )  # fmt: skip

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._parser: Any = httptools.HttpRequestParser(self)
        self.transport: Any = None
        self._request: Request | None = None
        self._plain: Request | None = None
        """A request that asks for another protocol, until it is read again as one that does not."""
        self._active: Request | None = None
        self._pending: deque[Request] = deque()
        self._state, self._since = IDLE, hub.now
        self._head = self._headers = self._dropped = 0
        self._closing = self._dispatching = self._paused = self._served = self._surplus = False
        self._stuck = 0.0

    @property
    def busy(self) -> bool:
        """Whether something of this connection is still owed."""
        return self._active is not None or bool(self._pending) or self._state in {HEAD, BODY}

    # -------------------------------------------------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self._since = self._hub.now
        open_now, most = len(self._hub.connections), self._hub.limits.connections
        self._surplus = open_now >= most
        self._hub.connections.add(self)
        if open_now >= 2 * most:  # too many even to listen to each before refusing it
            self._refuse(_full())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the transport's contract
        """Forget everything; answers still being computed go nowhere."""
        self._hub.connections.discard(self)
        self.transport = None
        self._forget(self._active, self._request, *self._pending)
        # the parser holds its protocol: without this, only the collector frees both
        self._active = self._request = self._plain = self._parser = None
        self._pending.clear()

    def eof_received(self) -> bool:
        """A client that has sent all it wants may still wait for its answers."""
        self._closing = True
        if self._state in {HEAD, BODY}:
            self._refuse(Problem(400, "the request is incomplete"))
        active = self._active
        if active is not None and active.keep_alive and self.transport is not None:
            # who went away altogether answers this with a reset, who waits passes it over (RFC 9110 15.2); see ``check``
            self.transport.write(_PROCESSING)
        return self._active is not None or bool(self._pending)

    def pause_writing(self) -> None:
        """Hold further answers back: the client does not read them."""
        self._stuck = self._hub.now or 1e-9

    def resume_writing(self) -> None:
        """Go on answering."""
        self._stuck = 0.0
        self._dispatch()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._state is LINGER:
            self._drop(len(data))
            return
        before = self._request
        body = before.size + self._dropped if before is not None and self._state is BODY else -1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._stay(data[stop.args[0] :])
            return
        except httptools.HttpParserError:
            if self._state is not LINGER:
                self._refuse(Problem(400, "this is not a valid HTTP/1.1 request"))
            return
        if before is None or before is not self._request:
            return
        if self._state is HEAD:  # the whole packet belongs to one head that does not end
            self._head += len(data)
            if self._head > self._hub.limits.head:
                self._too_long()
        elif self._state is BODY and body >= 0:
            self._weigh(before, len(data), before.size + self._dropped - body)

    def _stay(self, rest: bytes) -> None:
        """Read a request that asks for another protocol again without that wish, as RFC 9110 7.8 allows.

        The parser would skip its body and take it for the next request.
        """
        asked, self._plain = self._plain, None
        if asked is None:
            return
        lines = [b"%b %b HTTP/%b\r\n" % (asked.method, asked.target, self._parser.get_http_version().encode())]
        lines += [b"%b: %b\r\n" % pair for pair in asked.headers if pair[0] != b"upgrade"]
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b\r\n%b" % (b"".join(lines), rest))

    def _weigh(self, request: Request, size: int, body: int) -> None:
        """Bound what a body is wrapped in: chunk sizes and extensions, each byte of body pays for eight of it, and trailers."""
        self._head = max(0, self._head + size - 9 * body)
        if self._head > self._hub.limits.head:
            self._refuse(request.problem or Problem(431, "the chunks and trailers are too large"))

    # ----------------------------------------------------------------------------------------------------------- parser

    def on_message_begin(self) -> None:
        """Begin a request (llhttp)."""
        if self._state is LINGER:  # the connection ends with the request before
            self._request = None
            return
        self._request = Request(self)
        self._state, self._since = HEAD, self._hub.now
        self._head = self._headers = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target (llhttp)."""
        request = self._request
        if request is None:
            return
        request.target = request.target + url if request.target else url
        self._headers += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header (llhttp); names in lower case."""
        request = self._request
        if request is None or self._state is BODY:
            return  # a trailer: nothing that comes after the body may change what was decided before it
        request.headers.append((name.lower(), value))
        self._headers += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        """Decide whether the body is wanted (llhttp)."""
        request, parser = self._request, self._parser
        if request is None:
            return
        request.method = parser.get_method()
        if parser.should_upgrade():
            if request.method != b"CONNECT" and self._headers <= self._hub.limits.head:
                self._plain, self._request = request, None
                return
            self._closing = True  # what follows is not HTTP
        self._state, self._since, self._head = BODY, self._hub.now, 0
        request.keep_alive = parser.should_keep_alive()
        try:
            self._admit(request)
        except Problem as problem:
            # the traceback holds the request and the connection: kept, all their bytes would stay until the collector runs
            request.problem = problem.with_traceback(None)
            if request.expects or request.length > self._hub.limits.body:
                # its body will not be read as one, so where the next request begins is not known
                request.keep_alive = False
                self._early(request)
        else:
            if request.expects and self._active is None and self.transport is not None:
                self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, or drop it where the request is refused already (llhttp)."""
        request = self._request
        if request is None or self._state is LINGER:
            self._drop(len(body))
            return
        if request.problem is not None:
            self._drop(len(body))
            if (
                self._dropped > self._hub.limits.body
            ):  # a body without an announced end: the answer does not wait for it
                request.keep_alive = False
                self._early(request)
            return
        size = request.size + len(body)
        if size > self._hub.share and (size > self._hub.limits.body or not self._hub.hold(request, size)):
            request.problem, request.keep_alive = self._large() if size > self._hub.limits.body else _busy(), False
            request.drop()
            self._hub.release(request)
            self._early(request)
        else:
            request.take(body)

    def on_message_complete(self) -> None:
        """Pass a request on, or let it wait for those before it (llhttp)."""
        request, self._request = self._request, None
        if request is None or self._state is LINGER:
            return
        self._state, self._since, self._dropped, self._served = IDLE, self._hub.now, 0, True
        self._pending.append(request)
        self._dispatch()
        if self._pending and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    # --------------------------------------------------------------------------------------------------------- requests

    def _admit(self, request: Request) -> None:
        limits = self._hub.limits
        try:
            if self._headers > limits.head or len(request.headers) > _HEADERS:
                raise self._long(request)
            request.read_headers(self._parser.get_http_version())
        except Problem:
            request.keep_alive = False  # whoever stands between may see the end of this request elsewhere
            raise
        if self._surplus:
            request.keep_alive = False
            if request.target not in self._hub.handler.probes:
                raise _full()
        self._hub.handler.admit(request)
        if request.length > limits.body:
            raise self._large()

    def _dispatch(self) -> None:
        """Hand complete requests on, one at a time; a loop, because an answer may come before ``handle`` returns."""
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._active is None and self._pending and not self._stuck:
                self._active = self._pending.popleft()
                self._hub.handler.handle(self._active)
        finally:
            self._dispatching = False
        if self._paused and not self._pending and self.transport is not None and self._state is not LINGER:
            self._paused = False
            self.transport.resume_reading()

    def answered(self, request: Request, data: bytes) -> None:
        """Write an answer."""
        if self.transport is None or request is not self._active:
            return
        self._active = None
        if request.held:
            self._hub.release(request)
        self.transport.write(data)
        if not request.keep_alive or self.closing:
            self._finish()
        else:
            self._dispatch()

    @property
    def closing(self) -> bool:
        """Whether the answer being written is the last one."""
        return (self._hub.draining or self._closing) and not self._pending

    # ---------------------------------------------------------------------------------------------------------- endings

    def _early(self, request: Request) -> None:
        """Answer a request whose body is not wanted before it has come; what is still sent of it is dropped."""
        self._request = None
        self._state, self._since = LINGER, self._hub.now
        self._pending.append(request)
        self._dispatch()

    def _refuse(self, problem: Problem) -> None:
        """Answer what is not a request, or not one yet, and close."""
        request, self._request = self._request or Request(self), None
        request.problem, request.keep_alive, request.mute = problem, False, False
        self._state, self._since = LINGER, self._hub.now
        self._pending.append(request)
        self._dispatch()

    def _finish(self) -> None:
        """Say that nothing more is sent, and read on for a moment: closing over unread bytes would reset the connection."""
        transport = self.transport
        if transport is None:
            return
        self._forget(*self._pending)
        self._pending.clear()
        idle, self._state, self._since = self._state is IDLE, LINGER, self._hub.now
        if idle or self._closing:
            transport.close()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:  # TLS has no half-closed state
            transport.close()

    def _forget(self, *requests: Request | None) -> None:
        for request in requests:
            if request is not None:
                self._hub.release(request)
                request.abandon()
                self._hub.handler.forget(request)

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > _DROPPED and self.transport is not None:
            self.transport.abort()

    def check(self, now: float) -> None:
        """Cut what takes too long (called by the hub's clock)."""
        limits, waited = self._hub.limits, now - self._since
        if self.transport is None:
            return
        if (self._stuck and now - self._stuck > limits.body_seconds) or (self._closing and _reset(self.transport)):
            self.transport.abort()
        elif self._state is LINGER:
            if waited > _LINGER and self._active is None:
                self.transport.abort()
        elif self._active is not None or self._pending:
            return
        elif self._state is HEAD and waited > limits.header_seconds:
            self._refuse(Problem(408, "the request did not arrive in time"))
        elif self._state is BODY and waited > limits.body_seconds:
            self._refuse(Problem(408, "the body did not arrive in time"))
        elif self._state is IDLE and waited > (_KEEP_ALIVE if self._served else limits.header_seconds):
            self.transport.close()

    def close_idle(self) -> None:
        """Close a connection on which nothing is owed."""
        if not self.busy and self._state is IDLE and self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection whatever is owed."""
        if self.transport is not None:
            self.transport.abort()

    def _too_long(self) -> None:
        request = self._request
        self._refuse(self._long(request) if request is not None else Problem(431, "the headers are too large"))

    def _long(self, request: Request) -> Problem:
        allowed = f"at most {self._hub.limits.head} bytes and {_HEADERS} headers"
        if len(request.target) > self._hub.limits.head // 2 or (not request.headers and request.method == b""):
            return Problem(414, "the request line is too long", allowed=allowed)
        return Problem(431, "the headers are too large", allowed=allowed)

    def _large(self) -> Problem:
        what = "the body is too large"
        return Problem(413, what, allowed=f"at most {self._hub.limits.body} bytes")


def _reset(transport: asyncio.Transport) -> bool:
    """Say whether the client has answered with a reset; event loops that wait to write do not look."""
    number = getattr(socket, "TCP_INFO", None)
    client = transport.get_extra_info("socket")
    return number is not None and client is not None and client.getsockopt(socket.IPPROTO_TCP, number, 1)[0] == _CLOSED


def _busy() -> Problem:
    what = "too many large bodies at once; try again"
    return Problem(503, what, headers=((b"retry-after", b"1"),))


def _full() -> Problem:
    what = "too many connections; try again"
    return Problem(503, what, headers=((b"retry-after", b"1"),))
