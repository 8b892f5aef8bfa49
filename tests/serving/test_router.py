"""Replicas of known speed: shared in proportion, taken out when they break, brought back when they answer again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from bakeoff.schema import StepError
from bakeoff.serving.router import Backend, Router

CANARY = [{"x": 0.0}]


class Timed:
    """Answers with the row's number, at a known number of seconds a row; breaks on command."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.broken, self.rows, self.opened, self.closed = seconds, False, 0, 0, 0
        self.hold = threading.Event()
        self.hold.set()

    def open(self) -> Timed:
        if self.broken:
            what = "it does not open"
            raise StepError("unavailable", what)
        self.opened += 1
        return self

    def predict_proba(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        self.hold.wait(30)
        time.sleep(self.seconds * len(rows))
        if self.broken:
            what = "it is broken"
            raise RuntimeError(what)
        if any(row["x"] < 0 for row in rows):
            what = "no negative numbers"
            raise ValueError(what)
        self.rows += len(rows)
        return np.array([[row["x"], 1.0] for row in rows])

    def close(self) -> None:
        self.closed += 1


def _router(*replicas: Timed, **options: Any) -> Router:
    return Router([Backend(f"r{at}", one.open) for at, one in enumerate(replicas)], CANARY, piece=4, **options)


def _rows(count: int) -> list[dict[str, float]]:
    return [{"x": float(at)} for at in range(count)]


def test_work_is_shared_in_proportion_to_speed() -> None:
    slow, fast = Timed(0.006), Timed(0.002)
    with closing(_router(slow, fast)) as router:
        found = router.predict_proba(_rows(400))
        shares = [replica["share"] for replica in router.status()]
        speeds = [replica["rows_per_second"] for replica in router.status()]
    np.testing.assert_array_equal(found[:, 0], np.arange(400))
    assert 0.15 <= shares[0] <= 0.35, "a quarter: it needs three times as long"
    assert 2.0 <= speeds[1] / speeds[0] <= 4.0


def test_a_slow_replica_does_not_hold_up_the_last_piece() -> None:
    """Ten times slower: one piece there takes longer than all of them on the other."""
    slow, fast = Timed(0.05), Timed(0.001)
    with closing(_router(slow, fast)) as router:
        before = slow.rows
        router.predict_proba(_rows(40))
        assert slow.rows == before


def test_many_callers_get_their_own_answers() -> None:
    with closing(_router(Timed(0.0005), Timed(0.0001))) as router, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: router.predict_proba([{"x": float(at + k)} for k in range(7)]), range(50)))
    for at, one in enumerate(found):
        np.testing.assert_array_equal(one[:, 0], np.arange(at, at + 7))


def test_a_broken_replica_is_taken_out_and_comes_back() -> None:
    first, second = Timed(0.001), Timed(0.001)
    with closing(_router(first, second)) as router:
        first.broken = True
        found = router.predict_proba(_rows(100))
        np.testing.assert_array_equal(found[:, 0], np.arange(100))
        assert [replica["alive"] for replica in router.status()] == [False, True]
        assert first.closed == 1
        served = first.rows
        first.broken = False
        end = time.monotonic() + 20
        while not router.status()[0]["alive"]:
            assert time.monotonic() < end
            time.sleep(0.01)
        router.predict_proba(_rows(100))
        assert first.rows > served + 20
        assert first.opened == 2


def test_rows_to_blame_do_not_cost_a_replica() -> None:
    with closing(_router(Timed(0.0), Timed(0.0))) as router:
        with pytest.raises(ValueError, match="negative"):
            router.predict_proba([{"x": -1.0}])
        assert all(replica["alive"] for replica in router.status())
        assert router.predict_proba(_rows(3)).shape == (3, 2)


def test_what_waits_while_every_replica_is_out_is_answered_when_one_returns() -> None:
    only = Timed(0.0)
    with closing(_router(only)) as router, ThreadPoolExecutor(1) as pool:
        only.broken = True
        waiting = pool.submit(router.predict_proba, _rows(4))
        end = time.monotonic() + 20
        while router.status()[0]["alive"]:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not waiting.done()
        only.broken = False
        np.testing.assert_array_equal(waiting.result(20)[:, 0], np.arange(4))


def test_nobody_waits_for_ever_when_every_replica_is_out() -> None:
    only = Timed(0.0)
    with closing(_router(only, patience=0.3)) as router:
        only.broken = True
        with pytest.raises((StepError, RuntimeError)):
            router.predict_proba(_rows(4))
        with pytest.raises(StepError, match="every replica is out") as caught:
            router.predict_proba(_rows(4))
        assert caught.value.code == "crash"


def test_a_replica_that_is_late_is_passed_by() -> None:
    first, second = Timed(0.001), Timed(0.004)
    with closing(_router(first, second)) as router, ThreadPoolExecutor(2) as pool:
        first.hold.clear()
        held = pool.submit(router.predict_proba, _rows(4))
        time.sleep(0.1)
        assert router.predict_proba(_rows(4)).shape == (4, 2), "the slower one takes it: the faster one is overdue"
        first.hold.set()
        assert held.result(20).shape == (4, 2)


def test_a_replica_that_does_not_open_at_the_start_is_an_error_and_the_others_are_closed() -> None:
    good, bad = Timed(0.0), Timed(0.0)
    bad.broken = True
    with pytest.raises(StepError, match="does not open"):
        _router(good, bad)
    assert good.closed == 1


def test_a_closed_router_says_so() -> None:
    router = _router(Timed(0.0))
    router.close()
    with pytest.raises(StepError, match="closed"):
        router.predict_proba(_rows(1))
