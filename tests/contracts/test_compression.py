"""The contract of a compression pass, checked for every pass and every format it is used on: ``pass.family:check``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bakeoff import registry
from bakeoff.compression.base import CompressContext
from bakeoff.schema import Artifact, InputColumn, StepError
from tests.contracts._cases import Case, Workshop, cases, contents, examples, opened, rows_of


def _pairs() -> list[tuple[str, Case]]:
    """One case per pass and native format; the families' own suite compresses every family."""
    found: dict[tuple[str, str], tuple[str, Case]] = {}
    for name in registry.plugins("compression"):
        for case in cases():
            traits = case.plugin.traits
            if name in traits.compressible and f"{case.variant.name}:{name}" not in traits.excuses:
                found.setdefault((name, case.format), (name, case))
    return list(found.values())


def _source(name: str, case: Case, workshop: Workshop) -> tuple[Artifact, int]:
    consumes = registry.plugin("compression", name).traits.consumes
    built = workshop.native(case) if case.format in consumes else workshop.exported(case, consumes[0])
    return built.artifact, sum(len(body) for _, body in contents(built.directory))


def keeps_what_the_artefact_is(name: str, case: Case, workshop: Workshop) -> None:
    before, _ = _source(name, case, workshop)
    after = workshop.compressed(case, name).artifact
    assert after.format == registry.plugin("compression", name).traits.produces
    assert (after.task, after.classes, after.inputs) == (before.task, before.classes, before.inputs)
    assert after.transform == before.transform
    assert after.licences == before.licences
    assert after.files == ()


def makes_it_smaller(name: str, case: Case, workshop: Workshop) -> None:
    _, before = _source(name, case, workshop)
    assert sum(len(body) for _, body in contents(workshop.compressed(case, name).directory)) < 0.6 * before


def leaves_the_source_alone(name: str, case: Case, workshop: Workshop) -> None:
    consumes = registry.plugin("compression", name).traits.consumes
    built = workshop.native(case) if case.format in consumes else workshop.exported(case, consumes[0])
    before = {path: path.stat().st_mtime_ns for path in built.directory.rglob("*")}
    out = workshop.place()
    rows = examples(case.task, 8, 4).rows  # those the workshop compresses with
    registry.plugin("compression", name).apply(CompressContext(built.artifact, built.directory, out, rows, threads=1))
    assert {path: path.stat().st_mtime_ns for path in built.directory.rglob("*")} == before
    again = dict(contents(out))
    assert again == dict(contents(workshop.compressed(case, name).directory)), "the same input must give the same files"


def answers_do_not_depend_on_neighbours(name: str, case: Case, workshop: Workshop) -> None:
    predictor = opened(workshop.compressed(case, name))
    rows = rows_of(case)[:6]
    together = predictor.predict_proba(rows)
    alone = np.vstack([predictor.predict_proba([row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    predictor.close()


CHECKS: tuple[Callable[[str, Case, Workshop], None], ...] = (
    keeps_what_the_artefact_is,
    makes_it_smaller,
    leaves_the_source_alone,
    answers_do_not_depend_on_neighbours,
)


@pytest.mark.parametrize(
    ("name", "case", "check"),
    [
        pytest.param(name, case, check, id=f"{name}.{case.id}:{check.__name__}")
        for name, case in _pairs()
        for check in CHECKS
    ],
)
def test_contract(name: str, case: Case, check: Callable[[str, Case, Workshop], None], workshop: Workshop) -> None:
    check(name, case, workshop)


@pytest.mark.parametrize("name", sorted(registry.plugins("compression")))
def test_other_formats_are_refused(name: str, workshop: Workshop) -> None:
    artifact = Artifact(
        format="stone-tablet",
        task="text-classification",
        classes=("a", "b"),
        inputs=(InputColumn(name="text", kind="text"),),
    )
    with pytest.raises(StepError) as caught:
        registry.plugin("compression", name).apply(
            CompressContext(artifact, workshop.place(), workshop.place(), [], threads=1)
        )
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize("name", sorted(registry.plugins("compression")))
def test_every_pass_is_used_and_leads_somewhere(name: str) -> None:
    traits = registry.plugin("compression", name).traits
    assert traits.label.zh.strip()
    assert traits.label.en.strip()
    assert any(traits.produces in runtime.traits.loads for runtime in registry.plugins("runtimes").values())
    assert any(name in family.traits.compressible for family in registry.plugins("models").values())
    makes = {
        form
        for family in registry.plugins("models").values()
        for form in (*family.traits.formats, *family.traits.exports)
    }
    assert set(traits.consumes) & makes
