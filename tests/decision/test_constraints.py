"""Limits: proof in either direction, refusals, noise, rules; and what would have to give."""

from __future__ import annotations

import dataclasses

import pytest

from bakeoff.decision import decide
from bakeoff.decision.rules import accepted
from bakeoff.schema import CandidateVerdict, ConstraintVerdict, Decision
from tests.decision.worlds import CHAR, Stack, make_world


def _limit(decision: Decision, name: str) -> ConstraintVerdict:
    return next(item for item in decision.constraints if item.name == name)


def _with_latency(limit: str, stack: Stack, which: str = "p95") -> Decision:
    return decide(make_world([stack], requirements={"quality": {"metric": "accuracy"}, "latency": {which: limit}}))


def test_meets_misses_and_unproven() -> None:
    needs = lambda floor: {"quality": {"metric": "accuracy", "floor": floor}}
    verdicts = {}
    for floor in (0.80, 0.845, 0.90):
        decision = decide(
            make_world([dataclasses.replace(CHAR, rungs=((1.0, 0.0),))], seed=4, requirements=needs(floor))
        )
        verdicts[floor] = _limit(decision, "requirements.quality.floor")
    assert [verdicts[floor].verdict for floor in sorted(verdicts)] == ["meets", "unproven", "misses"]
    assert verdicts[0.80].p_meets == 1.0
    assert "met" in verdicts[0.80].text.en
    assert "达标" in verdicts[0.80].text.zh
    assert "尚无定论" in verdicts[0.845].text.zh


def test_a_percentile_from_too_few_requests_is_refused_but_does_not_exclude() -> None:
    decision = _with_latency("50ms", dataclasses.replace(CHAR, requests=30, rounds=2))
    found = _limit(decision, "requirements.latency.p95")
    assert found.verdict == "refused"
    assert found.metric.value is None
    assert found.p_meets is None
    assert "90 requests; 30 are missing" in found.text.en
    assert "至少需要 90 次请求，还差 30 次" in found.text.zh
    assert decision.recommended is not None
    assert "not settled" in decision.headline.en


def test_too_few_requests_may_still_prove_a_failure() -> None:
    decision = _with_latency("50ms", dataclasses.replace(CHAR, latency=0.4, requests=6, rounds=2))
    assert decision.outcome == "infeasible"
    assert "Infeasible: p95 latency" in decision.candidates[0].reason.en
    assert "(n=12)" in decision.candidates[0].reason.en


def test_noise_counts_for_a_pass_but_not_against() -> None:
    noisy = dataclasses.replace(CHAR, latency=0.02, noisy=True, cpu_share=0.4)
    assert _limit(_with_latency("50ms", noisy), "requirements.latency.p95").verdict == "meets"
    refused = _with_latency("15ms", noisy)
    assert _limit(refused, "requirements.latency.p95").verdict == "refused"
    assert refused.recommended is not None
    assert "busy" in _limit(refused, "requirements.latency.p95").text.en
    assert "机器正忙" in _limit(refused, "requirements.latency.p95").text.zh


def test_noise_does_not_excuse_what_the_processor_itself_needs() -> None:
    worked = dataclasses.replace(CHAR, latency=0.02, noisy=True, cpu_share=1.0)
    assert _with_latency("15ms", worked).outcome == "infeasible"
    waited = dataclasses.replace(CHAR, latency=0.5, noisy=True, cpu_share=0.01)  # a remote model: nothing but waiting
    assert _with_latency("15ms", waited).outcome == "infeasible"


@pytest.mark.parametrize(("limit", "verdict"), [(250e6, "meets"), (150e6, "misses")])
def test_memory_and_size_are_plain_numbers(limit: float, verdict: str) -> None:
    decision = decide(make_world([CHAR], requirements={"quality": {"metric": "accuracy"}, "memory": {"max": limit}}))
    assert _limit(decision, "requirements.memory.max").verdict == verdict
    size = decide(make_world([CHAR], requirements={"quality": {"metric": "accuracy"}, "size": {"max": limit / 50}}))
    assert _limit(size, "requirements.size.max").verdict == verdict


def test_throughput_is_predicted_from_service_times_under_the_latency_limit() -> None:
    needs = {"quality": {"metric": "accuracy"}, "latency": {"p95": "10ms"}, "throughput": {"min": 300.0}}
    decision = decide(make_world([CHAR], requirements=needs))
    assert _limit(decision, "requirements.throughput.min").verdict == "meets"
    too_much = decide(make_world([CHAR], requirements=needs), overrides={"requirements.throughput.min": "5k/s"})
    assert too_much.outcome == "infeasible"


def test_a_figure_never_measured_keeps_a_candidate_out() -> None:
    decision = decide(make_world([dataclasses.replace(CHAR, timed=False)], requirements={"latency": {"p95": "50ms"}}))
    assert decision.outcome == "infeasible"
    assert decision.candidates[0].status != "winner"


