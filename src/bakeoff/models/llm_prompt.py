"""Prompted language models: no training, labels scored zero-shot or after a few examples, label bias calibrated away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bakeoff.data.transforms import prompt as prompts
from bakeoff.models import _prompting as prompting
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Parameter, Space
from bakeoff.schema.spec import Endpoint, Spec

MODEL_FILE = "model.gguf"
_SIMPLICITY = 7
_CALIBRATE_ROWS = 32
_REMOTE_CALIBRATE_ROWS = 16
_MAX_TOKENS = 96
_MAX_CHARS = 1000
_SHOTS = 6
_ANSWER_ROOM = 32
_EXAMPLES = Parameter(
    name="shots", label=Words(zh="示例数", en="examples"), kind="int", low=0, high=12, absent=0, marks=(0, 3, 6),
    slows=("build_fixed", "predict_per_1000"), slack=60.0,
)  # fmt: skip
"""A prefix that every request shares is read once: by the guesses above, six examples add a tenth to a request."""
_LANGUAGE = Parameter(
    name="prompt_language", label=Words(zh="提示语言", en="prompt in"), kind="categorical", choices=("zh", "en"), absent="zh",
    marks=("zh", "en"),
)  # fmt: skip
_BIAS = Parameter(
    name="calibrate_rows", label=Words(zh="偏差校准行数", en="rows to measure the label bias"), kind="categorical",
    choices=(0, 16, 32, 64), absent=_CALIBRATE_ROWS, slows=("build_fixed",), slack=6.0,
)  # fmt: skip
_TOKENS = (
    Parameter(
        name="max_tokens", label=Words(zh="文本词元上限", en="tokens of the text"), kind="int", low=32, high=256, log=True,
        absent=_MAX_TOKENS, slows=("build_fixed", "predict_per_1000"), slack=float(_MAX_TOKENS),
    ),
)  # fmt: skip
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}


def _local(
    name: str, model: str, *, per_row: float, weights: str | None, hub: str | None, licence: str,
    shots: int = 0, languages: tuple[str, ...] = ("zh", "en"),
) -> Variant:  # fmt: skip
    how = (f"{shots} 个示例", f"{shots} examples") if shots else ("零样本", "zero-shot")
    return Variant(
        name=name, weights=weights, hub=hub, licence=licence, languages=languages, trains=False, simplicity=_SIMPLICITY,
        label=Words(zh=f"{model}，{how[0]}提示", en=f"{model}, prompted {how[1]}"), min_rows=shots,
        params={"format": "gguf-prompt", "shots": shots, "max_tokens": _MAX_TOKENS, "calibrate_rows": _CALIBRATE_ROWS},
        cost=CostPrior(
            build_fixed=3.0 + _CALIBRATE_ROWS * per_row, build_per_1000=0.0, predict_fixed=3.0, predict_per_1000=1000 * per_row
        ),
    )  # fmt: skip


_VARIANTS = (
    _local("qwen05b-zero", "Qwen2.5-Coder-0.5B", per_row=0.5, weights="qwen2.5-coder-0.5b-instruct", hub=None, licence="unstated"),
    _local("qwen05b-few", "Qwen2.5-Coder-0.5B", per_row=0.55, weights="qwen2.5-coder-0.5b-instruct", hub=None, licence="unstated", shots=_SHOTS),
    _local("qwen15b-zero", "Qwen2.5-Coder-1.5B", per_row=1.4, weights="qwen2.5-coder-1.5b-instruct", hub=None, licence="unstated"),
    _local("smollm2-zero", "SmolLM2-135M", per_row=0.2, weights="smollm2-135m-instruct", hub=None, licence="Apache-2.0", languages=("en",)),
    _local("qwen3-06b-zero", "Qwen3-0.6B", per_row=0.6, weights=None, hub="Qwen/Qwen3-0.6B-GGUF", licence="Apache-2.0"),
    _local("qwen3-17b-zero", "Qwen3-1.7B", per_row=1.6, weights=None, hub="Qwen/Qwen3-1.7B-GGUF", licence="Apache-2.0"),
    _local("qwen3-4b-zero", "Qwen3-4B", per_row=4.0, weights=None, hub="Qwen/Qwen3-4B-GGUF", licence="Apache-2.0"),
    _local("qwen25-7b-zero", "Qwen2.5-7B", per_row=7.0, weights=None, hub="Qwen/Qwen2.5-7B-Instruct-GGUF", licence="Apache-2.0"),
    _local("glm4-9b-zero", "GLM-4-9B", per_row=9.0, weights=None, hub="unsloth/GLM-4-9B-0414-GGUF", licence="MIT"),
)  # fmt: skip


def _endpoint(endpoint: Endpoint) -> Variant:
    host = urlsplit(endpoint.url).hostname or ""
    return Variant(
        name=endpoint.name, remote=host not in _LOOPBACK, trains=False, simplicity=_SIMPLICITY,
        label=Words(zh=f"{endpoint.model}（接口 {endpoint.name}），零样本提示", en=f"{endpoint.model} at {endpoint.name}, prompted zero-shot"),
        params={
            "format": "openai-prompt", "url": endpoint.url, "model": endpoint.model, "api_key_env": endpoint.api_key_env,
            "shots": 0, "max_chars": _MAX_CHARS, "calibrate_rows": _REMOTE_CALIBRATE_ROWS,
        },
        cost=CostPrior(build_fixed=20.0, build_per_1000=0.0, predict_fixed=1.0, predict_per_1000=500.0),
    )  # fmt: skip


_COMPRESSED = "the GGUF weights are quantised already; a remote model cannot be compressed"


class PromptedModel:
    """Asks a language model, local (``gguf-prompt``) or behind an endpoint (``openai-prompt``), for the label."""

    traits = FamilyTraits(
        label=Words(zh="大模型提示", en="prompted language model"),
        tasks=("text-classification",),
        formats=("gguf-prompt", "openai-prompt"),
        excuses={
            **dict.fromkeys(("dynamic_int8", "static_int8", "bfloat16"), _COMPRESSED),
            "export": "a prompt is run by the runtime it was made for",
            "openai-prompt": "needs an endpoint; tests/runtimes/test_openai_api.py builds and runs it against a real server",
        },
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return the local models for the language of the rows, and one variant per endpoint of the specification."""
        local = [found for found in _VARIANTS if profile.language in found.languages]
        return [*local, *(_endpoint(endpoint) for endpoint in spec.candidates.endpoints)]

    def space(self, variant: Variant, profile: Profile) -> Space:
        """Return the number of examples, the language of the prompt, and how many rows the label bias is measured on."""
        language = _LANGUAGE.model_copy(update={"absent": profile.language})
        rest = _TOKENS if variant.params["format"] == "gguf-prompt" else ()
        return Space.around(variant, (_EXAMPLES, language, _BIAS, *rest))

    def build(self, context: BuildContext) -> Artifact:
        """Write the prompt, choose examples from train, and measure the label bias on unlabelled calibrate rows.

        Raises:
            StepError: 'unavailable' weights, library, key or endpoint; 'unsupported' labels or lengths.

        """
        if context.params["format"] == "openai-prompt":
            return _build_remote(context)
        return _build_local(context)

    def export(self, context: ExportContext) -> Artifact:
        """Prompts are run by the runtime they were made for."""
        what = "a prompted model has no other format"
        raise StepError("unsupported", what, got=context.target)


