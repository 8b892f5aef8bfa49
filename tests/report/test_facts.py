from __future__ import annotations

import pytest
from tests.report import examples

from bakeoff.report import facts
from bakeoff.schema import Decision, Measurement, Metric


def test_the_recommended_is_first_and_fates_follow_in_order() -> None:
    found = [one.status for one in facts.ranked(examples.winner())]
    assert found == [
        "winner",
        "within_indifference",
        "dominated",
        "infeasible",
        "infeasible",
        "infeasible",
        "eliminated",
        "failed",
        "not_reached",
    ]


def test_the_order_does_not_depend_on_the_order_of_the_record() -> None:
    decision = examples.crowded(30)
    turned = decision.model_copy(update={"candidates": tuple(reversed(decision.candidates))})
    assert [one.id for one in facts.ranked(decision)] == [one.id for one in facts.ranked(turned)]


def test_what_could_not_take_part_is_listed_once() -> None:
    decision = examples.winner()
    missing = decision.unavailable[0]
    absent = decision.candidates[-1].model_copy(update={"id": missing.id, "status": "unavailable"})
    lost = absent.model_copy(update={"id": "listed.nowhere.none.native"})
    found = decision.model_copy(update={"candidates": (*decision.candidates, absent, lost)})
    assert [one.id for one in facts.contenders(found)] == [
        one.id for one in facts.ranked(found) if one.id != missing.id
    ]


def test_an_infeasible_study_speaks_about_the_nearest_miss() -> None:
    decision = examples.infeasible()
    assert facts.chosen(decision).id == examples.CHAR  # type: ignore[union-attr]
    priced = decision.model_copy(update={"cost": examples.cost(examples.E5, 1.0, 1.0, 1.0)})
    assert facts.chosen(priced).id == examples.E5  # type: ignore[union-attr]
    unnamed = decision.model_copy(update={"runner_up": None})
    assert facts.chosen(unnamed).id == max(decision.candidates, key=lambda one: one.p_feasible or 0).id  # type: ignore[union-attr]


def test_a_refused_number_has_no_value_and_says_why() -> None:
    shown = facts.metric("latency_p99", Metric(value=0.5, validity="refused", remark="159 missing", unit="s"), 0.95)
    assert shown.value == ""
    assert facts.said(shown).en == "refused: 159 missing"
    assert facts.said(shown).zh == "拒绝给数：159 missing"


def test_a_number_is_said_with_level_n_and_mark() -> None:
    said = facts.said(
        facts.measurement(
            Measurement(name="macro_f1", value=0.5, low=0.4, high=0.6, n=1200, provenance="predicted", confidence=0.9)
        )
    )
    assert said.en == "0.500 [0.400, 0.600] (90 % interval, n = 1,200, predicted)"
    assert said.zh == "0.500 [0.400, 0.600]（90 % 区间，n = 1,200，预测）"


def test_a_noisy_number_is_marked() -> None:
    assert "noisy" in facts.said(facts.metric("x", Metric(value=1.0, validity="noisy", n=3), 0.95)).en


def test_digits_are_the_same_in_both_languages() -> None:
    decision = examples.winner()
    for one in decision.candidates:
        for name, metric in one.metrics.items():
            said = facts.said(facts.metric(name, metric, decision.confidence))
            assert [c for c in said.zh if c.isdigit()] == [c for c in said.en if c.isdigit()]


@pytest.mark.parametrize("name", ["macro_f1", "quality", "quality.floor", "requirements.quality.floor"])
def test_a_limit_is_found_by_name_or_path(name: str) -> None:
    decision = renamed(examples.winner(), 0, name)
    assert facts.limit_of(decision, "macro_f1") is decision.constraints[0]
    assert facts.metric_of(decision.constraints[0], "macro_f1") == "macro_f1"


@pytest.mark.parametrize(
    ("index", "name", "metric"),
    [
        (1, "requirements.latency.p95", "latency_p95"),
        (2, "requirements.throughput.min", "throughput"),
        (3, "requirements.memory.max", "memory"),
        (4, "size", "size"),
    ],
)
def test_other_limits_are_found_by_path(index: int, name: str, metric: str) -> None:
    assert facts.limit_of(renamed(examples.winner(), index, name), metric) is not None


def test_a_limit_of_another_metric_is_not_mistaken() -> None:
    assert facts.limit_of(examples.winner(), "latency_p50") is None


def test_margins() -> None:
    floor, p95, rate, *_ = examples.winner().constraints
    assert facts.margin(floor).en == "3.1 % to spare"
    assert facts.margin(p95).en == "98 % to spare"
    assert facts.margin(rate).en == "20× what is required"
    assert facts.margin(examples.infeasible().constraints[0]).en == "2.8 % short"
    assert facts.margin(floor.model_copy(update={"metric": Metric(value=None)})).en == "–"


def test_limits_keep_their_direction_and_rules_have_none() -> None:
    floor, p95, *_ = examples.winner().constraints
    assert facts.limit_text(floor, "macro_f1") == "≥ 0.82"
    assert facts.limit_text(p95, "macro_f1") == "≤ 50 ms"
    assert facts.limit_text(examples.rule(), "macro_f1") == ""


def test_risks_come_gravest_first() -> None:
    assert [one.check for one in facts.risks(examples.winner())] == [
        "robustness",
        "personal_data",
        "membership",
        "calibration",
        "subgroups",
    ]
    assert [one.check for one in facts.open_risks(examples.winner())] == ["robustness", "personal_data"]


def test_the_nearest_flip_comes_first() -> None:
    found = facts.flips(examples.winner())
    assert [one.factor for one in found] == sorted(one.factor for one in found)
    assert facts.nearest_flip(examples.winner(flips=())) is None


def test_kinds_of_personal_data_have_words() -> None:
    assert facts.personal("mobile_phone").zh == "手机号"
    assert facts.personal("something new").en == "something new"


def test_the_score_is_the_corrected_one_where_there_is_one() -> None:
    assert facts.score(examples.winner()).raw == 0.8447  # type: ignore[union-attr]
    assert facts.score(examples.winner(score=None)).raw == 0.8453  # type: ignore[union-attr]


def renamed(decision: Decision, index: int, name: str) -> Decision:
    limits = list(decision.constraints)
    limits[index] = limits[index].model_copy(update={"name": name})
    return decision.model_copy(update={"constraints": tuple(limits)})
