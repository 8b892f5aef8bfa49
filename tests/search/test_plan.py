"""A plan is the very search on imagined answers: what it would spend on, in which order, what stops it, and what is there already."""

from __future__ import annotations

import pytest

from bakeoff.planned import plan_text
from bakeoff.schema import Candidate, Spec
from bakeoff.schema.costs import COST_PARTS, CostBook, Factor
from bakeoff.search import Plan, plan
from bakeoff.search.costs import CostModel
from bakeoff.search.imagined import Imagination
from bakeoff.search.plan import exhaustive_computing
from bakeoff.store.evidence import StudyEvidence
from tests.search.worlds import Stack, World, profile

LINEAR = Stack("linear.char.none.native", 0.85, simplicity=2)
LINEAR_ONNX = Stack("linear.char.none.onnxruntime", 0.85, simplicity=2)
ENCODER = Stack("encoder.e5.none.pytorch", 0.87, hunger=0.03, latency=0.03, per_1000=40.0)
BASELINE = Stack("baseline.majority.none.native", 0.5, trains=False)
STACKS = (BASELINE, LINEAR, LINEAR_ONNX, ENCODER)


def spec(**extra: object) -> Spec:
    fields = {
        "name": "world", "task": "text-classification", "data": {"file": "x.csv", "target": "y"}, "preset": "quick",
        "requirements": {"latency": {"p95": "50ms"}, "quality": {"metric": "accuracy"}}, "budget": {"time": "20m"},
        "search": {"tuner": "none"}, **extra,
    }  # fmt: skip
    return Spec.model_validate(fields)


def evidence(stacks: tuple[Stack, ...] = STACKS, **extra: object) -> StudyEvidence:
    return StudyEvidence(spec(**extra), profile(), tuple(stack.candidate() for stack in stacks), (), ())


@pytest.fixture(scope="module")
def fresh() -> Plan:
    return plan(evidence())


def test_it_spends_in_the_order_of_the_search_and_says_what_would_end_it(fresh: Plan) -> None:
    stages = [item.purpose for item in fresh.spending]
    assert stages[:2] == ["probe", "rung"]
    assert stages.index("final") > stages.index("rung")
    assert fresh.spending[0].trials == len(STACKS)
    assert fresh.stops_by.en
    assert fresh.stops_by.zh
    assert fresh.ledger.steps == 0


def test_its_total_is_what_it_lists_and_less_than_everything_costs_when_things_are_dear() -> None:
    dear = tuple(Stack(f"encoder.v{n}.none.pytorch", 0.8, latency=0.01, per_1000=200.0) for n in range(6))
    found = plan(evidence((*STACKS, *dear)))
    assert found.expected.low < found.expected.mean < found.expected.high
    assert found.expected.mean < found.exhaustive.mean
    assert found.expected_seconds <= found.most_seconds == 1.5 * found.budget_seconds


def test_shared_steps_are_in_the_graph_once(fresh: Plan) -> None:
    builds = [
        step
        for step in fresh.steps
        if step.kind == "build" and step.subject == "linear.char" and step.purpose == "rung"
    ]
    assert [step.used_by for step in builds] == [(LINEAR.name, LINEAR_ONNX.name)]
    assert {step.state for step in fresh.steps} == {"to_do"}


def test_planning_twice_says_the_same_and_a_plan_survives_json(fresh: Plan) -> None:
    assert plan(evidence()) == fresh
    assert Plan.model_validate_json(fresh.model_dump_json()) == fresh


def test_a_finished_study_has_nothing_left_to_pay_for() -> None:
    world = World(spec(), STACKS)
    world.run(lambda proposal: proposal.finalists[:2])
    for place, row in enumerate(world.rows):
        world.rows[place] = type(row)(
            row.result.model_copy(update={"wall_seconds": 2.0, "cpu_seconds": 2.0}), row.arrays
        )
    had = world.evidence()
    found = plan(had)
    assert found.ledger.steps == len(world.rows)
    assert {step.state for step in found.steps} >= {"done"}
    left = [item for item in found.spending if item.purpose != "risk"]
    assert left == []


def test_a_half_finished_study_is_planned_from_where_it_is(fresh: Plan) -> None:
    world = World(spec(), STACKS)
    from bakeoff.search import ask

    for trial in ask(world.spec, world.evidence()).trials:
        world.tell(trial)
    found = plan(world.evidence())
    assert "probe" not in [item.purpose for item in found.spending]
    assert sum(item.seconds.mean for item in found.spending) < sum(item.seconds.mean for item in fresh.spending)


def test_a_tight_budget_is_what_ends_it() -> None:
    dear = tuple(Stack(f"encoder.v{n}.none.pytorch", 0.8, latency=0.01, per_1000=400.0) for n in range(4))
    assert "limit on the number of trials" in plan(evidence(budget={"time": "20m", "trials": 5})).stops_by.en
    assert "time limit" in plan(evidence(dear, budget={"time": "1s"})).stops_by.en