def test_rows_may_not_leave_unless_allowed() -> None:
    remote = dataclasses.replace(
        CHAR, id="llm_prompt.api.none.openai_api", remote=True, accuracy=0.9, rungs=((1.0, 0.9),)
    )
    home = decide(make_world([CHAR, remote]))
    assert home.recommended is not None
    assert home.recommended.id == CHAR.id
    assert "leave the premises" in next(item for item in home.candidates if item.id == remote.id).reason.en
    abroad = decide(make_world([CHAR, remote]), overrides={"risk.data_may_leave": True})
    assert abroad.recommended is not None
    assert abroad.recommended.id == remote.id


def test_licences_are_held_to_the_list() -> None:
    licensed = dataclasses.replace(CHAR, licence="GPL-3.0")
    decision = decide(make_world([licensed], risk={"licences": ["MIT", "Apache-2.0"]}))
    assert decision.outcome == "infeasible"
    assert "GPL-3.0" in decision.candidates[0].reason.en
    assert _limit(decide(make_world([licensed], risk={"licences": ["GPL-3.0"]})), "risk.licences").verdict == "meets"


@pytest.mark.parametrize(
    ("licence", "listed", "expected"),
    [
        ("MIT", None, True), ("unstated", None, True), ("CC-BY-NC-4.0", None, False), ("cc-by-nc-sa-4.0", None, False),
        ("mit", ("MIT",), True), ("unstated", ("MIT",), False), ("unstated", ("MIT", "unstated"), True),
    ],
)  # fmt: skip
def test_accepted_licences(licence: str, listed: tuple[str, ...] | None, expected: bool) -> None:
    assert accepted(licence, listed) is expected


FLOOR = {"quality": {"metric": "accuracy", "floor": 0.82}}
THIRD = Stack("boosting.b.none.native", 0.0, final=False, rungs=((0.33, 0.74),), elimination="eliminated")


def _found(decision: Decision, name: str) -> CandidateVerdict:
    return next(item for item in decision.candidates if item.id == name)


def test_what_was_trained_on_part_of_the_rows_may_still_meet_the_floor() -> None:
    """Nothing carries it to the final's scale: the finalist was never seen on that share."""
    good = Stack("linear.a.none.native", 0.86)
    whole = dataclasses.replace(THIRD, id="boosting.c.none.native", rungs=((1.0, 0.74),))
    fixed = dataclasses.replace(THIRD, id="llm_prompt.d.none.llama_cpp", trains=False)
    unreached = dataclasses.replace(THIRD, id="boosting.e.none.native", elimination="not_reached")
    decision = decide(make_world([good, THIRD, whole, fixed, unreached], requirements=FLOOR))
    third = _found(decision, THIRD.id)
    assert third.status == "eliminated"
    assert third.reason.en == "Eliminated: clearly behind the leader."
    assert third.metrics["accuracy"].verdict == "unproven"
    assert "33 % of the training rows" in third.metrics["accuracy"].remark
    assert "33%" in third.metrics["accuracy"].remark_zh
    assert third.p_feasible is None
    assert _found(decision, unreached.id).status == "not_reached"
    for other in (whole, fixed):
        assert _found(decision, other.id).status == "infeasible"
        assert _found(decision, other.id).p_feasible == 0.0
    missed = decide(make_world([good, THIRD], requirements={**FLOOR, "memory": {"max": "100MB"}}))
    assert _found(missed, THIRD.id).status == "infeasible"
    assert "memory" in _found(missed, THIRD.id).reason.en.lower()


def test_who_was_trained_on_part_of_the_rows_and_meets_the_floor_meets_it() -> None:
    high = dataclasses.replace(THIRD, rungs=((0.33, 0.90),))
    decision = decide(make_world([Stack("linear.a.none.native", 0.86), high], requirements=FLOOR))
    assert _found(decision, high.id).metrics["accuracy"].verdict == "meets"


def test_carried_over_to_the_final_a_floor_can_be_missed() -> None:
    good = Stack("linear.a.none.native", 0.86, rungs=((0.33, 0.85), (1.0, 0.86)))
    decision = decide(make_world([good, dataclasses.replace(THIRD, rungs=((0.33, 0.60),))], requirements=FLOOR))
    assert _found(decision, THIRD.id).status == "infeasible"


def test_no_floor_is_offered_for_the_sake_of_a_training_on_part_of_the_rows() -> None:
    poor = Stack("linear.a.none.native", 0.70)
    decision = decide(make_world([poor, THIRD], requirements=FLOOR))
    assert decision.outcome == "infeasible"
    assert [item.admits for item in decision.relaxations] == [(poor.id,)]
    assert "linear a" in decision.headline.en
    assert all(flip.to != THIRD.id for flip in decision.flips)
    alone = decide(make_world([THIRD], requirements=FLOOR))
    assert alone.outcome == "infeasible"
    assert alone.relaxations == ()
    assert not alone.flips
