"""The bars of the serving benchmarks: what was not measured is not met, and what went wrong counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from bakeoff.loadgen.client import Run
from benchmarks import _overload, fault, fuzz, serve
from benchmarks._clients import labels, longest_gap, once_answered, probe, wrong
from benchmarks._overload import Loaded
from benchmarks._serve_load import same


def run(done: Any, status: Any = 200, **changes: Any) -> Run:
    """Return a log of answers at these moments [s], each sent 10 ms before; the body of request i says label ci."""
    done = np.asarray(done, np.float64)
    count = len(done)
    arrays: dict[str, Any] = {
        "request": np.arange(count), "intended": done - 0.01, "sent": done - 0.01, "done": done,
        "status": np.broadcast_to(np.asarray(status), count), "digest": np.arange(count) + 1, "cpu": 0.01, "wall": 4.0, "idle": 0.0,
        "opened": 1, "crowded": 0, "bodies": {(at, at + 1): said(f"c{at}") for at in range(count)},
    }  # fmt: skip
    return Run(**{**arrays, **changes})


def said(label: str) -> bytes:
    return json.dumps({"predictions": [{"label": label}]}).encode()


# ---------------------------------------------------------------------------------------------------------------- kill


def test_a_server_that_never_answers_again_has_a_gap_to_the_end() -> None:
    assert longest_gap(run(np.arange(0.1, 4.0, 0.1)), 4.0) == pytest.approx(0.1)
    assert longest_gap(run([0.1, 0.2, 1.5]), 4.0) == pytest.approx(2.5)
    failed = [200, 200, -2, -2, 200]
    assert longest_gap(run([0.1, 0.2, 0.3, 3.0, 3.9], failed), 4.0) == pytest.approx(3.7)
    assert longest_gap(run([0.1, 0.2], -1), 4.0) == 4.0


def test_an_answer_that_nothing_is_known_of_is_wrong() -> None:
    truth = labels(run([0.1, 0.2, 0.3]))
    assert truth == {0: "c0", 1: "c1", 2: "c2"}
    assert wrong(run([0.1, 0.2, 0.3]), truth) == 0
    assert wrong(run([0.1, 0.2, 0.3, 0.4]), truth) == 1  # the fourth row was never asked before
    assert wrong(run([0.1, 0.2], bodies={(0, 1): said("c0"), (1, 2): said("c7")}), truth) == 1
    assert wrong(run([0.1, 0.2], bodies={(0, 1): said("c0")}), truth) == 1  # its body was not kept
    assert wrong(run([0.1, 0.2], bodies={(0, 1): said("c0"), (1, 2): b'{"other": 1}'}), truth) == 1
    assert wrong(run([0.1, 0.2], [200, 503]), {0: "c0"}) == 0  # failed, which is counted elsewhere


def kills(**changes: Any) -> dict[str, bool]:
    row = {"longest_gap_s": 0.2, "wrong": 0, "failed": 0, "requests": 900, "rounds": 3, "replaced": 3}
    return fault.met({"kill": row | changes})


def test_a_kill_must_have_hit_the_process_that_computes_and_no_other() -> None:
    assert all(kills().values())
    for changes in (
        {"replaced": 2},
        {"replaced": 4},
        {"wrong": 1},
        {"failed": 1},
        {"requests": 0},
        {"longest_gap_s": 1.1},
    ):
        assert sum(kills(**changes).values()) == 2, changes


# ------------------------------------------------------------------------------------------------------------- sigterm


def test_a_round_without_a_load_shows_nothing() -> None:
    status = np.where(np.arange(100) < 80, 200, -1)
    moments = np.arange(100) / 100
    assert fault.under_load(run(moments, status))
    assert not fault.under_load(run(moments, -1))
    assert not fault.under_load(run(moments, 200))  # it ended after the clients had gone
    row = {"lost": 0, "unclean_exits": 0, "rounds": 3, "under_load": 3}
    assert all(fault.met({"sigterm": row}).values())
    assert not all(fault.met({"sigterm": row | {"under_load": 2}}).values())


# -------------------------------------------------------------------------------------------------------------- poison


def test_the_bad_one_must_have_asked_and_been_told_why() -> None:
    row = {
        "good_failed": 0, "good_requests": 9, "throughput_kept": 1.0, "bad_requests": 3, "bad_statuses": {422: 3},
        "bad_answer": '{"error":{"what":"the model cannot process this row"}}',
    }  # fmt: skip
    assert all(fault.met({"poison": {"bakeoff": row}}).values())
    nobody = {"bad_requests": 0, "bad_statuses": {}, "bad_answer": ""}
    for changes in (nobody, {"bad_answer": "{}"}, {"bad_statuses": {422: 2, 503: 1}}, {"good_requests": 0}):
        assert not all(fault.met({"poison": {"bakeoff": row | changes}}).values()), changes


# ------------------------------------------------------------------------------------------------------------ overload

PEAKS, SECONDS = (100.0, 100.0), 10.0


def loaded(rate: float = 300.0, beside: Any = ((200, None), (503, "1")), **changes: Any) -> dict[str, bool]:
    """A third is answered in 10 ms, the rest refused."""
    done = np.arange(rate * SECONDS) / rate
    log = run(done, np.where(np.arange(len(done)) % 3, 503, 200), **{"wall": SECONDS, **changes})
    row = _overload.figures(Loaded(log, beside, 100.0), PEAKS, SECONDS)
    return _overload.met(row | {"memory_mb": [100.0, 100.0], "first_2s_after": 1.0})


def unmet(bars: dict[str, bool]) -> set[str]:
    return {name.removeprefix("overload: ") for name, kept in bars.items() if not kept}


def test_what_is_refused_must_say_when_to_come_again() -> None:
    assert unmet(loaded()) == set()
    for beside in ((), ((200, None),), ((503, None), (503, "1")), ((503, "0"),), ((429, "soon"),)):
        assert unmet(loaded(beside=beside)) == {"refused are told when to come again"}, beside


def test_three_times_the_capacity_must_have_been_sent() -> None:
    bars = loaded(rate=200.0, wall=SECONDS * 0.6)  # less of it, however well answered
    assert unmet(bars) >= {"three times the capacity was sent", "goodput", "memory", "back in 2 s"}
    late = np.arange(3000) / 300 + np.where(
        np.arange(3000) < 1500, 0.0, SECONDS
    )  # due in time, half of it sent after it
    assert "three times the capacity was sent" in unmet(loaded(sent=late))


def test_the_wait_counts_from_when_a_request_was_due() -> None:
    due = np.arange(3000) / 300 - 0.5
    assert {one[:8] for one in unmet(loaded(intended=due))} == {"accepted"}


@pytest.fixture
def server() -> Iterator[str]:
    """Refuses predictions; counts 50 more answers each time it is asked for its metrics."""
    seen = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(503, b"{}", ("Retry-After", "2"))

        def do_GET(self) -> None:
            seen[0] += 50
            lines = f'bakeoff_requests_total{{route="/v1/predict",status="200"}} {seen[0]}.0\n'
            self.answer(200, f'{lines}bakeoff_requests_total{{route="/x",status="503"}} 1e9\n'.encode())

        def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in (("Content-Length", str(len(body))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}/v1/predict"
        made.shutdown()
        thread.join()


def test_requests_beside_the_load_read_the_headers(server: str) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    found = probe(server, b"{}", stop, 0.001)
    timer.join()
    assert set(found) == {(503, "2")}
    nobody = threading.Event()
    timer = threading.Timer(0.2, nobody.set)
    timer.start()
    assert set(probe("http://127.0.0.1:9/v1/predict", b"{}", nobody, 0.001)) == {(0, None)}
    timer.join()


def test_something_is_done_once_answers_come(server: str) -> None:
    done = threading.Event()
    once_answered(server, done.set).join()
    assert done.is_set()


# ----------------------------------------------------------------------------------------------------- hostile clients


def attacked() -> dict[str, Any]:
    return {
        "five_hundreds": 0, "dropped": 0, "huge": {"sent": 10, "statuses": {"413": 10}}, "memory_growth": 0.0, "good_between": True,
        "slow": {"senders": 64, "ends": {"408": 64, "closed": 0, "open": 0}, "good": 800, "good_wrong": 0}, "good_after": 200,
        "schemathesis": {"failures": 0, "cases": 9},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "bars"),
    [
        (("slow", "ends"), {"408": 63, "closed": 1, "open": 0}, {"dropped", "slow_408"}),
        (("slow", "ends"), {"408": 63, "closed": 0, "open": 1}, {"slow_408"}),
        (("slow", "good_wrong"), 1, {"good_beside"}),
        (("slow", "good"), 0, {"good_beside"}),
        (("good_between",), False, {"good_beside"}),
        (("good_after",), 500, {"good_beside"}),
        (("schemathesis", "cases"), 0, {"schemathesis"}),
    ],
)
def test_slow_senders_and_good_clients_count(path: tuple[str, ...], value: object, bars: set[str]) -> None:
    assert all(fuzz.judged(attacked()).values())
    figures = attacked()
    place = figures
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert {name for name, kept in fuzz.judged(figures).items() if not kept} == bars


# --------------------------------------------------------------------------------------------------------------- peers


def served(**servers: dict[str, Any]) -> dict[str, bool | None]:
    row = {"cpu_us": 50.0, "not_answered_well": 0, "requests": 100, "answers": {"rows": 32, "same": 32}}
    return serve.met({"tiny": {"servers": {name: row | changes for name, changes in servers.items()}}})


AHEAD, ALIKE = "tiny: ahead of every peer", "tiny: every request answered, by all alike"


def test_nobody_is_ahead_of_nobody() -> None:
    assert served(bakeoff={})[AHEAD] is None
    assert served(bakeoff={}, ray={"cpu_us": 60.0})[AHEAD]
    assert not served(bakeoff={}, ray={"cpu_us": 40.0})[AHEAD]


@pytest.mark.parametrize("changes", [{"not_answered_well": 1}, {"requests": 0}, {"answers": {"rows": 32, "same": 31}}])
@pytest.mark.parametrize("who", ["bakeoff", "ray"])
def test_servers_that_answer_otherwise_are_not_compared(who: str, changes: dict[str, Any]) -> None:
    servers: dict[str, dict[str, Any]] = {"bakeoff": {}, "ray": {"cpu_us": 60.0}}
    servers[who] = servers[who] | changes
    found = served(**servers)
    assert (found[ALIKE], found[AHEAD]) == (False, False)


def test_answers_are_the_same_row_by_row() -> None:
    ours = np.random.default_rng(0).dirichlet(np.ones(8), 32)
    assert same(ours, ours + 1e-4)["same"] == 32
    assert same(ours, np.roll(ours, 1, axis=0))["same"] == 0
    assert same(ours, ours[:, :7])["same"] == 0
