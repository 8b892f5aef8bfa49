"""Replicas of known speed: shared in proportion, taken out when they break, brought back when they answer again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest

from bakeoff.data.transforms.tabular import Table
from bakeoff.schema import StepError
from bakeoff.serving.router import Backend, Router
from bakeoff.serving.speed import Speed

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


class Flat(Timed):
    """An accelerator: so many seconds whatever the number of rows."""

    def __init__(self, seconds: float) -> None:
        super().__init__(0.0)
        self.flat = seconds
        self.sizes: list[int] = []

    def open(self) -> Flat:
        super().open()
        return self

    def predict_proba(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        self.sizes.append(len(rows))
        time.sleep(self.flat)
        return super().predict_proba(rows)


def _router(*replicas: Timed, **options: Any) -> Router:
    return Router([Backend(f"r{at}", one.open) for at, one in enumerate(replicas)], CANARY, piece=4, **options)


def _rows(count: int) -> list[dict[str, float]]:
    return [{"x": float(at)} for at in range(count)]


def test_a_curve_is_straight_between_what_was_measured() -> None:
    speed = Speed({1: 0.004, 16: 0.004, 32: 0.008}, 0.0)
    for rows, seconds in ((1, 0.004), (3, 0.004), (16, 0.004), (24, 0.006), (32, 0.008), (64, 0.016)):
        assert speed.of(rows, 0.0, 0.0) == pytest.approx(seconds), rows
    assert speed.best == pytest.approx(4000)


def test_what_real_rows_take_is_expected_of_every_size() -> None:
    """Real rows take ten times as long; many pieces of one size say so, of any other, too."""
    speed = Speed({1: 0.002, 16: 0.004}, 0.0)
    for _ in range(40):
        speed.learn(1, 0.02, 0.0, speed.height)
    assert speed.of(1, 0.0, speed.height) == pytest.approx(0.02, rel=0.01)
    assert speed.of(16, 0.0, speed.height) == pytest.approx(0.04, rel=0.01)
    assert speed.best == pytest.approx(400, rel=0.01)


def test_one_piece_that_was_held_up_does_not_decide_and_is_forgotten() -> None:
    speed = Speed({1: 0.002, 16: 0.004}, 0.0)
    speed.learn(16, 0.4, 0.0, 0.0)
    assert 0.004 < speed.of(16, 0.0, 0.0) < 0.02, "not a hundred times as long"
    for _ in range(40):
        speed.learn(16, 0.4, 0.0, 0.0)
    assert speed.of(16, 0.0, 0.0) == pytest.approx(0.4, rel=0.01), "that many decide"
    assert speed.of(16, 60.0, 0.0) < 0.006, "a minute without a piece: as usual"
    speed.learn(16, 0.004, 60.0, 0.0)
    assert speed.of(16, 60.0, 0.0) < 0.005


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


def test_an_accelerator_takes_many_rows_at_once_and_a_processor_what_it_gains_from() -> None:
    slow, flat = Timed(0.01), Flat(0.01)
    with closing(_router(slow, flat)) as router:
        assert [replica["batch"] for replica in router.status()] == [4, 256]
        flat.sizes.clear()
        slow.rows = 0
        np.testing.assert_array_equal(router.predict_proba(_rows(200))[:, 0], np.arange(200))
        assert flat.sizes == [200], "as few calls as possible"
        assert slow.rows == 0, "four rows there take longer than all of them at once"


def test_pieces_that_another_would_be_done_with_sooner_are_left_to_it() -> None:
    """Both gain from many rows at once, but not for nothing: of 16 pieces each would take all, were it alone."""
    first, second = Flat(0.01), Flat(0.01)
    first.seconds = second.seconds = 0.0005
    with closing(_router(first, second)) as router:
        assert all(replica["batch"] >= 32 for replica in router.status())
        first.rows = second.rows = 0
        router.predict_proba(_rows(32))
        assert first.rows + second.rows == 32
        assert min(first.rows, second.rows) >= 4


def test_tables_of_numbers_stay_tables() -> None:
    """What takes a table whole tells numbers that are too large from those that are missing; row by row they would look alike."""
    seen: list[Any] = []

    class Watching(Flat):
        def predict_proba(self, rows: Any) -> np.ndarray:
            seen.append(rows)
            return super().predict_proba(rows)

    flat = Watching(0.01)
    with closing(_router(flat)) as router:
        seen.clear()
        table = Table(("x",), np.arange(40.0)[:, None])
        np.testing.assert_array_equal(router.predict_proba(table)[:, 0], np.arange(40))
        assert [(type(one), len(one)) for one in seen] == [(Table, 40)]
        seen.clear()
        with _held(flat, router), ThreadPoolExecutor(3) as pool:
            found = [pool.submit(router.predict_proba, rows) for rows in (table[:3], _rows(3), table[4:7])]
            _wait_for(lambda: len(router._queue) == 3)
            flat.hold.set()
            assert [one.result(20)[0, 0] for one in found] == [0.0, 0.0, 4.0]
    assert {(type(one), len(one)) for one in seen[1:]} <= {(Table, 3), (Table, 6), (list, 3)}


def _wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def _held(replica: Timed, router: Router) -> Iterator[None]:
    """Keep the replica at one row, so that what is asked meanwhile queues; ``hold.set()`` lets it go."""
    replica.hold.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(router.predict_proba, [{"x": 100.0}])
        _wait_for(lambda: any(one.running for one in router._replicas))
        try:
            yield
        finally:
            replica.hold.set()
        assert first.result(20)[0, 0] == 100.0


def test_rows_that_fail_a_joined_batch_fail_alone() -> None:
    flat = Flat(0.01)
    with closing(_router(flat)) as router, ThreadPoolExecutor(8) as pool:
        with _held(flat, router):
            flat.sizes.clear()
            good = [pool.submit(router.predict_proba, [{"x": float(at)}]) for at in range(7)]
            bad = pool.submit(router.predict_proba, [{"x": -1.0}])
            _wait_for(lambda: len(router._queue) == 8)
            flat.hold.set()
            assert [one.result(20)[0, 0] for one in good] == list(range(7))
            with pytest.raises(ValueError, match="negative"):
                bad.result(20)
        assert router.status()[0]["losses"] == 0
        assert max(flat.sizes) == 8, "they were computed at once before they were computed alone"


def test_what_failed_together_while_the_router_closed_is_not_left_waiting() -> None:
    class Late(Flat):
        """Answers the canary, by which it shows that the rows are to blame, when the router was closed."""

        asked, over = threading.Event(), threading.Event()

        def predict_proba(self, rows: Any) -> np.ndarray:
            if 0.0 in [row["x"] for row in rows] and self.sizes.count(2):
                self.asked.set()
                self.over.wait(20)
            return super().predict_proba(rows)

    late = Late(0.01)
    router = _router(late)
    with ThreadPoolExecutor(3) as pool:
        with _held(late, router):
            late.sizes.clear()
            found = [pool.submit(router.predict_proba, [{"x": value}]) for value in (1.0, -1.0)]
            _wait_for(lambda: len(router._queue) == 2)
        assert late.asked.wait(20)
        closing_ = pool.submit(router.close)
        _wait_for(lambda: router._closed)
        late.over.set()
        for one in found:
            with pytest.raises(StepError, match="router was closed"):
                one.result(20)
        closing_.result(20)


def test_an_answer_of_another_size_is_an_error() -> None:
    class Short(Timed):
        def predict_proba(self, rows: Any) -> np.ndarray:
            return super().predict_proba(rows)[: 1 if len(rows) == 3 else None]

    with closing(_router(Short(0.001))) as router, pytest.raises(StepError, match="another number of rows"):
        router.predict_proba(_rows(3))


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


def test_replicas_that_nobody_named_may_stay_away_but_not_all() -> None:
    good, bad = Timed(0.0), Timed(0.0)
    bad.broken = True
    with closing(_router(bad, good, optional=True)) as router:
        assert [replica["name"] for replica in router.status()] == ["r1"]
        assert router.concurrency == 2
        assert good.opened == 1, "opened once"
        assert router.predict_proba(_rows(3)).shape == (3, 2)
    with pytest.raises(StepError, match="no replica starts") as caught:
        _router(bad, optional=True)
    assert caught.value.code == "unavailable"


def test_a_closed_router_says_so() -> None:
    router = _router(Timed(0.0))
    router.close()
    with pytest.raises(StepError, match="closed"):
        router.predict_proba(_rows(1))
