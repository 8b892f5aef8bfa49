"""Many clients at once: batching, poison in a batch, back-pressure, deadlines, draining on SIGTERM."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.running import Running, running

SCRIPT = "from tests.serving import faulty; import sys; sys.exit(faulty.program.main(sys.argv[1:]))"


@pytest.fixture
def faulty(text_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start the misbehaving server with flags of the test's own."""
    opened = []

    def start(*flags: str) -> Running:
        flags = ("--compute", "threads", "--batch", "32", *flags)
        manager = running(text_bundle, tmp_path, *flags, script=SCRIPT)
        opened.append(manager)
        return manager.__enter__()

    yield start
    for manager in opened:
        manager.__exit__(None, None, None)


def ask(server: Running, text: str, **kwargs: float) -> httpx.Response:
    """Ask about one text on a connection of its own."""
    return httpx.post(
        f"{server.url}/v1/predict", json={"texts": [text]}, trust_env=False, verify=False, **{"timeout": 20, **kwargs}
    )  # type: ignore[arg-type]


def test_a_poison_row_is_refused_and_the_innocent_are_answered(faulty: Callable[..., Running]) -> None:
    server = faulty()
    texts = ["很好", "awful", "POISON", "满意", "NAN", "失望", "great", "书"] * 25
    with ThreadPoolExecutor(32) as pool:
        blocker = pool.submit(ask, server, "SLEEP 0.2")
        answers = list(pool.map(lambda text: ask(server, text), texts))
    assert blocker.result().status_code == 200
    for text, answer in zip(texts, answers, strict=True):
        assert answer.status_code == (422 if text in {"POISON", "NAN"} else 200), (text, answer.text)
    assert {answer.json()["predictions"][0]["label"] for answer in answers if answer.status_code == 200} == {
        "bad",
        "good",
    }
    assert server.metric("bakeoff_batch_rows_sum") >= len(texts)
    assert server.metric("bakeoff_batch_rows_count") < len(texts)
    assert "POISON" not in server.log()


def test_the_bad_row_of_a_request_is_named(faulty: Callable[..., Running]) -> None:
    server = faulty("--batch", "4")
    answer = server.client.post("/v1/predict", json={"texts": ["a", "b", "c", "d", "e", "POISON", "g"]})
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == "row 5"


def test_a_broken_model_is_our_fault_and_says_nothing_of_the_row(faulty: Callable[..., Running]) -> None:
    server = faulty()
    assert ask(server, "BREAK").status_code == 500
    assert ask(server, "很好 secret-text").status_code == 500
    assert server.metric("bakeoff_model_faults_total") == 2
    assert server.client.get("/readyz").status_code == server.client.get("/v2/health/ready").status_code == 503
    assert server.metric("bakeoff_ready") == 0
    assert server.client.get("/healthz").status_code == 200
    assert "fault: ValueError" in server.log()
    assert "secret-text" not in server.log()
    assert "BREAK" not in server.log()


def test_too_much_waiting_is_shed_with_retry_after(faulty: Callable[..., Running]) -> None:
    server = faulty("--queue", "3", "--batch", "1")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(server, "SLEEP 0.3"), range(12)))
    codes = sorted(answer.status_code for answer in answers)
    assert set(codes) == {200, 503}
    assert codes.count(200) >= 3
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "1"
    assert ask(server, "很好").status_code == 200
    answered = codes.count(200) + 1
    assert server.metric("bakeoff_request_seconds_count") == answered, "a quick refusal is no quick answer"


def test_what_nobody_waits_for_any_more_is_not_computed(faulty: Callable[..., Running]) -> None:
    server = faulty("--batch", "1")
    with ThreadPoolExecutor(1) as pool:
        blocker = pool.submit(ask, server, "SLEEP 2")
        while server.metric("bakeoff_inflight_requests") < 1:
            time.sleep(0.01)
        hurried = server.client.post("/v1/predict", json={"texts": ["很好"]}, headers={"x-request-timeout-ms": "1"})
        assert hurried.status_code == 504
        assert blocker.result().status_code == 200
    assert server.metric("bakeoff_batch_rows_sum") == 1


def test_a_request_that_takes_too_long_gets_504_and_the_server_goes_on(faulty: Callable[..., Running]) -> None:
    server = faulty("--request-seconds", "0.4")
    assert ask(server, "SLEEP 1.2").status_code == 504
    time.sleep(1.0)
    assert ask(server, "很好").status_code == 200
    assert server.metric("bakeoff_inflight_requests") == 0
    assert server.metric("bakeoff_queue_rows") == 0


def test_a_large_request_does_not_hold_up_small_ones(faulty: Callable[..., Running]) -> None:
    server = faulty("--batch", "1")
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(
            httpx.post,
            f"{server.url}/v1/predict",
            json={"texts": ["SLEEP 0.05"] * 40},
            timeout=20,
            trust_env=False,
            verify=False,
        )
        time.sleep(0.2)
        small = pool.submit(ask, server, "很好")
        assert small.result().status_code == 200
        assert not large.done()
        assert large.result().status_code == 200


