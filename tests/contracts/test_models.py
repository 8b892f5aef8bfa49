"""The contract of a model family, checked for every family the registry finds: ids are ``family.variant:check``."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest

from bakeoff import registry
from bakeoff.models.base import Examples, ExportContext
from bakeoff.schema import Artifact, StepError, Variant, canonical
from bakeoff.schema.space import Space
from bakeoff.search.tuning import space_of, tuned_variant
from tests.contracts._cases import (
    CLASSES,
    INPUTS,
    MALFORMED,
    TASKS,
    Built,
    Case,
    Workshop,
    cases,
    contents,
    examples,
    opened,
    profile_of,
    rows_of,
    runtimes_for,
    spec_of,
)

_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".npy")
_EXPORT_DRIFT = 1e-3
_INT8_DRIFT = 0.2
Check = Callable[[Case, Workshop], None]


def _valid(probabilities: np.ndarray, rows: int, classes: int) -> None:
    assert probabilities.shape == (rows, classes)
    assert probabilities.dtype == np.float64
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)


def variants_are_plain_records(case: Case, workshop: Workshop) -> None:
    for language in ("zh", "en"):
        for counts in ((500, 500), (980, 20)):
            found = case.plugin.variants(spec_of(case.task), profile_of(case.task, counts, language))
            again = case.plugin.variants(spec_of(case.task), profile_of(case.task, counts, language))
            assert canonical(list(found)) == canonical(list(again))
            names = [variant.name for variant in found]
            assert len(set(names)) == len(names)
            for variant in found:
                assert Variant.model_validate_json(variant.model_dump_json()) == variant
                assert variant.label.zh.strip()
                assert variant.label.en.strip()
                assert set(variant.tasks) <= set(case.plugin.traits.tasks)


def builds_a_pickle_free_artefact(case: Case, workshop: Workshop) -> None:
    built = workshop.native(case)
    artifact = built.artifact
    assert artifact.format in case.plugin.traits.formats
    assert (artifact.task, artifact.classes, artifact.inputs) == (case.task, CLASSES[case.task], INPUTS[case.task])
    assert Artifact.model_validate_json(artifact.model_dump_json()) == artifact
    for name, body in contents(built.directory):
        assert not name.endswith(_PICKLES), name
        if name.endswith(".json"):
            json.loads(body)
        if name.endswith(".npz"):
            with np.load(built.directory / name, allow_pickle=False) as arrays:
                assert all(arrays[key].dtype != object for key in arrays.files)


def leaves_hashes_and_rule_to_the_caller(case: Case, workshop: Workshop) -> None:
    artifact = workshop.native(case).artifact
    assert artifact.files == ()
    assert artifact.rule.temperature == 1.0
    assert artifact.rule.costs is None
    assert not (workshop.native(case).directory / "artifact.json").exists()


def some_runtime_loads_it(case: Case, workshop: Workshop) -> None:
    assert runtimes_for(case.format), f"no runtime loads {case.format}"
    predictor = opened(workshop.native(case))
    rows = rows_of(case)
    _valid(predictor.predict_proba(rows), len(rows), 2)
    predictor.close()


def answers_malformed_rows(case: Case, workshop: Workshop) -> None:
    predictor = workshop.predictor(case)
    rows = MALFORMED[:2] if case.format == "gguf-prompt" else MALFORMED
    _valid(predictor.predict_proba(rows), len(rows), 2)
    _valid(predictor.predict_proba(list(rows)[:1]), 1, 2)


def missing_means_missing(case: Case, workshop: Workshop) -> None:
    """A missing column, None, NaN and an empty string are one and the same."""
    names = [column.name for column in INPUTS[case.task]]
    rows = [{}, dict.fromkeys(names), dict.fromkeys(names, float("nan")), dict.fromkeys(names, "")]
    predictor = workshop.predictor(case)
    found = predictor.predict_proba(rows)
    np.testing.assert_allclose(found, np.tile(found[:1], (4, 1)), atol=1e-6)


def answers_do_not_depend_on_neighbours(case: Case, workshop: Workshop) -> None:
    predictor = workshop.predictor(case)
    rows = rows_of(case)[:6]
    together = predictor.predict_proba(rows)
    alone = np.vstack([predictor.predict_proba([row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(predictor.predict_proba(rows[::-1])[::-1], together, atol=1e-4)


def no_rows_no_answers(case: Case, workshop: Workshop) -> None:
    predictor = workshop.predictor(case)
    assert predictor.predict_proba([]).shape == (0, 2)


def rows_are_not_changed(case: Case, workshop: Workshop) -> None:
    predictor = workshop.predictor(case)
    rows = rows_of(case)[:3]
    before = copy.deepcopy(rows)
    predictor.predict_proba(rows)
    assert rows == before


def same_seed_same_files(case: Case, workshop: Workshop) -> None:
    first = workshop.native(case)
    context = workshop.context(case)
    again = case.plugin.build(context)
    assert again == first.artifact
    assert dict(contents(context.out)) == dict(contents(first.directory))


def one_class_is_a_reason_not_a_crash(case: Case, workshop: Workshop) -> None:
    if why := case.obstacle():
        pytest.skip(why)
    rows = examples(case.task, 48, 1).rows
    context = workshop.context(case, train=Examples(rows, np.zeros(len(rows), dtype=np.int64)))
    refused = None
    try:
        artifact = case.plugin.build(context)
    except StepError as error:
        refused = error
    if refused is None:
        assert artifact.classes == CLASSES[case.task]
    else:
        assert refused.code in {"error", "unsupported", "non_finite"}


def exports_agree(case: Case, workshop: Workshop) -> None:
    """Every declared export loads elsewhere and answers alike, malformed rows included."""
    rows = [*rows_of(case), *MALFORMED]
    if not case.plugin.traits.exports:
        return  # the audit below asks for the excuse
    expected = workshop.predictor(case).predict_proba(rows)
    for target in case.exports():
        built = workshop.exported(case, target)
        assert built.artifact.format == target
        assert built.artifact.classes == CLASSES[case.task]
        for name in runtimes_for(target):
            other = opened(built, name)
            found = other.predict_proba(rows)
            _valid(found, len(rows), 2)
            np.testing.assert_allclose(found, expected, atol=_EXPORT_DRIFT)
            np.testing.assert_allclose(other.predict_proba(rows[:1]), expected[:1], atol=_EXPORT_DRIFT)
            other.close()


def undeclared_exports_are_refused(case: Case, workshop: Workshop) -> None:
    built = workshop.native(case)
    context = ExportContext(built.artifact, built.directory, workshop.place(), "abacus", threads=1)
    with pytest.raises(StepError) as caught:
        case.plugin.export(context)
    assert caught.value.code == "unsupported"


def compressed_still_answers(case: Case, workshop: Workshop) -> None:
    rows = rows_of(case)
    for name in case.plugin.traits.compressible:
        if f"{case.variant.name}:{name}" in case.plugin.traits.excuses:
            continue
        expected = workshop.predictor(case).predict_proba(rows)
        built = workshop.compressed(case, name)
        smaller = opened(built)
        found = smaller.predict_proba(rows)
        _valid(found, len(rows), 2)
        assert np.abs(found - expected).max() < _INT8_DRIFT
        smaller.close()


def spaces_stand_around_listed_variants(case: Case, workshop: Workshop) -> None:
    """The default point is the variant itself; any other point is read back from the variant made of it."""
    for language in ("zh", "en"):
        for counts in ((500, 500), (980, 20)):
            profile = profile_of(case.task, counts, language)
            for variant in case.plugin.variants(spec_of(case.task), profile):
                space = space_of(case.plugin, variant, profile)
                if space is None:
                    continue
                assert Space.model_validate_json(space.model_dump_json()) == space
                assert space.read(variant) == space.default
                assert tuned_variant(variant, space, space.default) == variant
                assert any(len(parameter.marks) > 1 for parameter in space.parameters), "the grid is one point"
                _every_label(space)
                point = space.sample(np.random.default_rng(0))
                tuned = tuned_variant(variant, space, point)
                assert space.read(tuned) == point
                assert Variant.model_validate_json(tuned.model_dump_json()) == tuned


def _every_label(space: Space) -> None:
    for parameter in space.parameters:
        assert parameter.label.zh.strip()
        assert parameter.label.en.strip()


def sampled_points_build(case: Case, workshop: Workshop) -> None:
    """A random setting builds something that answers, or is refused with a reason."""
    if why := case.obstacle():
        pytest.skip(why)
    space = space_of(case.plugin, case.variant, profile_of(case.task, (560, 440)))
    if space is None:
        return  # the audit below asks for the excuse
    rng = np.random.default_rng(7)
    built = 0
    for _ in range(1 if case.variant.weights else 4):  # pretrained weights are slow to load; their ranges are narrow
        context = workshop.context(case, variant=tuned_variant(case.variant, space, space.sample(rng)))
        try:
            artifact = case.plugin.build(context)
        except StepError:
            continue
        predictor = opened(Built(artifact, context.out))
        rows = rows_of(case)[: 1 if case.format == "gguf-prompt" else 4]
        _valid(predictor.predict_proba(rows), len(rows), 2)
        predictor.close()
        built += 1
    assert built, "not one of the sampled settings could be built"


CHECKS: tuple[Check, ...] = (
    variants_are_plain_records,
    builds_a_pickle_free_artefact,
    leaves_hashes_and_rule_to_the_caller,
    some_runtime_loads_it,
    answers_malformed_rows,
    missing_means_missing,
    answers_do_not_depend_on_neighbours,
    no_rows_no_answers,
    rows_are_not_changed,
    same_seed_same_files,
    one_class_is_a_reason_not_a_crash,
    exports_agree,
    undeclared_exports_are_refused,
    compressed_still_answers,
    spaces_stand_around_listed_variants,
    sampled_points_build,
)
_IDS = [
    pytest.param(case, check, id=f"{case.id}.{case.task.split('-')[0]}:{check.__name__}")
    for case in cases()
    for check in CHECKS
]


@pytest.mark.parametrize(("case", "check"), _IDS)
def test_contract(case: Case, check: Check, workshop: Workshop) -> None:
    if excuse := case.plugin.traits.excuses.get(check.__name__):
        pytest.skip(f"excused: {excuse}")
    check(case, workshop)


@pytest.mark.parametrize("name", sorted(registry.plugins("models")))
def test_nothing_is_left_out_silently(name: str) -> None:
    """Each task and native format has a case; what a family cannot do carries a written excuse."""
    traits = registry.plugins("models")[name].traits
    seen = {(case.task, case.format) for case in cases() if case.family == name}
    assert {task for task, _ in seen} == set(traits.tasks) & set(TASKS)
    excused = {form for form in traits.formats if form in traits.excuses}
    assert {form for _, form in seen} | excused >= set(traits.formats)
    assert traits.exports or traits.excuses.get("export", "").strip(), "no exports: excuses['export'] must say why"
    for pass_name in registry.plugins("compression"):
        assert pass_name in traits.compressible or traits.excuses.get(pass_name, "").strip(), (
            f"{pass_name}: excuse or do"
        )
    tunable = hasattr(registry.plugins("models")[name], "space")
    assert tunable != bool(traits.excuses.get("space", "").strip()), (
        "space(): declare it, or excuses['space'] must say why not"
    )
    assert all(reason.strip() for reason in traits.excuses.values())
    assert traits.label.zh.strip()
    assert traits.label.en.strip()
