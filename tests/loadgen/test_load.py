"""``bakeoff load`` from the command line: bundles, URLs, the null server, the gate, and what makes a run invalid."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bakeoff import cli
from bakeoff.delivery.rows import FILE
from bakeoff.loadgen import null
from bakeoff.loadgen.gate import hold
from bakeoff.loadgen.report import LoadReport
from bakeoff.loadgen.session import Asked, Session
from bakeoff.loadgen.text import text
from bakeoff.schema.contract import Contract
from tests.loadgen.conftest import promising
from tests.loadgen.labels import Labels
from tests.serving.running import Running, certificate_of, running


@pytest.fixture(scope="session")
def served(modest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(modest, tmp_path_factory.mktemp("log")) as server:
        yield server


def load(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the verb and return its exit code and document."""
    code = cli.main(["load", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def advice(found: dict[str, Any]) -> str:
    return " ".join(one["en"] for one in found["main"]["advice"])


def test_a_bundle_is_started_loaded_and_stopped(
    modest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = load(capsys, str(modest), "--rate", "100", "--seconds", "1.5", "--out", str(tmp_path / "out"))
    assert code == 0
    assert (found["rows"], found["main"]["scenario"]) == ("contract", "server")
    assert found["main"]["limits"][0]["name"] == "p95"  # the contract's
    assert found["main"]["limits"][0]["limit"] == 0.5
    assert found["main"]["good"] == found["main"]["requests"] > 100
    assert 0 < found["server_cpu"] < 0.1
    assert found["server_memory"] > 2e7
    assert 0 < found["floor"]["p50"] < 0.5
    with np.load(tmp_path / "out" / "requests.npz") as kept:
        assert len(kept["intended"]) == found["main"]["requests"]
        assert np.all(kept["sent"] >= kept["intended"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["main"] == found["main"]


@pytest.mark.parametrize(
    ("scenario", "clients", "rows"),
    [("closed", 32, 1), ("single-stream", 1, 1), ("multi-stream", 1, 8), ("offline", 2, 256)],
)
def test_the_scenarios_of_mlperf(
    served: Running, scenario: str, clients: int, rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = load(capsys, served.url, "--scenario", scenario, "--seconds", "0.5")
    main = found["main"]
    assert code == 0
    assert (main["scenario"], main["clients"], main["rows_per_request"], main["rate"]) == (
        scenario,
        clients,
        rows,
        None,
    )
    assert main["good"] == main["requests"] > 0
    assert found["rows"] == "made-up"
    assert any("made up" in one["en"] for one in found["remarks"])


def test_rows_of_a_file_are_sent(served: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,other\n很好 满意,1\n糟糕,2\n", encoding="utf-8")
    _, found = load(capsys, served.url, "--scenario", "closed", "--seconds", "0.3", "--rows", str(rows))
    assert (found["rows"], found["main"]["failed"]) == ("file", {})
    code, found = load(capsys, served.url, "--rows", str(tmp_path / "none.csv"), "--seconds", "0.3")
    assert code == 2
    assert "no such file" in found["error"]


def test_bodies_go_to_any_path_as_they_are(served: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"row": {"text": "很好"}}\n{"row": {"text": "糟糕"}}\n', encoding="utf-8")
    url = f"{served.url}/v1/predict"
    _, found = load(capsys, url, "--bodies", str(bodies), "--scenario", "closed", "--seconds", "0.3")
    assert (found["rows"], found["main"]["failed"]) == ("bodies", {})
    bodies.write_text('{"wrong": 1}\n')
    _, found = load(capsys, url, "--bodies", str(bodies), "--scenario", "closed", "--seconds", "0.3")
    assert list(found["main"]["failed"]) == ["422"]
    assert found["main"]["verdict"] == "INVALID"


def test_the_open_inference_protocol_is_spoken(
    served: Running, modest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = json.loads((modest / "manifest.json").read_text())["study"]
    url = f"{served.url}/v2/models/{name}/infer"
    code, found = load(capsys, url, "--scenario", "closed", "--seconds", "0.3", "--model", name)
    assert code == 0
    assert found["main"]["good"] == found["main"]["requests"] > 0


def test_a_slow_server_breaks_the_limit_and_its_queue_grows(capsys: pytest.CaptureFixture[str]) -> None:
    with null.started("--service", "0.02") as url:
        _, found = load(
            capsys, f"{url}/x", "--bodies", __file__, "--rate", "100", "--seconds", "1.5", "--limit", "p95=50ms"
        )
    assert not found["main"]["sustained"]
    assert found["main"]["limits"][0]["verdict"] == "broken"
    assert found["main"]["achieved"] < 60


def test_a_tiny_run_is_invalid_and_says_how_long_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = load(capsys, "null", "--rate", "50", "--seconds", "0.5", "--limit", "p99=1s")
    assert found["main"]["verdict"] == "INVALID"
    assert "p99 needs at least 459 answers" in advice(found)
    p99 = next(one for one in found["main"]["latency"] if one["name"] == "latency_p99")
    assert (p99["value"], p99["validity"]) == (None, "refused")


def test_a_client_that_was_held_up_is_invalid() -> None:
    """The client's process is stopped for half a second: what was due meanwhile went out late, and the server is not to blame."""
    with null.started() as url, ThreadPoolExecutor(1) as pool:
        asked = Asked(url=url, rate=200.0, seconds=2.0, limits={"p95": 0.02})
        session = Session(asked, [b"{}"])
        result = pool.submit(session.send, session.plan(rate=200.0, seconds=2.0), "server", asked.limits)
        client = _client()
        while not client.net_connections("tcp"):  # it has started, and sends
            time.sleep(0.01)
        client.suspend()
        time.sleep(0.5)
        client.resume()
        summary, log = result.result()
    assert summary.late
    assert summary.verdict == "INVALID"
    assert "could not keep up" in " ".join(one.en for one in summary.advice)
    assert log.lag.max() > 0.3
    assert not summary.kept


def _client() -> psutil.Process:
    for _ in range(500):
        for child in psutil.Process().children(recursive=True):
            if "bakeoff.loadgen.process" in child.cmdline():
                return child
        time.sleep(0.01)
    raise AssertionError


@pytest.mark.parametrize(
    ("flag", "name", "said"), [("--fail", "500", "(500)"), ("--close", "closed", "without an answer")]
)
def test_failures_are_invalid(flag: str, name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with null.started(flag, "5") as url:
        _, found = load(capsys, f"{url}/x", "--bodies", __file__, "--scenario", "closed", "--seconds", "0.3")
    assert found["main"]["verdict"] == "INVALID"
    assert found["main"]["failed"][name] == pytest.approx(found["main"]["requests"] / 5, abs=10)
    assert said in advice(found)


def test_overload_is_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with null.started("--shed", "4") as url:
        _, found = load(
            capsys, f"{url}/x", "--bodies", __file__, "--scenario", "closed", "--seconds", "0.3", "--limit", "p95=1s"
        )
    main = found["main"]
    assert main["failed"] == {}  # whether the run is valid depends on how busy this machine is
    assert main["shed"] == pytest.approx(main["requests"] / 4, abs=2)
    assert main["limits"][0]["verdict"] == "broken"


def test_a_dead_server_is_the_users_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    code, found = load(capsys, url, "--seconds", "0.3")
    assert code == 2
    assert "does not answer" in found["error"]


class _Locked(BaseHTTPRequestHandler):
    """Answers whoever brings the key."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        allowed = self.headers.get("authorization") == "Bearer secret-key"
        status = 200 if allowed and self.command == "POST" else 404 if allowed else 401
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *arguments: Any) -> None:
        pass


def test_a_key_goes_with_every_request_and_into_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "auth.txt").write_text("Bearer secret-key\n")
    (tmp_path / "bodies").write_text("{}\n")
    arguments = ("--bodies", str(tmp_path / "bodies"), "--scenario", "closed", "--clients", "2", "--seconds", "0.3")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/any"
        code, refused = load(capsys, url, *arguments)
        assert code == 2
        assert "API key" in refused["error"]
        code, found = load(capsys, url, *arguments, "--header", f"Authorization: @{tmp_path / 'auth.txt'}")
        server.shutdown()
    assert code == 0
    assert found["main"]["good"] == found["main"]["requests"] > 0
    assert "secret-key" not in json.dumps(found)


def test_the_gate_opens_for_a_kept_contract(modest: Path, served: Running, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = load(capsys, served.url, "--bundle", str(modest), "--gate", "--seconds", "2")
    gate = found["gate"]
    assert (code, gate["passed"]) == (0, True), gate
    assert (gate["rows"], gate["same_labels"]) == (200, 200)
    assert {one["name"]: one["verdict"] for one in gate["clauses"]} == {"latency_p95": "kept", "throughput": "kept"}


def test_the_gate_stays_shut_for_a_broken_promise(boastful: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = load(capsys, str(boastful), "--gate", "--seconds", "1")
    assert (code, found["gate"]["passed"]) == (3, False)
    assert found["gate"]["broken"]
    assert "broken" in {one["verdict"] for one in found["gate"]["clauses"]}


def test_a_gate_that_cannot_tell_has_an_exit_code_of_its_own(
    served: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = load(capsys, served.url, "--gate", "--seconds", "1")
    assert "no contract rows" in " ".join(one["en"] for one in found["gate"]["reasons"])
    assert not found["gate"]["broken"], found["gate"]
    assert (code, found["gate"]["passed"]) == (4, False)
    report = LoadReport.model_validate(found)
    assert "contract gate: not passed, this run cannot tell" in text(report)
    assert "契约门：无法判定" in text(report, "zh")


def test_a_slow_model_gets_the_time_that_it_promises(modest: Path) -> None:
    """A row takes 15 ms here, so that all of them do not fit into six times the seconds; one at a time, or a server would shed them."""
    contract = Contract.model_validate_json((modest / "contract.json").read_bytes())
    promises = [one.model_copy(update={"limit": 20.0}) for one in contract.promises if one.name == "latency_p95"]
    contract = contract.model_copy(update={"promises": tuple(promises)})
    with null.started("--service", "0.015") as url:
        session = Session(
            Asked(url=f"{url}/x", seconds=0.1, scenario="single-stream"), [b"%d" % row for row in range(200)]
        )
        gate, main, _ = hold(session, contract, Labels(["null"] * 200))
    assert (gate.passed, gate.broken, gate.rows, gate.same_labels) == (True, False, 200, 200), gate
    assert (main.clients, main.requests) == (1, 200)


def test_a_limit_on_how_often_a_client_may_ask_breaks_no_promise(
    modest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One client asks the whole peak's rate, which the server was told to refuse."""
    with running(modest, tmp_path, "--rate", "5") as server:
        code, found = load(capsys, server.url, "--bundle", str(modest), "--gate", "--seconds", "0.5")
    gate = found["gate"]
    assert (code, gate["broken"]) == (4, False), gate
    assert "broken" not in {one["verdict"] for one in gate["clauses"]}
    said = " ".join(one["en"] for one in gate["reasons"])
    assert (
        "requests failed (429): the server limits how often one client may ask; start it with a higher --rate" in said
    )


def test_the_gate_stays_shut_for_another_model(
    served: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle says otherwise than what the URL serves: a canary that is not what was decided on."""
    from tests.delivery import making

    artifact = making.tfidf(tmp_path / "again")
    confirm = making.reviews(200, 2)
    labels, shares = making.classifier(tmp_path / "again", artifact).predict(confirm.rows)
    other = promising(tmp_path, contract_rows=confirm, expected=(1 - labels, shares))
    code, found = load(capsys, served.url, "--bundle", str(other), "--gate", "--seconds", "1")
    assert (code, found["gate"]["same_labels"]) == (3, 0)
    assert "did not get the trial's label" in " ".join(one["en"] for one in found["gate"]["reasons"])


def test_a_tie_is_no_other_label(served: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two classes as close as another machine's arithmetic may move them: either label counts, as ``bakeoff verify`` counts it."""
    from tests.delivery import making

    artifact = making.tfidf(tmp_path / "again")
    confirm = making.reviews(200, 2)
    labels, shares = making.classifier(tmp_path / "again", artifact).predict(confirm.rows)
    for by, same in ((0.0004, 200), (0.0006, 199)):
        odd, table = labels.copy(), shares.copy()
        odd[0] = 1 - odd[0]
        table[0, odd[0]], table[0, 1 - odd[0]] = 0.5 + by, 0.5 - by
        folder = tmp_path / f"{by}"
        folder.mkdir()
        other = promising(folder, contract_rows=confirm, expected=(odd, table))
        _, found = load(capsys, served.url, "--bundle", str(other), "--gate", "--seconds", "1")
        assert found["gate"]["same_labels"] == same


def test_a_gate_without_a_contract_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = load(capsys, "null", "--gate")
    assert code == 2
    assert "a gate needs a contract" in found["error"]


def test_an_altered_bundle_is_not_started(modest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(modest, tmp_path / "bundle")
    with (tmp_path / "bundle" / FILE).open("ab") as stream:
        stream.write(b"x")
    code, found = load(capsys, str(tmp_path / "bundle"), "--seconds", "0.3")
    assert code == 2
    assert FILE in found["error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "neither a URL nor a bundle"),
        (("null", "--limit", "p95"), "not a limit"),
        (("null", "--limit", "p42=5ms"), "p999"),
        (("null", "--limit", "p95=5"), "not a limit"),
        (("null", "--header", "Authorization"), "not a header"),
        (("null", "--header", "A: b\r\nC: d"), "not a header"),
        (("null", "--header", "A:@/does/not/exist"), "cannot be read"),
        (("null", "--rate", "0"), "more than 0"),
        (("null", "--scenario", "server", "--seconds", "0.3"), "latency limit"),
        (("ftp://127.0.0.1:1",), "HTTP and HTTPS only"),
        (("https://127.0.0.1:1",), "does not answer"),
        (("https://127.0.0.1:1", "--ca", "/does/not/exist"), "no certificates can be read"),
        (("null", "--ca", "/does/not/exist"), "https:// only"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = load(capsys, *arguments)
    assert code == 2
    assert said in found["error"]


def test_the_text_begins_with_the_verdict_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = load(capsys, "null", "--rate", "500", "--seconds", "0.5", "--limit", "p99=1s")
    report = LoadReport.model_validate(found)
    for language, verdict, floor in (("en", "INVALID", "the client itself"), ("zh", "无效", "客户端自身")):
        lines = text(report, language).splitlines()
        assert lines[0].startswith(verdict)
        assert "p99" in lines[1]  # what to do about it
        assert any(line.startswith(floor) for line in lines)


def test_a_server_that_speaks_https_is_held_to_its_contract(
    modest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = certificate_of(tmp_path)
    with running(modest, tmp_path, "--tls-certificate", str(certificate), "--tls-key", str(key)) as server:
        code, found = load(
            capsys, server.url, "--ca", str(certificate), "--bundle", str(modest), "--gate", "--seconds", "1"
        )
        assert code == 0, found["gate"]
        assert any("TLS" in one["en"] for one in found["remarks"])
        code, found = load(capsys, server.url, "--seconds", "1")
        assert code == 2
        assert "not trusted: self-signed certificate" in found["error"]
