"""Prompts for classifying with a language model: the fixed part, the row's place in it, and how answers become scores.

A prompt record is JSON and travels with the artefact as ``prompt.json``. A row's text is data, never an instruction: it
stands between fences that are taken out of the text itself, and no control token inside it is ever interpreted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.text import texts

FENCE = '"""'
PLACE = "@@ROW@@"
"""Stands where the row's text goes while a prompt is being made."""
PROMPT_FILE = "prompt.json"
_FLOOR = -20.0
_QUOTES = " \t\r\n\"'“”‘’「」《》【】*`.。:：#"

Row = Mapping[str, Any]
Path_ = tuple[int, ...]
Branch = tuple[Path_, tuple[int, ...]]


def row_texts(rows: Sequence[Row], transform: Mapping[str, Any]) -> list[str]:
    """Return each row's text, white space folded, cut to ``max_chars``, without fences."""
    plain = {**transform, "lowercase": False}
    return [text.replace(FENCE, '"') for text in texts(rows, plain)]


def branches(answers: Sequence[Sequence[int]]) -> list[Branch]:
    """Return where the answers part: (tokens so far, the tokens that may follow), nearest to the start first.

    Scoring only these places gives the probability of each answer among the answers: tokens that all remaining answers
    share add nothing.
    """
    after: dict[Path_, dict[int, None]] = {}
    for answer in answers:
        for at, token in enumerate(answer):
            after.setdefault(tuple(answer[:at]), {})[token] = None
    found = [(path, tuple(tokens)) for path, tokens in after.items() if len(tokens) > 1]
    return sorted(found, key=lambda branch: (len(branch[0]), branch[0]))


def answer_scores(answers: Sequence[Sequence[int]], seen: Mapping[Path_, Mapping[int, float]]) -> list[float]:
    """Return the log-probability of each answer among the answers.

    Args:
        answers: token ids of each class's answer.
        seen: for each branch, the probability of every token that may follow (they add up to 1).

    """
    scores = []
    for answer in answers:
        steps = [(tuple(answer[:at]), token) for at, token in enumerate(answer)]
        scores.append(sum(_log(seen[path].get(token, 0.0)) for path, token in steps if path in seen))
    return scores


def _log(probability: float) -> float:
    return max(_FLOOR, float(np.log(max(probability, 1e-300))))


def calibrated(scores: NDArray[np.float64], bias: Sequence[float]) -> NDArray[np.float64]:
    """Return probabilities (n, k) of log-scores (n, k) after taking each label's bias away (contextual calibration).

    A small model prefers some labels whatever it reads. The bias is each label's mean score over unlabelled rows (after
    Zhao et al. 2021, with rows of the team's own in place of content-free text).
    """
    logits = scores - np.asarray(bias, dtype=np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    return cast("NDArray[np.float64]", weights / weights.sum(axis=1, keepdims=True))


def bias_of(scores: NDArray[np.float64]) -> list[float]:
    """Return each label's mean score over rows (n, k), zeros when there is no row."""
    if not len(scores):
        return [0.0] * scores.shape[1]
    return [round(float(value), 6) for value in scores.mean(axis=0)]


def matches(token: str, answers: Sequence[str]) -> list[int]:
    """Return which answers a piece of text may be the beginning (or the whole) of, ignoring case and quotes."""
    piece = token.strip(_QUOTES).casefold()
    if not piece:
        return []
    folded = [answer.strip(_QUOTES).casefold() for answer in answers]
    if piece in folded:
        return [at for at, answer in enumerate(folded) if answer == piece]
    return [at for at, answer in enumerate(folded) if answer.startswith(piece) or piece.startswith(answer)]


def read_answer(text: str, answers: Sequence[str]) -> int | None:
    """Return the class a free answer names: at its start, or anywhere if it names only one; None when it does not say."""
    starts = matches(text, answers)
    if len(starts) > 1:
        starts = [max(starts, key=lambda at: len(answers[at]))]  # 'not spam' starts with no other answer but itself
    if len(starts) == 1 and text.strip(_QUOTES).casefold().startswith(answers[starts[0]].strip(_QUOTES).casefold()):
        return starts[0]
    folded = text.casefold()
    named = [at for at, answer in enumerate(answers) if len(answer) > 1 and answer.casefold() in folded]
    return named[0] if len(named) == 1 else None


def save_prompt(prompt: Mapping[str, Any], directory: Path) -> None:
    """Write ``prompt.json``."""
    text = json.dumps(prompt, ensure_ascii=False, indent=1)
    (directory / PROMPT_FILE).write_text(text + "\n", encoding="utf-8")


def load_prompt(directory: Path) -> dict[str, Any]:
    """Read ``prompt.json``."""
    return cast("dict[str, Any]", json.loads((directory / PROMPT_FILE).read_text(encoding="utf-8")))
