"""Flip points: beyond one the choice really is another, before it it is not; nearest first."""

from __future__ import annotations

import dataclasses

import pytest

from bakeoff.decision import decide
from bakeoff.schema import Decision, Flip
from bakeoff.store.evidence import StudyEvidence
from tests.decision.worlds import CHAR, E5, LLM, make_world, reviews

PRICED = {
    "value": {"per_correct": 0.002, "errors": {"neg->pos": 0.05}},
    "traffic": {"volume": "200k/day", "peak": "40/s", "horizon": "12mo"},
    "costs": {"retrain": "3mo"},
}


def _recommended(decision: Decision) -> str | None:
    return None if decision.recommended is None else decision.recommended.id


def _overrides(flip: Flip, value: float, evidence: StudyEvidence) -> dict[str, object] | None:
    if flip.premise in {"labelled_rows", "costs.machine_hour"}:
        return None  # no field of the specification
    if flip.premise == "traffic.volume":
        return {"traffic.volume": value, "traffic.peak": evidence.spec.traffic.peak_rate * value / flip.today}
    return {flip.premise: value}


@pytest.mark.parametrize("priced", [False, True])
def test_every_flip_holds_when_decided_anew(priced: bool) -> None:
    evidence = reviews(**(PRICED if priced else {}))
    today = decide(evidence)
    assert len(today.flips) >= 4
    checked = 0
    for flip in today.flips:
        back = 1 / 1.004 if flip.direction == "up" else 1.004
        beyond, before = (_overrides(flip, flip.flips_at * step, evidence) for step in (1.0, back))
        if beyond is None or before is None or flip.factor < 1.01:
            continue
        if priced and flip.premise.startswith("requirements.latency"):
            continue  # a tighter limit also needs more machines, which flips leave as they are today
        assert _recommended(decide(evidence, overrides=beyond)) == flip.to, flip.text.en
        assert _recommended(decide(evidence, overrides=before)) == _recommended(today), flip.text.en
        checked += 1
    assert checked >= 3


def test_nearest_flip_comes_first_and_factors_are_above_one() -> None:
    factors = [flip.factor for flip in decide(reviews(**PRICED)).flips]
    assert factors == sorted(factors)
    assert min(factors) > 1
    assert max(factors) <= 1001


def test_both_ways_of_one_premise_can_flip() -> None:
    flips = decide(reviews(**PRICED)).flips
    ways = {(flip.premise, flip.direction) for flip in flips}
    assert {direction for premise, direction in ways if premise == "value.errors.neg->pos"} == {"up", "down"}


def test_loosening_a_limit_admits_the_one_it_kept_out() -> None:
    good = dataclasses.replace(LLM, accuracy=0.93, rungs=((1.0, 0.93),), limit=None)
    needs = {"quality": {"metric": "accuracy"}, "latency": {"p95": "50ms"}}
    flips = decide(make_world([CHAR, good], requirements=needs)).flips
    found = next(flip for flip in flips if flip.premise == "requirements.latency.p95" and flip.direction == "up")
    assert found.to == good.id
    assert 0.3 < found.flips_at < 0.7
    assert "升到" in found.text.zh
    assert "rises from 50 ms to" in found.text.en


def test_more_labels_flip_from_a_prompted_model_to_a_trained_one() -> None:
    """Few labels: zero-shot equals what thousands of labels give; the curve says how many."""
    linear = dataclasses.replace(CHAR, accuracy=0.76, rungs=((0.11, 0.64), (0.33, 0.70), (1.0, 0.76)))
    prompt = dataclasses.replace(LLM, final=True, elimination=None, rungs=((1.0, 0.82),), limit=None, requests=100)
    split = make_world([CHAR]).profile.split.model_copy(update={"train": 300})
    decision = decide(make_world([linear, prompt], split=split))
    assert _recommended(decision) == prompt.id
    flip = next(found for found in decision.flips if found.premise == "labelled_rows")
    assert flip.direction == "up"
    assert flip.to == linear.id
    assert flip.provenance == "predicted"
    assert flip.flips_at > 300
    assert "learning curves" in flip.text.en


def test_nothing_feasible_beyond_is_said() -> None:
    flips = decide(make_world([CHAR], requirements={"quality": {"metric": "accuracy", "floor": 0.7}})).flips
    found = next(flip for flip in flips if flip.premise == "requirements.quality.floor")
    assert found.to is None
    assert "nothing is feasible" in found.text.en
    assert "没有方案可用" in found.text.zh


def test_flip_into_feasibility_from_an_infeasible_study() -> None:
    needs = {"quality": {"metric": "accuracy"}, "latency": {"p95": "5ms"}}
    decision = decide(make_world([dataclasses.replace(E5, latency=0.02)], requirements=needs))
    assert decision.outcome == "infeasible"
    found = next(flip for flip in decision.flips if flip.premise == "requirements.latency.p95")
    assert found.direction == "up"
    assert found.to == E5.id
