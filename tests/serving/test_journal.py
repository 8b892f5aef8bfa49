"""The request log of a real server: nothing unless asked for, text only when asked for by name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bakeoff.serving.journal import Journal, journal
from bakeoff.serving.request import Request
from tests.serving.running import running

SAID = "很好 13800138000"


@pytest.mark.parametrize("wish", ["none", "requests", "text"])
def test_only_what_was_asked_for_is_written(text_bundle: Path, tmp_path: Path, wish: str) -> None:
    with running(text_bundle, tmp_path, "--log", wish) as server:
        server.client.post("/v1/predict", json={"row": {"text": SAID}})
        server.client.post("/v1/predict?secret=1", json={"texts": [SAID, SAID]}, headers={"x-api-key": "bk_secret"})
        server.client.post("/v1/predict", content=SAID.encode(), headers={"content-type": "text/plain"})
        server.client.get("/healthz")
        server.client.get("/nothing/secret")
    said = server.errors.read_text()
    assert "secret" not in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    if wish == "none":
        assert not lines
        assert "13800138000" not in said
        return
    asked = [(line["method"], line["path"], line["status"], line["rows"]) for line in lines]
    assert asked == [
        ("POST", "/v1/predict", 200, 1), ("POST", "/v1/predict", 200, 2), ("POST", "/v1/predict", 415, 0), ("GET", "unknown", 404, 0),
    ]  # fmt: skip
    assert all(line["client"] == "127.0.0.1" and 0 <= line["waited"] <= line["seconds"] < 20 for line in lines)
    if wish == "requests":
        assert "13800138000" not in said
        return
    assert json.loads(lines[0]["request"]) == {"row": {"text": SAID}}
    assert json.loads(lines[0]["answer"])["label"] == "good"
    assert "answer" not in lines[3], "pages are not text of anybody"
    assert lines[2]["request"] == "", "what was refused before it was read is not kept for the log"


def test_a_line_is_bounded_and_a_log_that_cannot_be_written_costs_no_answer() -> None:
    stream = io.BytesIO()
    request = Request(None)
    request.method, request.target, request.body = b"POST", b"/v1/predict", b'"\n\xff' * 100_000
    Journal(stream, text=True).note(request, 400, b"\x00")
    (line,) = stream.getvalue().decode().splitlines()
    assert json.loads(line)["request"].endswith("… (300000 bytes)")
    assert "trace" not in json.loads(line)
    assert len(line) < 600_000
    stream.close()
    Journal(stream).note(request, 400, b"")


def test_without_a_standard_error_there_is_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert journal("text") is None


def test_a_traced_request_names_its_trace() -> None:
    class Span:
        def get_span_context(self) -> Span:
            return self

        trace_id = 0xABC

    stream, request = io.BytesIO(), Request(None)
    request.span = Span()
    Journal(stream).note(request, 200, b"")
    assert json.loads(stream.getvalue())["trace"] == f"{0xABC:032x}"
