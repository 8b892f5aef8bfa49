"""Probes are held against what became of them, figure by figure, without what a busy machine spoilt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bakeoff.decision.probed import probe_errors
from bakeoff.schema import Fidelity, Measurement, Spec, StepResult
from bakeoff.store.evidence import Evidence, StudyEvidence
from tests.search.test_costs import PROBE, candidate, row
from tests.search.worlds import profile

CONFIRM = Fidelity(fraction=1.0, split="confirm")
A, B, C = (candidate(f"linear.{name}.none.native") for name in "abc")


def timed(
    one: Any, p95: float, *, memory: float = 100.0, number: int | None = None, validity: str = "valid"
) -> StepResult:
    facts = {"purpose": "probe"} if number is None else {"purpose": "final", "round": number}
    latency = Measurement(name="latency_p95", value=p95, n=90, unit="s", validity=validity, remark="busy")  # type: ignore[arg-type]
    found = (latency, Measurement(name="memory", value=memory, unit="B"))
    return row(one, "time", 1.0, PROBE if number is None else CONFIRM, measurements=found, **facts)


def sized(one: Any, size: float, *, final: bool) -> StepResult:
    facts: dict[str, Any] = {"purpose": "final", "round": 0} if final else {"purpose": "probe"}
    return row(
        one,
        "load",
        1.0,
        CONFIRM if final else PROBE,
        measurements=(Measurement(name="size", value=size, unit="B"),),
        **facts,
    )


def evidence(*rows: StepResult) -> StudyEvidence:
    spec = Spec.model_validate({"name": "p", "task": "text-classification", "data": {"file": "x.csv", "target": "y"}})
    return StudyEvidence(spec, profile(), (A, B, C), (), tuple(Evidence(found) for found in rows))


def test_median_and_farthest_of_those_that_were_finished() -> None:
    rows = [timed(A, 0.010), timed(B, 0.010), timed(C, 0.010), *[timed(A, 0.011, number=n) for n in (0, 1, 2)],
            timed(B, 0.004, number=0), sized(A, 1000.0, final=False), sized(A, 5000.0, final=True)]  # fmt: skip
    found = {one.figure: one for one in probe_errors(evidence(*rows))}
    assert set(found) == {"latency_p95", "memory", "size"}
    latency = found["latency_p95"]
    assert latency.median == pytest.approx((1.1 + 0.4) / 2)
    assert (latency.worst, latency.candidate, latency.n) == (pytest.approx(0.4), B.id, 2)
    assert (found["size"].median, found["size"].n) == (5.0, 1)
    assert found["memory"].median == 1.0


def test_a_round_disturbed_by_others_is_left_out_and_the_median_round_counts() -> None:
    rows = [
        timed(A, 0.010),
        timed(A, 0.9, number=0, validity="noisy"),
        timed(A, 0.012, number=1),
        timed(A, 0.011, number=2),
        timed(A, 0.050, number=3),
    ]
    (latency, _) = probe_errors(evidence(*rows))
    assert latency.worst == pytest.approx(1.2)


def test_nothing_is_said_without_both_and_the_order_of_rows_does_not_matter() -> None:
    assert probe_errors(evidence(timed(A, 0.01), timed(B, 0.01, number=0))) == ()
    rows = [timed(A, 0.01), timed(B, 0.02), timed(A, 0.02, number=0), timed(B, 0.02, number=0)]
    one = evidence(*rows)
    assert probe_errors(one) == probe_errors(replace(one, results=one.results[::-1])) != ()


def test_failed_steps_say_nothing() -> None:
    failed = timed(A, 0.05, number=0).model_copy(update={"status": "failed"})
    assert probe_errors(evidence(timed(A, 0.01), failed)) == ()
