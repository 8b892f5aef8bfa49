"""The highest rate: against a queue that is simulated exactly, and against a real server of known capacity."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.evaluation.load import predicted_rate, queueing
from bakeoff.loadgen import null
from bakeoff.loadgen.client import Run
from bakeoff.loadgen.engine import Plan
from bakeoff.loadgen.judging import summarise
from bakeoff.loadgen.report import Summary
from bakeoff.loadgen.search import highest_rate
from bakeoff.loadgen.session import Asked, Session
from bakeoff.schema.errors import UserError

SERVICE = 0.005


class Queue:
    """One server with a constant service time, simulated with Lindley's recursion."""

    def __init__(self, limits: dict[str, float], late: int = 0) -> None:
        self.limits, self.late, self.asked = limits, late, list[float]()

    def __call__(self, rate: float, seconds: float, seed: int) -> Summary:
        self.asked.append(rate)
        n = max(1, round(rate * seconds))
        intended = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))
        latency = queueing(intended, np.full(n, SERVICE))
        lag = 0.0
        if self.late:
            self.late -= 1
            lag, latency = 1.0, latency + 1.0
        run = Run(
            request=np.zeros(n, np.int64), intended=intended, sent=intended + lag, done=intended + latency, status=np.full(n, 200),
            digest=np.zeros(n, np.int64), cpu=0.0, wall=float(intended[-1]), idle=float(intended[-1]), opened=1, crowded=0,
        )  # fmt: skip
        return summarise(run, Plan(host="h", port=1, rate=rate), "server", self.limits)


def test_it_finds_what_queueing_theory_predicts() -> None:
    limits = {"p95": 0.03}
    search, seen = highest_rate(Queue(limits), 1 / SERVICE, limits, 60.0)
    predicted = predicted_rate(np.full(1000, SERVICE), limits)
    assert seen is not None
    assert seen.kept
    assert search.rate.value == pytest.approx(predicted, rel=0.1)
    assert search.rate.low == search.rate.value
    assert search.rate.high is not None
    assert search.rate.value < search.rate.high <= 1 / SERVICE
    assert search.rate.n == seen.requests
    assert [one.verifies for one in search.probes].index(True) > 1


def test_a_start_far_too_low_or_far_too_high_ends_at_the_same_rate() -> None:
    limits = {"p95": 0.03}
    found = [highest_rate(Queue(limits), start, limits, 60.0)[0].rate.value for start in (20.0, 1500.0)]
    assert found[0] == pytest.approx(found[1], rel=0.15)


def test_a_limit_below_one_service_time_is_kept_at_no_rate() -> None:
    limits = {"p95": 0.004}
    search, seen = highest_rate(Queue(limits), 1 / SERVICE, limits, 5.0)
    assert seen is None
    assert (search.rate.value, search.rate.validity) == (None, "refused")
    assert "no rate" in search.rate.remark


def test_what_a_late_client_saw_is_tried_again() -> None:
    limits = {"p95": 0.03}
    late = Queue(limits, late=2)
    search, _ = highest_rate(late, 1 / SERVICE, limits, 60.0)
    assert late.asked[:3] == [late.asked[0]] * 3
    assert search.rate.value == pytest.approx(
        highest_rate(Queue(limits), 1 / SERVICE, limits, 60.0)[0].rate.value, rel=0.15
    )


@pytest.mark.slow
def test_a_real_server_of_known_service_time() -> None:
    with null.started("--service", "0.002") as url:
        asked = Asked(url=f"{url}/v1/predict", limits={"p95": 0.1}, seconds=1.0)
        tested = Session(asked, [b'{"texts":["x"]}']).test()
    assert tested.search is not None
    rate = tested.search.rate.value
    assert rate is not None, tested.search
    assert 150 < rate < 500  # no single server of 2 ms does more than 500/s; the machine may be shared
    assert tested.summary.rate == rate
    assert tested.summary.kept
    assert tested.log.intended.size == tested.summary.requests
    assert 0 < tested.floor.p50 < SERVICE


def test_without_a_limit_there_is_nothing_to_search_for() -> None:
    with null.started() as url, pytest.raises(UserError, match="latency limit"):
        Session(Asked(url=url, scenario="server", seconds=0.3), [b"{}"]).test()


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.0}, {"seconds": -1.0}, {"clients": 0}, {"rows_per_request": 0}, {"rate": 5.0, "scenario": "closed"}],
)
def test_impossible_wishes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Asked(url="http://h", **wrong)  # type: ignore[arg-type]