def _transform(context: BuildContext) -> dict[str, Any]:
    return {
        "kind": "prompt", "columns": [column.name for column in context.inputs], "separator": "\n",
        "lowercase": False, "normalise": None, "max_chars": int(context.params.get("max_chars", 4 * _MAX_TOKENS)),
    }  # fmt: skip


def _words(context: BuildContext) -> list[str]:
    words = [str(context.label_words.get(name, name)).strip() for name in context.classes]
    if len(set(words)) < len(words) or not all(words):
        what = "a language model cannot tell labels apart that have the same or no words"
        raise StepError("unsupported", what, where="data.labels", got=words)
    return words


def _shown(context: BuildContext, transform: dict[str, Any]) -> list[tuple[str, int]]:
    shots = int(context.params.get("shots", 0))
    if not shots:
        return []
    texts = prompts.row_texts(context.train.rows, transform)
    return prompting.choose_shown(context.train, texts, len(context.classes), shots, context.seed)


def _language(context: BuildContext) -> str:
    """Return the language the model is spoken to in: that of the rows, unless the variant says otherwise."""
    return str(context.params.get("prompt_language", context.language))


def _unlabelled(context: BuildContext, transform: dict[str, Any]) -> list[str]:
    """Texts of up to ``calibrate_rows`` rows of the calibrate split, evenly spread over it; labels are not looked at."""
    count = 0 if context.probe else int(context.params.get("calibrate_rows", _CALIBRATE_ROWS))
    rows = context.calibrate.rows
    spread = np.linspace(0, len(rows) - 1, min(count, len(rows))).round()
    return prompts.row_texts([rows[int(number)] for number in np.unique(spread)], transform)


