"""The cost model finds planted factors, says how sure it is, charges nothing twice and does not change its mind over noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.schema import Candidate, CostPrior, Fidelity, Measurement, StepResult, Strategy, Trial, Variant
from bakeoff.schema.costs import COST_PARTS, CostBook
from bakeoff.schema.trial import StepKind
from bakeoff.search.amounts import Embedded
from bakeoff.search.costs import GRID, CostModel, on_grid
from bakeoff.search.factors import BIAS, Seconds, covariance
from bakeoff.search.prefix import steps_of
from tests.search.worlds import SPLIT, profile, words

PRIOR = CostPrior(build_fixed=1.0, build_per_1000=2.0, predict_fixed=0.5, predict_per_1000=1.0)
PROBE, FULL = Fidelity(fraction=0.0, probe=True), Fidelity(fraction=1.0)
FAMILIES = ("boosting", "linear", "encoder")
SIX = tuple(
    f"{family}.v{number}.none.{'pytorch' if family == 'encoder' else 'native'}"
    for family in FAMILIES
    for number in (0, 1)
)


def candidate(name: str, cost: CostPrior = PRIOR, **facts: object) -> Candidate:
    family, variant, compression, runtime = name.split(".")
    made = Variant.model_validate({"name": variant, "label": words(variant), "cost": cost, **facts})
    return Candidate(family=family, variant=made, compression=compression, runtime=runtime, label=words(name))


def row(one: Candidate, kind: StepKind, seconds: float, fidelity: Fidelity = FULL, **facts: object) -> StepResult:
    name = str(facts.pop("name", kind))
    return StepResult.model_validate({
        "key": f"{one.id}{kind}{fidelity}{facts}", "kind": kind, "name": name, "candidate": one.id, "purpose": "rung",
        "fidelity": fidelity, "data": "data", "wall_seconds": seconds, "cpu_seconds": seconds, **facts,
    })  # fmt: skip


def histories(
    candidates: Sequence[Candidate], factor: dict[str, float], noise: float, seed: int, times: int = 3
) -> list[StepResult]:
    """Builds, loads and predictions that take ``factor`` times the shipped guess, and a little noise."""
    rng = np.random.default_rng(seed)
    blank = CostModel.of((), candidates, profile())
    rows = []
    for one in candidates:
        for number in range(times):
            fidelity = Fidelity(fraction=(0.1, 0.3, 1.0)[number % 3], seed=number)
            for kind in ("build", "load", "predict"):
                parts = blank.amounts.of_row(one, row(one, kind, 1.0, fidelity))
                rows.append(
                    row(one, kind, factor[one.id] * sum(parts) * math.exp(noise * rng.standard_normal()), fidelity)
                )
    return rows


def test_it_finds_planted_factors_and_is_surer_afterwards() -> None:
    candidates = [candidate(name) for name in SIX]
    factor = {one.id: 2.0 * {"boosting": 0.5, "linear": 1.0, "encoder": 3.0}[one.family] for one in candidates}
    blank = CostModel.of((), candidates, profile())
    model = CostModel.of(histories(candidates, factor, 0.15, 1, 9), candidates, profile())
    for one in candidates:
        truth = factor[one.id] * sum(blank.amounts.build(one, 3000, probe=False))
        found, before = model.build(one, 3000), blank.build(one, 3000)
        assert found.mean == pytest.approx(truth, rel=0.2)
        assert found.low < truth < found.high
        assert found.high / found.low < 0.5 * before.high / before.low


def test_a_new_arm_is_predicted_from_its_family_and_a_new_family_from_the_machine() -> None:
    candidates = [candidate(name) for name in SIX]
    factor = {one.id: {"boosting": 0.2, "linear": 0.2, "encoder": 5.0}[one.family] for one in candidates}
    rows = histories(candidates, factor, 0.1, 2)
    model = CostModel.of(rows, candidates, profile())
    blank = CostModel.of((), candidates, profile())
    arm, family = candidate("encoder.v9.none.pytorch"), candidate("newcomer.v0.none.native")
    assert model.build(arm, 3000).mean > 2.0 * blank.build(arm, 3000).mean
    slow = CostModel.of(histories(candidates, dict.fromkeys(factor, 4.0), 0.1, 2), candidates, profile())
    assert slow.build(family, 3000).mean > 1.8 * blank.build(family, 3000).mean


def test_fixed_and_per_row_parts_are_told_apart() -> None:
    one = candidate("linear.v0.none.native")
    rows = [
        row(one, "build", 4.0 + 6.0 * fraction, Fidelity(fraction=fraction, seed=s))
        for s, fraction in enumerate((0.05, 0.3, 1.0, 0.1, 0.6))
    ]
    model = CostModel.of(rows, [one], profile())
    assert model.build(one, 0.8 * SPLIT.train).mean == pytest.approx(8.8, rel=0.15)
    assert model.build(one, 0.02 * SPLIT.train).mean == pytest.approx(4.1, rel=0.3)


def test_intervals_hold_what_they_promise() -> None:
    """Worlds drawn from the prior itself: nine in ten steps must lie in their range, before and after something was seen."""
    rng, inside = np.random.default_rng(7), {0: [], 1: []}
    names = [f"{family}.v{number}.none.native" for family in ("linear", "boosting") for number in range(3)]
    candidates = [candidate(name) for name in names]
    blank = CostModel.of((), candidates, profile())
    for _ in range(60):

        def draw(level: str) -> np.ndarray:
            middle = np.array(BIAS) if level == "machine" else np.zeros(len(COST_PARTS))
            return rng.multivariate_normal(middle, covariance(level))

        machine, families = draw("machine"), {"linear": draw("family"), "boosting": draw("family")}
        rows, truths = [], []
        for number, one in enumerate(candidates):
            theta = machine + families[one.family] + draw("arm") + draw("path")
            for fraction in (0.1, 1.0):
                fidelity = Fidelity(fraction=fraction, seed=0)
                parts = np.array(blank.amounts.of_row(one, row(one, "build", 1.0, fidelity)))
                took = float(parts @ np.exp(theta)) * math.exp(0.2 * rng.standard_normal())
                truths.append((one, fraction, took, number))
                if number < 4:
                    rows.append(row(one, "build", took, fidelity))
        model = CostModel.of(rows, candidates, profile())
        for one, fraction, took, number in truths:
            found = blank.build(one, fraction * SPLIT.train)
            inside[0].append(found.low <= took <= found.high)
            if number >= 4:
                found = model.build(one, fraction * SPLIT.train)
                inside[1].append(found.low <= took <= found.high)
    assert 0.84 <= np.mean(inside[0]) <= 0.96
    assert 0.82 <= np.mean(inside[1]) <= 0.96


def test_what_the_ledger_has_costs_nothing_and_a_shared_build_is_paid_once() -> None:
    native, exported = candidate("linear.char.none.native"), candidate("linear.char.none.onnxruntime")
    fresh = CostModel.of((), [native, exported], profile())
    trial, other = (Trial(candidate=one, purpose="rung", fidelity=FULL) for one in (native, exported))
    done = [row(native, "build", 1.0), row(native, "load", 0.1), row(native, "predict", 0.2)]
    model = CostModel.of(done, [native, exported], profile())
    assert model.trial(trial).mean == 0.0
    assert model.planning(trial) == 0.0
    assert {step.kind for step in model.missing(other)} == {"export", "load", "predict"}
    assert fresh.alone(other).mean == pytest.approx(fresh.trial(other).mean)
    assert model.trial(other).mean < model.alone(other).mean


def test_a_failed_step_is_not_asked_for_again_but_an_interrupted_one_is() -> None:
    one = candidate("linear.char.none.native")
    trial = Trial(candidate=one, purpose="rung", fidelity=FULL)
    for code, left in (("crash", {"load", "predict"}), ("interrupted", {"build", "load", "predict"})):
        failed = row(one, "build", 0.0, status="failed", failure={"code": code, "reason": "x"})
        assert {step.kind for step in CostModel.of([failed], [one], profile()).missing(trial)} == left


def test_order_of_candidates_changes_nothing_and_rows_of_others_are_left_out() -> None:
    candidates = [candidate(name) for name in SIX]
    rows = histories(candidates, dict.fromkeys(SIX, 0.7), 0.2, 3)
    one, two = (CostModel.of(rows, order, profile()) for order in (candidates, candidates[::-1]))
    for each in candidates:
        assert one.build(each, 1000).mean == pytest.approx(two.build(each, 1000).mean, rel=1e-9)
    alone = CostModel.of(rows, candidates[:1], profile())
    assert alone.build(candidates[0], 1000) == CostModel.of(rows[:9], candidates[:1], profile()).build(
        candidates[0], 1000
    )


def test_a_disturbed_step_does_not_move_the_factors_much() -> None:
    candidates = [candidate(name) for name in SIX]
    rows = histories(candidates, dict.fromkeys(SIX, 1.0), 0.1, 4)
    calm = CostModel.of(rows, candidates, profile()).build(candidates[0], 3000).mean
    rows[0] = rows[0].model_copy(update={"wall_seconds": 20 * rows[0].wall_seconds})
    assert CostModel.of(rows, candidates, profile()).build(candidates[0], 3000).mean < 1.35 * calm


def test_planning_keeps_its_mind_over_timing_noise() -> None:
    candidates = [
        candidate(name, CostPrior(build_per_1000=0.3 * (1 + n), build_fixed=0.7 * (1 + n)))
        for n, name in enumerate(SIX)
    ]
    trials = [
        Trial(candidate=one, purpose="rung", fidelity=Fidelity(fraction=f, seed=9))
        for one in candidates
        for f in (0.11, 0.33, 1.0)
    ]
    factor = dict(zip(SIX, (0.3, 0.9, 1.4, 0.7, 2.2, 1.0), strict=True))
    plans = [
        [CostModel.of(histories(candidates, factor, 0.03, seed, 4), candidates, profile()).planning(t) for t in trials]
        for seed in range(8)
    ]
    same = [np.mean([a == b for a, b in zip(plans[0], other, strict=True)]) for other in plans[1:]]
    assert min(same) >= 0.75
    assert (
        max(max(a, b) / min(a, b) for other in plans[1:] for a, b in zip(plans[0], other, strict=True)) < GRID * 1.001
    )


@given(st.floats(0.001, 1e6))
@settings(max_examples=50, deadline=None)
def test_the_grid_is_coarse_and_near(seconds: float) -> None:
    found = on_grid(seconds)
    assert 1 / math.sqrt(GRID) * 0.999 <= found / seconds <= math.sqrt(GRID) * 1.001
    assert on_grid(found) == pytest.approx(found)


def test_a_sum_is_as_sure_as_errors_that_partly_go_together() -> None:
    part = Seconds(mean=10.0, low=6.0, high=16.0)
    total = Seconds.total([part] * 9)
    assert total.mean == pytest.approx(90.0)
    assert 9 * 4 > 90.0 - total.low > 3 * 4
    assert 9 * 6 > total.high - 90.0 > 3 * 6
    assert Seconds.total([]).mean == 0.0


def test_pauses_are_learnt_from_the_moments_rows_were_written() -> None:
    one, now = candidate("linear.char.none.native"), datetime(2026, 1, 1, tzinfo=UTC)
    rows = []
    for number in range(40):
        fidelity = Fidelity(fraction=0.1, seed=number)
        for kind, gap in (("build", 0.9), ("load", 0.4), ("predict", 0.0)):
            now += timedelta(seconds=gap + 1.0)
            rows.append(row(one, kind, 1.0, fidelity, created=now.isoformat()))
        now += timedelta(hours=number == 20)  # stopped, and gone on an hour later
    model = CostModel.of(rows, [one], profile())
    assert model.pauses["within"].mean == pytest.approx(0.4, abs=0.05)
    assert model.pauses["rung"].mean == pytest.approx(0.9, abs=0.1)
    assert {kind: len(found) for kind, found in model.paused.items()} == {"within": 40, "rung": 38}
    before = CostModel.of((), [one], profile())
    trial = Trial(candidate=one, purpose="rung", fidelity=FULL)
    assert model.pauses_of(trial, 2)[0] == model.pauses["rung"] != before.pauses["rung"]
    assert model.learnt().pauses["within"] == pytest.approx(0.36, abs=0.02)
    assert CostModel.of((), [one], profile(), model.learnt()).pauses["rung"].mean == pytest.approx(
        model.pauses["rung"].mean, rel=0.01
    )


def test_what_was_learnt_is_the_next_studys_prior() -> None:
    candidates = [candidate(name) for name in SIX]
    factor = dict(zip(SIX, (0.3, 0.4, 1.5, 2.0, 5.0, 6.0), strict=True))
    first = CostModel.of(histories(candidates, factor, 0.15, 5), candidates, profile())
    book = CostBook.model_validate_json(first.learnt(around=7.0).model_dump_json())
    assert book.studies == 1
    assert book.around_seconds == 7.0
    later = histories(candidates, factor, 0.15, 6)
    before, with_book = (CostModel.of(later, candidates, profile(), known).error() for known in (None, book))
    assert before is not None
    assert with_book is not None
    assert 1 / 1.25 < with_book.ratio < 1.25
    assert with_book.spread < 1.4 < before.spread
    assert with_book.studies == 1
    again = CostModel.of(later, candidates, profile(), book).learnt(around=9.0)
    assert (again.studies, again.around_seconds) == (2, 8.0)
    assert again.wall["machine"].n == len(later)


def test_a_study_that_measured_nothing_teaches_nothing() -> None:
    one = candidate("linear.char.none.native")
    book = CostBook(studies=3)
    assert CostModel.of((), [one], profile(), book).learnt() == book
    noted = row(one, "build", 0.0)  # a row that only notes for another trial what was known
    assert CostModel.of([noted], [one], profile(), book).learnt() == book
    assert CostModel.of([noted], [one], profile()).error() is None


def test_a_frozen_encoder_reads_every_row_once() -> None:
    facts = {"weights": "e5", "strategy": Strategy(freeze="body"), "params": {"format": "transformer"}}
    head, tuned = (
        candidate("embedding_head.e5.none.pytorch", **facts),
        candidate("embedding_head.e5-12345678.none.pytorch", base="e5", **facts),
    )
    blank = CostModel.of((), [head, tuned], profile())
    third, whole = Fidelity(fraction=1 / 3), FULL
    model = CostModel.of([row(head, "build", 3.0, third), row(head, "predict", 1.0, third)], [head, tuned], profile())
    full = Trial(candidate=head, purpose="rung", fidelity=whole)
    build, _, predict = steps_of(full)
    rows = sum(model.amounts.of(full, build, model.embedded)) - PRIOR.build_fixed
    assert rows == pytest.approx((0.1 + 0.9 * 2 / 3) * 12.0, rel=0.01)
    assert sum(model.amounts.of(full, predict, model.embedded)) < 0.1 < sum(blank.amounts.of(full, predict, Embedded()))
    other = Trial(candidate=tuned, purpose="rung", fidelity=third)
    assert sum(model.amounts.of(other, steps_of(other)[0], model.embedded)) == pytest.approx(1.0 + 0.1 * 4.0, rel=0.01)


def test_an_ensembles_members_decide_what_it_takes() -> None:
    members = [
        candidate("linear.a.none.native", CostPrior(predict_per_1000=3.0)),
        candidate("encoder.b.none.pytorch", CostPrior(predict_per_1000=30.0)),
    ]
    vote = candidate("ensemble.vote.none.composite", CostPrior(predict_per_1000=500.0))
    known = vote.model_copy(update={"members": tuple(one.id for one in members)})
    model = CostModel.of((), [*members, vote], profile())
    assert model.amounts.prior(known).predict_per_1000 == pytest.approx(33.0)
    assert model.amounts.prior(vote).predict_per_1000 == pytest.approx(3 * 16.5)


def test_more_requests_longer_texts_and_wider_tables_take_longer() -> None:
    one = candidate("linear.char.none.native")
    model = CostModel.of((), [one], profile())
    assert model.time(one, 1000).mean > model.time(one, 100).mean > 0
    assert model.time(one, 100, 0).mean > model.time(one, 100, 1).mean

    def text(length: float) -> CostModel:
        column = {"name": "t", "kind": "text", "missing": 0, "distinct": 9, "mean_length": length}
        return CostModel.of((), [one], profile().model_validate({**profile().model_dump(), "columns": [column]}))

    assert text(600).build(one, 1000).mean > 2 * text(60).build(one, 1000).mean


def test_timed_requests_are_counted_from_what_was_measured() -> None:
    one = candidate("llm_prompt.zero.none.native", CostPrior(predict_per_1000=300.0))
    timed = [
        row(one, "time", 9.0, PROBE, measurements=(Measurement(name="latency_p50", value=0.3, n=n),), round=None)
        for n in (90, 30)
    ]
    few, many = (CostModel.of((), [one], profile()).amounts.of_row(one, each) for each in reversed(timed))
    assert sum(many) > 2.5 * sum(few)
