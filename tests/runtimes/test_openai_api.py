from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models.test_llm_prompt import context, reviews, smollm

from bakeoff.data.transforms import chat
from bakeoff.data.transforms.chat import ChatClient, ChatScorer, Reply, reply_scores
from bakeoff.models import llm_prompt
from bakeoff.runtimes import openai_api
from bakeoff.schema import Artifact, StepError

__all__ = ["smollm"]
pytest.importorskip("httpx")
ANSWERS = ["negative", "positive"]
Script = Callable[[dict[str, Any], int], tuple[int, dict[str, str], bytes]]


def completion(text: str, top: dict[str, float] | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if top is not None:
        entries = [{"token": token, "logprob": float(np.log(value))} for token, value in top.items()]
        choice["logprobs"] = {"content": [{**entries[0], "top_logprobs": entries}]}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 40, "completion_tokens": 2}}).encode()


class Endpoint:
    """A real HTTP server on a free loopback port that answers each request as its script says."""

    def __init__(self, script: Script) -> None:
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((dict(self.headers), body))
                status, headers, answer = script(body, len(outer.seen))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Endpoint]]:
    running: list[Endpoint] = []

    def start(script: Script) -> Endpoint:
        running.append(Endpoint(script))
        return running[-1]

    yield start
    for endpoint in running:
        endpoint.close()


@pytest.fixture
def ask(serve: Callable[[Script], Endpoint]) -> Iterator[Callable[..., tuple[ChatClient, Endpoint, list[float]]]]:
    opened: list[ChatClient] = []

    def make(script: Script, **options: Any) -> tuple[ChatClient, Endpoint, list[float]]:
        endpoint, waits = serve(script), []
        opened.append(ChatClient(endpoint.url, "m", wait=waits.append, **options))
        return opened[-1], endpoint, waits

    yield make
    for client in opened:
        client.close()


MESSAGES = [{"role": "user", "content": "hello"}]
GOOD = (200, {}, completion("positive", {"positive": 0.7, "negative": 0.2}))


def test_an_answer_with_probabilities(ask: Any) -> None:
    client, endpoint, _ = ask(lambda _body, _n: GOOD)
    reply = client.ask(MESSAGES)
    assert reply.text == "positive"
    np.testing.assert_allclose(np.exp(reply_scores(reply, ANSWERS)), [0.2, 0.7])
    assert (client.requests, client.tokens_in, client.tokens_out) == (1, 40, 2)
    _, body = endpoint.seen[0]
    assert body["model"] == "m"
    assert body["temperature"] == 0
    assert body["top_logprobs"] == chat.TOP


def test_overload_is_waited_out(ask: Any) -> None:
    script = [(500, {}, b"oops"), (429, {"Retry-After": "3"}, b"{}"), (503, {"Retry-After": "Wed, 21 Oct"}, b""), GOOD]
    client, endpoint, waits = ask(lambda _body, n: script[n - 1])
    assert client.ask(MESSAGES).text == "positive"
    assert len(endpoint.seen) == 4
    assert waits == [0.5, 3.0, 2.0]
    assert client.retries == 3
    assert client.requests == 1


def test_overload_without_end_is_a_reason(ask: Any) -> None:
    client, endpoint, waits = ask(lambda _body, _n: (503, {"Retry-After": "9999"}, b"down"), attempts=3)
    with pytest.raises(StepError, match="HTTP 503") as caught:
        client.ask(MESSAGES)
    assert caught.value.code == "error"
    assert len(endpoint.seen) == 3
    assert waits == [20.0, 20.0]  # what it asks for is honoured up to a bound


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unavailable"), (403, "unavailable"), (404, "unavailable"), (422, "error"), (302, "error")],
)
def test_a_refusal_is_not_repeated(ask: Any, status: int, code: str) -> None:
    client, endpoint, _ = ask(lambda _body, _n: (status, {}, b'{"error": {"message": "model not loaded"}}'))
    with pytest.raises(StepError, match=f"HTTP {status}") as caught:
        client.ask(MESSAGES)
    assert caught.value.code == code
    assert len(endpoint.seen) == 1


