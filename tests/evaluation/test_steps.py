"""A step's key holds exactly what goes into the step: nothing less, nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bakeoff import testing
from bakeoff.data.frozen import Frozen
from bakeoff.evaluation.environment import environment_key, host, with_packages
from bakeoff.evaluation.steps import Facts, calibrate_rows, make_steps, member_trial, steps_of
from bakeoff.schema import Candidate, CostPrior, Spec, StepError, Strategy, Trial, UserError

pytestmark = pytest.mark.usefixtures("fakes")
TRIAL = Callable[..., Trial]
SPEC = Callable[..., Spec]


@pytest.fixture
def facts(frozen: Frozen) -> Facts:
    return Facts(
        frozen.fingerprint,
        frozen.classes,
        frozen.inputs,
        frozen.language,
        60,
        {c.id: c for c in (testing.candidate(), other())},
    )


def other() -> Candidate:
    return testing.candidate("other", runtime="fake_other")


def names(trial: Trial, spec: Spec, facts: Facts) -> list[str]:
    return [plan.name for plan in steps_of(trial, spec, facts)]


def keys(trial: Trial, spec: Spec, facts: Facts) -> dict[str, str]:
    return {plan.name: plan.key for plan in steps_of(trial, spec, facts)}


@pytest.mark.parametrize(
    ("candidate", "purpose", "expected"),
    [
        (testing.candidate(), "probe", "build load time"),
        (testing.candidate(), "rung", "build load predict"),
        (testing.candidate(), "final", "build load time predict"),
        (testing.candidate(runtime="fake_other"), "rung", "build export:fake-exported load predict"),
        (
            testing.candidate(compression="fake_pass"),
            "rung",
            "build export:fake-exported compress:fake_pass load predict",
        ),
    ],
)
def test_which_steps_a_trial_takes(
    make_spec: SPEC, facts: Facts, trial: TRIAL, candidate: Candidate, purpose: str, expected: str
) -> None:
    assert names(trial(candidate, purpose), make_spec(), facts) == expected.split()


def test_a_trial_outside_the_rounds_is_not_timed_and_risk_runs_checks_only(
    make_spec: SPEC, facts: Facts, trial: TRIAL
) -> None:
    assert names(trial(testing.candidate(), "final", round=None), make_spec(), facts) == ["build", "load", "predict"]
    risk = trial(testing.candidate(), "risk", checks=("fake_check", "fake_data_check"))
    assert names(risk, make_spec(), facts) == ["build", "risk:fake_check", "risk:fake_data_check"]


def test_planning_is_pure(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    one = trial(testing.candidate(), "final")
    assert steps_of(one, make_spec(), facts) == steps_of(one.model_copy(), make_spec(), facts)


def test_runtimes_and_passes_share_the_build(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    plain = keys(trial(testing.candidate()), make_spec(), facts)
    exported = keys(trial(testing.candidate(runtime="fake_other")), make_spec(), facts)
    small = keys(trial(testing.candidate(runtime="fake_other", compression="fake_pass")), make_spec(), facts)
    assert plain["build"] == exported["build"] == small["build"]
    assert exported["export:fake-exported"] == small["export:fake-exported"]
    assert len({plain["predict"], exported["predict"], small["predict"]}) == 3


BUILD = {"build", "load", "predict"}
MEASURED = {"load", "predict"}


@pytest.mark.parametrize(
    ("change", "altered"),
    [
        ({"fraction": 0.7}, BUILD),
        ({"seed": 3}, BUILD),
        ({"limit": 61}, {"predict"}),
        ({"split": "confirm"}, {"predict"}),
        ({"purpose": "final", "round": None, "rung": None}, set()),
        ({"rung": 4}, set()),
    ],
)
def test_what_of_a_trial_changes_which_steps(
    make_spec: SPEC, facts: Facts, trial: TRIAL, change: dict[str, Any], altered: set[str]
) -> None:
    before = trial(testing.candidate())
    fidelity = before.fidelity.model_copy(
        update={name: value for name, value in change.items() if name in type(before.fidelity).model_fields}
    )
    rest = {name: value for name, value in change.items() if name not in type(before.fidelity).model_fields}
    after = before.model_copy(update={"fidelity": fidelity, **rest})
    assert changed(keys(before, make_spec(), facts), keys(after, make_spec(), facts)) == altered


@pytest.mark.parametrize(
    ("change", "altered"),
    [
        ({"params": {"x": 1}}, BUILD),
        ({"strategy": Strategy(epochs=3)}, BUILD),
        ({"weights": "wordllama-256"}, BUILD),
        ({"label": testing.variant("another").label}, set()),
        ({"licence": "MIT"}, set()),
        ({"simplicity": 1}, set()),
    ],
)
def test_what_of_a_variant_changes_which_steps(
    make_spec: SPEC, facts: Facts, trial: TRIAL, change: dict[str, Any], altered: set[str]
) -> None:
    before = testing.candidate()
    after = before.model_copy(update={"variant": before.variant.model_copy(update=change)})
    assert changed(keys(trial(before), make_spec(), facts), keys(trial(after), make_spec(), facts)) == altered


@pytest.mark.parametrize(
    ("sections", "altered"),
    [
        ({"value": {"errors": {"neg->pos": 3}}}, BUILD),
        ({"measuring": {"threads": 2}}, MEASURED),
        ({"traffic": {"volume": "1/s"}}, set()),
        ({"costs": {"people": 1}}, set()),
        ({"requirements": {"latency": {"p95": "9ms"}}}, set()),
        ({"name": "renamed"}, set()),
        ({"budget": {"time": "1h"}}, set()),
    ],
)
def test_what_of_a_specification_changes_which_steps(
    make_spec: SPEC, facts: Facts, trial: TRIAL, sections: dict[str, Any], altered: set[str]
) -> None:
    one = trial(testing.candidate())
    assert changed(keys(one, make_spec(), facts), keys(one, make_spec(**sections), facts)) == altered


def test_other_data_change_everything(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    one = trial(testing.candidate())
    later = Facts("another", facts.classes, facts.inputs, facts.language, facts.calibrate, facts.candidates)
    assert changed(keys(one, make_spec(), facts), keys(one, make_spec(), later)) == BUILD


def test_another_version_of_a_family_builds_anew(
    make_spec: SPEC, facts: Facts, trial: TRIAL, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trial(testing.candidate())
    before = keys(one, make_spec(), facts)
    family = testing.FakeFamily()
    family.traits = family.traits.model_copy(update={"version": "2"})
    monkeypatch.setitem(testing.PLUGINS["models"], "fake", family)  # type: ignore[arg-type]
    assert changed(before, keys(one, make_spec(), facts)) == BUILD


def test_rounds_and_limits_change_timing_only(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    before = keys(trial(testing.candidate(), "final"), make_spec(), facts)
    assert changed(before, keys(trial(testing.candidate(), "final", round=1), make_spec(), facts)) == {"time"}
    tighter = make_spec(requirements={"latency": {"p95": "9ms"}})
    assert changed(before, keys(trial(testing.candidate(), "final"), tighter, facts)) == {"time"}


def test_a_check_of_the_data_is_shared_by_all_candidates(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    one, two = (
        trial(candidate, "risk", checks=("fake_check", "fake_data_check"))
        for candidate in (testing.candidate(), other())
    )
    first, second = keys(one, make_spec(), facts), keys(two, make_spec(), facts)
    assert first["risk:fake_data_check"] == second["risk:fake_data_check"]
    assert first["risk:fake_check"] != second["risk:fake_check"]
    stricter = make_spec(risk={"personal_data": "forbid"})
    assert changed(first, keys(one, stricter, facts)) == {"risk:fake_check", "risk:fake_data_check"}


def test_an_ensemble_starts_from_its_members_last_steps(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    blend = testing.candidate("blend", fractions={other().id: 0.25})
    blend = blend.model_copy(update={"members": (testing.candidate().id, other().id)})
    one = trial(blend)
    plans = make_steps(one, make_spec(), facts)
    members = [make_steps(member_trial(one, name, facts), make_spec(), facts)[-1] for name in blend.members]
    assert plans[0].inputs == tuple(member.key for member in members)
    assert members[1].name == "export:fake-exported"
    assert member_trial(one, other().id, facts).fidelity.fraction == 0.25
    assert member_trial(one, testing.candidate().id, facts).fidelity.fraction == 0.5
    with pytest.raises(StepError, match="not in the study"):
        member_trial(one, "who.is.none.this", facts)


def test_stacks_that_do_not_fit_are_refused(make_spec: SPEC, facts: Facts, trial: TRIAL) -> None:
    with pytest.raises(StepError, match="cannot be turned into") as caught:
        steps_of(trial(testing.candidate(runtime="onnxruntime")), make_spec(), facts)
    assert caught.value.code == "unsupported"
    with pytest.raises(StepError, match="does not load"):
        steps_of(trial(testing.candidate(runtime="native", compression="fake_pass")), make_spec(), facts)
    with pytest.raises(UserError, match="no such plugin"):
        steps_of(trial(testing.candidate(runtime="nowhere")), make_spec(), facts)


def test_slow_candidates_are_calibrated_on_fewer_rows_by_their_prior_not_by_the_clock() -> None:
    fast, slow = testing.candidate(), testing.candidate(cost=CostPrior(predict_per_1000=300.0))
    assert calibrate_rows(fast, 1000, probe=False) == 1000
    assert calibrate_rows(slow, 1000, probe=False) == 66
    assert calibrate_rows(slow, 10, probe=False) == 10
    assert calibrate_rows(fast, 1000, probe=True) == 0


def test_the_environment_names_no_host() -> None:
    import platform

    place = host(1)
    assert place.threads == 1
    assert place.cores >= 1
    assert place.cpu
    assert platform.node() not in place.model_dump_json()
    assert environment_key(place) == environment_key(place.model_copy())
    assert environment_key(with_packages(place, {"b": "1", "a": "2"})) == environment_key(
        with_packages(place, {"a": "2", "b": "1"})
    )
    assert environment_key(with_packages(place, {"a": "1"})) != environment_key(place)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}
