"""One request and the way its answer goes back; what handlers see of HTTP."""

from __future__ import annotations

import re
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from bakeoff.serving.problems import Header, Problem

if TYPE_CHECKING:
    from bakeoff.serving.protocol import Connection

JSON = b"application/json"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_BEGIN: dict[tuple[int, bytes], bytes] = {}
"""Status line and content type of every kind of answer given so far."""

_SLASH = ord("/")
_SCHEMES = frozenset({b"http", b"https"})
_HOST = re.compile(rb"[\w.-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:\d{1,5})?")


class Request:
    """A request; ``respond`` answers it, once, whenever the answer is there.

    Attributes:
        method: upper case, as sent.
        target: path and query as sent.
        path: decoded path without the query; set by ``read_headers``.
        headers: pairs of lower-case name and value.
        body: the whole body, once it is complete.
        started: ``time.perf_counter`` at its first byte.
        client: who asks: the name of its key, or empty. Set by whoever authenticates.
        due: ``time.perf_counter`` after which the client does not want the answer any more; 0 when it did not say.
        problem: why the request is refused, known before its body came.
        span: the tracer's, if there is one.
        rows: rows it asks about, once known.
        held: bytes of its body that count towards what all bodies may occupy.
        job: what computes for it, once it is queued.
        waited: seconds they waited before they were computed.
        route: what the handler found for it when its headers were complete.

    """

    __slots__ = (
        "_connection", "_parts", "body", "client", "due", "expects", "headers", "held", "job", "keep_alive", "length", "method", "mute",
        "problem", "route", "rows", "size", "span", "started", "target", "waited",
    )  # fmt: skip

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection
        self._parts: list[bytes] | None = None
        self.method, self.target, self.body = b"", b"", b""
        self.headers: list[Header] = []
        self.size = self.length = self.rows = self.held = 0
        self.keep_alive, self.expects, self.mute = True, False, False
        self.problem: Problem | None = None
        self.client = ""
        self.route: Any = None
        self.job: Any = None
        self.due = self.waited = 0.0
        self.span: Any = None
        self.started = perf_counter()

    @property
    def path(self) -> bytes:
        """The path, decoded, without the query."""
        path = self.target.partition(b"?")[0]
        return unquote_to_bytes(path) if b"%" in path else path

    @property
    def peer(self) -> str:
        """Address of the client, empty when unknown."""
        transport = self._connection.transport if self._connection is not None else None
        name = transport.get_extra_info("peername") if transport is not None else None
        return str(name[0]) if name else ""

    @property
    def base(self) -> str:
        """Where the client reached the server, for examples: scheme and host, as it or the proxy before us says; empty when unusable."""
        transport = self._connection.transport if self._connection is not None else None
        ours = b"https" if transport is not None and transport.get_extra_info("sslcontext") is not None else b"http"
        scheme, host = self.header(b"x-forwarded-proto") or ours, self.header(b"host") or b""
        return f"{scheme.decode()}://{host.decode()}" if scheme in _SCHEMES and _HOST.fullmatch(host) else ""

    def header(self, name: bytes) -> bytes | None:
        """Return the value of a header, the first if it came twice."""
        for found, value in self.headers:
            if found == name:
                return value
        return None

    def read_headers(self, version: str) -> None:
        """Take in what the connection must know.

        Raises:
            Problem: 400 where the request is ambiguous, 417 for an expectation that is not known.

        """
        hosts = 0
        if version != "1.1":
            self.keep_alive = False  # HTTP/1.0 would want it confirmed; nobody who counts speaks it
        if self.target[0] != _SLASH:
            self.target = _origin_form(self.target)
        self.mute = self.method == b"HEAD"
        for name, value in self.headers:
            if name == b"content-length":
                self.length = int(value)  # the parser has refused everything but digits
            elif name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise Problem(400, "this transfer coding is not taken", where="Transfer-Encoding", allowed="chunked")
            elif name == b"expect":
                if value.strip().lower() != b"100-continue":
                    raise Problem(417, "this expectation is not known", where="Expect", allowed="100-continue")
                self.expects = True
        if hosts != 1 and version == "1.1":
            raise Problem(400, "exactly one Host header is needed", where="Host", got=str(hosts))

    def take(self, piece: bytes) -> None:
        """Append a piece of the body."""
        self.size += len(piece)
        if self._parts is not None:
            self._parts.append(piece)
        elif self.body:
            self._parts = [self.body, piece]
        else:
            self.body = piece

    def drop(self) -> None:
        """Let go of the body: the request is refused."""
        self.body, self._parts = b"", None

    def content(self) -> bytes:
        """Return the whole body."""
        if self._parts is not None:
            self.body, self._parts = b"".join(self._parts), None
        return self.body

    # ----------------------------------------------------------------------------------------------------------- answer

    def respond(self, status: int, body: bytes, content: bytes = JSON, headers: tuple[Header, ...] = ()) -> None:
        """Send the answer."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        begin = _BEGIN.get((status, content))
        if begin is None:
            reason = _REASONS.get(status, b"")
            begin = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: " % (status, reason, content)
            _BEGIN[status, content] = begin
        parts = [begin, b"%d\r\n" % len(body)]
        for name, value in headers:
            parts.append(b"%b: %b\r\n" % (name, value))
        if not self.keep_alive or connection.closing:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if not self.mute:
            parts.append(body)
        connection.answered(self, b"".join(parts))

    def abandon(self) -> None:
        """Forget the connection: the client went away."""
        self._connection = None


def _origin_form(target: bytes) -> bytes:
    """Return the path and query of a target that names the server too, as proxies send it (RFC 9112 3.2.2)."""
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in {b"http", b"https"}:
        return target
    path = rest[min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest)) :]
    return path if path.startswith(b"/") else b"/" + path
