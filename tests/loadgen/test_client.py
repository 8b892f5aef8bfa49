"""The client against real servers: what was due, sent and answered is noted as it was."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.loadgen import null
from bakeoff.loadgen.client import Run, address, request, run
from bakeoff.loadgen.engine import Engine, Plan
from bakeoff.loadgen.talk import ask
from bakeoff.schema.errors import UserError
from tests.serving.running import Running, certificate_of, running


def load(url: str, bodies: int = 5, **plan: object) -> Run:
    """Run a plan against a server, five different bodies unless told otherwise."""
    requests = [request(f"{url}/v1/predict", b'{"texts":["%d"]}' % number) for number in range(bodies)]
    return run(Plan(**address(url)._asdict(), **plan), requests)  # type: ignore[arg-type]


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_a_host_of_several_addresses_is_asked_where_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """``localhost`` is often ``::1`` first, and the server listens on 127.0.0.1 only."""
    real = socket.getaddrinfo

    def several(host: str, port: int, **kinds: Any) -> list[Any]:
        return [found for one in ("127.0.0.2", "127.0.0.1") for found in real(one, port, **kinds)]

    with null.started() as url:
        plan = Plan(**{**address(url)._asdict(), "host": "several.example"}, seconds=30.0, count=5)
        monkeypatch.setattr(socket, "getaddrinfo", several)
        found = Engine(plan, [request(url, b"{}")]).run()
        dead = Engine(
            Plan(host="several.example", port=free_port(), seconds=30.0, count=5), [request(url, b"{}")]
        ).run()
    assert set(found.status) == {200}
    assert set(dead.status) == {-1}, "nobody listens anywhere: refused, as with one address"


def test_a_closed_loop_keeps_its_clients_busy_and_its_connections_open() -> None:
    with null.started("--service", "0.002") as url:
        found = load(url, connections=4, seconds=0.6)
    assert found.good.all()
    assert found.opened == 4
    assert 150 < len(found) < 310  # one server that takes 2 ms: 300 in 0.6 s
    assert np.all(found.done > found.sent)
    assert set(found.request.tolist()) == set(range(5))
    in_flight = [(found.sent <= moment) & (found.done > moment) for moment in (0.2, 0.4)]
    assert all(one.sum() <= 4 for one in in_flight)


def test_an_open_loop_sends_when_due_whether_answered_or_not() -> None:
    with null.started("--service", "0.02") as url:  # 50/s at most, 200/s are sent
        found = load(url, rate=200.0, connections=256, seconds=0.5, seed=3)
    assert found.good.all()
    assert np.all(np.diff(found.intended) > 0)
    assert found.intended[-1] <= 0.5
    assert np.median(found.lag) < 0.1  # the two seconds that the answers take are not waited for
    assert found.latency.max() > 0.5  # a hundred due in half a second need two; in which order is up to the server
    assert found.done.max() > 0.95 * len(found) * 0.02


def test_arrivals_are_poisson_and_follow_the_seed() -> None:
    with null.started() as url:
        first, again, other = (load(url, rate=2000.0, connections=64, seconds=0.5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.intended, again.intended)
    assert not np.array_equal(first.intended[:50], other.intended[:50])
    gaps = np.diff(first.intended)
    assert gaps.mean() == pytest.approx(1 / 2000, rel=0.15)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.2)  # exponential: as wide as they are long


def test_a_count_ends_a_run_before_its_time() -> None:
    with null.started() as url:
        assert len(load(url, connections=3, seconds=30.0, count=50)) == 50


def test_bodies_and_digests_tell_answers_apart() -> None:
    with null.started("--fail", "2") as url:
        found = load(url, bodies=1, connections=1, seconds=5.0, count=10)
    assert sorted(set(found.status.tolist())) == [200, 500]
    assert len(set(found.digest.tolist())) == 2
    assert found.bodies == {}


def test_bodies_are_kept_when_asked_for() -> None:
    with null.started("--fail", "2") as url:
        plan = Plan(**address(url)._asdict(), connections=1, seconds=5.0, count=10, bodies=True)
        found = run(plan, [request(url, b"{}")])
    assert len(found.bodies) == 2
    assert b"{}" in found.bodies.values()


def test_nobody_there_is_noted_and_does_not_spin() -> None:
    begun = time.monotonic()
    found = load(f"http://127.0.0.1:{free_port()}", connections=8, seconds=1.0)
    assert set(found.status.tolist()) == {-1}
    assert len(found) <= 200
    assert time.monotonic() - begun < 20


def test_a_server_that_hangs_up_is_noted_and_others_go_on() -> None:
    with null.started("--close", "10") as url:
        found = load(url, connections=4, seconds=5.0, count=200)
    assert int((found.status == -2).sum()) == pytest.approx(20, abs=4)
    assert int(found.good.sum()) == pytest.approx(180, abs=4)
    assert found.opened > 10


def _misbehaving(answer: bytes | None) -> tuple[str, threading.Thread, socket.socket]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                if answer is not None:
                    connection.sendall(answer)
                connection.recv(1)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}", thread, server


@pytest.mark.parametrize(("answer", "status"), [(None, -3), (b"SSH-2.0-x\r\n\r\n", -4)])
def test_silence_and_nonsense_are_told_apart(answer: bytes | None, status: int) -> None:
    url, thread, server = _misbehaving(answer)
    found = load(url, connections=1, seconds=2.0, count=1, timeout=0.3)
    assert found.status.tolist() == [status]
    server.close()
    thread.join(5)


def test_large_requests_go_out_in_pieces() -> None:
    with null.started() as url:
        body = b'{"texts":["' + b"x" * 8_000_000 + b'"]}'
        found = run(Plan(**address(url)._asdict(), connections=2, seconds=20.0, count=4), [request(url, body)])
    assert found.good.all()
    assert len(found) == 4


def test_an_answer_before_the_end_of_a_request_ends_its_connection() -> None:
    """A server that refuses a body it has not read must not be sent the rest of it as if that were a request."""
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"
    server = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve() -> None:
        for _ in range(3):
            connection, _ = server.accept()
            opened.append(connection)
            connection.recv(1000)
            connection.sendall(early)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    found = run(Plan(**address(url)._asdict(), seconds=5.0, count=3), [request(url, b"x" * 40_000_000)])
    thread.join(10)
    assert found.status.tolist() == [413] * 3
    assert found.opened == 3
    for one in (*opened, server):
        one.close()


def test_requests_that_never_got_a_connection_are_in_the_log() -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=16)  # accepts in the kernel, answers never
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    found = load(url, rate=200.0, connections=2, seconds=0.2, timeout=0.5)
    server.close()
    assert set(found.status.tolist()) == {-3}
    assert len(found) > 20
    assert found.crowded >= 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "127.0.0.1:80", "http://", "http://h:99999"])
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(UserError):
        address(url)


@pytest.mark.parametrize(
    ("url", "port", "tls"), [("http://h", 80, False), ("https://h/x", 443, True), ("https://h:1", 1, True)]
)
def test_ports_follow_the_scheme(url: str, port: int, tls: bool) -> None:
    assert address(url) == ("h", port, tls)


@dataclass(frozen=True)
class Secure:
    """An HTTPS server with a request log, and who signed its certificate."""

    server: Running
    ca: str

    @property
    def lines(self) -> int:
        return self.server.log().count('"path"')


@pytest.fixture(scope="module")
def secure(modest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    certificate, key = certificate_of(folder)
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--log", "requests")
    with running(modest, folder, *flags) as server:
        yield Secure(server, str(certificate))


@pytest.mark.parametrize("plan", [{"connections": 8, "count": 400}, {"connections": 64, "rate": 300.0}])
def test_https_is_spoken(secure: Secure, plan: dict[str, Any]) -> None:
    found = load(secure.server.url, seconds=1.0, ca=secure.ca, **plan)
    assert found.good.all()
    assert len(found) > 100
    assert 0 < found.opened <= plan["connections"]


def test_who_waits_for_an_answer_over_https_sleeps(secure: Secure) -> None:
    found = load(secure.server.url, rate=20.0, connections=4, seconds=1.0, ca=secure.ca)
    assert found.good.all()
    assert found.idle > 0.5 * found.wall


def test_a_body_larger_than_any_buffer_is_sent_over_https(secure: Secure) -> None:
    url, body = secure.server.url, b'{"texts": ["%s"]}' % (b" " * 3_000_000)  # 20,000 characters are the most taken
    plan = Plan(**address(url)._asdict(), ca=secure.ca, seconds=5.0, count=3)
    assert run(plan, [request(f"{url}/v1/predict", body)]).status.tolist() == [422] * 3


def test_who_is_not_trusted_is_told_nothing(secure: Secure) -> None:
    before = secure.lines
    found = load(secure.server.url, connections=2, seconds=0.2)
    named = secure.server.url.replace("127.0.0.1", "localhost")  # the certificate is of another name
    other = load(named, connections=2, seconds=0.2, ca=secure.ca)
    assert set(found.status.tolist()) == set(other.status.tolist()) == {-2}
    assert secure.lines == before
    with pytest.raises(UserError, match="not trusted") as caught:
        ask(named, "/v1/contract", ca=secure.ca)
    assert "--ca" not in str(caught.value)


def test_plain_text_to_https_and_https_to_plain_text_end(secure: Secure) -> None:
    spoken = load(secure.server.url.replace("https", "http"), connections=2, seconds=0.2)
    assert len(spoken) > 0
    assert set(spoken.status.tolist()) <= {-2, -4}
    with null.started() as plain:
        spoken = load(plain.replace("http", "https"), connections=2, seconds=0.2, timeout=1.0, ca=secure.ca)
    assert len(spoken) > 0
    assert set(spoken.status.tolist()) <= {-2, -3, -4}


class Late(Engine):
    """Reads so late that all that was on its way has come."""

    def _receive(self, connection: Any) -> None:
        time.sleep(0.05)
        super()._receive(connection)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_that_comes_in_pieces_is_finished(tmp_path: Path, version: ssl.TLSVersion) -> None:
    certificate, key = certificate_of(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.minimum_version = context.maximum_version = version
    context.num_tickets = 0  # which would wake the client
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_piecewise, args=(listening, context))
    thread.start()
    port = listening.getsockname()[1]
    plan = Plan(host="127.0.0.1", port=port, tls=True, ca=str(certificate), seconds=5.0, count=1, timeout=2.0)
    log = Late(plan, [request(f"https://127.0.0.1:{port}/", method="GET")]).run()
    thread.join()
    listening.close()
    assert list(log.status) == [204]


def _piecewise(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Answer one request; what the handshake sends goes out in pieces."""
    client, _ = listening.accept()
    client.settimeout(5.0)
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    spoken = context.wrap_bio(inward, outward, server_side=True)

    def until(step: Any) -> Any:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return step()
            sent = outward.read()
            client.sendall(sent[:100])
            time.sleep(0.01)
            client.sendall(sent[100:])
            inward.write(client.recv(65536) or _lost())

    with client, contextlib.suppress(OSError):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until(spoken.do_handshake)
        until(lambda: spoken.read(65536))
        spoken.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        client.sendall(outward.read())
        time.sleep(0.1)


def _lost() -> bytes:
    raise ConnectionResetError