def test_sigterm_answers_what_is_in_flight_and_exits_clean(faulty: Callable[..., Running]) -> None:
    server = faulty("--batch", "1")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, server, "SLEEP 0.3") for _ in range(4)]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert [found.result().status_code for found in waiting] == [200] * 4
    assert server.process.wait(10) == 0
    with pytest.raises(httpx.ConnectError):
        ask(server, "很好")


def test_readiness_goes_first_and_requests_are_served_until_the_socket_closes(faulty: Callable[..., Running]) -> None:
    server = faulty("--drain-seconds", "1.0")
    assert server.client.get("/readyz").json() == {"ready": True}
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert server.client.get("/readyz").status_code == 503
    assert server.client.get("/v2/health/ready").status_code == 503
    assert server.client.get("/healthz").status_code == 200
    assert ask(server, "很好").status_code == 200
    assert server.process.wait(10) == 0


def test_a_second_signal_does_not_wait_for_the_drain(faulty: Callable[..., Running]) -> None:
    server = faulty("--drain-seconds", "60")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0


def test_many_clients_get_their_own_answers(texts: Running) -> None:
    def client(number: int) -> bool:
        good = number % 2 == 0
        body = {"texts": [f"{number} 很好 满意" if good else f"{number} 糟糕 失望"]}
        with httpx.Client(base_url=texts.url, trust_env=False, verify=False, timeout=20) as connection:
            answers = [connection.post("/v1/predict", json=body).json() for _ in range(15)]
        return all(answer["predictions"][0]["label"] == ("good" if good else "bad") for answer in answers)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(client, range(32)))


def test_pipelined_requests_are_answered_in_order(texts: Running) -> None:
    def request(text: str) -> bytes:
        body = f'{{"texts": ["{text}"]}}'.encode()
        head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    with socket.create_connection(("127.0.0.1", texts.port), timeout=5) as connection:
        connection.sendall(request("很好 满意") + request("糟糕 失望") + request("推荐 great"))
        received = b""
        while received.count(b'"label"') < 3:
            received += connection.recv(65536)
    labels = [part.split(b'"')[1].decode() for part in received.split(b'"label":')[1:]]
    assert labels == ["good", "bad", "good"]


def test_a_port_in_use_is_the_users_to_mend(texts: Running, text_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bakeoff.serving", str(text_bundle), "--port", str(texts.port)],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_binds_to_loopback_only(texts: Running) -> None:
    assert texts.url.startswith("http://127.0.0.1:")
    listening = [
        one.laddr for one in psutil.Process(texts.process.pid).net_connections() if one.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", texts.port)]


def test_requests_are_refused_before_the_wait_breaks_the_limit(faulty: Callable[..., Running]) -> None:
    server = faulty("--batch", "1", "--queue-seconds", "0.3")
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: ask(server, "SLEEP 0.1"), range(48)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 503)
    waited = [answer.elapsed.total_seconds() for answer in answers if answer.status_code == 200]
    assert sorted(waited)[len(waited) // 2] < 1.5, "24 clients would wait 2.4 s each if all were taken"
    assert server.metric("bakeoff_shed_requests_total") == codes.count(503)
    assert server.metric("bakeoff_wait_seconds_count") == codes.count(200)


def test_sigterm_loses_no_request_of_clients_that_never_pause(text_bundle: Path, tmp_path: Path) -> None:
    body = b'{"texts": ["very good"]}'
    request = (
        b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )

    def client(port: int) -> tuple[int, int]:
        answered = lost = 0
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            except ConnectionRefusedError:
                return answered, lost
            with connection:
                closing = False
                while not closing:
                    try:
                        connection.sendall(request + body)
                        answer = connection.recv(65536)
                    except OSError:
                        answer = b""
                    fine = answer.startswith(b"HTTP/1.1 200")
                    answered, lost = answered + fine, lost + (not fine)
                    closing = b"connection: close" in answer or not answer

    # nobody is refused for the wait that is expected: whoever is not answered is lost
    with running(text_bundle, tmp_path, "--queue-seconds", "60") as server, ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(client, server.port) for _ in range(16)]
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        found = [one.result() for one in clients]
        assert server.process.wait(10) == 0
    assert sum(answered for answered, _ in found) > 16
    assert sum(lost for _, lost in found) == 0


def test_two_threads_answer_as_one_does(text_bundle: Path, texts: Running, tmp_path: Path) -> None:
    rows = [f"{number} 很好" if number % 3 else f"{number} 失望" for number in range(60)]
    with (
        running(text_bundle, tmp_path, "--replicas", "2", "--compute", "threads") as server,
        ThreadPoolExecutor(16) as pool,
    ):
        found = [answer.json() for answer in pool.map(lambda text: ask(server, text), rows)]
        assert server.client.get("/v1/status").json()["compute"]["replicas"] == 2
    assert found == [ask(texts, text).json() for text in rows]
