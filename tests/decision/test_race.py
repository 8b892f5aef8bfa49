"""The race as the ledger tells it: looks in order, a clock of processor seconds, exits with their reasons."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.decision import decide
from bakeoff.decision.posterior import Judging
from bakeoff.decision.race import interval, race
from bakeoff.schema import Elimination, Failure, Fidelity, RaceExit, RaceLook, StepResult, Words
from bakeoff.store.evidence import Evidence, StudyEvidence
from bakeoff.tasks.scoring import score
from tests.decision.worlds import CHAR, E5, E5_INT8, LLM, MAJORITY, REVIEWS, WORD, Stack, make_world, reviews

ACCURACY = Judging("accuracy", 1, ())
WHY = Words(zh="太大", en="too large")


def run(evidence: StudyEvidence) -> tuple[tuple[RaceLook, ...], tuple[RaceExit, ...]]:
    return race(evidence, ACCURACY, 0.95)


def of(looks: tuple[RaceLook, ...], arm: str) -> list[RaceLook]:
    return [look for look in looks if look.arm == arm]


def out(candidate: str, kind: str = "eliminated", reason: Words = WHY, **facts: Any) -> Elimination:
    return Elimination(candidate=candidate, kind=kind, reason=reason, **facts)


def steps(evidence: StudyEvidence, **changes: Any) -> StudyEvidence:
    """The same evidence with every step's result changed."""
    rows = tuple(Evidence(row.result.model_copy(update=changes), row.arrays) for row in evidence.results)
    return dataclasses.replace(evidence, results=rows)


def judged(
    actual: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None = None,
    candidate: str = CHAR.id,
    **more: Any,
) -> Evidence:
    arrays = {"indices": np.arange(len(actual)), "actual": actual, "predicted": predicted}
    arrays |= {} if probabilities is None else {"probabilities": probabilities}
    fields: dict[str, Any] = {"fidelity": Fidelity(), "purpose": "rung", "cpu_seconds": 1.0, **more}
    return Evidence(
        StepResult(key="k", kind="predict", name="predict", candidate=candidate, data="d", **fields), arrays
    )


def test_an_arm_is_seen_at_growing_shares_and_then_in_the_final() -> None:
    looks, _ = run(reviews())
    seen = of(looks, "linear.char")
    assert [(look.stage, look.fraction, look.rows) for look in seen] == [
        ("rung", 0.11, 1200), ("rung", 0.33, 1200), ("rung", 1.0, 1200), ("final", 1.0, 2000)
    ]  # fmt: skip
    assert [look.number for look in looks] == list(range(1, len(looks) + 1))
    assert seen[0].label == Words(zh="linear char", en="linear char")


def test_scores_are_the_metric_s_and_lie_in_their_intervals() -> None:
    evidence = reviews()
    last = of(run(evidence)[0], "linear.char")[-1]
    row = next(
        row for row in evidence.results
        if row.result.candidate == CHAR.id and row.result.fidelity.split == "confirm" and "actual" in row.arrays
    )  # fmt: skip
    assert last.score == pytest.approx(float((row.arrays["actual"] == row.arrays["predicted"]).mean()))
    scored = [look for look in run(evidence)[0] if look.score is not None]
    assert len(scored) > 8
    assert all(0.0 <= look.low < look.score < look.high <= 1.0 for look in scored)  # type: ignore[operator]


def test_the_clock_is_the_run_s_processor_time() -> None:
    evidence = make_world([dataclasses.replace(CHAR, seeds=1), dataclasses.replace(E5, seeds=3)])
    looks, _ = run(evidence)
    total = sum(row.result.cpu_seconds for row in evidence.results)
    assert sum(look.seconds for look in looks) == pytest.approx(total)  # timing and further seeds count for a look too
    clock = [look.at for look in looks]
    assert clock == sorted(clock)
    assert clock[0] == pytest.approx(1.0)  # one build and one judging of half a second each
    assert clock[-1] <= total
    assert decide(evidence).run.race == looks


def test_time_stamps_decide_the_order_where_there_are_any() -> None:
    evidence = make_world([CHAR, dataclasses.replace(WORD, elimination=None)])
    first = next(look.arm for look in run(evidence)[0] if look.stage != "probe")
    stamped = tuple(
        Evidence(
            row.result.model_copy(update={"created": f"2026-01-0{2 if row.result.candidate == CHAR.id else 1}T00:00:00.000+00:00"}),
            row.arrays,
        )
        for row in evidence.results
    )  # fmt: skip
    late = run(dataclasses.replace(evidence, results=stamped))[0]
    assert first == "linear.char"
    assert next(look.arm for look in late if look.stage != "probe") == "linear.word"
    assert of(late, "linear.char")[0].at > of(late, "linear.word")[-1].at


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_shuffling_rows_candidates_and_eliminations_changes_nothing(seed: int) -> None:
    evidence, random = reviews(), np.random.default_rng(seed)

    def mixed(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[place] for place in random.permutation(len(values)))

    other = dataclasses.replace(
        evidence, results=mixed(evidence.results), candidates=mixed(evidence.candidates), eliminations=mixed(evidence.eliminations)
    )  # fmt: skip
    assert run(other) == run(evidence)


