"""One thread, one poller, raw sockets: sends prebuilt requests when they are due and notes when each was due, sent and answered.

Nothing here is an event loop of a framework, so that what the client adds to a latency stays in the tens of microseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import select
import socket
import ssl
import time
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.loadgen.answers import Answer, Malformed, Parser

REFUSED, CLOSED, TIMED_OUT, MALFORMED = -1, -2, -3, -4
"""Kept in place of an HTTP status where there was none."""

_READ, _WRITE = 1, 4
"""EPOLLIN and EPOLLOUT, which are POLLIN and POLLOUT too."""
_RECEIVE = 1 << 18
_SWEEP = 0.1
_TRYING = 5.0
"""Seconds at most to find out whether one of several addresses answers."""
_RETRY = 0.05
_GIVE_UP = 200
_BURST = 32
_KEPT_BODIES = 20_000
_OPENS = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK})
"""What a socket says that is open, or opens meanwhile."""
_clock = time.perf_counter


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to send.

    Args:
        host: name or address of the server.
        port: its TCP port.
        rate: requests per second of an open loop with Poisson arrivals; None for a closed loop.
        connections: closed loop: requests in flight; open loop: connections at most, more requests than that wait in the client.
        seconds: how long requests are sent.
        count: requests at most; None for as many as the time allows.
        timeout: seconds after which an answer is given up.
        seed: of the arrivals and of the order of requests.
        bodies: keep one body for each request and each different answer to it.
        tls: speak HTTPS; a connection's handshake counts towards the request that opened it.
        ca: PEM file of the authorities to trust in place of the system's.

    """

    host: str
    port: int
    rate: float | None = None
    connections: int = 1
    seconds: float = 10.0
    count: int | None = None
    timeout: float = 30.0
    seed: int = 0
    bodies: bool = False
    tls: bool = False
    ca: str | None = None


@dataclass
class Log:
    """One entry a request, in order of their ends; times in seconds from the start.

    ``request`` is the index of what was sent; ``status`` HTTP's or one of the negative codes; ``digest`` the CRC-32 of the body.
    """

    request: array[int] = field(default_factory=lambda: array("q"))
    intended: array[float] = field(default_factory=lambda: array("d"))
    sent: array[float] = field(default_factory=lambda: array("d"))
    done: array[float] = field(default_factory=lambda: array("d"))
    status: array[int] = field(default_factory=lambda: array("i"))
    digest: array[int] = field(default_factory=lambda: array("Q"))
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    cpu: float = 0.0
    wall: float = 0.0
    idle: float = 0.0
    opened: int = 0
    crowded: int = 0


class _Connection:
    """A socket and the request that is in flight on it, if any."""

    __slots__ = ("busy", "fd", "intended", "parts", "pending", "request", "sent", "socket", "watched")

    def __init__(self, opened: socket.socket) -> None:
        self.socket, self.fd = opened, opened.fileno()
        self.busy = False
        self.request, self.intended, self.sent = 0, 0.0, 0.0
        self.parts = b""
        self.pending = b""
        self.watched = _READ


_SELECTABLE = 1024
"""``select`` takes descriptors below this one only."""


def _fine_timers() -> None:
    """Ask Linux to wake this process when it is due instead of up to 50 µs later (prctl PR_SET_TIMERSLACK)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)


def _accepting(plan: Plan) -> tuple[socket.AddressFamily, Any]:
    """Return the first of the host's addresses where somebody listens, the first of all where nobody does: ``localhost`` may have two."""
    found = socket.getaddrinfo(plan.host, plan.port, type=socket.SOCK_STREAM)
    for family, _, _, _, where in found if len(found) > 1 else ():
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.settimeout(min(plan.timeout, _TRYING))
            tried.connect(where)
            return family, where
    return found[0][0], found[0][4]


