"""Hostile requests: bodies mutated as bytes and as JSON trees, and whole requests whose framing is wrong. Seeded, so a run repeats."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

_TOKENS = (
    b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e999", b"1e-999", b"9" * 400, b'"', b"\\", b"\\u0000", b"\\ud800",
    b"\xff\xfe", b"\xc0\xaf", b"{", b"}", b"[", b"]", b",", b":", b"[" * 600, b'{"a":' * 300, b'"__proto__"', b"\x00",
    b"\r\n\r\n", b"\xef\xbb\xbf", "文".encode("gb18030"), b"\xf0\x9f\x98\x80", b'"' + b"A" * 30_000 + b'"', b"-1", b"0.5",
    b"9223372036854775808", b"-9223372036854775809", b"../../etc/passwd", b"{{7*7}}", b"cos\nsystem\n(S'id'\ntR.",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 2**63, -(2**70), "", " ", "\u0000", "a" * 25_000, "\u202e", "很好" * 500,
    "😀", "../../x", [], {}, [[]], [None], {"": ""}, [1, "a", None], {"$ref": "#"}, [[[[[[]]]]]],
)  # fmt: skip


def mutated(seed: bytes, draw: random.Random) -> bytes:
    """Return a body near ``seed``: changed as a tree half of the time, as bytes otherwise, up to four changes."""
    if draw.random() < 0.5:
        document = json.loads(seed)
        for _ in range(draw.randint(1, 4)):
            document = _in_tree(document, draw)
        return json.dumps(document, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    body = bytearray(seed)
    for _ in range(draw.randint(1, 4)):
        draw.choice(_BYTES)(body, draw)
    return bytes(body)


def _in_tree(node: Any, draw: random.Random) -> Any:  # noqa: ANN401 - JSON
    deeper = draw.random() < 0.8
    if isinstance(node, dict) and node and deeper:
        return _in_object(node, draw)
    if isinstance(node, list) and node and deeper:
        return _in_array(node, draw)
    return draw.choice(_VALUES)


def _in_object(node: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    key, choice = draw.choice(list(node)), draw.random()
    if choice < 0.1:
        return {name: value for name, value in node.items() if name != key}
    if choice < 0.2:
        return {**node, draw.choice(("x", "", "rows", "texts", "data", key + " ")): draw.choice(_VALUES)}
    return {**node, key: _in_tree(node[key], draw)}


def _in_array(node: list[Any], draw: random.Random) -> list[Any]:
    at, choice = draw.randrange(len(node)), draw.random()
    if choice < 0.1:
        return node[:at] + node[at + 1 :]
    if choice < 0.2:
        return node * draw.choice((2, 50))
    return [*node[:at], _in_tree(node[at], draw), *node[at + 1 :]]


def _flip(body: bytearray, draw: random.Random) -> None:
    if body:
        body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)


def _insert(body: bytearray, draw: random.Random) -> None:
    at = draw.randint(0, len(body))
    body[at:at] = draw.choice(_TOKENS)


def _cut(body: bytearray, draw: random.Random) -> None:
    at = draw.randint(0, len(body))
    del body[at : at + draw.randint(1, 20)]


def _end(body: bytearray, draw: random.Random) -> None:
    del body[draw.randint(0, len(body)) :]


def _repeat(body: bytearray, draw: random.Random) -> None:
    at = draw.randint(0, len(body))
    body[at:at] = body[at : at + draw.randint(1, 40)] * draw.choice((1, 2, 30))


def _noise(body: bytearray, draw: random.Random) -> None:
    at = draw.randint(0, len(body))
    body[at : at + 8] = draw.randbytes(draw.randint(1, 16))


_BYTES: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _insert, _cut, _end, _repeat, _noise)


def request(path: str, body: bytes, *, kind: bytes = b"application/json", extra: bytes = b"") -> bytes:
    """Return a well-framed POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    return head + b"Content-Type: " + kind + b"\r\n" + extra + b"\r\n" + body


_PATHS = (
    b"/../../etc/passwd", b"/%2e%2e/%2e%2e/x", b"/v1/predict%00", b"//", b"*", b"/v2/models/..%2f..", b"/" + b"a" * 70_000,
    b"http://elsewhere/v1/predict", b"/v1/predict?" + b"q=1&" * 5000,
)  # fmt: skip
_LENGTHS = (b"-1", b"abc", b"1, 2", b"99999999999999999999", b"+5", b"0x10", b"")
_KINDS = (b"text/plain", b"application/x-pickle", b"multipart/form-data", b"", b"\xff")
_METHODS = (b"GET", b"PUT", b"DELETE", b"TRACE", b"BREW", b"post", b"")
_HOSTS = (b"Host x", b" Host: x", b"Host: x\nX: y", b"Ho\x00st: x", b": x", b"X:\r\n folded")
_CHUNKS = (b"zz\r\n\r\n", b"-5\r\nabc\r\n", b"ffffffffffffffffff\r\nabc", b"3\r\nab\r\n0\r\n\r\n")
_CODINGS = (b"gzip", b"br", b"deflate, gzip")


def misframed(path: str, body: bytes, draw: random.Random) -> bytes:
    """Return a request whose line, headers or framing is wrong or strange."""
    good, length = request(path, body), b"%d" % len(body)

    def swapped(old: bytes, new: bytes) -> bytes:
        return good.replace(old, new, 1)

    def headed(line: bytes) -> bytes:
        return swapped(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")

    unframed = request(path, b"", extra=b"Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
    strange: Sequence[bytes] = (
        swapped(b"POST", draw.choice(_METHODS)), swapped(path.encode(), draw.choice(_PATHS)), swapped(length, draw.choice(_LENGTHS)),
        swapped(b"HTTP/1.1", draw.choice((b"HTTP/9.9", b"HTTP/1.0", b"HTTQ/1.1", b""))), swapped(b"application/json", draw.choice(_KINDS)),
        swapped(b"Content-Length: " + length, b"Transfer-Encoding: chunked"), headed(b"Transfer-Encoding: chunked"),
        headed(b"Content-Length: 3"), headed(b"Content-Encoding: " + draw.choice(_CODINGS)), headed(b"X-A: " + b"b" * 100_000),
        headed(b"\r\n".join(b"X-%d: y" % number for number in range(2000))), swapped(b"Host: x", draw.choice(_HOSTS)),
        good.replace(b"\r\n", b"\n"), draw.randbytes(draw.randint(1, 300)), b"\x16\x03\x01\x02\x00\x01\x00" + draw.randbytes(50),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", good[: draw.randint(1, len(good) - 1)], unframed + draw.choice(_CHUNKS),
    )  # fmt: skip
    return draw.choice(strange)
