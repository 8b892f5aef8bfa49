from __future__ import annotations

import re
import string
from pathlib import Path
from typing import get_args

import pytest

import bakeoff.report
from bakeoff.report import words
from bakeoff.schema.base import Words
from bakeoff.schema.decision import CandidateStatus, Outcome, RaceLook, Verdict
from bakeoff.schema.measurement import Finding, Level, Provenance

HERE = Path(bakeoff.report.__file__).parent
SOURCES = [path for pattern in ("*.py", "charts/*.py", "templates/*.j2") for path in HERE.glob(pattern)]
SECTIONS = (
    "compare", "candidates", "constraints", "cost", "risks", "flips", "curves", "race", "unavailable", "data", "run",
)  # fmt: skip
METRICS = (
    "accuracy", "macro_f1", "balanced_accuracy", "f1", "roc_auc", "latency_p50", "latency_p95", "latency_p99", "throughput", "memory", "size",
    "train_seconds", "predict_seconds_per_row", "cpu_seconds_per_row", "load_seconds", "parity_agreement", "parity_drift", "tokens_in",
    "tokens_out", "cost", "p_best",
)  # fmt: skip
COMPUTED = {
    "outcome": get_args(Outcome),
    "status": get_args(CandidateStatus),
    "verdict": get_args(Verdict),
    "provenance": get_args(Provenance),
    "level": get_args(Level),
    "finding": get_args(Finding.model_fields["status"].annotation),
    "kind": ("text", "number", "category"),
    "severity": ("info", "warn", "stop"),
    "metric": METRICS,
    "plot": ("x", "y", "up_high", "up_low", "right_high", "right_low"),
    "data": ("train", "calibrate", "select", "confirm"),
    "run": ("trials", "steps", "failed", "looks"),
    "race": tuple(f"stage_{stage}" for stage in get_args(RaceLook.model_fields["stage"].annotation)),
}
"""Keys the code puts together: prefix and every value the schema allows."""


def literal_keys() -> set[str]:
    quoted = {
        match
        for path in SOURCES
        for match in re.findall(r"['\"]([a-z_]+\.[a-z_0-9]+)['\"]", path.read_text(encoding="utf-8"))
    }
    return quoted | {f"{prefix}.{value}" for prefix, values in COMPUTED.items() for value in values}


def test_both_languages_have_the_same_keys() -> None:
    assert list(words.locale("zh")) == list(words.locale("en"))


def test_every_key_is_used_and_every_used_key_exists() -> None:
    used = literal_keys() | {f"{name}.{part}" for name in SECTIONS for part in ("title", "lead", "nav")}
    known = set(words.locale("zh"))
    assert known - used == set()
    asked = {f"{prefix}.{value}" for prefix, values in COMPUTED.items() for value in values}
    assert asked - known == set()


@pytest.mark.parametrize("key", sorted(words.locale("zh")))
def test_both_languages_name_the_same_facts(key: str) -> None:
    def facts(language: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(words.locale(language)[key]) if name is not None}  # type: ignore[arg-type]

    assert facts("zh") == facts("en")


def test_no_sentence_is_left_empty() -> None:
    assert [key for key in words.locale("zh") if not words.locale("zh")[key].strip()] == ["term.blank"]
    assert [key for key in words.locale("en") if not words.locale("en")[key].strip()] == ["term.blank"]


def test_english_has_no_chinese_and_chinese_no_half_width_punctuation() -> None:
    assert [key for key, said in words.locale("en").items() if re.search(r"[\u4e00-\u9fff，。；：（）]", said)] == []
    assert [key for key, said in words.locale("zh").items() if re.search(r"[\u4e00-\u9fff][,;:?!]", said)] == []


def test_facts_may_be_in_both_languages() -> None:
    said = words.text("six.runner_up", label=Words(zh="线性", en="linear"))
    assert said == Words(zh="第二名：线性", en="Runner-up: linear")


def test_braces_in_a_fact_are_not_a_placeholder() -> None:
    assert words.text("six.runner_up", label="{evil}").en == "Runner-up: {evil}"


def test_joined_uses_each_language_s_separator() -> None:
    assert words.joined([words.same("a"), words.same("b")]) == Words(zh="a；b", en="a; b")
