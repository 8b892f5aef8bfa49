"""The OpenAI-compatible route: a conversation in, the label as the assistant's message out.

So that whoever calls a prompted model through an OpenAI client today can call the delivered stack by changing the base URL.
The last user message is the row's text: the prompt, its examples and the calibration are the bundle's own and were what was
measured, so the system message and sampling settings have no effect. It is offered by bundles that read one text.
Source: OpenAI API reference, chat completions.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from bakeoff.serving.parsing import parse
from bakeoff.serving.problems import Problem, kind

if TYPE_CHECKING:
    from bakeoff.serving.app import App
    from bakeoff.serving.batching import Job
    from bakeoff.serving.request import Request

ROUTE, MODELS = "/v1/chat/completions", "/v1/models"
JSON, EVENTS = b"application/json", b"text/event-stream"
_MOST_LOGPROBS = 20
_ROLES = ("system", "developer", "user", "assistant", "tool")
_LEAST = 1e-30


class Chat:
    """The two routes on one server.

    Args:
        app: of a model that reads one text.

    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._names = (app.served.name, app.service.candidate)
        self._began = int(time.time())
        app.post(ROUTE, self._answer)
        app.get(MODELS, lambda: (200, models(self._names, self._began), JSON))

    def _answer(self, request: Request) -> None:
        app = self._app
        asked = read(parse(request.content()), self._names, app.limits.text)
        row = app.reader.row({app.reader.text_column: asked.text}, "messages")
        app.compute(request, [row], partial(self._answered, request, asked))

    def _answered(self, request: Request, asked: Asked, job: Job) -> None:
        identifier = f"chatcmpl-{secrets.token_hex(12)}"
        app, label = self._app, job.labels[0]
        body, content = write(
            asked, self._names[0], identifier, int(time.time()), app.classes, job.probabilities[0], label
        )
        app.send(request, 200, body, content)


@dataclass(frozen=True)
class Asked:
    """What a chat request wants: the text, whether as a stream of events, and how many labels' log-probabilities (0: none)."""

    text: str
    stream: bool
    logprobs: int


def read(document: dict[str, Any], names: Sequence[str], longest: int) -> Asked:
    """Return what is asked.

    Args:
        document: the parsed body.
        names: model names that are answered.
        longest: characters of a text at most.

    Raises:
        Problem: 404 for another model, 400 for what cannot be honoured, 422 for a text too long.

    """
    model = document.get("model")
    if not isinstance(model, str) or model not in names:
        what = "there is no such model here"
        raise Problem(404, what, where="model", got=kind(model), allowed=names)
    wanted = document.get("n")
    if wanted is not None and (isinstance(wanted, bool) or wanted != 1):
        what = "one answer only: the same text always gets the same label"
        raise Problem(400, what, where="n", allowed="1")
    stream = _switch(document, "stream")
    text = _text(document.get("messages"))
    if len(text) > longest:
        what = "the text is too long"
        raise Problem(
            422, what, where="messages", got=f"{len(text)} characters", allowed=f"at most {longest} characters"
        )
    return Asked(text, stream, _logprobs(document))


def write(
    asked: Asked, model: str, identifier: str, created: int, classes: Sequence[str], shares: Sequence[float], label: int
) -> tuple[bytes, bytes]:
    """Return body and content type of the answer.

    Args:
        asked: the request.
        model: the name to answer under.
        identifier: of this answer, ``chatcmpl-…``.
        created: seconds since 1970.
        classes: every label.
        shares: probability of each.
        label: index of the answer.

    """  # fmt: skip
    head = {"id": identifier, "created": created, "model": model}
    logprobs = _said(asked.logprobs, classes, shares, label) if asked.logprobs else None
    if not asked.stream:
        message = {"role": "assistant", "content": classes[label], "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
        return orjson.dumps({**head, "object": "chat.completion", "choices": [choice]}), JSON
    steps: tuple[tuple[dict[str, Any], dict[str, Any] | None, str | None], ...] = (
        ({"role": "assistant", "content": classes[label]}, logprobs, None),
        ({}, None, "stop"),
    )
    events = [
        orjson.dumps({
            **head, "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "logprobs": said, "finish_reason": reason}],
        })
        for delta, said, reason in steps
    ]  # fmt: skip
    return b"".join(b"data: " + event + b"\n\n" for event in (*events, b"[DONE]")), EVENTS


def models(names: Sequence[str], created: int) -> bytes:
    """Return the list of models."""
    listed = [{"id": name, "object": "model", "created": created, "owned_by": "bakeoff"} for name in names]
    return orjson.dumps({"object": "list", "data": listed})


def refusal(problem: Problem) -> bytes:
    """Return an error as OpenAI clients read it."""
    parts = [f"{problem.where}: {problem.what}" if problem.where else problem.what]
    if problem.allowed is not None:
        listed = problem.allowed if isinstance(problem.allowed, str) else ", ".join(problem.allowed)
        parts.append(f"allowed: {listed}")
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    error = {
        "message": "; ".join(parts), "type": kinds.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error"),
        "param": problem.where, "code": problem.status,
    }  # fmt: skip
    return orjson.dumps({"error": error})


def _text(messages: object) -> str:
    if not isinstance(messages, list) or not messages:
        what = "must be a non-empty array of messages"
        raise Problem(400, what, where="messages", got=kind(messages))
    last: str | None = None
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            what = "must be a message with a role"
            raise Problem(400, what, where=where, got=kind(message), allowed=_ROLES)
        content = message.get("content")
        if role == "user":
            last = _content(content, f"{where}.content")
        elif content is not None:
            _content(content, f"{where}.content")
    if last is None:
        what = "there is no user message to classify"
        raise Problem(400, what, where="messages")
    return last


def _content(content: object, where: str) -> str:
    """Return the text of a message: a string, or parts that are all text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if not texts or len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        what = "must be a string or parts of type text"
        raise Problem(400, what, where=where, got=kind(content))
    return "".join(str(text) for text in texts)


def _logprobs(document: dict[str, Any]) -> int:
    wanted, top = _switch(document, "logprobs"), document.get("top_logprobs")
    top = 0 if top is None else top
    if not isinstance(top, int) or isinstance(top, bool) or not 0 <= top <= _MOST_LOGPROBS:
        what = "must be a whole number"
        raise Problem(400, what, where="top_logprobs", got=kind(top), allowed=f"0 to {_MOST_LOGPROBS}")
    return max(1, top) if wanted else 0


def _switch(document: dict[str, Any], name: str) -> bool:
    """Return a field that is true or false; absent and null are false."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        what = "must be true or false"
        raise Problem(400, what, where=name, got=kind(value))
    return bool(value)


def _said(count: int, classes: Sequence[str], shares: Sequence[float], label: int) -> dict[str, Any]:
    """Return the labels' log-probabilities in the place of tokens': the label is the one 'token' of the answer."""
    order = sorted(range(len(classes)), key=lambda index: -shares[index])[:count]
    entries = [_entry(classes[index], shares[index]) for index in order]
    return {"content": [{**_entry(classes[label], shares[label]), "top_logprobs": entries}], "refusal": None}


def _entry(token: str, share: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(max(share, _LEAST)), "bytes": list(token.encode())}