class Engine:
    """Sends requests after a plan.

    Args:
        plan: what to send.
        requests: whole requests, head and body.

    """

    def __init__(self, plan: Plan, requests: Sequence[bytes]) -> None:
        self._plan, self._requests = plan, requests
        self._family, self._address = _accepting(plan)
        self._tls = ssl.create_default_context(cafile=plan.ca) if plan.tls else None
        poller = select.epoll() if hasattr(select, "epoll") else None
        if poller is not None and poller.fileno() >= _SELECTABLE:
            poller.close()
            poller = None
        self._fine = poller is not None
        self._poller: Any = poller or select.poll()
        self._open: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._parser = Parser()
        self._log = Log()
        self._inflight = self._failures = 0
        self._full = False
        self._start = self._swept = 0.0
        self._order = np.random.default_rng(plan.seed).permutation(len(requests)).tolist()

    def run(self) -> Log:
        """Send everything, wait for the answers, return what was noted."""
        _fine_timers()
        gc.collect()
        gc.disable()  # a pause of the collector would look like the server's
        used, self._start = time.process_time(), _clock()
        try:
            if self._plan.rate is None:
                self._closed_loop()
            else:
                self._open_loop(self._arrivals())
        finally:
            gc.enable()
            for connection in list(self._open.values()):
                self._drop(connection)
            if self._fine:
                self._poller.close()
        self._log.cpu, self._log.wall = time.process_time() - used, _clock() - self._start
        return self._log

    # ------------------------------------------------------------------------------------------------ the two loops

    def _arrivals(self) -> list[float]:
        rate, seconds = float(self._plan.rate or 0.0), self._plan.seconds
        count = self._plan.count or max(1, round(rate * seconds))
        gaps: NDArray[np.float64] = np.random.default_rng(self._plan.seed + 1).exponential(1.0 / rate, count)
        due = np.cumsum(gaps)
        return [float(moment) for moment in due[due <= seconds]] or [float(due[0])]

    def _open_loop(self, due: list[float]) -> None:
        number, total, last = 0, len(due), due[-1]
        while number < total or self._inflight:
            now = _clock() - self._start
            if now > last + self._plan.timeout:
                break
            sent = self._send_due(due, number, now)
            self._crowded(sent < 0)
            number += max(sent, 0)
            if sent < 0 or number >= total:
                self._wait(_SWEEP)
            else:
                self._wait(due[number] - (_clock() - self._start))
        for connection in list(self._open.values()):
            if connection.busy:
                self._end(connection, TIMED_OUT)
        for unsent in range(number, total):  # every connection hung to the end
            self._note(self._index(unsent), due[unsent], _clock() - self._start, TIMED_OUT, b"")

    def _send_due(self, due: list[float], number: int, now: float) -> int:
        """Send what is due, a few at most, so that answers are read meanwhile; -1 when the first finds every connection taken."""
        first = number
        while number < len(due) and due[number] <= now and number - first < _BURST:
            connection = self._idle.pop() if self._idle else self._connect(due[number], number, now)
            if connection is not None:
                self._send(connection, number, due[number], now)
            elif len(self._open) >= self._plan.connections:  # it stays due and goes out with the next that gets free
                return number - first or -1
            number += 1
            now = _clock() - self._start
        return number - first

    def _crowded(self, now: bool) -> None:  # noqa: FBT001 - a state, not an option
        self._log.crowded += now and not self._full
        self._full = now

    def _closed_loop(self) -> None:
        plan, number, retry = self._plan, 0, 0.0
        limit = plan.count or (1 << 62)
        while True:
            now = _clock() - self._start
            sending = number < limit and now < plan.seconds and self._failures < _GIVE_UP
            while sending and self._inflight < plan.connections and now >= retry:
                now = _clock() - self._start
                connection = self._idle.pop() if self._idle else self._connect(now, number, now)
                if connection is not None:
                    self._send(connection, number, now, now)
                if self._failures >= plan.connections:  # nobody is there: do not spin
                    retry = now + _RETRY
                number += 1
                sending = number < limit
            if not self._inflight and not sending:
                return
            self._wait(_RETRY if now < retry else _SWEEP)

    # ------------------------------------------------------------------------------------------------ one connection

    def _connect(self, intended: float, number: int, now: float) -> _Connection | None:
        """Return a connection, opened or opening; None when there may be no more, or when it was refused (then it is noted)."""
        if len(self._open) >= self._plan.connections:
            return None
        opened = socket.socket(self._family, socket.SOCK_STREAM)
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:  # the handshake is made by what is sent and read first
            opened = self._tls.wrap_socket(opened, do_handshake_on_connect=False, server_hostname=self._plan.host)
        if opened.connect_ex(self._address) not in _OPENS:
            opened.close()
            self._failures += 1
            self._note(self._index(number), intended, now, REFUSED, b"")
            return None
        connection = _Connection(opened)
        self._open[connection.fd] = connection
        self._poller.register(connection.fd, _READ)
        self._log.opened += 1
        return connection

    def _index(self, number: int) -> int:
        return int(self._order[number % len(self._order)])

    def _send(self, connection: _Connection, number: int, intended: float, now: float) -> None:
        index = self._index(number)
        connection.busy, connection.request, connection.intended, connection.sent = True, index, intended, now
        connection.parts = b""
        self._inflight += 1
        self._push(connection, self._requests[index])

    def _push(self, connection: _Connection, data: bytes) -> None:
        """Hand bytes to the kernel; what it does not take now goes out when it can."""
        taken, awaited = 0, _READ | _WRITE
        try:
            taken = connection.socket.send(data)
        except ssl.SSLWantReadError:  # the handshake goes on with what the server says
            awaited = _READ
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._end(connection, REFUSED if isinstance(error, ConnectionRefusedError) else CLOSED)
            return
        connection.pending = data[taken:] if taken < len(data) else b""
        if not connection.pending:
            awaited = _READ
        if awaited != connection.watched:
            self._poller.modify(connection.fd, awaited)
            connection.watched = awaited

    def _wait(self, seconds: float) -> None:
        """Take what has come; sleep at most ``seconds`` for it."""
        for descriptor, events in self._ready(min(seconds, _SWEEP)):
            connection = self._open.get(descriptor)
            if connection is None:
                continue
            if events & ~_WRITE:
                self._receive(connection)
            # with TLS what was read may be what lets one write, and nothing but this would then say so
            if connection.pending and self._open.get(descriptor) is connection:
                self._push(connection, connection.pending)
        now = _clock()
        if now - self._swept > _SWEEP:
            self._swept = now
            self._sweep(now - self._start)

    def _ready(self, seconds: float) -> Sequence[tuple[int, int]]:
        """Return what has come; the poller counts in milliseconds, so the finer clock of ``select`` waits on it where it can."""
        found: Sequence[tuple[int, int]]
        if seconds <= 0:
            found = self._poller.poll(0)
            return found
        asleep = _clock()
        if self._fine:
            select.select([self._poller], [], [], seconds)
            self._log.idle += _clock() - asleep
            found = self._poller.poll(0)
        else:
            found = self._poller.poll(1000 * seconds)
            self._log.idle += _clock() - asleep
        return found

    def _sweep(self, now: float) -> None:
        late = now - self._plan.timeout
        for connection in [one for one in self._open.values() if one.busy and one.sent < late]:
            self._end(connection, TIMED_OUT)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._end(connection, REFUSED if isinstance(error, ConnectionRefusedError) else CLOSED)
            return
        if not connection.busy:  # the server closed an idle connection, or spoke unasked
            self._drop(connection)
            return
        whole = connection.parts + data if connection.parts else data
        try:
            answer = self._parser.read(whole, ended=not data)
        except Malformed:
            self._end(connection, MALFORMED)
            return
        if answer is not None:
            self._answered(connection, answer)
        elif data:
            connection.parts = whole
        else:
            self._end(connection, CLOSED)

    def _answered(self, connection: _Connection, answer: Answer) -> None:
        self._note(connection.request, connection.intended, connection.sent, answer.status, answer.body)
        self._inflight -= 1
        self._failures = 0
        connection.busy = False
        if answer.close or connection.pending:  # answered before all of the request was sent: the rest must not follow
            self._drop(connection)
        else:
            self._idle.append(connection)

    def _end(self, connection: _Connection, code: int) -> None:
        """Note a request that got no answer, and close its connection."""
        if connection.busy:
            self._note(connection.request, connection.intended, connection.sent, code, b"")
            self._inflight -= 1
            self._failures += 1
            connection.busy = False
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        if self._open.pop(connection.fd, None) is None:
            return
        if connection in self._idle:
            self._idle.remove(connection)
        self._poller.unregister(connection.fd)
        connection.socket.close()

    def _note(self, request: int, intended: float, sent: float, status: int, body: bytes) -> None:
        log = self._log
        log.done.append(_clock() - self._start)
        log.request.append(request)
        log.intended.append(intended)
        log.sent.append(sent)
        log.status.append(status)
        digest = zlib.crc32(body)
        log.digest.append(digest)
        if self._plan.bodies and len(log.bodies) < _KEPT_BODIES:
            log.bodies.setdefault((request, digest), body)
