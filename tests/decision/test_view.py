"""What the decision reads from a ledger: best evidence per candidate, whatever the order of rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bakeoff.decision.view import View, risk_findings, views
from bakeoff.schema import Failure, Finding, Measurement, Words
from bakeoff.store.evidence import Evidence, StudyEvidence
from tests.decision.worlds import CHAR, E5, LLM, Stack, make_world, reviews


def _view(evidence: StudyEvidence, name: str) -> View:
    return next(view for view in views(evidence) if view.id == name)


def _with(evidence: StudyEvidence, results: list[Evidence]) -> StudyEvidence:
    return dataclasses.replace(evidence, results=tuple(results))


def test_final_outcomes_come_before_those_on_select() -> None:
    seen = _view(reviews(), CHAR.id)
    assert seen.final
    assert seen.judged is not None
    assert seen.judged.fidelity.split == "confirm"
    assert seen.judged.n == 2000
    assert seen.stage == "final"
    assert [found.fidelity.fraction for found in seen.selects if found.fidelity.seed == 0] != []
    assert len(seen.rounds) == 4


def test_largest_share_of_training_rows_counts_before_the_final() -> None:
    evidence = make_world([dataclasses.replace(CHAR, final=False)])
    seen = _view(evidence, CHAR.id)
    assert seen.judged is not None
    assert seen.judged.fidelity.fraction == 1.0
    assert seen.stage == "rung 2"


def test_probe_times_a_candidate_that_never_reached_the_final() -> None:
    seen = _view(reviews(), LLM.id)
    assert len(seen.rounds) == 1
    assert seen.latency.size == 12
    assert seen.elimination is not None


def test_costs_of_the_build_follow_the_inputs() -> None:
    assert _view(reviews(), E5.id).train_seconds == 900.0


def test_order_of_the_ledger_does_not_matter() -> None:
    evidence = reviews()
    mixed = _with(evidence, [evidence.results[i] for i in np.random.default_rng(1).permutation(len(evidence.results))])
    for ours, theirs in zip(views(evidence), views(mixed), strict=True):
        assert ours.id == theirs.id
        assert ours.measurements == theirs.measurements
        assert np.array_equal(ours.latency, theirs.latency)
        assert (ours.judged is None) == (theirs.judged is None)


def test_rows_inside_an_array_are_sorted_by_number() -> None:
    evidence = make_world([CHAR])
    rows = []
    for row in evidence.results:
        arrays = row.arrays
        if row.result.kind == "predict":
            order = np.random.default_rng(2).permutation(len(arrays["indices"]))
            arrays = {name: values[order] for name, values in arrays.items()}
        rows.append(Evidence(row.result, arrays))
    ours, theirs = _view(evidence, CHAR.id).judged, _view(_with(evidence, rows), CHAR.id).judged
    assert ours is not None
    assert theirs is not None
    assert np.array_equal(ours.indices, theirs.indices)
    assert np.array_equal(ours.predicted, theirs.predicted)


def test_quiet_rounds_alone_count_when_there_are_two() -> None:
    evidence = make_world([CHAR])
    rows, noisy = [], 0
    for row in evidence.results:
        found = row
        if row.result.kind == "time" and noisy < 2:
            noisy += 1
            slow = Measurement(name="latency_p95", value=9.0, unit="s", validity="noisy")
            found = Evidence(row.result.model_copy(update={"measurements": (slow,)}), row.arrays)
        rows.append(found)
    seen = _view(_with(evidence, rows), CHAR.id)
    assert len(seen.rounds) == 2
    assert not seen.noisy


def test_retryable_failures_are_no_failures() -> None:
    evidence = make_world([Stack("linear.char.none.native", failure="killed", final=False, rungs=(), timed=False)])
    assert _view(evidence, CHAR.id).failure is not None
    rows = [
        Evidence(row.result.model_copy(update={"failure": Failure(code="interrupted", reason="killed")}), row.arrays)
        for row in evidence.results
    ]
    assert _view(_with(evidence, rows), CHAR.id).failure is None


@pytest.mark.parametrize("candidate", [CHAR.id, None])
def test_risks_of_the_candidate_and_of_the_data(candidate: str | None) -> None:
    same = Words(zh="同", en="same")

    def finding(check: str, owner: str | None, status: str) -> Finding:
        return Finding(
            check=check, title=same, status=status, observed=same, mitigation=same, residual=same, candidate=owner
        )

    evidence = make_world([CHAR, E5])
    first = evidence.results[0]
    found = (
        finding("a", CHAR.id, "ok"),
        finding("b", E5.id, "fail"),
        finding("c", None, "warn"),
        finding("d", CHAR.id, "fail"),
    )
    row = Evidence(first.result.model_copy(update={"kind": "risk", "key": "risk", "findings": found}), {})
    seen = [item.check for item in risk_findings(_with(evidence, [*evidence.results, row]), candidate)]
    assert seen == (["d", "a", "c"] if candidate else ["c"])
