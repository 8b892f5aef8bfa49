"""The choice: winner, no clear winner, infeasible; twins; costs; what never may happen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.decision import decide
from bakeoff.schema import Decision, Elimination, Words
from bakeoff.schema.trial import EliminationKind
from tests.decision.worlds import CHAR, E5, LLM, Stack, make_world, reviews

FEW = {"draws": 300}


def _statuses(decision: Decision) -> dict[str, str]:
    return {item.id: item.status for item in decision.candidates}


def _recommended(decision: Decision) -> str | None:
    return None if decision.recommended is None else decision.recommended.id


def test_clearly_better_candidate_wins() -> None:
    decision = decide(make_world([CHAR, dataclasses.replace(E5, accuracy=0.90)]))
    assert decision.outcome == "winner"
    assert _recommended(decision) == E5.id
    assert decision.p_best is not None
    assert decision.p_good is not None
    assert 0.95 < decision.p_best <= decision.p_good
    assert decision.runner_up == CHAR.id


def test_planted_twins_are_no_clear_winner() -> None:
    """Two equal candidates of different families: declared better at most 5 % of the time."""
    outcomes = []
    for seed in range(40):
        twins = [Stack("linear.a.none.native", 0.85), Stack("boosting.b.none.native", 0.85)]
        outcomes.append(decide(make_world(twins, seed=seed, decision=FEW)).outcome)
    assert outcomes.count("winner") <= 4  # binomial(40, 0.05): 4 or fewer 95 % of the time


def test_exact_twins_are_settled_by_simplicity_then_name() -> None:
    first = Stack("boosting.b.none.native", 0.85, simplicity=4)
    twins = [first, dataclasses.replace(first, id="linear.a.none.native", same_as=first.id, simplicity=1)]
    decision = decide(make_world(twins))
    assert decision.outcome == "no_clear_winner"
    assert _recommended(decision) == "linear.a.none.native"
    equal = [first, dataclasses.replace(first, id="boosting.a.none.native", same_as=first.id)]
    assert _recommended(decide(make_world(equal))) == "boosting.a.none.native"


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 50), extra=st.floats(1.2, 5.0), priced=st.booleans())
def test_a_cheaper_twin_always_wins(seed: int, extra: float, priced: bool) -> None:
    """Same answers, same simplicity, more machines: the cheaper one is recommended, with or without prices on answers."""
    cheap = Stack("linear.z.none.native", 0.85, latency=0.02)
    dear = dataclasses.replace(cheap, id="linear.a.none.native", latency=0.02 * extra * 2, same_as=cheap.id)
    spec = {"traffic": {"volume": "100/s", "peak": "1k/s", "horizon": "12mo"}}
    value = {"value": {"per_correct": 0.001}} if priced else {}
    assert _recommended(decide(make_world([cheap, dear], seed=seed, decision=FEW, **spec, **value))) == cheap.id


def test_microseconds_do_not_choose() -> None:
    """Two runtimes of one model, latencies within noise: the same is recommended whichever is faster by a hair."""
    one = Stack("linear.a.none.native", 0.85, latency=0.00100)
    two = dataclasses.replace(one, id="linear.a.none.onnxruntime", same_as=one.id, latency=0.00101)
    swapped = [dataclasses.replace(one, latency=0.00101), dataclasses.replace(two, latency=0.00100)]
    first, second = decide(make_world([one, two])), decide(make_world(swapped))
    assert _recommended(first) == _recommended(second) == one.id
    assert first.outcome == second.outcome == "winner"  # one model: its forms are no rivals


def test_within_indifference_the_cheapest_is_recommended() -> None:
    cheap = Stack("linear.a.none.native", 0.85, simplicity=1)
    dear = Stack("ensemble.b.none.composite", 0.0, same_as=cheap.id, latency=0.05, simplicity=8, rungs=((1.0, 0.85),))
    dear = dataclasses.replace(dear, accuracy=0.853)
    decision = decide(make_world([cheap, dear]))
    assert decision.outcome == "no_clear_winner"
    assert _recommended(decision) == cheap.id
    assert _statuses(decision)[dear.id] == "within_indifference"
    assert decision.rows_to_separate is not None


def test_few_rows_cannot_name_a_winner() -> None:
    stacks = [Stack("linear.a.none.native", 0.84), Stack("boosting.b.none.native", 0.86)]
    split = make_world([CHAR]).profile.split.model_copy(update={"confirm": 60})
    decision = decide(make_world(stacks, split=split, seed=0))
    assert decision.outcome == "no_clear_winner"
    assert decision.rows_to_separate is not None
    assert decision.rows_to_separate > 60


def test_nothing_feasible_names_the_nearest_miss_and_the_smallest_concession() -> None:
    needs = {"quality": {"metric": "accuracy", "floor": 0.86}, "latency": {"p95": "10ms"}}
    slow, weak = Stack("encoder.a.none.pytorch", 0.88, latency=0.02), Stack("linear.b.none.native", 0.70, latency=0.001)
    decision = decide(make_world([slow, weak], requirements=needs))
    assert decision.outcome == "infeasible"
    assert decision.recommended is None
    assert decision.p_best is None
    nearest = decision.relaxations[0]
    assert {item.constraint for item in decision.relaxations} == {
        "requirements.quality.floor",
        "requirements.latency.p95",
    }
    assert nearest.admits in {(slow.id,), (weak.id,)}
    relaxed = {
        "requirements.latency.p95": next(r.needed for r in decision.relaxations if r.constraint.endswith("p95")) * 1.001
    }
    assert _recommended(decide(make_world([slow, weak], requirements=needs), overrides=relaxed)) == slow.id
    assert "62" not in decision.headline.en
    assert decision.constraints


def test_two_limits_that_must_give_together() -> None:
    needs = {"latency": {"p95": "5ms"}, "memory": {"max": "100MB"}, "quality": {"metric": "accuracy"}}
    decision = decide(
        make_world([Stack("encoder.a.none.pytorch", 0.88, latency=0.02, memory=300e6)], requirements=needs)
    )
    assert decision.outcome == "infeasible"
    assert {item.constraint for item in decision.relaxations} == {"requirements.latency.p95", "requirements.memory.max"}
    assert "together" in decision.summary.en


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 20),
    name=st.sampled_from(
        ["requirements.quality.floor", "requirements.latency.p95", "requirements.memory.max", "requirements.size.max"]
    ),
    factor=st.floats(0.3, 1.0),
)
def test_tightening_a_limit_never_adds_a_feasible_candidate(seed: int, name: str, factor: float) -> None:
    loose = {
        "quality": {"metric": "accuracy", "floor": 0.7}, "latency": {"p95": 0.05}, "memory": {"max": 1e9}, "size": {"max": 6e8},
    }  # fmt: skip
    evidence = make_world([CHAR, E5, LLM], seed=seed, requirements=loose, decision=FEW)
    limit = {"requirements.quality.floor": 0.7 + (1 - factor) * 0.4}.get(name)
    section, field = name.split(".")[1:]
    tight = limit if limit is not None else loose[section][field] * factor
    before, after = decide(evidence), decide(evidence, overrides={name: tight})

    def feasible(decision: Decision) -> set[str]:
        return {item.id for item in decision.candidates if (item.p_feasible or 0.0) >= 0.5}

    assert feasible(after) <= feasible(before)
    for item in after.candidates:
        earlier = next(found for found in before.candidates if found.id == item.id)
        assert (item.p_feasible or 0.0) <= (earlier.p_feasible or 0.0) + 1e-12


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_shuffling_candidates_and_ledger_changes_nothing(seed: int) -> None:
    evidence = reviews(decision=FEW)
    random = np.random.default_rng(seed)
    results = []
    for index in random.permutation(len(evidence.results)):
        row = evidence.results[index]
        arrays = row.arrays
        if row.result.kind == "predict":
            order = random.permutation(len(arrays["indices"]))
            arrays = {name: values[order] for name, values in arrays.items()}
        results.append(dataclasses.replace(row, arrays=arrays))
    mixed = dataclasses.replace(
        evidence,
        results=tuple(results),
        candidates=tuple(evidence.candidates[i] for i in random.permutation(len(evidence.candidates))),
    )
    ours, theirs = decide(evidence).model_dump(), decide(mixed).model_dump()
    ours["run"], theirs["run"] = None, None  # sums of seconds in another order
    assert ours == theirs


def test_expected_regret_is_what_the_right_choice_is_short_of() -> None:
    decision = decide(make_world([CHAR, dataclasses.replace(E5, accuracy=0.92)]))
    regret = {item.id: item.regret for item in decision.candidates}
    values = {item.id: item.metrics["accuracy"].value for item in decision.candidates}
    gap = values[E5.id] - values[CHAR.id]
    assert regret[E5.id] == pytest.approx(0.0, abs=5e-4)
    assert 0.95 * gap < regret[CHAR.id] < gap  # a little of any lead is luck


def test_winner_by_money_differs_from_winner_by_quality() -> None:
    cheap = dataclasses.replace(CHAR, rungs=((1.0, 0.0),))
    dear = dataclasses.replace(E5, latency=0.2, rungs=((1.0, 0.0),))
    traffic = {"traffic": {"volume": "100/s", "peak": "1k/s", "horizon": "12mo"}}
    assert _recommended(decide(make_world([cheap, dear], **traffic))) == dear.id
    priced = {"value": {"per_correct": 1e-6}, **traffic}
    assert _recommended(decide(make_world([cheap, dear], **priced))) == cheap.id


def test_cost_matrix_decides_when_mistakes_are_dear() -> None:
    """The more accurate candidate makes the dear mistake more often and loses."""
    evidence = make_world([Stack("linear.a.none.native", 0.90), Stack("boosting.b.none.native", 0.86)])
    rows = []
    for row in evidence.results:
        if row.result.kind == "predict" and row.result.candidate.startswith("boosting"):
            predicted = np.where(row.arrays["actual"] == 1, 1, row.arrays["predicted"]).astype(np.int16)
            row = dataclasses.replace(row, arrays={**row.arrays, "predicted": predicted})  # noqa: PLW2901 - never misses a positive
        rows.append(row)
    evidence = dataclasses.replace(evidence, results=tuple(rows))
    prices = {"value.errors": {"pos->neg": 5.0, "neg->pos": 0.1}, "traffic.volume": 1.0}
    priced = decide(evidence, overrides=prices)
    assert _recommended(priced) == "boosting.b.none.native"
    assert priced.regret_unit == "CNY"
    assert priced.cost is not None
    assert priced.cost.net is not None


def test_who_was_stopped_early_is_a_rival_in_every_draw() -> None:
    """A strong arm stopped early takes from P(best) and P(good) of the winner; a weak one, whatever was noted of it, does not."""
    lead = Stack("linear.a.none.native", 0.86, rungs=((0.33, 0.84), (1.0, 0.86)))
    sure = []
    for early in (0.74, 0.82):
        stopped = Stack("boosting.b.none.native", 0.0, final=False, rungs=((0.33, early),), elimination="eliminated")
        decision = decide(make_world([lead, stopped]))
        assert _recommended(decision) == lead.id
        assert decision.p_best is not None
        assert decision.p_good is not None
        assert decision.p_good >= decision.p_best
        sure.append(decision.p_best)
    assert sure[0] > 0.99
    assert sure[1] < 0.9


def test_a_choice_within_the_zone_is_good_more_often_than_best() -> None:
    decision = decide(make_world([Stack("linear.a.none.native", 0.85), Stack("boosting.b.none.native", 0.85)]))
    found = {item.id: item for item in decision.candidates}
    recommended = found[_recommended(decision) or ""]
    assert recommended.p_good == decision.p_good
    assert decision.p_good is not None
    assert decision.p_best is not None
    assert decision.p_good > decision.p_best
    wide = decide(make_world([Stack("linear.a.none.native", 0.85), Stack("boosting.b.none.native", 0.85)]),
                  overrides={"decision.indifference.quality": 0.2})  # fmt: skip
    assert wide.p_good == 1.0


def test_labels_have_a_worth_only_where_answers_have() -> None:
    plain, priced = decide(reviews()), decide(reviews(value={"per_correct": 0.002}, costs={"label": 0.0}))
    assert plain.labels_value is None
    found = priced.labels_value
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= (found.value or 0.0) <= found.high
    dear = decide(reviews(value={"per_correct": 0.002}, costs={"label": 3.0})).labels_value
    assert dear is not None
    assert dear.value == pytest.approx((found.value or 0.0) - 3000.0)
    assert dear.unit == "CNY"


def _noted(kind: EliminationKind, *chances: tuple[float | None, float | None]) -> Decision:
    """Decide between two finalists after the search stopped one arm per pair of chances (to be better at all, by more than the zone)."""
    lead, other = Stack("linear.a.none.native", 0.88), Stack("linear.b.none.native", 0.82)
    seen = Stack("boosting.a0.none.native", 0.0, final=False, rungs=((0.33, 0.8),), timed=False)
    unseen = dataclasses.replace(seen, rungs=())
    names = [f"boosting.a{place}.none.native" for place in range(len(chances))]
    stopped = [dataclasses.replace(unseen if place else seen, id=name) for place, name in enumerate(names)]
    evidence = make_world([lead, other, *stopped])
    dropped = tuple(
        Elimination(candidate=name, kind=kind, p_best=best, p_good=good, reason=Words(zh="不看", en="not looked at"))
        for name, (best, good) in zip(names, chances, strict=True)
    )
    return decide(dataclasses.replace(evidence, eliminations=dropped))


@pytest.mark.parametrize("kind", ["eliminated", "not_reached"])
def test_chances_noted_of_whoever_was_stopped_or_never_looked_at_are_taken_off(kind: EliminationKind) -> None:
    """The chance to be better at all from P(best), that to be better by more than the zone from P(good), looked at or not."""
    decision = _noted(kind, (0.30, 0.01), (0.10, 0.02))
    assert decision.p_best == pytest.approx(0.60, abs=5e-3)
    assert decision.p_good == pytest.approx(0.97, abs=5e-3)
    assert decision.outcome == "winner"
    assert _noted(kind, (0.30, 0.01), (0.30, 0.06)).outcome == "no_clear_winner"


def test_one_chance_noted_by_an_older_version_counts_for_both() -> None:
    decision = _noted("eliminated", (0.10, None), (None, None))
    assert decision.p_best == decision.p_good == pytest.approx(0.90, abs=5e-3)


def test_who_ran_out_of_budget_without_a_chance_noted_takes_nothing() -> None:
    assert _noted("unaffordable", (0.5, 0.5)).p_best == pytest.approx(1.0, abs=5e-3)


def test_a_path_of_a_finalist_is_no_rival_of_it() -> None:
    lead, other = Stack("linear.a.none.native", 0.88), Stack("linear.b.none.native", 0.82)
    path = Stack("linear.a.none.onnxruntime", 0.0, final=False, rungs=(), timed=False)
    why = Elimination(candidate=path.id, kind="eliminated", p_best=0.4, reason=Words(zh="多余", en="one path too many"))
    decision = decide(dataclasses.replace(make_world([lead, other, path]), eliminations=(why,)))
    assert decision.p_best == pytest.approx(1.0, abs=5e-3)


def test_within_the_zone_of_the_recommended_nobody_is_beaten() -> None:
    """The leader need not be recommended: a third may be within the zone of the recommended and beyond it from the leader."""
    zone = {"decision": {"draws": 1000, "indifference": {"quality": 0.03}}}
    lead = Stack("ensemble.a.none.composite", 0.88, simplicity=8)
    simple = Stack("linear.b.none.native", 0.86, simplicity=1)
    third, fourth = Stack("boosting.c.none.native", 0.84, simplicity=4), Stack("boosting.d.none.native", 0.80)
    decision = decide(make_world([lead, simple, third, fourth], **zone))
    found = {item.id: item for item in decision.candidates}
    value = {name: item.metrics["accuracy"].value for name, item in found.items()}
    assert _recommended(decision) == simple.id
    assert value[lead.id] - value[third.id] > 0.03 > value[simple.id] - value[third.id]
    assert found[third.id].status == "within_indifference"
    said = found[third.id].reason
    assert said.en.startswith("Within indifference of the recommended linear b (none, native), differing by −0.0")
    assert "but not of ensemble a (none, composite), the best on average" in said.en
    assert "在无差异范围之内，但与平均最好的“ensemble a（none，composite）”相差 −0.0" in said.zh
    assert "2 candidates lie within indifference of the best on average" in decision.summary.en
    assert found[fourth.id].status == "dominated"
    assert found[fourth.id].reason.en.startswith("Beaten by linear b")
