"""Criteria without a price: weights as declared, unknown scores unknown, the rank over all weightings shown and nobody chosen by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from bakeoff.decision import decide
from bakeoff.decision.smaa import _weights
from bakeoff.schema import Decision, Spec, SpecError
from bakeoff.schema.spec import Criterion
from tests.decision.worlds import CHAR, E5, make_spec, make_world

CLOSE = dataclasses.replace(E5, accuracy=0.853, rungs=((1.0, 0.853),))


def _decided(criteria: dict[str, Any], **spec: Any) -> Decision:
    return decide(make_world([CHAR, CLOSE], decision={"draws": 1000, "criteria": criteria}, **spec))


def test_nothing_is_shown_without_criteria() -> None:
    assert decide(make_world([CHAR, E5])).acceptability == ()


def test_a_criterion_with_all_of_the_weight_decides_the_rank_and_nothing_else() -> None:
    plain = decide(make_world([CHAR, CLOSE], decision={"draws": 1000}))
    found = _decided({"skills": {"weight": 1.0, "scores": {"linear.*": 0.2, "encoder.*": 0.9}}})
    first, second = found.acceptability
    assert (first.id, first.first, second.first) == (CLOSE.id, 1.0, 0.0)
    assert second.second == 1.0
    assert second.weights is None
    assert first.weights == {"skills": 1.0, "quality": 0.0, "cost": 0.0}
    assert (found.outcome, found.recommended, found.p_best) == (plain.outcome, plain.recommended, plain.p_best)


def test_shares_add_up_and_a_heavier_criterion_moves_them() -> None:
    shares = []
    for high in (0.1, 0.9):
        found = _decided({"lock-in": {"weight": [0.0, high], "scores": {"linear.*": 0.0, "encoder.*": 1.0}}})
        assert sum(item.first for item in found.acceptability) == pytest.approx(1.0)
        assert sum(item.second for item in found.acceptability) == pytest.approx(1.0)
        shares.append({item.id: item.first for item in found.acceptability}[CLOSE.id])
    assert shares[1] > shares[0] + 0.1


def test_the_longest_pattern_counts_and_unknown_scores_are_anything() -> None:
    exact = {"weight": 1.0, "scores": {"*": 0.9, "encoder.e5-small.*": 0.1}}
    assert _decided({"maturity": exact}).acceptability[0].id == CHAR.id
    unknown = _decided({"maturity": {"weight": 1.0, "scores": {"linear.*": 0.75}}})
    assert {item.id: item.first for item in unknown.acceptability}[CHAR.id] == pytest.approx(0.75, abs=0.05)


def test_priced_answers_leave_one_measured_axis() -> None:
    found = _decided({"skills": {"weight": 0.0, "scores": {"*": 0.5}}}, value={"per_correct": 0.01})
    assert found.acceptability[0].weights == {"skills": 0.0, "value": 1.0}
    winner = {item.id: item.p_best for item in found.candidates}
    assert found.acceptability[0].first == pytest.approx(winner[found.acceptability[0].id] or 0.0, abs=0.1)


def test_weights_stay_in_their_ranges_also_in_a_corner() -> None:
    random = np.random.default_rng(0)
    for criteria in (
        [Criterion(weight=(0.2, 0.5)), Criterion(weight=0.1)],
        [Criterion(weight=(0.3, 1.0)) for _ in range(3)],
        [Criterion(weight=(0.32, 1.0)) for _ in range(3)],
    ):
        weights = _weights(criteria, 2, 500, random)
        assert weights.shape == (500, len(criteria) + 2)
        assert weights.sum(axis=1) == pytest.approx(np.ones(500))
        assert weights.min() >= 0.0
        for place, criterion in enumerate(criteria):
            low, high = criterion.range
            assert low - 1e-9 <= weights[:, place].min() <= weights[:, place].max() <= high + 1e-9


@pytest.mark.parametrize(
    "criteria",
    [{"a": {"weight": [0.6, 0.2]}}, {"a": {"weight": 0.7}, "b": {"weight": [0.4, 0.5]}}, {"a": {"scores": {"*": -1}}}],
)
def test_contradictions_are_refused(criteria: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"weight|greater"):
        make_spec(decision={"criteria": criteria})


def test_a_what_if_may_declare_criteria() -> None:
    evidence = make_world([CHAR, CLOSE])
    found = decide(evidence, overrides={"decision.criteria": {"skills": {"weight": 0.5, "scores": {"linear.*": 1.0}}}})
    assert len(found.acceptability) == 2
    with pytest.raises(SpecError):
        decide(evidence, overrides={"decision.criteria": {"skills": {"weight": 2}}})
    assert isinstance(Spec.model_validate(evidence.spec.model_dump(mode="json")), Spec)
