"""HTTP on the wire: what is kept, what is refused, in which order it is answered, and that a refusal can be read."""

from __future__ import annotations

import contextlib
import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.serving import engine
from bakeoff.serving.app import App
from bakeoff.serving.hub import Hub
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import open_bundle
from bakeoff.serving.problems import Problem
from bakeoff.serving.protocol import Connection
from bakeoff.serving.request import Request
from tests.serving.running import Running, running

BODY = '{"texts": ["很好 满意"]}'.encode()
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def post(body: bytes = BODY, *headers: bytes) -> bytes:
    """Return a request."""
    lines = b"".join(line + b"\r\n" for line in (b"content-length: %d" % len(body), *headers))
    return HEAD + lines + b"\r\n" + body


def read(connection: socket.socket) -> bytes:
    """Read until the server has nothing more to say."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="module")
def small(text_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that takes three connections and short headers."""
    flags = (
        "--connections", "3", "--head", "4000", "--body", "50000", "--bodies", "60000", "--header-seconds", "0.5",
        "--body-seconds", "0.5",
    )  # fmt: skip
    with running(text_bundle, tmp_path_factory.mktemp("log"), *flags) as server:
        server.client.close()
        yield server


def connect(server: Running) -> socket.socket:
    """Return a connection."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


class Wire:
    """A transport that takes whatever is written."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, _: str) -> None:
        return None

    close = abort = pause_reading = resume_reading = lambda self: None


REFUSED = {
    "no such path": b"POST /nowhere HTTP/1.1\r\nhost: x\r\n\r\n",
    "method": b"DELETE /v1/predict HTTP/1.1\r\nhost: x\r\n\r\n",
    "type": b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: text/x\r\ncontent-length: 2\r\n\r\n{}",
    "length": b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "header": b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 100_000,
    "body": post(b"{]"),
    "nonsense": b"\x16\x03\x01\r\n\r\n",
}


def found() -> list[Any]:
    # isinstance would ask each object for its class, and other libraries' lazy ones answer with warnings
    return [one for one in gc.get_objects() if issubclass(type(one), (Connection, Request, Problem))]


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_nothing_of_a_refused_request_stays(sent: bytes, text_bundle: Path) -> None:
    limits = Limits()
    built = engine.build(open_bundle(text_bundle), limits, engine.Computing())
    hub = Hub(App(built.service.served, limits, built))
    gc.collect()
    before = {id(one) for one in found()}  # other tests' own
    gc.disable()  # what the collector has to find stays until it looks, with all its bytes
    try:
        for _ in range(3):
            connection, wire = hub.connect(), Wire()
            connection.connection_made(wire)  # type: ignore[arg-type]
            for at in range(0, len(sent), 65536):
                connection.data_received(sent[at : at + 65536])
            assert wire.sent.startswith(b"HTTP/1.1 4")
            connection.connection_lost(None)
        del connection
        kept = [one for one in found() if id(one) not in before]
    finally:
        gc.enable()
    assert kept == []


def test_a_connection_is_kept_and_closed_when_the_client_asks(texts: Running) -> None:
    with connect(texts) as connection:
        for _ in range(3):
            connection.sendall(post())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(post(BODY, b"connection: close"))
        answer = read(connection)
    assert b"\r\nconnection: close\r\n" in answer


def test_requests_in_one_packet_and_a_byte_at_a_time_are_answered_alike(texts: Running) -> None:
    both = post() + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + post(BODY, b"connection: close")
    answers = []
    for size in (len(both), 1):
        with connect(texts) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(both), size):
                connection.sendall(both[at : at + size])
            answers.append(read(connection))
    assert answers[0] == answers[1]
    assert [part[:3] for part in answers[0].split(b"HTTP/1.1 ")[1:]] == [b"200"] * 3


