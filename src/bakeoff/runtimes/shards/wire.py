"""Named arrays over a socket: one JSON head, then the raw bytes, nothing that could run code.

A frame is ``!IQ`` (bytes of head and body), a JSON object, and the arrays one after the other, each at a multiple of 64 bytes.
Sending copies nothing (``sendmsg``); receiving fills one buffer that the arrays are views of. Both ends prove with HMAC-SHA256 that they
hold the pipeline's secret before a frame is read; the bytes themselves are not encrypted.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import select
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
Address = tuple[str, int]

_PREFIX = struct.Struct("!IQ")
_ALIGN = 64
_LARGEST_HEAD = 1 << 20
_LARGEST_BODY = 1 << 31
_TYPES = frozenset({"float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"})
_NONCE = 32
_PIECES = 500  # well below IOV_MAX
_PADDING = bytes(_ALIGN)


class WireError(Exception):
    """The other side is gone, or does not speak as it should."""


class Readable(Protocol):
    """A socket or a pipe."""

    def fileno(self) -> int:
        """Return its descriptor, -1 when it is closed."""


def readable(sources: Sequence[Readable], seconds: float) -> list[Readable]:
    """Wait until something can be read, or an end was closed; return which, none when the time is over.

    Raises:
        ValueError: one of them is closed at this end.

    """
    poll = select.poll()  # select() knows descriptors below 1,024 only, and a busy server has more
    known = {source.fileno(): source for source in sources}
    for descriptor in known:
        poll.register(descriptor, select.POLLIN)
    return [known[descriptor] for descriptor, _ in poll.poll(1000 * seconds)]


def packed(parts: Sequence[Tensors]) -> Tensors:
    """Return several micro-batches as one frame's arrays; each is computed by itself, so that its answer does not depend on the others."""
    return {f"{number}/{name}": value for number, part in enumerate(parts) for name, value in part.items()}


def unpacked(tensors: Tensors, count: int) -> list[dict[str, NDArray[Any]]]:
    """Return the ``count`` micro-batches of a frame."""
    parts: list[dict[str, NDArray[Any]]] = [{} for _ in range(count)]
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        parts[int(number)][name] = value
    return parts


def send(link: socket.socket, head: Mapping[str, Any], tensors: Tensors) -> None:
    """Send one frame; blocks while the other side's buffers are full.

    Raises:
        WireError: the connection is gone.

    """
    pieces: list[memoryview | bytes] = []
    listed, size = [], 0
    for name, value in tensors.items():
        array = np.ascontiguousarray(value)
        listed.append([name, array.dtype.name, array.shape])
        pad = -array.nbytes % _ALIGN
        if array.nbytes:
            pieces.append(array.data.cast("B"))
        if pad:
            pieces.append(_PADDING[:pad])
        size += array.nbytes + pad
    text = json.dumps({**head, "tensors": listed}, separators=(",", ":")).encode()
    pieces[:0] = [_PREFIX.pack(len(text), size) + text]
    try:
        _send_all(link, pieces)
    except OSError as error:
        what = f"the connection is gone: {error}"
        raise WireError(what) from error


def _send_all(link: socket.socket, pieces: list[memoryview | bytes]) -> None:
    views = [memoryview(piece) for piece in pieces]
    while views:
        sent = link.sendmsg(views[:_PIECES])
        while views and sent >= views[0].nbytes:
            sent -= views.pop(0).nbytes
        if sent:
            views[0] = views[0][sent:]


def receive(link: socket.socket) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Wait for one frame; the arrays are views of one buffer.

    Raises:
        WireError: the connection ended, or what came is not a frame.

    """
    head_size, body_size = _PREFIX.unpack(_exactly(link, _PREFIX.size))
    if head_size > _LARGEST_HEAD or body_size > _LARGEST_BODY:
        what = "a frame is too large"
        raise WireError(what)
    try:
        head = json.loads(bytes(_exactly(link, head_size)))
        listed = head.pop("tensors")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = "a frame's head is not one of ours"
        raise WireError(what) from error
    return head, _arrays(listed, _exactly(link, body_size))


def _arrays(listed: Any, body: memoryview) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - checked here
    found: dict[str, NDArray[Any]] = {}
    at = 0
    try:
        for name, kind, shape in listed:
            if kind not in _TYPES:
                message = kind
                raise ValueError(message)
            dtype = np.dtype(kind)
            size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            found[str(name)] = np.ndarray(shape, dtype, buffer=body, offset=at)
            at += size + (-size % _ALIGN)
    except (TypeError, ValueError) as error:
        what = "a frame's arrays are not as its head says"
        raise WireError(what) from error
    if at != body.nbytes:
        what = "a frame's arrays do not fill its body"
        raise WireError(what)
    return found


def _exactly(link: socket.socket, size: int) -> memoryview:
    buffer = np.empty(size, np.uint8).data  # aligned, and not cleared first
    done = 0
    while done < size:
        try:
            count = link.recv_into(buffer[done:])
        except OSError as error:
            what = f"the connection is gone: {error}"
            raise WireError(what) from error
        if not count:
            what = "the connection was closed"
            raise WireError(what)
        done += count
    return buffer


def listen(host: str) -> socket.socket:
    """Listen on a free port of ``host``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.bind((host, 0))
    bound.listen(8)
    return bound


def connect(address: Address, secret: bytes, seconds: float = 10.0) -> socket.socket:
    """Connect and prove that both sides hold the secret.

    Raises:
        WireError: nobody listens there, or the other side does not hold the secret.

    """
    try:
        link = socket.create_connection(address, timeout=seconds)
    except OSError as error:
        what = f"nobody answers at {address[0]}:{address[1]}: {error}"
        raise WireError(what) from error
    try:
        mine = secrets.token_bytes(_NONCE)
        link.sendall(mine)
        theirs = bytes(_exactly(link, _NONCE))
        if not hmac.compare_digest(bytes(_exactly(link, _NONCE)), _proof(secret, b"answers", mine, theirs)):
            what = "the other side does not hold the pipeline's secret"
            raise WireError(what)
        link.sendall(_proof(secret, b"calls", theirs, mine))
    except (OSError, WireError) as error:
        link.close()
        what = f"no agreement with {address[0]}:{address[1]}: {error}"
        raise WireError(what) from error
    return _ready(link)


def accept(listener: socket.socket, secret: bytes, seconds: float = 10.0) -> socket.socket:
    """Wait for the next caller and have it prove that it holds the secret.

    Raises:
        WireError: it does not.
        OSError: the listener was closed.

    """
    link, _ = listener.accept()
    link.settimeout(seconds)
    try:
        theirs = bytes(_exactly(link, _NONCE))
        mine = secrets.token_bytes(_NONCE)
        link.sendall(mine + _proof(secret, b"answers", theirs, mine))
        if not hmac.compare_digest(bytes(_exactly(link, _NONCE)), _proof(secret, b"calls", mine, theirs)):
            what = "the caller does not hold the pipeline's secret"
            raise WireError(what)
    except (OSError, WireError) as error:
        link.close()
        what = f"no agreement with a caller: {error}"
        raise WireError(what) from error
    return _ready(link)


def close(link: socket.socket | None) -> None:
    """Close a connection so that whoever waits on it wakes up."""
    if link is None:
        return
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()


def _proof(secret: bytes, role: bytes, first: bytes, second: bytes) -> bytes:
    return hmac.new(secret, role + first + second, hashlib.sha256).digest()


def _ready(link: socket.socket) -> socket.socket:
    link.settimeout(None)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return link