def _build_local(context: BuildContext) -> Artifact:
    from bakeoff.data.transforms.llama import Llama, PromptScorer

    _take(_gguf(context), context.out / MODEL_FILE)
    transform = _transform(context)
    longest = int(context.params.get("context", 4096))
    llama = Llama(context.out / MODEL_FILE, context.threads, longest)
    try:
        record = _local_prompt(context, llama, transform, longest)
        scores = PromptScorer(llama, record)(_unlabelled(context, transform))
    finally:
        llama.close()
    record["bias"] = prompts.bias_of(np.asarray(scores).reshape(-1, len(context.classes)))
    prompts.save_prompt(record, context.out)
    return _artifact(
        context, transform, {"model": MODEL_FILE, "calibrated_on": len(scores), "shots": len(record["shown"])}
    )


def _local_prompt(context: BuildContext, llama: Any, transform: dict[str, Any], longest: int) -> dict[str, Any]:  # noqa: ANN401
    words, shown = _words(context), _shown(context, transform)
    answers, ids = _answers(llama, words)
    messages = prompting.conversation(_language(context), words, context.instruction, answers, shown)
    whole = llama.chat(messages)
    if whole.count(prompts.PLACE) != 1:
        what = "the model's chat template does not keep the text as it is given"
        raise StepError("unsupported", what, where=context.variant.name)
    before, after = whole.split(prompts.PLACE)
    prefix, suffix = llama.tokenize(before, special=True, start=True), llama.tokenize(after, special=True)
    limit = int(context.params.get("max_tokens", _MAX_TOKENS))
    needed = len(prefix) + limit + len(suffix) + max(map(len, ids)) + _ANSWER_ROOM
    if needed > longest:
        what = f"the prompt needs {needed} tokens"
        raise StepError(
            "unsupported",
            what,
            where=context.variant.name,
            allowed=f"at most {longest}",
            try_="fewer or shorter examples",
        )
    return {
        "prefix": before, "suffix": after, "words": words, "answers": answers, "max_tokens": limit,
        "context": -(-needed // 256) * 256, "shown": shown, "tokens": {"prefix": prefix, "suffix": suffix, "answers": ids},
    }  # fmt: skip


def _answers(llama: Any, words: list[str]) -> tuple[list[str], list[list[int]]]:  # noqa: ANN401
    """Return what is to be answered and its tokens: the labels' words, or letters where tokens cut characters in half."""
    for answers in (words, prompting.letters(len(words)) if len(words) <= 26 else words):
        ids = [llama.tokenize(answer) for answer in answers]
        if any(a != b and b[: len(a)] == a for a in ids for b in ids):
            ids = [[*row, llama.end_token()] for row in ids]
        if all(llama.whole(token) for _, tokens in prompts.branches(ids) for token in tokens):
            return list(answers), ids
    prompting.letters(len(words))
    what = "this model's tokens cannot tell the labels' words apart"
    raise StepError("unsupported", what, got=words)


def _gguf(context: BuildContext) -> Path:
    if context.weights is None:
        what = "the model's weights are not on this machine"
        raise StepError("unavailable", what, where=context.variant.name, got=context.variant.hub)
    found = sorted(context.weights.glob("*.gguf"))
    if not found:
        what = "the folder of the weights holds no .gguf file"
        raise StepError("unavailable", what, where=context.variant.name)
    small = [path for path in found if "q4_k_m" in path.name.lower()]
    return (small or found)[0]


def _take(source: Path, target: Path) -> None:
    """Put the model into the artefact: a second name for the same bytes where the file system allows it, else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _build_remote(context: BuildContext) -> Artifact:
    from bakeoff.data.transforms.chat import ChatScorer, client_of

    transform, words = _transform(context), _words(context)
    first = [word[0].casefold() for word in words]
    answers = words if len(set(first)) == len(first) or len(words) > 26 else prompting.letters(len(words))
    meta = {name: context.params.get(name) for name in ("url", "model", "api_key_env")}
    messages = prompting.conversation(
        _language(context), words, context.instruction, answers, _shown(context, transform)
    )
    record: dict[str, Any] = {"messages": messages, "words": words, "answers": answers, "bias": [0.0] * len(words)}
    texts = _unlabelled(context, transform)
    client = client_of(meta)
    try:
        scorer = ChatScorer(client, record)
        scores = scorer(texts) if texts else []
    finally:
        client.close()
    if scores and client.gives_probabilities:  # without probabilities there is no bias to measure
        record["bias"] = prompts.bias_of(np.asarray(scores))
    record["probabilities"] = bool(client.gives_probabilities)
    prompts.save_prompt(record, context.out)
    return _artifact(context, transform, {**meta, "calibrated_on": len(scores)})


def _artifact(context: BuildContext, transform: dict[str, Any], meta: dict[str, Any]) -> Artifact:
    return Artifact(
        format=str(context.params["format"]), task=context.task, classes=context.classes, inputs=context.inputs,
        transform=transform, meta=meta, licences=(context.variant.licence,) if context.variant.licence else (),
    )  # fmt: skip


PLUGIN = PromptedModel()
