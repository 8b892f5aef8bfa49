"""An OpenAI-compatible chat endpoint asked for labels: probabilities where it gives them, else the answer it writes.

Does: one request per row, retries with back-off, time limits, counts tokens. Never stores or prints the key.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

from bakeoff.data.transforms.prompt import PLACE, matches, read_answer
from bakeoff.schema.errors import StepError

TOP = 20
"""Most alternatives OpenAI's interface gives per token."""
_ANSWER_TOKENS = 16
_BUSY = {408, 409, 425, 429}
_SERVER_ERROR = 500
_BAD_REQUEST = 400
_NOT_SUCCESS = 300
_LONGEST_WAIT = 20.0
_FLOOR = 1e-4
_SURE = 0.95
_TRUSTED_MASS = 0.05
_UNREADABLE_SHARE = 0.2
_UNREADABLE_ROWS = 10
_EXCERPT = 160


@dataclass(frozen=True)
class _Again:
    """Why a request is worth sending again, and how long to wait first."""

    reason: str
    code: str = "error"
    wait: float | None = None


@dataclass(frozen=True)
class Reply:
    """What came back: the text, and for its first token the alternatives with their log-probabilities (may be none)."""

    text: str
    alternatives: tuple[tuple[str, float], ...]


class ChatClient:
    """A connection to one endpoint.

    Args:
        url: base URL, usually ending in ``/v1``.
        model: name sent with each request.
        api_key_env: environment variable that holds the key; None sends none.
        timeout: seconds one attempt may take.
        attempts: how often a request is tried.
        wait: called with the seconds to wait between attempts.

    Raises:
        StepError: 'unavailable' when httpx or the key is missing.

    """

    def __init__(
        self, url: str, model: str, *, api_key_env: str | None = None, timeout: float = 60.0, attempts: int = 5,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        try:
            import httpx
        except ImportError as error:
            what = "an endpoint needs httpx"
            raise StepError("unavailable", what, try_="pip install 'bakeoff[remote]'") from error
        headers = {}
        if api_key_env:
            if api_key_env.upper().startswith("BAKEOFF_"):  # they hold the keys of bundles and of this server
                what = "a variable of Bakeoff's own is no key of an endpoint"
                raise StepError("unsafe", what, where=url, got=api_key_env, try_="another name")
            key = os.environ.get(api_key_env)
            if not key:
                what = f"environment variable {api_key_env}, which should hold the key, is not set"
                raise StepError("unavailable", what, where=url, try_=f"export {api_key_env}=...")
            headers["Authorization"] = f"Bearer {key}"
        self._errors = (httpx.TransportError,)
        self._timed_out = httpx.TimeoutException
        self._http = httpx.Client(headers=headers, timeout=timeout, follow_redirects=False)
        self._url, self._model, self._attempts, self._wait = (
            url.rstrip("/") + "/chat/completions",
            model,
            attempts,
            wait,
        )
        self._lock = Lock()
        self.asks_probabilities = True
        self.gives_probabilities = False
        self.requests = self.tokens_in = self.tokens_out = self.retries = 0

    def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """Send one conversation.

        Raises:
            StepError: 'unavailable' (key refused, no such model or path), 'timeout', or 'error', each with the reason.

        """
        failed = _Again("nothing was tried")
        for attempt in range(self._attempts):
            if attempt:
                self._pause(attempt, failed)
            found = self._attempt(messages)
            if isinstance(found, Reply):
                return found
            failed = found
        what = f"endpoint: {failed.reason} ({self._attempts} attempts)"
        raise StepError(failed.code, what, where=self._url)

    def _pause(self, attempt: int, failed: _Again) -> None:
        with self._lock:
            self.retries += 1
        self._wait(min(_LONGEST_WAIT, 0.25 * 2**attempt if failed.wait is None else failed.wait))

    def _attempt(self, messages: Sequence[Mapping[str, str]]) -> Reply | _Again:
        try:
            response = self._http.post(self._url, json=self._body(messages))
        except self._timed_out:
            return _Again("no answer within the time limit", "timeout")
        except self._errors as error:
            return _Again(f"connection failed ({type(error).__name__})", "unavailable")
        return self._read(response)

    def _body(self, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model, "messages": list(messages), "temperature": 0, "max_tokens": _ANSWER_TOKENS, "seed": 0,
        }  # fmt: skip
        if self.asks_probabilities:
            body |= {"logprobs": True, "top_logprobs": TOP}
        return body

    def _read(self, response: Any) -> Reply | _Again:  # noqa: ANN401 - httpx.Response, imported late
        """Return the reply, or why to try again.

        Raises:
            StepError: trying again would not help.

        """
        status = int(response.status_code)
        if status in _BUSY or status >= _SERVER_ERROR:
            return _Again(f"HTTP {status}", wait=_seconds(response.headers.get("retry-after")))
        if status == _BAD_REQUEST and self.asks_probabilities and "logprob" in response.text.lower():
            self.asks_probabilities = False
            return _Again("it refuses log-probabilities", wait=0.0)
        if status >= _NOT_SUCCESS:
            refused = {401: "the key is refused", 403: "the key may not do this", 404: "no such model or path"}
            what = f"endpoint: HTTP {status}, {refused.get(status, _excerpt(response.text))}"
            raise StepError("unavailable" if status in refused else "error", what, where=self._url)
        try:
            return self._count(response.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return _Again(f"the answer is not an OpenAI chat completion: {_excerpt(response.text)}")

    def _count(self, answer: Mapping[str, Any]) -> Reply:
        choice = answer["choices"][0]
        text = str(choice["message"].get("content") or "")
        usage = answer.get("usage") or {}
        with self._lock:
            self.requests += 1
            self.tokens_in += int(usage.get("prompt_tokens", 0))
            self.tokens_out += int(usage.get("completion_tokens", 0))
        content = (choice.get("logprobs") or {}).get("content") or []
        top = content[0].get("top_logprobs") or [] if content else []
        alternatives = tuple((str(entry["token"]), float(entry["logprob"])) for entry in top)
        if alternatives:
            self.gives_probabilities = True
        return Reply(text, alternatives)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def client_of(meta: Mapping[str, Any], **options: Any) -> ChatClient:  # noqa: ANN401
    """Return the client an artefact's ``meta`` (or a variant's parameters) describes."""
    return ChatClient(str(meta["url"]), str(meta["model"]), api_key_env=meta.get("api_key_env"), **options)


def _seconds(header: str | None) -> float | None:
    """Read ``Retry-After`` in seconds; the other form, a date, is rare, and the usual back-off does for it."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:_EXCERPT]


def reply_scores(reply: Reply, answers: Sequence[str]) -> list[float] | None:
    """Return log-scores of the answers, or None when the reply names none of them.

    Alternatives of the first token are added up per answer they can only be the beginning of; without them (or when they
    hardly mention any answer) the written answer counts, as being 95 % sure.
    """
    mass = [0.0] * len(answers)
    for token, logprob in reply.alternatives:
        found = matches(token, answers)
        if len(found) == 1:
            mass[found[0]] += math.exp(logprob)
    if sum(mass) >= _TRUSTED_MASS:
        return [math.log(max(value, _FLOOR)) for value in mass]
    named = read_answer(reply.text, answers)
    if named is None:
        return None
    rest = (1.0 - _SURE) / max(1, len(answers) - 1)
    return [math.log(_SURE if at == named else rest) for at in range(len(answers))]


class ChatScorer:
    """A prompt record and an endpoint: rows' texts → log-scores (n, k).

    Args:
        client: the connection.
        prompt: the record: ``messages`` with the row's place, ``answers``.
        parallel: requests under way at once.

    """

    def __init__(self, client: ChatClient, prompt: Mapping[str, Any], parallel: int = 4) -> None:
        self._client, self._messages, self._answers = client, prompt["messages"], prompt["answers"]
        self._parallel = parallel

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Return log-scores; a row whose answer cannot be read gets equal ones.

        Raises:
            StepError: the endpoint fails, or more than a fifth of ten or more answers cannot be read.

        """
        if len(texts) == 1:
            found = [self._one(texts[0])]
        else:
            with ThreadPoolExecutor(self._parallel) as pool:
                found = list(pool.map(self._one, texts))
        lost = sum(scores is None for scores in found)
        if len(found) >= _UNREADABLE_ROWS and lost > _UNREADABLE_SHARE * len(found):
            what = f"{lost} of {len(found)} answers of the endpoint name no label"
            raise StepError("error", what, allowed=self._answers, try_="plainer words in data.labels")
        equal = [-math.log(len(self._answers))] * len(self._answers)
        return [equal if scores is None else scores for scores in found]

    def _one(self, text: str) -> list[float] | None:
        messages = [{**message, "content": message["content"].replace(PLACE, text)} for message in self._messages]
        return reply_scores(self._client.ask(messages), self._answers)
