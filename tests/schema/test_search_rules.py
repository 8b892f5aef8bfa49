"""The section ``search`` of a specification: defaults, every tuner, what is refused, and that it is no premise."""

from __future__ import annotations

from typing import get_args

import pytest

from bakeoff.schema import Spec, SpecError
from bakeoff.schema.loading import parse_spec
from bakeoff.schema.spec import SearchRules, Tuner
from bakeoff.study import _only_premises
from tests.schema.texts import MINIMAL


def test_left_out_it_tunes_a_little_and_reads_no_other_study() -> None:
    assert parse_spec(MINIMAL).search == SearchRules(tuner="auto", trials=12, warm_start=())


@pytest.mark.parametrize("tuner", get_args(Tuner))
def test_every_tuner_can_be_written_set_and_read_back(tuner: str) -> None:
    spec = parse_spec(MINIMAL + f"search: {{tuner: {tuner}, trials: 30, warm_start: [old.study, ../b.study]}}\n")
    assert (spec.search.tuner, spec.search.trials, spec.search.warm_start) == (tuner, 30, ("old.study", "../b.study"))
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert parse_spec(MINIMAL, "x", {"search.tuner": tuner}).search.tuner == tuner


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("search: {tuner: bayes}", "allowed: auto, tpe, gp"), ("search: {trials: -1}", "search.trials"),
        ("search: {trial: 3}", "did you mean 'trials'"),
        ("search: {warm_start: 3}", "search.warm_start"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(extra: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_spec(MINIMAL + extra + "\n")


def test_another_tuner_needs_another_run() -> None:
    spec = parse_spec(MINIMAL)
    _only_premises(spec, spec)
    with pytest.raises(SpecError, match="search: only a new run can answer this"):
        _only_premises(parse_spec(MINIMAL, "x", {"search.trials": "3"}), spec)
