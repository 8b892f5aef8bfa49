"""What the server and its worker processes say to each other: length-prefixed frames on a socket pair. Nothing is ever unpickled."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from bakeoff.data.transforms.tabular import Table
from bakeoff.serving.computing import Answer

READY, ROWS, TABLE, ANSWER, FAILED = range(5)
_HEAD = struct.Struct("<BIII")
"""Kind, bytes that follow, rows, columns."""
_LARGEST = 1 << 30


def send_rows(connection: socket.socket, rows: Sequence[Any]) -> None:
    """Send rows: a matrix as it lies in memory, mappings as JSON."""
    if isinstance(rows, Table):
        _send(connection, TABLE, np.ascontiguousarray(rows.values).tobytes(), len(rows), rows.values.shape[1])
    else:
        _send(connection, ROWS, orjson.dumps(list(rows)), len(rows), 0)


def send_answer(connection: socket.socket, labels: Any, probabilities: Any) -> None:  # noqa: ANN401 - arrays of a model
    """Send class indices (n,) and probabilities (n, k)."""
    shares = np.ascontiguousarray(probabilities, dtype=np.float64)
    if shares.ndim != 2:
        message = "the model returned the wrong shape"
        raise ValueError(message)
    body = np.ascontiguousarray(labels, dtype=np.int64).tobytes() + shares.tobytes()
    _send(connection, ANSWER, body, len(shares), shares.shape[1])


def send_failed(connection: socket.socket, what: str) -> None:
    """Send the class of an exception; its message may repeat a row and stays where it is."""
    _send(connection, FAILED, what.encode(), 0, 0)


def send_ready(connection: socket.socket, seconds: float) -> None:
    """Say that the model is loaded, and how long it took [s]."""
    _send(connection, READY, struct.pack("<d", seconds), 0, 0)


def receive(connection: socket.socket) -> tuple[int, bytes, int, int]:
    """Return kind, body, rows and columns of the next frame.

    Raises:
        EOFError: the other side is gone, or speaks nonsense.
        TimeoutError: nothing came in the socket's time.

    """
    kind, size, rows, columns = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if kind > FAILED or size > _LARGEST:
        raise EOFError
    return kind, _exactly(connection, size), rows, columns


def table(body: bytes, rows: int, columns: int, names: tuple[str, ...]) -> Table:
    """Return the matrix of a frame."""
    return Table(names, np.frombuffer(body, dtype=np.float64).reshape(rows, columns))


def answer(body: bytes, rows: int, columns: int) -> Answer:
    """Return class indices (n,) and probabilities (n, k) of a frame."""
    labels = np.frombuffer(body, dtype=np.int64, count=rows)
    return labels, np.frombuffer(body, dtype=np.float64, offset=8 * rows).reshape(rows, columns)


def _send(connection: socket.socket, kind: int, body: bytes, rows: int, columns: int) -> None:
    connection.sendall(_HEAD.pack(kind, len(body), rows, columns) + body)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
