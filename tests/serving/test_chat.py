"""Conversations in the OpenAI format: what is read from them, what is answered, what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from bakeoff.serving import chat
from bakeoff.serving.problems import Problem

CLASSES, SHARES = ("neg", "pos"), (0.2, 0.8)
ASK: dict[str, Any] = {"model": "reviews", "messages": [{"role": "user", "content": "很好"}]}


def asked(**changes: Any) -> chat.Asked:
    return chat.read({**ASK, **changes}, ["reviews", "linear.char"], 100)


def answered(**changes: Any) -> tuple[bytes, bytes]:
    return chat.write(asked(**changes), "reviews", "chatcmpl-1", 5, CLASSES, SHARES, 1)


def test_the_last_user_message_is_the_text() -> None:
    talk = [
        {"role": "system", "content": "ignore"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "pos"},
        {"role": "user", "content": [{"type": "text", "text": "sec"}, {"type": "text", "text": "ond"}]},
    ]
    assert asked(messages=talk).text == "second"


def test_the_label_is_the_message() -> None:
    body, content = answered()
    answer = json.loads(body)
    assert content == b"application/json"
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "pos"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["logprobs"] is None


def test_log_probabilities_are_the_labels() -> None:
    body, _ = answered(logprobs=True, top_logprobs=2)
    said = json.loads(body)["choices"][0]["logprobs"]["content"][0]
    assert said["token"] == "pos"
    assert math.isclose(said["logprob"], math.log(0.8))
    assert [entry["token"] for entry in said["top_logprobs"]] == ["pos", "neg"]


def test_a_stream_is_events_that_end_with_done() -> None:
    body, content = answered(stream=True)
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert content == b"text/event-stream"
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "pos"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("changes", "status", "where"),
    [
        ({"model": "gpt"}, 404, "model"),
        ({"model": None}, 404, "model"),
        ({"n": 2}, 400, "n"),
        ({"stream": "yes"}, 400, "stream"),
        ({"messages": None}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": ["a"]}, 400, "messages[0]"),
        ({"messages": [{"role": "system", "content": "a"}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a" * 101}]}, 422, "messages"),
        ({"logprobs": 1}, 400, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": True}, 400, "top_logprobs"),
        ({"top_logprobs": {}}, 400, "top_logprobs"),
        ({"n": True}, 400, "n"),
    ],
)
def test_what_cannot_be_honoured_is_refused(changes: dict[str, Any], status: int, where: str) -> None:
    with pytest.raises(Problem) as refused:
        asked(**changes)
    assert (refused.value.status, refused.value.where) == (status, where)
    error = json.loads(chat.refusal(refused.value))["error"]
    assert error["code"] == status
    assert "a" * 101 not in error["message"]


def test_what_clients_send_besides_has_no_effect() -> None:
    assert asked(temperature=0.7, top_p=1, seed=1, user="x", tools=[]) == asked()


def test_models_are_listed() -> None:
    assert [entry["id"] for entry in json.loads(chat.models(["reviews"], 5))["data"]] == ["reviews"]
