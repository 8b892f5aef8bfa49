"""A plain client for hostile requests: one keep-alive connection, every answer read and judged, nothing retried silently."""

from __future__ import annotations

import re
import socket
from collections import Counter
from types import TracebackType
from typing import Self

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_PATIENCE = 20.0


class Client:
    """Sends bytes, counts what comes back.

    Args:
        port: of the server, on the loopback interface.

    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self.statuses: Counter[int] = Counter()
        self.dropped: list[bytes] = []
        self.faults: list[tuple[int, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, data: bytes, *, fresh: bool = False, close: bool = False) -> tuple[int, bytes]:
        """Send a request and return status and body; status 0 when the connection ended without an answer.

        Args:
            data: what goes over the wire.
            fresh: on a connection of its own.
            close: nothing more will come (half-close), for requests that end early.

        """
        if fresh:
            self.close()
        connection = self._connection()
        answer = b""
        try:
            connection.sendall(data)
            if close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused while sending: the answer may be there all the same
        try:
            answer = self._read(connection)
        except OSError:
            self.close()
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.") and answer[9:12].isdigit() else 0
        self.statuses[status] += 1
        if status == 0:
            self.dropped.append(data[:400])
            self.close()
        elif status >= 500:
            self.faults.append((status, data[:400]))
        head, _, body = answer.partition(b"\r\n\r\n")
        if fresh or _CLOSE.search(head):
            self.close()
        return status, body

    def _connection(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _read(self, connection: socket.socket) -> bytes:
        answer = b""
        while True:
            head, blank, body = answer.partition(b"\r\n\r\n")
            if blank:
                found = _LENGTH.search(head)
                if found is not None and len(body) >= int(found[1]):
                    return answer[: len(head) + 4 + int(found[1])]
            part = connection.recv(1 << 16)
            if not part:
                self.close()
                return answer if blank else b""
            answer += part
