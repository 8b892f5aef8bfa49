"""The decision record: one reason per candidate, both languages, figures with verdicts, a pure function."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from bakeoff.decision import decide
from bakeoff.decision.figures import pareto
from bakeoff.economics import default_book
from bakeoff.schema import Decision, Metric, Words
from tests.decision.worlds import BROKEN, CHAR, E5, E5_INT8, HUB, LLM, WORD, Stack, make_world, reviews

PRICED = {"value": {"per_correct": 0.002}, "traffic": {"volume": "200k/day", "peak": "40/s", "horizon": "12mo"}}


@pytest.fixture(scope="module")
def decision() -> Decision:
    return decide(reviews())


def _words(decision: Decision) -> list[Words]:
    found = [decision.headline, decision.summary]
    found += [item.reason for item in decision.candidates]
    found += [item.text for group in (decision.constraints, decision.relaxations, decision.flips) for item in group]
    return found


def test_same_evidence_same_decision(decision: Decision) -> None:
    assert decide(reviews()) == decision
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


def test_every_candidate_has_one_reason(decision: Decision) -> None:
    reasons = {item.id: (item.status, item.reason) for item in decision.candidates}
    assert reasons[E5.id][0] == "winner"
    assert reasons[LLM.id][0] == "infeasible"
    assert "p95 latency" in reasons[LLM.id][1].en
    assert "> 50 ms (n=12)" in reasons[LLM.id][1].en
    assert reasons[BROKEN.id][0] == "failed"
    assert "over the time limit" in reasons[BROKEN.id][1].en
    assert reasons[HUB.id][0] == "unavailable"
    assert next(item for item in decision.candidates if item.id == HUB.id).missing == HUB.command
    assert reasons[CHAR.id][0] == "dominated"
    assert "Beaten by" in reasons[CHAR.id][1].en
    assert len(decision.candidates) == 8
    assert decision.candidates[0].id == E5.id


def test_eliminated_says_what_the_search_said_once() -> None:
    found = next(item for item in decide(make_world([CHAR, WORD])).candidates if item.id == WORD.id)
    assert found.status == "eliminated"
    assert found.stage == "rung 0"
    assert found.p_best == 0.004
    assert found.reason == Words(zh="淘汰：明显不如领先者。", en="Eliminated: clearly behind the leader.")


def test_a_failure_is_told_in_chinese_or_marked_as_quoted() -> None:
    quoted = next(item for item in decide(make_world([CHAR, BROKEN])).candidates if item.id == BROKEN.id)
    assert quoted.reason.zh == "在训练时失败，原文：over the time limit of 600 s。"
    told = dataclasses.replace(BROKEN, failure_zh="超过了单步时限 600 s")
    both = next(item for item in decide(make_world([CHAR, told])).candidates if item.id == BROKEN.id)
    assert both.reason.zh == "在训练时失败：超过了单步时限 600 s。"
    assert both.reason.en == quoted.reason.en == "Failed while it was built: over the time limit of 600 s."


def test_every_remark_on_a_figure_is_in_both_languages() -> None:
    figures = [
        item for one in decide(make_world([CHAR, WORD, LLM])).candidates for item in one.metrics.values() if item.remark
    ]
    assert any("needs at least" in item.remark and "至少需要" in item.remark_zh for item in figures)
    assert all(item.remark_zh for item in figures)


def test_budgetary_stops_are_not_reached_and_never_recommended() -> None:
    better = Stack("encoder.big.none.pytorch", 0.95, final=False, rungs=((0.11, 0.95),), elimination="unaffordable")
    found = decide(make_world([dataclasses.replace(CHAR, rungs=((0.11, 0.8), (1.0, 0.846))), better]))
    assert found.recommended is not None
    assert found.recommended.id == CHAR.id
    assert next(item for item in found.candidates if item.id == better.id).status == "not_reached"


def test_a_loosened_limit_brings_back_what_it_kept_out() -> None:
    good = dataclasses.replace(LLM, accuracy=0.95, rungs=((1.0, 0.95),), limit=None)
    needs = {"quality": {"metric": "accuracy"}, "latency": {"p95": "50ms"}}
    evidence = make_world([CHAR, good], requirements=needs)
    assert decide(evidence).candidates[0].id == CHAR.id
    loose = decide(evidence, overrides={"requirements.latency.p95": "2s"})
    assert loose.recommended is not None
    assert loose.recommended.id == good.id
    assert loose.score is not None
    assert "select" in loose.score.remark
    assert loose.provenance.overrides == {"requirements.latency.p95": "2s"}


def test_what_is_feasible_now_but_was_never_finished_says_so() -> None:
    fair = dataclasses.replace(LLM, accuracy=0.80, rungs=((1.0, 0.80),), limit=None)
    needs = {"quality": {"metric": "accuracy"}, "latency": {"p95": "50ms"}}
    evidence = make_world([CHAR, fair], requirements=needs)
    found = decide(evidence, overrides={"requirements.latency.p95": "2s"})
    reason = next(item for item in found.candidates if item.id == fair.id)
    assert reason.status == "not_reached"
    assert "run again" in reason.reason.en


@pytest.mark.parametrize("priced", [False, True])
def test_texts_are_sentences_in_both_languages(priced: bool) -> None:
    for words in _words(decide(reviews(**(PRICED if priced else {})))):
        assert words.zh.endswith("。"), words.zh
        assert words.en.endswith("."), words.en
        assert re.search("[\u4e00-\u9fff]", words.zh), words.zh
        for text in (words.zh, words.en):
            assert not re.search(r"\bnan\b|None|\binf\b|e[-+]\d\d|\.\.|。。| ,|  |\{|\}", text), text
        assert not re.search("[\u4e00-\u9fff]", words.en), words.en


def test_figures_carry_interval_sample_unit_and_verdict(decision: Decision) -> None:
    metrics = decision.candidates[0].metrics
    quality = metrics["accuracy"]
    assert quality.verdict == "meets"
    assert quality.n == 2000
    assert quality.low is not None
    assert quality.high is not None
    assert quality.value is not None
    assert quality.low < quality.value < quality.high
    assert metrics["latency_p95"].unit == "s"
    assert metrics["latency_p95"].verdict == "meets"
    assert metrics["memory"].verdict == "meets"
    assert metrics["size"].value == 470e6
    assert metrics["size"].verdict == "not_required"
    assert metrics["train_seconds"].value == 900.0
    assert metrics["throughput"].provenance == "predicted"


def test_score_is_lowered_for_having_been_selected() -> None:
    """The best of five equal candidates reads high on the rows it was picked on; corrected it is nearer the truth."""
    raw, corrected = [], []
    for seed in range(25):
        stacks = [Stack(f"linear.v{i}.none.native", 0.85, agree=0.3) for i in range(5)]
        split = make_world([CHAR]).profile.split.model_copy(update={"confirm": 500})
        found = decide(make_world(stacks, seed=seed, split=split, decision={"draws": 400}))
        assert found.score is not None
        raw.append(max(item.metrics["accuracy"].value or 0 for item in found.candidates))
        corrected.append(found.score.value)
    assert np.mean(raw) - 0.85 > 0.006
    assert abs(np.mean(corrected) - 0.85) < 0.5 * (np.mean(raw) - 0.85)


def test_run_and_provenance_count_what_is_in_the_ledger(decision: Decision) -> None:
    evidence = reviews()
    assert decision.run.steps == len(evidence.results)
    assert decision.run.steps_failed == 1
    assert decision.run.looks_at_confirm == 3
    assert decision.run.candidates_considered == 7
    assert decision.run.wall_seconds > 900
    assert decision.provenance.ledger_rows == len(evidence.results)
    assert decision.provenance.draws == 1000
    assert decision.provenance.environments[0].cpu == "synthetic"


def test_costs_use_the_machine_that_measured_and_the_book_given(decision: Decision) -> None:
    assert decision.cost is not None
    assert "2 processes" in decision.cost.lines[0].basis.en
    cheap = default_book()
    effort = {name: item.model_copy(update={"build": item.build.model_copy(update={"low": 0.0, "typical": 0.0, "high": 0.0})})
              for name, item in cheap.effort.items()}  # fmt: skip
    other = decide(reviews(), book=cheap.model_copy(update={"effort": effort}))
    assert other.cost is not None
    assert next(line.value for line in other.cost.lines if line.name == "build") == 0.0


def test_pareto_front_keeps_what_nothing_beats() -> None:
    def shown(quality: float, latency: float, memory: float) -> dict[str, Metric]:
        return {"accuracy": Metric(value=quality), "latency_p95": Metric(value=latency), "memory": Metric(value=memory)}

    found = pareto(
        {
            "best": shown(0.9, 0.05, 5e8), "fast": shown(0.8, 0.001, 1e8), "worse": shown(0.79, 0.002, 2e8),
            "equal": shown(0.8, 0.00102, 1e8),
        },
        {}, "accuracy",
    )  # fmt: skip
    assert found == ("best", "equal", "fast")


def test_pareto_of_a_study_is_among_those_compared(decision: Decision) -> None:
    assert set(decision.pareto) <= {CHAR.id, E5.id, E5_INT8.id}
    assert {item.id for item in decision.candidates if item.pareto} == set(decision.pareto)


def test_three_classes_and_roc_auc_decide_too() -> None:
    stacks = [dataclasses.replace(CHAR, rungs=((1.0, 0.846),)), dataclasses.replace(E5, rungs=((1.0, 0.872),))]
    three = decide(
        make_world(stacks, classes=("a", "b", "c"), requirements={"quality": {"metric": "macro_f1", "floor": 0.5}})
    )
    assert three.outcome == "winner"
    ranked = decide(make_world(stacks, requirements={"quality": {"metric": "roc_auc", "floor": 0.5}}))
    assert ranked.recommended is not None
    assert ranked.recommended.id == E5.id
    assert ranked.score is not None
    assert ranked.score.name == "roc_auc"


def test_nothing_evaluated_at_all_is_infeasible_with_reasons() -> None:
    found = decide(make_world([BROKEN], unavailable=[HUB]))
    assert found.outcome == "infeasible"
    assert [item.status for item in found.candidates] == ["failed", "unavailable"]
    assert found.headline.en == "No candidate meets every requirement."
