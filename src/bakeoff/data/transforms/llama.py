"""A GGUF language model inside this process, through xllamacpp (llama.cpp), asked for the probabilities of few tokens.

llama.cpp is asked for one token with the admissible ones raised by the same large bias: after the softmax they hold all
the probability, in their true proportions, so that a handful of numbers comes back and not the whole vocabulary.

The same row gives the same bits whatever was asked before: the key-value cache is used for the fixed part of the prompt
only (which tokens share a batch changes the last digits of llama.cpp's arithmetic).
"""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from bakeoff.data.transforms.prompt import Branch, answer_scores
from bakeoff.schema.errors import StepError

_RAISE = 100.0
_BATCH = 512


class _Server(Protocol):
    listening_address: str

    def handle_completions(self, prompt: Mapping[str, Any]) -> dict[str, Any]: ...


class Llama:
    """A loaded model.

    Args:
        model: GGUF file.
        threads: upper limit of the threads that compute.
        context: tokens of the longest prompt with its answer.

    Raises:
        StepError: 'unavailable' without xllamacpp, 'error' when the file cannot be loaded.

    """

    def __init__(self, model: Path, threads: int, context: int) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            what = "a local language model needs xllamacpp"
            raise StepError("unavailable", what, try_="pip install 'bakeoff[llm]'") from error
        if not _is_gguf(model):
            what = "this is not a GGUF file"
            raise StepError("error", what, where=model.name)
        self._key = secrets.token_hex(16)
        self.context = context
        params = self._params(xllamacpp, model, threads)
        try:
            self._server: _Server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            what = f"llama.cpp could not load the model: {error}"
            raise StepError("error", what, where=model.name) from error
        self._http = http.client.HTTPConnection(self._server.listening_address.split("//")[1], timeout=120)
        self._last: list[int] = []
        self._spacers = [self.tokenize(text)[0] for text in ("a", "b")]
        self.tokens_in = self.tokens_out = self.requests = 0

    def _params(self, library: Any, model: Path, threads: int) -> Any:  # noqa: ANN401 - untyped native module
        params = library.CommonParams()
        params.model.path = str(model)
        params.n_ctx, params.n_parallel, params.n_batch, params.n_ubatch = self.context, 1, _BATCH, _BATCH
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_threads_http = 1
        params.n_gpu_layers = 0
        params.cache_ram_mib = 0  # by default finished prompts are kept in up to 8 GB
        params.warmup = params.ui = params.endpoint_slots = False
        params.api_keys = [self._key]  # it listens on a loopback port: only this process may ask
        params.verbosity = -1
        return params

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            status, text = self._exchange(path, body)
        except (
            ConnectionError,
            http.client.HTTPException,
        ):  # it hangs up after five idle seconds; a new call it answers
            self._http.close()
            status, text = self._exchange(path, body)
        answer = json.loads(text)
        if status != http.HTTPStatus.OK:
            what = f"llama.cpp refused {path}: {answer.get('error', {}).get('message', status)}"
            raise StepError("error", what)
        return cast("dict[str, Any]", answer)

    def _exchange(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        self._http.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        response = self._http.getresponse()
        return response.status, response.read()

    def tokenize(self, text: str, *, special: bool = False, start: bool = False) -> list[int]:
        """Return token ids; control tokens in ``text`` are read as such only with ``special``, ``start`` adds the first token."""
        body = {"content": text, "add_special": start, "parse_special": special}
        return cast("list[int]", self._post("/tokenize", body)["tokens"])

    def whole(self, token: int) -> bool:
        """Whether a token is whole characters (llama.cpp holds back the probabilities of half a character)."""
        return "\ufffd" not in self._post("/detokenize", {"tokens": [token]})["content"]

    def end_token(self) -> int:
        """Return the token that ends an answer."""
        return self.tokenize(str(self._post("/props", {})["eos_token"]), special=True)[0]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return a conversation as the model's own chat template writes it, ready for the answer (without 'thinking')."""
        body = {"messages": list(messages), "chat_template_kwargs": {"enable_thinking": False}}
        return str(self._post("/apply-template", body)["prompt"])

    def scores(
        self, prompt: Sequence[int], fixed: int, answers: Sequence[Sequence[int]], parts: Sequence[Branch]
    ) -> list[float]:
        """Return the log-probability of each answer among the answers.

        Args:
            prompt: token ids.
            fixed: how many of them are the same for every row (cached).
            answers: token ids of each answer.
            parts: ``branches(answers)``.

        """
        self._rewind(prompt, fixed)
        seen = {path: self._follow([*prompt, *path], tokens) for path, tokens in parts}
        self.requests += 1
        self.tokens_in += len(prompt)
        self.tokens_out += 1
        return answer_scores(answers, seen)

    def prime(self, head: Sequence[int]) -> None:
        """Compute the fixed part of a prompt now, so that the first request is as quick as the others."""
        if self._last:  # another prompt's beginning in the cache would change which tokens share a batch
            self._ask([next(token for token in self._spacers if token != self._last[0])] * 2, self._spacers)
        self._ask([*head, self._spacers[0]], self._spacers)

    def _rewind(self, prompt: Sequence[int], fixed: int) -> None:
        """Make sure that exactly the first ``fixed`` tokens are in the cache, computed the same way every time."""
        head = list(prompt[:fixed])
        if self._last[:fixed] != head:
            self.prime(head)
        if self._last[fixed : fixed + 1] == list(prompt[fixed : fixed + 1]):
            spacer = next(token for token in self._spacers if token != prompt[fixed])
            self._ask([*head, spacer], self._spacers)

    def _follow(self, prompt: list[int], tokens: Sequence[int]) -> dict[int, float]:
        answer = self._ask(prompt, tokens)
        logprobs = answer["choices"][0].get("logprobs")
        if not logprobs or not logprobs["content"]:
            what = "llama.cpp returned no probabilities"
            raise StepError("error", what)
        return {entry["id"]: entry["prob"] for entry in logprobs["content"][0]["top_probs"]}

    def _ask(self, prompt: list[int], tokens: Sequence[int]) -> dict[str, Any]:
        answer = self._server.handle_completions({
            "prompt": prompt, "n_predict": 1, "n_probs": len(tokens), "post_sampling_probs": True, "seed": 0,
            "logit_bias": [[token, _RAISE] for token in tokens], "samplers": ["temperature"], "temperature": 1.0,
            "cache_prompt": True,
        })  # fmt: skip
        if "error" in answer:
            what = f"llama.cpp: {answer['error'].get('message', answer['error'])}"
            raise StepError("error", what)
        self._last = prompt
        return answer

    def close(self) -> None:
        """Stop the engine and release its memory."""
        self._http.close()
        del self._server


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


class PromptScorer:
    """A prompt record and the model it was made for: rows' texts → log-scores (n, k).

    Args:
        llama: the loaded model.
        prompt: the record: ``tokens`` (``prefix``, ``suffix``, ``answers``) and ``max_tokens`` of a row's text.

    """

    def __init__(self, llama: Llama, prompt: Mapping[str, Any]) -> None:
        from bakeoff.data.transforms.prompt import branches

        tokens = prompt["tokens"]
        self._llama = llama
        self._prefix, self._suffix, self._answers = tokens["prefix"], tokens["suffix"], tokens["answers"]
        self._limit = int(prompt["max_tokens"])
        self._parts = branches(self._answers)
        llama.prime(self._prefix)

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Return log-scores, one list per text."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> list[float]:
        row = self._llama.tokenize(text)[: self._limit]
        prompt = [*self._prefix, *row, *self._suffix]
        return self._llama.scores(prompt, len(self._prefix), self._answers, self._parts)