def test_a_thousand_pipelined_requests_come_back_in_order(texts: Running) -> None:
    paths = [b"/healthz", b"/nothing", b"/readyz"] * 400
    with connect(texts) as connection:
        connection.sendall(b"".join(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in paths[:-1]))
        connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        statuses = [part[:3] for part in read(connection).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"] * 400


def test_a_client_that_waits_for_permission_gets_it(texts: Running) -> None:
    with connect(texts) as connection:
        connection.sendall(
            HEAD + b"content-length: %d\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n" % len(BODY)
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400"),
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", b"400"),
        (HEAD + b"content-length : 5\r\n\r\nhello", b"400"),
        (HEAD + b"x: a\nb: c\r\n\r\n", b"400"),
        (b"POST /v1/predict HTTP/1.1\r\ncontent-type: application/json\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"400"),
        (HEAD + b"content-length: 2\r\nexpect: something\r\n\r\n{}", b"417"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"414"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (HEAD + b"content-length: 30\r\n\r\n{", b"400"),
        (b"CONNECT example.com:80 HTTP/1.1\r\nhost: x\r\n\r\n", b"404"),
    ],
    ids=lambda value: None if isinstance(value, bytes) and len(value) > 3 else value,
)  # fmt: skip
def test_what_is_ambiguous_or_too_long_is_answered_and_the_connection_ended(
    texts: Running, request_bytes: bytes, status: bytes
) -> None:
    with connect(texts) as connection:
        connection.sendall(request_bytes)
        if request_bytes.endswith(b"\r\n\r\n{"):
            connection.shutdown(socket.SHUT_WR)
        answer = read(connection)
        assert answer.split()[1] == status, answer
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1 4") == 1


def test_a_refused_body_is_read_on_so_that_the_answer_arrives(texts: Running) -> None:
    large = b'{"texts": ["' + b"a" * 20_000_000 + b'"]}'
    with connect(texts) as connection:
        connection.sendall(post(large))
        assert read(connection).startswith(b"HTTP/1.1 413")


def test_trailers_change_nothing(texts: Running) -> None:
    with connect(texts) as connection:
        connection.sendall(
            HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n%x\r\n" % len(BODY) + BODY
            + b"\r\n0\r\nhost: y\r\ncontent-type: text/plain\r\n\r\n"
        )  # fmt: skip
        assert read(connection).startswith(b"HTTP/1.1 200")


def test_more_connections_than_allowed_are_told_so_and_those_before_go_on(small: Running) -> None:
    first = [connect(small) for _ in range(3)]
    try:
        for connection in first:
            connection.sendall(post())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(8):
            with connect(small) as surplus:
                surplus.sendall(post())
                answer = read(surplus)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1\r\n" in answer
        for target in (b"/healthz", b"/readyz", b"/v2/health/ready"):  # otherwise a full server would be restarted
            with connect(small) as probe:
                probe.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % target)
                assert read(probe).startswith(b"HTTP/1.1 200")
        first[0].sendall(post())
        assert first[0].recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for connection in first:
            connection.close()


def test_slow_senders_are_told_and_cut_and_hold_up_nobody(small: Running) -> None:
    time.sleep(0.2)  # connections of the test before are gone
    with connect(small) as headers, connect(small) as body:
        headers.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
        body.sendall(HEAD + b"content-length: 50\r\n\r\n{")
        with connect(small) as good:
            good.sendall(post(BODY, b"connection: close"))
            assert read(good).startswith(b"HTTP/1.1 200")
        assert read(headers).startswith(b"HTTP/1.1 408")
        assert read(body).startswith(b"HTTP/1.1 408")


def test_a_client_says_in_whole_milliseconds_how_long_it_waits(texts: Running) -> None:
    with connect(texts) as connection:
        connection.sendall(post(BODY, b"x-request-timeout-ms: 20000") + post(BODY, b"x-request-timeout-ms: soon"))
        received = b""
        while received.count(b"HTTP/1.1 ") < 2:
            received += connection.recv(65536)
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"400"]


def test_a_large_body_before_a_request_is_not_taken_for_its_head(texts: Running) -> None:
    large = post(('{"texts": ["' + "a" * 1900 + '"' + ', "b"' * 40 + "]}").encode())
    wanted = (large + b"\r\n" + post()) * 30
    with connect(texts) as connection:
        connection.sendall(wanted + post(BODY, b"connection: close"))
        statuses = [part[:3] for part in read(connection).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200"] * 61


def test_a_client_that_does_not_read_its_answers_is_not_listened_to(texts: Running) -> None:
    before = psutil.Process(texts.process.pid).memory_info().rss
    with connect(texts) as connection:
        connection.settimeout(1.0)
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionResetError):  # in the end it is cut
            while sent < 200_000_000:
                sent += connection.send(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 500)
        assert sent < 50_000_000
        assert texts.client.get("/healthz").status_code == 200
        assert psutil.Process(texts.process.pid).memory_info().rss - before < 60_000_000


def statuses(answer: bytes) -> list[bytes]:
    """Return the statuses of the answers."""
    return [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]