@pytest.mark.parametrize(
    "garbage",
    [b"<html>gateway</html>", b"", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"\xff\xfe"],
)
def test_garbage_is_tried_again_then_a_reason(ask: Any, garbage: bytes) -> None:
    client, _, _ = ask(lambda _body, n: (200, {}, garbage) if n == 1 else GOOD)
    assert client.ask(MESSAGES).text == "positive"
    broken, _, _ = ask(lambda _body, _n: (200, {}, garbage), attempts=2)
    with pytest.raises(StepError, match="not an OpenAI chat completion"):
        broken.ask(MESSAGES)


def test_a_slow_endpoint_times_out(ask: Any) -> None:
    release = threading.Event()

    def slow(_body: dict[str, Any], _n: int) -> tuple[int, dict[str, str], bytes]:
        release.wait(5)
        return GOOD

    client, _, _ = ask(slow, timeout=0.1, attempts=2)
    with pytest.raises(StepError, match="time limit") as caught:
        client.ask(MESSAGES)
    release.set()
    assert caught.value.code == "timeout"


def test_nobody_there(serve: Any) -> None:
    endpoint = serve(lambda _body, _n: GOOD)
    endpoint.close()
    client = ChatClient(endpoint.url, "m", attempts=2, wait=lambda _seconds: None)
    with pytest.raises(StepError, match="connection failed") as caught:
        client.ask(MESSAGES)
    client.close()
    assert caught.value.code == "unavailable"


def test_an_endpoint_without_probabilities(ask: Any) -> None:
    def script(body: dict[str, Any], _n: int) -> tuple[int, dict[str, str], bytes]:
        if "logprobs" in body:
            return 400, {}, b'{"error": {"message": "logprobs is not supported with this model"}}'
        return 200, {}, completion("Positive.")

    client, endpoint, waits = ask(script)
    scores = ChatScorer(client, {"messages": [{"role": "user", "content": "@@ROW@@"}], "answers": ANSWERS})(["nice"])
    np.testing.assert_allclose(np.exp(scores), [[0.05, 0.95]])
    client.ask(MESSAGES)
    assert len(endpoint.seen) == 3  # it is not asked for them again
    assert waits == [0.0]
    assert not client.gives_probabilities


def test_the_key_is_sent_and_never_shown(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "sk-very-secret")
    client, endpoint, _ = ask(lambda _body, _n: (401, {}, b"bad key"), api_key_env="FAR_KEY")
    with pytest.raises(StepError) as caught:
        client.ask(MESSAGES)
    headers = {name.lower(): value for name, value in endpoint.seen[0][0].items()}
    assert headers["authorization"] == "Bearer sk-very-secret"
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("FAR_KEY")
    with pytest.raises(StepError, match="FAR_KEY") as missing:
        ChatClient(endpoint.url, "m", api_key_env="FAR_KEY")
    assert missing.value.code == "unavailable"


def test_scores_of_replies() -> None:
    def scored(top: dict[str, float], text: str = "") -> list[float] | None:
        found = reply_scores(Reply(text, tuple((token, float(np.log(value))) for token, value in top.items())), ANSWERS)
        return None if found is None else [round(float(np.exp(value)), 4) for value in found]

    assert scored({"pos": 0.5, " Positive": 0.2, "neg": 0.1, "The": 0.2}) == [0.1, 0.7]
    assert scored({"The": 0.99}, "The text is negative") == [0.95, 0.05]
    assert scored({"The": 0.99}, "no idea") is None
    assert scored({"negative": 1.0}) == [1.0, 0.0001]


def test_rows_keep_their_order_and_their_braces(ask: Any) -> None:
    def script(body: dict[str, Any], _n: int) -> tuple[int, dict[str, str], bytes]:
        text = body["messages"][0]["content"]
        return 200, {}, completion("positive" if "{good}" in text else "negative")

    client, _, _ = ask(script)
    scorer = ChatScorer(client, {"messages": [{"role": "user", "content": "Text: @@ROW@@ {x}"}], "answers": ANSWERS})
    texts = ["{good} %s" if at % 3 else "bad" for at in range(30)]
    assert [int(np.argmax(row)) for row in scorer(texts)] == [int(bool(at % 3)) for at in range(30)]


def test_answers_that_name_no_label(ask: Any) -> None:
    client, _, _ = ask(lambda _body, n: (200, {}, completion("no idea" if n % 2 else "positive")))
    scorer = ChatScorer(client, {"messages": MESSAGES, "answers": ANSWERS})
    np.testing.assert_allclose(np.exp(scorer(["x"])), [[0.5, 0.5]])
    with pytest.raises(StepError, match="name no label"):
        scorer(["x"] * 12)