def test_what_the_machine_taught_changes_what_is_expected() -> None:
    slow = Factor(mean=(1.5,) * len(COST_PARTS), sd=(0.1,) * len(COST_PARTS), n=50)
    names = ["machine", *(f"family:{family}" for family in ("baseline", "linear", "encoder"))]
    book = CostBook(wall=dict.fromkeys(names, slow), cpu=dict.fromkeys(names, slow), studies=1, around_seconds=3.0)
    before, after = (
        plan(StudyEvidence(e.spec, e.profile, e.candidates, (), (), costs=known))
        for e in [evidence()]
        for known in (None, book)
    )
    assert after.learnt_from == 1
    assert after.exhaustive.mean > 2 * before.exhaustive.mean
    assert after.expected.high / after.expected.low < before.expected.high / before.expected.low


def test_imagined_rows_do_not_depend_on_luck_alone_but_repeat_for_the_same() -> None:
    had = evidence()
    model = CostModel.of_study(had)
    one, same, other = (Imagination(had, model, luck).run() for luck in (1, 1, 2))
    assert one == same
    assert one.finished
    assert [trial.purpose for trial, _ in one.trials][: len(STACKS)] == [trial.purpose for trial, _ in other.trials][
        : len(STACKS)
    ]


def test_the_page_for_people_shows_the_tree_the_order_and_the_total(fresh: Plan) -> None:
    text = plan_text(fresh)
    lines = text.splitlines()
    build = lines.index("linear.char") + 1
    assert lines[build].split()[:2] == ["build", "2"]
    assert any(line.strip().startswith("export:onnx") for line in lines)
    assert any(line.strip().startswith("measure none.onnxruntime") for line in lines)
    assert "what would end it: " in text
    assert "every listed candidate trained in full and judged once, nothing else: " in text
    assert ", every step counted" in text
    assert max(map(len, lines)) < 400
    assert "shipped guesses" in lines[1]


def test_a_candidate_alone_costs_what_its_steps_cost(fresh: Plan) -> None:
    one: Candidate = LINEAR.candidate()
    mine = next(item for item in fresh.candidates if item.id == one.id)
    assert 0 < mine.probe_seconds < mine.full_seconds
    assert mine.first_rung_seconds <= mine.full_seconds


def test_a_first_look_is_priced_at_the_share_it_is_really_taken_at(fresh: Plan) -> None:
    world = World(spec(), STACKS)
    world.run(lambda proposal: proposal.finalists[:2])
    asked = [trial for trial in world.trials if trial.candidate.id == ENCODER.name and trial.purpose == "rung"]
    looked = min(asked, key=lambda trial: trial.fidelity.fraction)
    assert looked.fidelity.fraction == 0.05
    model = CostModel.of_study(evidence())
    mine = next(item for item in fresh.candidates if item.id == ENCODER.name)
    assert mine.first_rung_seconds == pytest.approx(model.alone(looked).mean)


def test_the_stages_and_the_rest_add_up_to_what_is_expected(fresh: Plan) -> None:
    added = sum(item.seconds.mean for item in fresh.spending) + fresh.around.mean
    assert fresh.around.mean > 0
    assert fresh.expected_seconds == fresh.expected.mean == pytest.approx(added)


def test_nothing_takes_longer_than_the_deadline_and_the_page_says_what_it_cuts() -> None:
    dear = tuple(Stack(f"encoder.v{n}.none.pytorch", 0.8, latency=0.01, per_1000=400.0) for n in range(4))
    found = plan(evidence(dear, budget={"time": "4s"}))
    assert found.expected.low <= found.expected.mean <= found.expected.high == found.most_seconds == 6.0
    assert found.expected_seconds == 6.0
    assert "ended by the deadline" in plan_text(found)


def test_everything_in_full_is_what_is_listed_without_probes_and_without_what_the_search_made_up(fresh: Plan) -> None:
    assert fresh.exhaustive.mean == pytest.approx(sum(s.seconds.mean for s in fresh.steps if s.purpose == "rung"))
    base = LINEAR.candidate()
    made = base.variant.model_copy(update={"name": "char-1f", "base": "char"})
    tuned = base.model_copy(update={"id": "linear.char-1f.none.native", "variant": made})
    listed = evidence()
    more = StudyEvidence(listed.spec, listed.profile, (*listed.candidates, tuned), (), ())
    assert plan(more).exhaustive == fresh.exhaustive
    assert exhaustive_computing(more, CostModel.of_study(more)) == pytest.approx(
        exhaustive_computing(listed, CostModel.of_study(listed))
    )


def test_a_page_with_nothing_left_to_do_has_no_order(fresh: Plan) -> None:
    assert "in this order" in plan_text(fresh)
    assert "in this order" not in plan_text(fresh.model_copy(update={"spending": ()}))
