"""VALID and INVALID on runs whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bakeoff.loadgen.client import Run
from bakeoff.loadgen.engine import Plan
from bakeoff.loadgen.judging import measured, summarise
from bakeoff.loadgen.report import Summary

N = 1000


def log(n: int = N, latency: float = 0.01, lag: float = 0.0, rate: float = 100.0, **changes: Any) -> Run:
    """Return a run of evenly spaced requests."""
    intended = np.arange(n) / rate
    arrays: dict[str, Any] = {
        "request": np.arange(n), "intended": intended, "sent": intended + lag, "done": intended + latency,
        "status": np.full(n, 200), "digest": np.zeros(n, np.int64), "cpu": 0.01, "wall": n / rate, "idle": n / rate, "opened": 1, "crowded": 0,
    }  # fmt: skip
    return Run(**{**arrays, **changes})


def judged(run: Run, limits: dict[str, float] | None = None, rate: float | None = 100.0) -> Summary:
    plan = Plan(host="h", port=1, rate=rate, connections=512)
    return summarise(run, plan, "server" if rate else "closed", limits or {})


def advice(summary: Summary) -> str:
    return " ".join(one.en for one in summary.advice)


def test_a_good_run_is_valid() -> None:
    found = judged(log(), {"p95": 0.02})
    assert (found.verdict, found.sustained, found.late, found.kept) == ("VALID", True, False, True)
    assert found.limits[0].verdict == "kept"
    assert found.achieved == pytest.approx(100.0)


@pytest.mark.parametrize(("name", "enough"), [("p50", 7), ("p90", 44), ("p95", 90), ("p99", 459), ("p999", 4603)])
def test_a_percentile_is_refused_until_the_sample_carries_it(name: str, enough: int) -> None:
    values = np.linspace(0.01, 0.02, enough)
    assert measured(name, values).value is not None
    refused = measured(name, values[1:])
    assert (refused.value, refused.validity) == (None, "refused")
    assert f"at least {enough}" in refused.remark
    assert "1 are missing" in refused.remark


def test_too_few_for_the_limited_percentile_is_invalid_and_says_how_long() -> None:
    found = judged(log(100), {"p99": 0.02})
    assert found.verdict == "INVALID"
    assert "p99 needs at least 459 answers, 100 came: 359 are missing" in advice(found)
    assert "--seconds 5" in advice(found)  # a second made a hundred
    assert judged(log(100), {"p95": 0.02}).verdict == "VALID"


def test_a_few_requests_can_prove_a_limit_broken() -> None:
    found = judged(log(100, latency=0.5), {"p99": 0.02}, rate=None)
    assert (found.verdict, found.limits[0].verdict) == ("VALID", "broken")


def test_shed_requests_are_no_failures_but_later_than_any_limit() -> None:
    status = np.full(N, 200)
    status[::10] = 503
    found = judged(log(status=status), {"p95": 0.02})
    assert (found.verdict, found.shed, found.failed) == ("VALID", 100, {})
    assert found.limits[0].verdict == "broken"
    assert not found.kept
    assert found.latency[0].n == 900  # percentiles speak of answers


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-1, "nobody listens"),
        (-2, "closed connections"),
        (-3, "no answer in time"),
        (-4, "not HTTP"),
        (500, "(500)"),
        (401, "(401)"),
    ],
)
def test_a_failure_makes_a_run_invalid_and_names_it(code: int, said: str) -> None:
    status = np.full(N, 200)
    status[5] = code
    found = judged(log(status=status), {"p95": 0.02})
    assert found.verdict == "INVALID"
    assert "1 requests failed" in advice(found)
    assert said in advice(found)
    assert not found.kept


def test_a_server_that_never_answers_gives_one_clear_advice() -> None:
    found = judged(log(status=np.full(N, -1)), {"p95": 0.02})
    assert "not one request was answered" in advice(found)
    assert "too few" not in advice(found)


def test_a_late_client_spoils_a_broken_limit_but_not_a_kept_one() -> None:
    slow = judged(log(latency=0.05, lag=0.03), {"p95": 0.02})
    assert (slow.late, slow.verdict) == (True, "INVALID")
    assert "could not keep up" in advice(slow)
    kept = judged(log(latency=0.015, lag=0.01), {"p95": 0.02})
    assert (kept.late, kept.verdict, kept.kept) == (False, "VALID", True)
    unlimited = judged(log(latency=0.05, lag=0.03))
    assert unlimited.late


def test_being_late_because_every_connection_was_taken_is_the_servers_doing() -> None:
    found = judged(log(latency=0.05, lag=0.03, crowded=3), {"p95": 0.02})
    assert not found.late


def test_a_client_that_never_sleeps_measures_itself() -> None:
    assert "bottleneck" in advice(judged(log(idle=0.1)))


def test_a_growing_queue_is_not_sustained_though_each_answer_came() -> None:
    waiting = np.linspace(0.0, 5.0, N)
    intended = np.arange(N) / 100.0
    found = judged(log(done=intended + waiting))
    assert not found.sustained
    assert judged(log(latency=0.3)).sustained  # long but steady
    assert judged(log(done=intended + waiting), rate=None).sustained  # a closed loop cannot fall behind


def test_a_limit_inside_the_interval_cannot_be_told() -> None:
    random = np.random.default_rng(0)
    values = random.exponential(0.01, N)
    limit = float(np.quantile(values, 0.95))
    found = judged(log(done=np.arange(N) / 100.0 + values), {"p95": limit})
    assert found.limits[0].verdict == "refused"
    assert not found.kept
