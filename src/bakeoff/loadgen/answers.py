"""HTTP/1.1 answers, read from whatever bytes have come so far: length, chunks, or until the server closes (RFC 9112, section 6)."""

from __future__ import annotations

from typing import NamedTuple

_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 1 << 16
_CACHED = 4096
_CHUNKED, _UNTIL_CLOSE = -1, -2


class Malformed(Exception):  # noqa: N818 - what a server did, not a fault of the program
    """What came is not an HTTP/1.1 answer to one request."""


class Head(NamedTuple):
    """``length`` of the body in bytes, -1 for chunks, -2 for "until the connection closes"; ``close``: no further request here."""

    status: int
    length: int
    close: bool


class Answer(NamedTuple):
    """One whole answer."""

    status: int
    body: bytes
    close: bool


class Parser:
    """Reads answers; heads are remembered, because a server under load sends the same few over and over."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def read(self, data: bytes, *, ended: bool = False) -> Answer | None:
        """Return the answer that ``data`` holds, or None while it is not whole.

        Args:
            data: every byte since the request was sent.
            ended: the server has closed the connection.

        Raises:
            Malformed: it cannot become an answer, or there are bytes after it.

        """
        split = data.find(_HEAD_END)
        if split < 0:
            if len(data) > _LONGEST_HEAD:
                message = "the head does not end"
                raise Malformed(message)
            return None
        head = self._heads.get(data[:split]) or self._parse(data[:split])
        start = split + len(_HEAD_END)
        if 100 <= head.status < 200:
            return self.read(data[start:], ended=ended)
        if head.length >= 0:
            missing = start + head.length - len(data)
            if missing > 0:
                return None
            if missing < 0:
                message = "bytes after the answer"
                raise Malformed(message)
            return Answer(head.status, data[start:], head.close)
        if head.length == _CHUNKED:
            body = _chunks(data, start)
            return None if body is None else Answer(head.status, body, head.close)
        return Answer(head.status, data[start:], close=True) if ended else None

    def _parse(self, head: bytes) -> Head:
        lines = head.split(b"\r\n")
        first = lines[0]
        if not first.startswith(b"HTTP/1.") or not first[9:12].isdigit():
            message = "not an HTTP/1.1 status line"
            raise Malformed(message)
        status, close = int(first[9:12]), first.startswith(b"HTTP/1.0")
        length = 0 if status in {204, 304} else _UNTIL_CLOSE
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip().lower()
            if name == b"content-length" and value.isdigit():
                length = int(value)
            elif name == b"transfer-encoding" and value.endswith(b"chunked"):
                length = _CHUNKED
            elif name == b"connection":
                close = b"close" in value
        found = Head(status, length, close)
        if len(self._heads) < _CACHED:
            self._heads[head] = found
        return found


def _chunks(data: bytes, start: int) -> bytes | None:
    parts: list[bytes] = []
    while True:
        line = data.find(b"\r\n", start)
        if line < 0:
            return None
        try:
            size = int(data[start:line].partition(b";")[0], 16)
        except ValueError:
            message = "a chunk without a size"
            raise Malformed(message) from None
        if size == 0:
            return b"".join(parts) if data.endswith(b"\r\n\r\n") else None
        start, end = line + 2, line + 2 + size
        if len(data) < end + 2:
            return None
        parts.append(data[start:end])
        start = end + 2