def test_paths_of_an_arm_share_a_look_and_the_uncompressed_one_is_read() -> None:
    both = make_world([E5, dataclasses.replace(E5_INT8, same_as=None, accuracy=0.7)])
    finals = [look for look in of(run(both)[0], "encoder.e5-small") if look.stage == "final"]
    alone = [look for look in of(run(make_world([E5]))[0], "encoder.e5-small") if look.stage == "final"]
    assert len(finals) == 1
    assert finals[0].score == alone[0].score


def test_what_does_not_learn_has_no_share_of_the_training_rows() -> None:
    looks, exits = run(reviews())
    assert {look.fraction for look in of(looks, "llm_prompt.qwen05b-zero") if look.stage == "rung"} == {None}
    assert next(one for one in exits if one.arm == "llm_prompt.qwen05b-zero").fraction is None


def test_another_training_seed_is_a_look_of_its_own_but_not_a_finalist_s() -> None:
    evidence = make_world([dataclasses.replace(CHAR, rungs=((1.0, 0.846),), seeds=3)])
    assert [(look.stage, look.seed) for look in run(evidence)[0]] == [("rung", 0), ("final", 0)]
    raced = tuple(
        Evidence(row.result.model_copy(update={"purpose": "rung"}), row.arrays) if row.result.fidelity.seed else row
        for row in evidence.results
    )
    looks = run(dataclasses.replace(evidence, results=raced))[0]
    assert sorted((look.stage, look.seed) for look in looks) == [("final", 0), ("rung", 0), ("rung", 1), ("rung", 2)]


def test_a_tuned_variant_is_told_from_the_listed_ones() -> None:
    evidence = make_world([CHAR])
    tuned = evidence.candidates[0].model_copy(
        update={"variant": evidence.candidates[0].variant.model_copy(update={"base": "char-listed"})}
    )
    stages = [look.stage for look in run(dataclasses.replace(evidence, candidates=(tuned,)))[0]]
    assert stages == ["tune", "tune", "tune", "final"]


def test_exits_come_in_order_with_reason_time_and_share() -> None:
    looks, exits = run(reviews())
    assert {one.arm: one.kind for one in exits} == {
        "linear.word": "eliminated", "baseline.majority": "eliminated", "llm_prompt.qwen05b-zero": "infeasible", "encoder.bert": "failed",
    }  # fmt: skip
    word = next(one for one in exits if one.arm == "linear.word")
    assert word.at == of(looks, "linear.word")[-1].at
    assert word.fraction == 0.11
    assert word.reason.en == "clearly behind the leader"
    assert [one.at for one in exits] == sorted(one.at for one in exits if one.at is not None)
    failed = next(one for one in exits if one.kind == "failed")
    assert failed.reason == Words(
        zh="运行失败（timeout），原文：over the time limit of 600 s",
        en="failed (timeout): over the time limit of 600 s",
    )


def test_whoever_is_recommended_never_left() -> None:
    decision = decide(reviews())
    gone = {name for one in decision.run.exits for name in one.candidates}
    assert decision.recommended is not None
    assert decision.recommended.id not in gone
    stopped = {one.id for one in decision.candidates if one.status in {"eliminated", "failed"}}
    assert stopped <= gone


def test_an_arm_ends_with_its_last_path_only() -> None:
    evidence = dataclasses.replace(make_world([E5, E5_INT8]), eliminations=(out(E5.id),))
    (only,) = run(evidence)[1]
    assert not only.ends
    assert only.candidates == (E5.id,)
    later = dataclasses.replace(
        evidence, eliminations=(out(E5.id), out(E5_INT8.id, reason=Words(zh="太慢", en="too slow")))
    )
    assert sorted((one.reason.en, one.ends) for one in run(later)[1]) in (
        [("too large", False), ("too slow", True)], [("too large", True), ("too slow", False)],
    )  # fmt: skip
    together = dataclasses.replace(evidence, eliminations=(out(E5.id), out(E5_INT8.id)))
    (both,) = run(together)[1]
    assert both.ends
    assert both.candidates == tuple(sorted((E5.id, E5_INT8.id)))


def test_out_at_the_probe_is_dated_by_the_probe_even_when_it_was_looked_at_later() -> None:
    evidence = make_world([LLM, CHAR])
    probed = dataclasses.replace(evidence, eliminations=(out(LLM.id, "infeasible"),))
    looks, (only,) = run(probed)
    assert only.at == of(looks, "llm_prompt.qwen05b-zero")[0].at
    assert of(looks, "llm_prompt.qwen05b-zero")[0].stage == "probe"
    assert of(looks, "llm_prompt.qwen05b-zero")[-1].at > only.at


