"""The search walks probe → rungs → ensembles → final → risk, ends, and wastes nothing on what a probe rules out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bakeoff.schema.candidate import Candidate
from bakeoff.schema.spec import Spec
from bakeoff.search import ask
from tests.search.worlds import Stack, World, words

LINEAR = Stack("linear.char.none.native", 0.85, simplicity=2)
LINEAR_ONNX = Stack("linear.char.none.onnxruntime", 0.85, simplicity=2)
ENCODER = Stack("encoder.e5.none.pytorch", 0.87, hunger=0.03, latency=0.03, per_1000=40.0)
ENCODER_INT8 = Stack("encoder.e5.dynamic_int8.onnxruntime", 0.868, hunger=0.03, latency=0.008, per_1000=40.0)
WEAK = Stack("embedding_head.static.none.native", 0.72, per_1000=10.0)
LLM = Stack("llm_prompt.zero.none.llama_cpp", 0.82, hunger=0.0, latency=0.3, per_1000=0.0, trains=False)
BROKEN = Stack("boosting.bad.none.native", 0.9, fails=True)
ALL = (LINEAR, LINEAR_ONNX, ENCODER, ENCODER_INT8, WEAK, LLM, BROKEN)


def spec(**extra: object) -> Spec:
    """A text study with a latency limit of 50 ms."""
    fields = {
        "name": "world", "task": "text-classification", "data": {"file": "x.csv", "target": "y"},
        "requirements": {"latency": {"p95": "50ms"}, "quality": {"metric": "accuracy"}}, "budget": {"time": "20m"},
        "search": {"tuner": "none"}, **extra,
    }  # fmt: skip
    return Spec.model_validate(fields)


@pytest.fixture(scope="module")
def world() -> World:
    """A finished race."""
    ran = World(spec(), ALL)
    ran.run()
    return ran


def test_everything_is_probed_first(world: World) -> None:
    probes = [trial.candidate.id for trial in world.trials if trial.purpose == "probe"]
    assert sorted(probes) == sorted(stack.name for stack in ALL)
    assert {trial.purpose for trial in world.trials[: len(ALL)]} == {"probe"}


def test_an_infeasible_family_is_judged_once_for_the_price_of_the_limit(world: World) -> None:
    purposes = [trial.purpose for trial in world.trials if trial.candidate.id == LLM.name]
    assert purposes == ["probe", "rung"]
    out = ask(world.spec, world.evidence()).eliminations
    assert next(item for item in out if item.candidate == LLM.name).kind == "infeasible"


def test_the_price_of_a_limit_is_asked_for_last(world: World) -> None:
    looks = [trial.candidate.id for trial in world.trials if trial.purpose == "rung" and not trial.candidate.members]
    assert looks.index(LLM.name) > max(at for at, name in enumerate(looks) if name != LLM.name)


def test_what_is_too_slow_to_be_chosen_leaves_the_time_to_what_may_be() -> None:
    """Judging the slow one on sixty rows would take 30 s of the 24 s that looking may take."""
    crawling = dataclasses.replace(LLM, latency=0.5)
    ran = World(spec(budget={"time": "40s"}), (LINEAR, crawling))
    last = ran.run()
    assert [trial.purpose for trial in ran.trials if trial.candidate.id == crawling.name] == ["probe"]
    assert last.finalists == (LINEAR.name,)


def test_where_nothing_is_feasible_the_price_of_the_limit_is_all_there_is_to_find_out() -> None:
    baseline = Stack("baseline.majority.none.native", 0.5, hunger=0.0, per_1000=0.0)
    ran = World(spec(budget={"time": "40s"}), (baseline, dataclasses.replace(LLM, latency=0.5)))
    ran.run()
    assert [trial.purpose for trial in ran.trials if trial.candidate.id == LLM.name] == ["probe", "rung"]


def test_a_crashing_candidate_is_out_with_its_reason_and_never_tried_twice(world: World) -> None:
    assert sum(trial.candidate.id == BROKEN.name for trial in world.trials) == 1
    out = next(item for item in ask(world.spec, world.evidence()).eliminations if item.candidate == BROKEN.name)
    assert out.kind == "failed"
    assert "SIGABRT" in out.reason.en


def test_a_clearly_beaten_arm_never_reaches_the_full_fraction(world: World) -> None:
    fractions = [trial.fidelity.fraction for trial in world.trials if trial.candidate.id == WEAK.name]
    assert max(fractions) < 0.5


def test_every_path_of_a_finalist_is_timed_in_every_round_interleaved(world: World) -> None:
    timed = [(trial.round, trial.candidate.id) for trial in world.trials if trial.round is not None]
    finalists = {name for _, name in timed}
    assert {LINEAR.name, LINEAR_ONNX.name, ENCODER.name, ENCODER_INT8.name} <= finalists
    assert [number for number, _ in timed] == sorted(number for number, _ in timed)
    for number in {number for number, _ in timed}:
        assert {name for own, name in timed if own == number} == finalists


def test_only_finalists_touch_the_confirm_rows(world: World) -> None:
    finalists = set(ask(world.spec, world.evidence()).finalists)
    touched = {trial.candidate.id for trial in world.trials if trial.fidelity.split == "confirm"}
    assert touched == finalists


def test_seed_repeats_use_the_select_rows_and_other_seeds(world: World) -> None:
    again = [trial for trial in world.trials if trial.fidelity.seed != world.spec.seed]
    assert again
    assert {trial.fidelity.split for trial in again} == {"select"}


def test_risk_is_measured_for_what_might_be_shipped_only(world: World) -> None:
    assert len({trial.candidate.id for trial in world.trials if trial.purpose == "risk"}) <= 1


def test_asking_twice_gives_the_same_answer_and_order_of_rows_does_not_matter(world: World) -> None:
    first = ask(world.spec, world.evidence())
    world.rows.reverse()
    second = ask(world.spec, world.evidence())
    world.rows.reverse()
    assert first == second


def test_a_race_cut_at_any_point_asks_for_the_same_as_an_undisturbed_one() -> None:
    whole = World(spec(), ALL)
    whole.run()
    for cut in (4, len(whole.trials) - 9):
        resumed = World(spec(), ALL)
        for trial in whole.trials[:cut]:
            resumed.tell(trial)
        resumed.trials.clear()
        resumed.run()
        seen = {trial.model_dump_json() for trial in [*whole.trials[:cut], *resumed.trials]}
        assert seen == {trial.model_dump_json() for trial in whole.trials}


def test_an_expensive_arm_is_trained_on_what_its_slice_of_the_time_allows() -> None:
    tight = World(spec(budget={"time": "4m"}), (LINEAR, ENCODER))
    tight.run()
    most = max(trial.fidelity.fraction for trial in tight.trials if trial.candidate.id == ENCODER.name)
    assert 0 < most * 6.0 * ENCODER.per_1000 <= 0.15 * 240 + 1


def test_ensembles_combine_the_best_trained_arms_and_name_their_fractions() -> None:
    blank = Stack("ensemble.soft-vote.none.composite", 0.88, hunger=0.0)
    ran = World(spec(), (LINEAR, ENCODER, WEAK, blank))
    ran.run()
    combined = next(trial.candidate for trial in ran.trials if trial.candidate.family == "ensemble")
    assert len(combined.members) >= 2
    assert set(combined.variant.params["fractions"]) == set(combined.members)
    assert not any(trial.purpose == "probe" for trial in ran.trials if trial.candidate.family == "ensemble")


def test_nothing_feasible_still_ends_with_a_reason_for_everyone() -> None:
    slow = World(spec(requirements={"latency": {"p95": "100us"}}), (LINEAR, LLM))
    slow.run()
    last = ask(slow.spec, slow.evidence())
    assert {item.kind for item in last.eliminations} == {"infeasible"}
    assert last.finalists == ()
    assert last.stop_rule is not None


def test_a_noisy_latency_never_rules_a_candidate_out() -> None:
    ran = World(spec(), (LINEAR, LLM))
    proposal = ask(ran.spec, ran.evidence())
    for trial in proposal.trials:
        ran.tell(trial)
    for place, row in enumerate(ran.rows):
        noisy = tuple(m.model_copy(update={"validity": "noisy", "remark": "busy"}) for m in row.result.measurements)
        ran.rows[place] = type(row)(row.result.model_copy(update={"measurements": noisy}), row.arrays)
    assert ask(ran.spec, ran.evidence()).eliminations == ()


def test_labels_and_rows_of_a_plan_are_stable() -> None:
    candidate = LINEAR.candidate()
    assert candidate.id == LINEAR.name
    assert candidate.arm == "linear.char"
    assert isinstance(candidate, Candidate)
    assert words("x").said("zh") == "x"
    assert np.isfinite(candidate.variant.cost.build_per_1000)
