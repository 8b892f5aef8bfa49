"""Paths that begin alike share their first steps, and the search's names for steps are as good as the ledger's keys."""

from __future__ import annotations

from typing import Any

from bakeoff.evaluation.steps import Facts
from bakeoff.evaluation.steps import steps_of as planned_steps
from bakeoff.schema import Candidate, Fidelity, InputColumn, Spec, Strategy, Trial
from bakeoff.search.costs import CostModel
from bakeoff.search.graph import GraphStep, graph
from bakeoff.search.prefix import step_of, steps_of
from tests.search.test_costs import FULL, PROBE, candidate, row
from tests.search.worlds import profile

NATIVE, EXPORTED = candidate("linear.char.none.native"), candidate("linear.char.none.onnxruntime")
OTHER = candidate("linear.word.none.native")
FACTS: dict[str, Any] = {"weights": "e5", "strategy": Strategy(freeze="body"), "params": {"format": "transformer"}}
ENCODER = [
    candidate(f"embedding_head.e5.{path}", **FACTS) for path in ("none.pytorch", "none.onnxruntime", "dynamic_int8.onnxruntime")
]  # fmt: skip
ALL = [NATIVE, EXPORTED, OTHER, *ENCODER]


def rung(one: Candidate, fidelity: Fidelity = FULL, **facts: Any) -> Trial:
    return Trial(candidate=one, purpose="rung", fidelity=fidelity, **facts)


def spec() -> Spec:
    return Spec.model_validate({"name": "g", "task": "text-classification", "data": {"file": "x.csv", "target": "y"}})


def every_trial() -> list[Trial]:
    trials = []
    for one in ALL:
        trials.append(Trial(candidate=one, purpose="probe", fidelity=PROBE))
        shares = (Fidelity(fraction=0.3), FULL, Fidelity(fraction=1.0, limit=400), Fidelity(fraction=1.0, seed=1))
        trials += [rung(one, fidelity) for fidelity in shares]
        final = Fidelity(fraction=1.0, split="confirm")
        trials += [Trial(candidate=one, purpose="final", fidelity=final, round=number) for number in (0, 1)]
        trials.append(Trial(candidate=one, purpose="risk", fidelity=final, checks=("calibration",)))
    return trials


def test_two_steps_have_one_name_exactly_when_they_have_one_key() -> None:
    facts = Facts(
        "data", ("neg", "pos"), (InputColumn(name="t", kind="text"),), "zh", 800, {one.id: one for one in ALL}
    )
    names: dict[str, set[object]] = {}
    keys: dict[object, set[str]] = {}
    for trial in every_trial():
        ours, theirs = steps_of(trial), planned_steps(trial, spec(), facts)
        assert [step.name for step in ours] == [plan.name for plan in theirs]
        assert [step.kind for step in ours] == [plan.kind for plan in theirs]
        for step, plan in zip(ours, theirs, strict=True):
            names.setdefault(plan.key, set()).add(step)
            keys.setdefault(step, set()).add(plan.key)
    assert all(len(found) == 1 for found in names.values())
    assert all(len(found) == 1 for found in keys.values())
    assert len(names) > 60


def test_a_row_of_the_ledger_is_the_step_it_was() -> None:
    for trial in every_trial():
        for step in steps_of(trial):
            made = row(trial.candidate, step.kind, 1.0, trial.fidelity, name=step.name, round=trial.round)
            assert step_of(made) == step


def steps(trials: list[Trial], rows: list[Any] | None = None) -> dict[tuple[str, str], GraphStep]:
    model = CostModel.of(rows or [], ALL, profile())
    return {(found.subject, found.name): found for found in graph(trials, model)}


def test_shared_steps_appear_once_and_name_everyone_who_uses_them() -> None:
    found = steps([rung(one) for one in ALL])
    assert found["linear.char", "build"].used_by == (NATIVE.id, EXPORTED.id)
    assert found["linear.char", "build"].shared
    assert not found["linear.word", "build"].shared
    assert found["embedding_head.e5", "build"].used_by == tuple(one.id for one in ENCODER)
    assert found["embedding_head.e5", "export:onnx"].used_by == tuple(one.id for one in ENCODER[1:])
    assert found["embedding_head.e5", "compress:dynamic_int8"].used_by == (ENCODER[2].id,)


def test_each_step_follows_the_one_whose_output_it_uses() -> None:
    found = steps([rung(one) for one in ALL])
    numbers = {step.number: step for step in found.values()}
    assert sorted(numbers) == list(range(1, len(found) + 1))
    build, export = found["embedding_head.e5", "build"], found["embedding_head.e5", "export:onnx"]
    squeezed = found["embedding_head.e5", "compress:dynamic_int8"]
    assert (build.after, export.after, squeezed.after) == (None, build.number, export.number)
    assert found[ENCODER[0].id, "predict"].after == build.number
    assert found[ENCODER[2].id, "predict"].after == squeezed.number
    assert all(step.after is None or step.after < step.number for step in found.values())


def test_what_the_ledger_has_is_marked_with_what_it_took() -> None:
    rows = [row(NATIVE, "build", 1.5), row(EXPORTED, "export", 0.0, name="export:onnx", status="failed", failure={"code": "parity", "reason": "x"}),
            row(NATIVE, "predict", 0.0, key="noted")]  # fmt: skip
    found = steps([rung(NATIVE), rung(EXPORTED)], rows)
    assert (found["linear.char", "build"].state, found["linear.char", "build"].took) == ("done", 1.5)
    assert found["linear.char", "export:onnx"].state == "failed"
    assert found[EXPORTED.id, "predict"].state == "to_do"
    assert found[EXPORTED.id, "predict"].took is None
    assert all(step.seconds.low <= step.seconds.mean <= step.seconds.high for step in found.values())


def test_other_seeds_shares_and_probes_are_other_steps() -> None:
    trials = [
        rung(NATIVE),
        rung(NATIVE, Fidelity(fraction=0.3)),
        rung(NATIVE, Fidelity(fraction=1.0, seed=1)),
        rung(NATIVE, PROBE),
    ]
    builds = [step for step in graph(trials, CostModel.of((), ALL, profile())) if step.kind == "build"]
    assert len(builds) == 4


def test_a_frozen_encoder_is_charged_for_new_rows_only() -> None:
    third, whole = Fidelity(fraction=1 / 3), FULL
    model = CostModel.of((), ALL, profile())
    first, second = (
        step for step in graph([rung(ENCODER[0], third), rung(ENCODER[0], whole)], model) if step.kind == "build"
    )
    alone = next(step for step in graph([rung(ENCODER[0], whole)], model) if step.kind == "build")
    assert second.seconds.mean < alone.seconds.mean
    assert first.seconds.mean + second.seconds.mean < 1.3 * alone.seconds.mean


def test_plugins_nobody_knows_are_built_and_compressed_as_named() -> None:
    strange = candidate("unheard.of.squeezed.anywhere")
    assert [step.name for step in steps_of(rung(strange))] == ["build", "compress:squeezed", "load", "predict"]