def test_who_was_never_looked_at_comes_last_without_a_time() -> None:
    nothing = Stack("ensemble.soft-vote.none.composite", final=False, rungs=(), timed=False)
    evidence = make_world([CHAR, nothing])
    evidence = dataclasses.replace(evidence, eliminations=(out(nothing.id, "not_reached"),))
    (only,) = run(evidence)[1]
    assert only.at is None
    assert only.ends


def test_a_failure_counts_once_and_a_retryable_one_never() -> None:
    broken = Stack("encoder.bert.none.pytorch", final=False, rungs=(), timed=False, failure="killed")
    evidence = make_world([broken])
    assert [one.kind for one in run(evidence)[1]] == ["failed"]
    told = dataclasses.replace(evidence, eliminations=(out(broken.id, "failed"),))
    assert [one.reason for one in run(told)[1]] == [WHY]
    again = steps(evidence, failure=Failure(code="interrupted", reason="killed"))
    assert run(again)[1] == ()


def test_candidates_no_longer_wanted_are_not_in_the_race() -> None:
    evidence = reviews()
    fewer = dataclasses.replace(
        evidence, candidates=tuple(one for one in evidence.candidates if one.id not in {WORD.id, MAJORITY.id})
    )
    looks, exits = run(fewer)
    assert {"linear.word", "baseline.majority"} & {one.arm for one in (*looks, *exits)} == set()
    assert of(looks, "linear.char")[-1].at == of(run(evidence)[0], "linear.char")[-1].at  # what was spent was spent


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy", "f1", "roc_auc"])
def test_a_look_s_score_is_the_plain_metric(metric: str) -> None:
    random = np.random.default_rng(3)
    actual, table = random.integers(0, 3, 400), random.dirichlet(np.ones(3), 400)
    predicted = np.where(random.random(400) < 0.6, actual, table.argmax(axis=1))
    row = judged(actual, predicted, table)
    value, low, high = interval(row, Judging(metric, 2, ()), 0.95)
    assert value == pytest.approx(score(metric, actual, predicted, table, 2), abs=1e-6)
    assert low < value < high


def test_accuracy_has_wilson_s_interval() -> None:
    actual = np.zeros(50, dtype=int)
    predicted = np.r_[np.zeros(45, dtype=int), np.ones(5, dtype=int)]
    _, low, high = interval(judged(actual, predicted), ACCURACY, 0.95)
    assert (low, high) == (pytest.approx(0.7864, abs=1e-3), pytest.approx(0.9565, abs=1e-3))  # Wilson 45/50


def test_a_perfect_score_is_not_certain_and_a_constant_answer_is() -> None:
    actual = np.arange(100) % 2
    square = NormalDist().inv_cdf(0.975) ** 2
    for metric in ("accuracy", "macro_f1", "balanced_accuracy"):
        value, low, high = interval(judged(actual, actual), Judging(metric, 1, ()), 0.95)
        assert (value, high) == (1.0, 1.0)
        assert low == pytest.approx(100 / (100 + square))
    value, low, high = interval(judged(actual, np.zeros(100, dtype=int)), Judging("balanced_accuracy", 1, ()), 0.95)
    assert value == low == high == 0.5


@pytest.mark.parametrize(
    ("metric", "rows", "share"),
    [("accuracy", 120, 0.93), ("accuracy", 500, 0.85), ("macro_f1", 200, 0.9), ("macro_f1", 800, 0.8), ("roc_auc", 300, 0.8)],
)  # fmt: skip
def test_intervals_cover_the_truth_as_often_as_stated(metric: str, rows: int, share: float) -> None:
    random = np.random.default_rng([rows, int(1000 * share)])
    judging = Judging(metric, 1, ())

    def sample(size: int) -> Evidence:
        actual = (random.random(size) < 0.3).astype(int)
        shown = actual * 1.2 + random.standard_normal(size) if metric == "roc_auc" else None
        wrong = random.random(size) > np.where(actual == 1, share - 0.1, share)
        table = None if shown is None else np.stack([-shown, shown], axis=1)
        return judged(actual, np.where(wrong, 1 - actual, actual), table)

    truth = interval(sample(400_000), judging, 0.95)[0]
    runs = 3000
    ends = [interval(sample(rows), judging, 0.95)[1:] for _ in range(runs)]
    covered = sum(low <= truth <= high for low, high in ends) / runs
    assert 0.93 <= covered <= 0.97


def test_hundreds_of_arms_cost_little() -> None:
    import time

    arms = [Stack(f"linear.v{number}.none.native", 0.8, rungs=((1.0, 0.8),), timed=False) for number in range(200)]
    evidence = make_world(arms)
    begun = time.process_time()
    looks, _ = run(evidence)
    assert len(looks) == 400
    assert time.process_time() - begun < 1.0


def test_every_stack_of_the_world_is_accounted_for() -> None:
    looks, exits = run(reviews())
    ended = {one.arm for one in exits if one.ends}
    finals = {look.arm for look in looks if look.stage == "final"}
    arms = {".".join(stack.id.split(".")[:2]) for stack in REVIEWS}
    assert ended | finals == arms
    assert ended & finals == set()