def test_building_and_running_against_an_endpoint(serve: Any, tmp_path: Path) -> None:
    def script(body: dict[str, Any], _n: int) -> tuple[int, dict[str, str], bytes]:
        said = body["messages"][-1]["content"].lower()
        happy = any(word in said for word in ("wonderful", "loved", "great", "best"))
        return 200, {}, completion("x", {"positive": 0.9 if happy else 0.6, "negative": 0.1 if happy else 0.4})

    endpoint = serve(script)
    params = {"format": "openai-prompt", "url": endpoint.url, "model": "m", "api_key_env": None, "calibrate_rows": 8}
    made = context(tmp_path / "out", None, params=params)
    artifact = llm_prompt.PLUGIN.build(made)
    assert artifact.format == "openai-prompt"
    assert artifact.meta["calibrated_on"] == 8
    assert [path.name for path in made.out.iterdir()] == ["prompt.json"]
    predictor = openai_api.PLUGIN.load(artifact, made.out, threads=1)
    rows = reviews(8)
    found = predictor.predict_proba(rows.rows)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found.argmax(axis=1) == rows.labels).all()  # uncalibrated, everything would be positive
    assert predictor.usage() == {"requests": 8, "tokens_in": 320, "tokens_out": 16, "retries": 0}
    assert predictor.predict_proba([]).shape == (0, 2)
    predictor.close()


def test_a_probe_of_an_endpoint_costs_nothing(serve: Any, tmp_path: Path) -> None:
    endpoint = serve(lambda _body, _n: GOOD)
    params = {"format": "openai-prompt", "url": endpoint.url, "model": "m"}
    llm_prompt.PLUGIN.build(context(tmp_path / "out", None, params=params, probe=True))
    assert endpoint.seen == []


def test_labels_that_begin_alike_are_asked_for_by_letter(serve: Any, tmp_path: Path) -> None:
    endpoint = serve(lambda _body, _n: GOOD)
    params = {"format": "openai-prompt", "url": endpoint.url, "model": "m"}
    made = context(
        tmp_path / "out", None, params=params, probe=True, label_words={"neg": "正常", "pos": "正面"}, language="zh"
    )
    llm_prompt.PLUGIN.build(made)
    assert json.loads((made.out / "prompt.json").read_text())["answers"] == ["A", "B"]


def test_other_formats_are_refused(tmp_path: Path) -> None:
    artifact = Artifact(format="onnx", task="text-classification", classes=("a", "b"), inputs=())
    with pytest.raises(StepError) as caught:
        openai_api.PLUGIN.load(artifact, tmp_path, 1)
    assert caught.value.code == "unsupported"


@pytest.mark.assets
def test_a_real_openai_compatible_server(smollm: Path, tmp_path: Path) -> None:
    """llama.cpp's own server with a real model, over HTTP, against the same model asked in this process."""
    xllamacpp = pytest.importorskip("xllamacpp")
    from bakeoff.runtimes import llama_cpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(smollm / "model.gguf")
    settings.n_ctx, settings.n_parallel, settings.cache_ram_mib, settings.verbosity = 1024, 1, 0, -1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.warmup = settings.ui = False
    server = xllamacpp.Server(settings)
    params = {
        "format": "openai-prompt",
        "url": f"{server.listening_address}/v1",
        "model": "smollm2",
        "calibrate_rows": 4,
    }
    made = context(tmp_path / "far", None, params=params)
    artifact = llm_prompt.PLUGIN.build(made)
    predictor = openai_api.PLUGIN.load(artifact, made.out, threads=1)
    rows = reviews(4)
    found = predictor.predict_proba(rows.rows)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    usage = predictor.usage()
    assert usage["requests"] == 4
    assert usage["tokens_in"] > 4 * 40
    predictor.close()
    del server
    assert json.loads((made.out / "prompt.json").read_text())["probabilities"] in {True, False}
    local = context(tmp_path / "near", smollm)
    near = llama_cpp.PLUGIN.load(llm_prompt.PLUGIN.build(local), local.out, 1)
    assert near.predict_proba(rows.rows).shape == found.shape
    near.close()
