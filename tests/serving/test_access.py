"""Real servers that ask who is there: API keys, rates, HTTPS, traces, and the OpenAI-compatible route behind them."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import httpx
import pytest

from bakeoff.schema.errors import UserError
from bakeoff.serving import auth
from bakeoff.serving.__main__ import main
from bakeoff.serving.access import Access, loopback
from bakeoff.serving.limits import Limits, limits_of
from tests.serving.running import Running, certificate_of, running

ROW = {"row": {"text": "很好"}}


@dataclass
class Guarded:
    server: Running
    keys: Path
    secret: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}


@pytest.fixture(scope="module")
def guarded(text_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("keys")
    keys = folder / "keys.json"
    secret = auth.add(keys, "shop")
    with running(text_bundle, folder, "--api-keys", str(keys), "--public", "metrics") as server:
        yield Guarded(server, keys, secret)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/openapi.json", "/v1/contract", "/v1/status", "/v1/models", "/v2", "/v2/models/reviews", "/v1/predict",
        "/v2/models/reviews/infer", "/v1/chat/completions", "/nothing", "/%76%31/predict", "/v1/predict?x=/healthz", "/v1/../v1/predict",
    ],
)  # fmt: skip
def test_without_a_key_nothing_is_answered_but_health(guarded: Guarded, method: str, path: str) -> None:
    body = json.dumps(ROW).encode() if method == "POST" else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
    )
    answer = (
        guarded.server.raw(head.encode() + body) if method != "HEAD" else guarded.server.raw(head.encode(), timeout=0.5)
    )
    assert int(answer[9:12]) == 401
    assert b"reviews" not in answer


def test_the_probes_of_a_load_balancer_need_none(guarded: Guarded) -> None:
    client = guarded.server.client
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics"):
        assert client.get(path).status_code == 200


def test_a_known_key_is_let_in_and_a_wrong_one_is_not(guarded: Guarded) -> None:
    client = guarded.server.client
    assert client.post("/v1/predict", json=ROW, headers=guarded.bearer).json()["label"] == "good"
    assert client.post("/v1/predict", json=ROW, headers={"x-api-key": guarded.secret}).status_code == 200
    refused = client.post("/v1/predict", json=ROW, headers={"authorization": "Bearer bk_wrong"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert client.get("/v2", headers={**guarded.bearer, "x-api-key": ""}).status_code == 200


def test_the_description_says_that_a_key_is_needed(guarded: Guarded) -> None:
    page = guarded.server.client.get("/openapi.json", headers=guarded.bearer).json()
    assert page["security"] == [{"key": []}]
    assert page["paths"]["/healthz"]["get"]["security"] == []


def test_the_page_asks_for_a_key_where_one_is_needed(guarded: Guarded, texts: Running) -> None:
    assert b'id="key"' in guarded.server.client.get("/docs", headers=guarded.bearer).content
    assert b'id="key"' not in texts.client.get("/docs").content


def test_the_examples_of_the_page_are_commands_for_this_very_server(guarded: Guarded, texts: Running) -> None:
    page = unescape(guarded.server.client.get("/docs", headers=guarded.bearer).text)
    [command] = re.findall("<pre>(curl .*/v1/predict)</pre>", page)
    assert command.endswith(f" {guarded.server.url}/v1/predict")
    assert f"{guarded.server.url}/v2/models/reviews/infer" in page
    assert '-H "X-API-Key: $KEY"' in command
    page = unescape(
        texts.client.get("/docs", headers={"host": "models.example.org", "x-forwarded-proto": "https"}).text
    )
    assert "https://models.example.org/v1/predict" in page
    assert "X-API-Key" not in page
    for host in ("a b", "x;reboot", "<b>", "$(reboot)", "x" * 300):
        assert "http://HOST:PORT/v1/predict" in unescape(texts.client.get("/docs", headers={"host": host}).text)


def test_a_key_revoked_while_serving_ends(guarded: Guarded) -> None:
    secret = auth.add(guarded.keys, "desk")
    client, ask = guarded.server.client, {"x-api-key": secret}
    _until(lambda: client.get("/v2", headers=ask).status_code == 200)
    auth.revoke(guarded.keys, "desk")
    _until(lambda: client.get("/v2", headers=ask).status_code == 401)
    assert client.get("/v2", headers=guarded.bearer).status_code == 200


def test_no_key_and_no_row_is_in_the_log(guarded: Guarded) -> None:
    guarded.server.client.post("/v1/predict", json={"row": {"text": "secretword"}}, headers=guarded.bearer)
    log = guarded.server.log()
    assert guarded.secret not in log
    assert "secretword" not in log


def test_openai_clients_get_the_label(guarded: Guarded) -> None:
    ask = {"model": "reviews", "messages": [{"role": "user", "content": "很好 满意"}]}
    answer = guarded.server.client.post("/v1/chat/completions", json=ask, headers=guarded.bearer).json()
    assert answer["choices"][0]["message"]["content"] == "good"
    stream = guarded.server.client.post("/v1/chat/completions", json={**ask, "stream": True}, headers=guarded.bearer)
    assert stream.headers["content-type"] == "text/event-stream"
    assert stream.text.endswith("data: [DONE]\n\n")
    wrong = guarded.server.client.post("/v1/chat/completions", json={**ask, "model": "x"}, headers=guarded.bearer)
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (404, "not_found_error")
    listed = guarded.server.client.get("/v1/models", headers=guarded.bearer).json()
    assert listed["data"][0]["id"] == "reviews"


def test_a_client_over_its_rate_waits_and_others_do_not(text_bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    eager, calm = ({"x-api-key": auth.add(keys, name)} for name in ("eager", "calm"))
    with running(text_bundle, tmp_path, "--api-keys", str(keys), "--rate", "1", "--burst", "3") as server:
        statuses = [server.client.get("/v2", headers=eager).status_code for _ in range(6)]
        refused = server.client.get("/v2", headers=eager)
        assert statuses[:3] == [200, 200, 200]
        assert 429 in statuses[3:]
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert server.client.get("/v2", headers=calm).status_code == 200
        assert server.client.get("/healthz").status_code == 200


def test_who_tries_keys_is_slowed_down_by_address_and_who_has_one_is_not(text_bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    known = {"x-api-key": auth.add(keys, "shop")}
    with running(text_bundle, tmp_path, "--api-keys", str(keys), "--rate", "0.01", "--burst", "3") as server:
        statuses = [server.client.get("/v2", headers={"x-api-key": f"bk_{number}"}).status_code for number in range(4)]
        assert statuses == [401, 401, 401, 429]
        assert server.client.get("/v2").status_code == 429
        assert server.client.get("/v2", headers=known).status_code == 200
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200), ("http://127.0.0.1:3000", 200), ("http://localhost:8080", 200), ("https://app.localhost", 200), ("http://[::1]:9", 200),
        ("https://example.org", 403), ("http://rebound.example.org:8080", 403), ("null", 403), ("http://127.0.0.1.example.org", 403),
        ("http://localhost@example.org", 403), ("http://[", 403), ("", 403), ("chrome-extension://127", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/reviews/infer"])
def test_pages_of_other_sites_do_not_ask_through_a_browser_here(
    texts: Running, path: str, origin: str | None, status: int
) -> None:
    body = (
        ROW
        if path.startswith("/v1")
        else {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    )
    headers = {"host": "rebound.example.org:8080", **({} if origin is None else {"origin": origin})}
    answer = texts.client.post(path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert "--no-keys" in answer.text


def test_where_keys_or_a_gateway_stand_guard_pages_may_ask(guarded: Guarded, text_bundle: Path, tmp_path: Path) -> None:
    headers = {"origin": "https://example.org"}
    assert guarded.server.client.post("/v1/predict", json=ROW, headers={**headers, **guarded.bearer}).status_code == 200
    with running(text_bundle, tmp_path, "--no-keys") as server:
        assert server.client.post("/v1/predict", json=ROW, headers=headers).status_code == 200
        assert server.log().count("nobody signed this bundle") == 1


def test_a_public_path_that_is_not_there_is_a_mistake(text_bundle: Path) -> None:
    command = [sys.executable, "-m", "bakeoff.serving", str(text_bundle), "--port", "0", "--public", "/metric"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "nothing at this path" in done.stderr
    assert "/metrics" in done.stderr


def test_https_is_spoken_with_a_certificate(text_bundle: Path, tmp_path: Path) -> None:
    certificate, key = certificate_of(tmp_path)
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    command = [sys.executable, "-m", "bakeoff.serving", str(text_bundle), "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("https://127.0.0.1:")
        import ssl

        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=url, verify=context, trust_env=False) as client:
            assert client.post("/v1/predict", json=ROW).json()["label"] == "good"
            assert f"{url}/v1/predict" in client.get("/docs").text
            large = client.post("/v1/predict", content=b"x" * (5 << 20), headers={"content-type": "application/json"})
            assert large.status_code == 413
        with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False, timeout=5) as plain:
            plain.get(url.replace("https", "http") + "/healthz")
        process.terminate()
        assert process.wait(15) == 0


def test_spans_are_exported_by_a_server_that_was_set_up_for_it(text_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    script = (
        "import sys; from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider;"
        "from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor;"
        "provider = TracerProvider(); provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr)));"
        "trace.set_tracer_provider(provider); from bakeoff.serving.__main__ import main; sys.exit(main())"
    )
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with running(text_bundle, tmp_path, script=script) as server:
        server.client.post("/v1/predict", json={"row": {"text": "secretword"}}, headers={"traceparent": parent})
        server.client.post("/v1/predict", json={"rows": "wrong"})
        _until(lambda: server.log().count('"name": "POST /v1/predict"') == 2)
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            leaving.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            time.sleep(0.2)
        _until(lambda: server.log().count('"name": "POST /v1/predict"') == 3)
        log = server.log()
    assert "0x0af7651916cd43dd8448eb211c80319c" in log
    assert sorted(re.findall(r'"http.response.status_code": (\d+)', log)) == ["200", "422", "499"]
    assert max(float(seconds) for seconds in re.findall(r'"bakeoff.queue_seconds": ([\d.e-]+)', log)) > 0
    assert "secretword" not in log


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_are_not_served_without_keys_unless_a_gateway_is_named(host: str) -> None:
    with pytest.raises(UserError, match="must show an API key"):
        Access().check(host)
    Access(no_keys=True).check(host)


def test_loopback_is_recognised() -> None:
    assert all(loopback(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"))


def test_limits_are_read_by_name() -> None:
    assert limits_of(["body=8388608", "queue-seconds=0.2"]) == Limits(body=8_388_608, queue_seconds=0.2)
    for wrong in ("bodyes=1", "body", "body=many", "rows=1.5"):
        with pytest.raises(UserError, match=r"no such limit|is a number"):
            limits_of([wrong])


@pytest.mark.parametrize(
    "wrong",
    [
        "body-seconds=nan", "rows=-5", "body=-1", "connections=0", "request-seconds=-1", "request-seconds=0", "stop-seconds=inf",
        "queue-seconds=nan", "batch=-1", "drain-seconds=-0.1", "header-seconds=0", "text=0",
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_refused_by_name(
    wrong: str, text_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, value = wrong.partition("=")
    with pytest.raises(UserError, match=f"limit {name}: nothing can be served"):
        limits_of([wrong])
    assert main([str(text_bundle), f"--{name}={value}"]) == 2
    assert name in capsys.readouterr().err


def test_zero_where_it_means_something_is_a_limit() -> None:
    assert limits_of(["batch=0", "queue=0", "queue-seconds=0", "drain-seconds=0", "stop-seconds=0"]).queue == 0


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_a_mistake(rate: float) -> None:
    with pytest.raises(UserError, match="numbers of requests"):
        Access(rate=rate).check("127.0.0.1")


def test_the_command_refuses_before_it_loads_anything(text_bundle: Path) -> None:
    command = [sys.executable, "-m", "bakeoff.serving", str(text_bundle), "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "API key" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_certificate_without_its_key_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="both a certificate and its key"):
        Access(tls_certificate=tmp_path / "c.pem").check("127.0.0.1")
    with pytest.raises(UserError, match="cannot be used"):
        Access(tls_certificate=tmp_path / "c.pem", tls_key=tmp_path / "k.pem").context()


def _until(true: object, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)