UPGRADE = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__")
"""What Java's client and ``curl --http2`` send with every first request."""


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_wish_for_another_protocol_is_passed_over(texts: Running, split: bool, chunked: bool) -> None:
    inner = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    asked = [
        post(BODY, *UPGRADE),
        inner.replace(b"host: x", b"host: x\r\n" + b"\r\n".join(UPGRADE)),
        post(inner, *UPGRADE),
    ]
    if chunked:
        wrapped = b"transfer-encoding: chunked", *UPGRADE
        asked[0] = HEAD + b"\r\n".join(wrapped) + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    with connect(texts) as connection:
        for one in asked:
            head, end, body = one.partition(b"\r\n\r\n")
            connection.sendall(head + end)
            if split:
                time.sleep(0.1)
            connection.sendall(body)
        connection.sendall(post(BODY, b"connection: close"))
        assert statuses(read(connection)) == [b"200", b"200", b"400", b"200"], "a body is never read as a request"


@pytest.mark.parametrize("begin", [b"2\r\n{}\r\n0\r\nx: ", b"2\r\n{}\r\n0\r\n", b"2;x="])
def test_what_a_body_is_wrapped_in_is_bounded(texts: Running, begin: bytes) -> None:
    piece = b"a: b\r\n" * 5000 if begin.endswith(b"\n") else b"a" * 30_000
    with connect(texts) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n" + begin)
        for _ in range(20):
            connection.sendall(piece)
        assert statuses(read(connection)) == [b"431"]


def test_a_body_in_the_smallest_chunks_is_taken(texts: Running) -> None:
    body = b'{"texts": ["%b"]}' % b'", "'.join([b"good " * 300] * 40)
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with connect(texts) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        for at in range(0, len(pieces), 10_000):
            connection.sendall(pieces[at : at + 10_000])
            time.sleep(0.001)
        connection.sendall(b"0\r\n\r\n")
        assert statuses(read(connection)) == [b"200"]


def test_nothing_is_read_after_a_request_that_ends_its_connection(texts: Running) -> None:
    refused = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    before = texts.metric("bakeoff_wait_seconds_count")
    with connect(texts) as connection:
        connection.sendall(refused + b"hello" + post() + b"no request\r\n")
        assert statuses(read(connection)) == [b"415"]
        ours, end = connection.getsockname()[1], time.monotonic() + 8
        while time.monotonic() < end:
            open_now = [one.raddr.port for one in psutil.Process(texts.process.pid).net_connections() if one.raddr]
            if ours not in open_now:
                break
            time.sleep(0.1)
        assert ours not in open_now, "the server lets go of the connection although the client does not"
    assert texts.metric("bakeoff_wait_seconds_count") == before


def test_a_refused_body_without_end_is_answered_before_it_ends(texts: Running) -> None:
    with connect(texts) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"%x\r\n%b\r\n" % (50_000, b"a" * 50_000))
        assert statuses(read(connection)) == [b"404"]


def test_large_bodies_share_what_memory_there_is_and_small_ones_always_find_room(small: Running) -> None:
    time.sleep(0.2)  # connections of the test before are gone
    large = post(b'{"texts": ["%b"]}' % b'", "'.join([b"very good " * 800] * 3), b"connection: close")
    with connect(small) as first:
        first.sendall(large[:20_000])
        time.sleep(0.1)
        with connect(small) as second:
            second.sendall(large)
            answer = read(second)
            assert statuses(answer) == [b"503"]
            assert b"retry-after: 1\r\n" in answer
        with connect(small) as third:
            third.sendall(post(BODY, b"connection: close"))
            assert statuses(read(third)) == [b"200"]
        first.sendall(large[20_000:])
        assert statuses(read(first)) == [b"200"]
    for cut in (20_000, len(large)):  # one that leaves takes its share along
        with connect(small) as again:
            again.sendall(large[:cut])
            time.sleep(0.1)
            if cut == len(large):
                assert statuses(read(again)) == [b"200"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://x/healthz", b"200"), (b"HTTPS://y:8000/healthz?a", b"200"), (b"http://x/v1/predict", b"405"), (b"http://x", b"200"),
        (b"ftp://x/healthz", b"404"),
    ],
)  # fmt: skip
def test_a_target_that_names_the_server_is_taken(texts: Running, target: bytes, status: bytes) -> None:
    with connect(texts) as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % target)
        assert statuses(read(connection)) == [status]
