"""VALID and INVALID on runs whose truth is known."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest

from bakeoff.loadgen.client import Run
from bakeoff.loadgen.engine import Plan
from bakeoff.loadgen.gate import _labels, _throughput
from bakeoff.loadgen.judging import measured, summarise
from bakeoff.loadgen.report import Floor, LoadReport, Scenario, Summary
from bakeoff.loadgen.session import remarks
from bakeoff.loadgen.text import text
from tests.loadgen.labels import Labels

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


def report(main: Summary) -> LoadReport:
    lowest = Floor(requests=9, rate=1000.0 if main.rate else None, p50=1e-4, p99=None, client_cpu=1e-5)
    return LoadReport(target="t", rows="null", main=main, floor=lowest)


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


@pytest.mark.parametrize(
    ("scenario", "few", "figure", "enough"), [("single-stream", 43, "p90", 44), ("multi-stream", 400, "p99", 459)]
)
def test_a_scenario_is_valid_only_with_its_own_figure(scenario: Scenario, few: int, figure: str, enough: int) -> None:
    def seen(n: int) -> Summary:
        return summarise(log(n), Plan(host="h", port=1), scenario, {})

    assert seen(few).verdict == "INVALID"
    assert f"{figure} needs at least {enough} answers" in advice(seen(few))
    assert seen(enough).verdict == "VALID"
    stated = {one.name: one.value for one in seen(enough).latency}
    assert stated[f"latency_{figure}"] is not None


def test_the_first_line_says_that_a_limit_is_broken_or_the_queue_grew() -> None:
    slow = judged(log(latency=5.0), {"p95": 0.05})
    assert slow.verdict == "VALID", "a good measurement of a server that is too slow"
    assert text(report(slow)).startswith("VALID, limit broken (p95): t (server")
    assert text(report(slow), "zh").startswith("有效，打破上限（p95）：t")
    growing = judged(log(done=np.arange(N) / 100.0 + np.linspace(0.0, 5.0, N)))
    assert text(report(growing)).startswith("VALID, the queue grew: t")
    assert text(report(judged(log(), {"p95": 0.02}))).startswith("VALID: t")
    late = judged(log(latency=0.05, lag=0.03), {"p95": 0.02})
    assert text(report(late)).startswith("INVALID: t"), "a late client's broken limit says nothing of the server"


def test_a_closed_loop_that_is_turned_away_measures_nothing_that_was_asked() -> None:
    status = np.full(N, 503)
    status[:30] = 200
    found = judged(log(status=status), rate=None)
    assert found.verdict == "INVALID"
    assert "970 of 1000 requests were shed" in advice(found)
    assert judged(log(status=np.where(np.arange(N) < 30, 503, 200)), rate=None).verdict == "VALID"
    assert "shed" in advice(judged(log(status=np.full(N, 429)), rate=None))


def test_shed_requests_of_a_run_that_counts_are_remarked_on() -> None:
    def said(summary: Summary) -> str:
        return " ".join(one.en for one in remarks(summary, made_up=False, local=False, tls=False))

    status = np.full(N, 200)
    status[::50] = 503
    assert "20/1000 requests were shed" in said(judged(log(status=status)))
    assert "shed" not in said(judged(log()))


def test_the_report_says_how_the_client_itself_was_measured() -> None:
    assert "null server, 9 requests, 1000/s" in text(report(judged(log())))
    assert "null server, 9 requests, one at a time" in text(report(judged(log(), rate=None)))


def answered(n: int, labels: dict[int, str] | None = None, **changes: Any) -> Run:
    """Return a run in which row i was answered with the label "a", or with what ``labels`` says."""
    bodies = [json.dumps({"predictions": [{"label": (labels or {}).get(row, "a")}]}).encode() for row in range(n)]
    digests = np.array([zlib.crc32(body) for body in bodies], np.int64)
    kept = {(row, int(digest)): body for row, (digest, body) in enumerate(zip(digests, bodies, strict=True))}
    return log(n, digest=digests, bodies=kept, **changes)


def test_rows_that_were_not_sent_are_no_wrong_labels() -> None:
    """A slow model shows as many rows as there is time for, and says how many; a handful is not enough."""
    some = _labels(answered(100), Labels(["a"] * 500))
    assert (some.rows, some.same, some.reasons) == (100, 100, ())
    few = _labels(answered(47), Labels(["a"] * 100))
    assert (few.rows, few.same) == (47, 47)
    assert [one.en for one in few.reasons] == [
        "47 contract rows were answered within 0 s, and 90 have to be compared; raise --seconds"
    ]
    assert _labels(answered(20), Labels(["a"] * 20)).reasons == (), "there are no more of them"


def test_a_row_without_an_answer_is_no_wrong_label_and_another_label_is() -> None:
    status = np.full(200, 200)
    status[7] = -3
    assert _labels(answered(200, {7: "b"}, status=status), Labels(["a"] * 200)).same == 199
    wrong = _labels(answered(200, {7: "b"}), Labels(["a"] * 200))
    assert (wrong.rows, wrong.same) == (200, 199)
    assert [one.en for one in wrong.reasons] == ["1 contract rows did not get the trial's label"]


@pytest.mark.parametrize("code", [-1, -3, 401, 422, 500])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_requests_that_failed_break_no_promise_of_throughput(code: int, share: float) -> None:
    """Nobody listened, or the key was wrong: what the server does with a request that it takes is not known by that."""
    status = np.where(np.arange(N) < share * N, code, 200)
    found = judged(log(status=status), {"p95": 0.02})
    assert (found.verdict, found.sustained) == ("INVALID", True)
    assert _throughput(found, 100.0).verdict == "refused"
    shed = judged(log(status=np.where(np.arange(N) < share * N, 503, 200)), {"p95": 0.02})
    assert _throughput(shed, 100.0).verdict == "broken", "the server itself says that it does not keep up"


def test_a_late_client_breaks_no_promise_of_throughput() -> None:
    late = judged(log(latency=0.05, lag=0.03), {"p95": 0.02})
    assert _throughput(late, 100.0).verdict == "refused"
    assert _throughput(judged(log(latency=0.05), {"p95": 0.02}), 100.0).verdict == "broken"
