"""Whatever a candidate does, it becomes a row with a reason, and the study goes on; nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bakeoff import registry, testing
from bakeoff.evaluation.events import Event
from bakeoff.schema import Candidate, Spec, StudyError, Trial
from bakeoff.store.archive import Archive
from bakeoff.store.artifacts import read_artifact

TRIAL = Callable[..., Trial]
candidate = testing.candidate

MISBEHAVIOUR = {
    # name: (candidate, failed step, code, what the reason says)
    "crash": (candidate("crash", behave="crash"), "build", "crash", "SIGABRT"),
    "segfault": (candidate("segfault", behave="segfault"), "build", "crash", "SIGSEGV"),
    "raise": (candidate("raise", behave="raise"), "build", "error", "ValueError: the fake was told to fail"),
    "refuse": (candidate("refuse", behave="refuse"), "build", "unsupported", "the fake refuses"),
    "exit": (candidate("exit", behave="exit"), "build", "error", "SystemExit"),
    "chatty": (candidate("chatty", behave="chatty"), "build", "crash", "SIGABRT"),
    "connect": (candidate("connect", behave="connect"), "build", "unsafe", "may not use the network"),
    "export": (candidate("export", runtime="fake_other", behave="raise", where="export"), "export:fake-exported", "error", "told to fail"),
    "nan": (candidate("nan", behave="nan", where="predict"), "build", "non_finite", "not a finite number"),
    "shape": (candidate("shape", behave="shape", where="predict"), "build", "non_finite", "wrong shape"),
    "request": (candidate("request", behave="nan", where="request"), "load", "non_finite", "not a finite number"),
    "loading": (candidate("loading", behave="raise", where="load"), "build", "error", "told to fail"),
    "drift": (candidate("drift", runtime="fake_other", drift=0.05), "export:fake-exported", "parity", "moved a probability"),
    "flip": (candidate("flip", compression="fake_pass", flip=0.2), "compress:fake_pass", "parity", "22.0 % of the labels"),
    "pickle": (candidate("pickle", leave="model.pkl"), "build", "unsafe", "run code"),
    "hidden": (candidate("hidden", leave="weights.bin"), "build", "unsafe", "is a pickle"),
    "weights": (
        candidate("weights").model_copy(update={"variant": testing.variant("weights").model_copy(update={"weights": "no-such-asset"})}),
        "build", "unavailable", "no such asset",
    ),
    "misfit": (candidate("misfit", runtime="onnxruntime"), "build", "unsupported", "cannot be turned into"),
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, make_spec: Callable[..., Spec], frozen: Any) -> Any:
    """One run with everything that goes wrong in it, and good candidates before and after."""
    from tests.evaluation.conftest import Laboratory

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(registry.INJECT, "bakeoff.testing:PLUGINS")
        laboratory = Laboratory(tmp_path_factory.mktemp("zoo") / "study", make_spec(), frozen)
        chosen = [candidate(), *(bad for bad, *_ in MISBEHAVIOUR.values()), candidate("after")]
        fidelity = {"fraction": 0.5, "limit": 60}
        laboratory.run(
            [Trial.model_validate({"candidate": c, "purpose": "rung", "fidelity": fidelity, "rung": 0}) for c in chosen]
        )
    return laboratory


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_misbehaviour_is_a_recorded_reason(zoo: Any, name: str) -> None:
    bad, step, code, reason = MISBEHAVIOUR[name]
    last = zoo.rows(name)[-1]
    assert (last.name, last.status) == (step, "failed")
    assert last.failure.code == code
    assert reason in last.failure.reason
    assert len(last.failure.tail) <= 2000
    finished = [event for event in zoo.events if event.kind == "finished" and event.trial.candidate.id == bad.id]
    assert [event.failure.code for event in finished if event.failure] == [code]


def test_the_study_goes_on_after_all_of_them(zoo: Any) -> None:
    for name in ("well", "after"):
        assert [row.name for row in zoo.rows(name)] == ["build", "load", "predict"]
        assert all(row.status == "ok" for row in zoo.rows(name))


def test_crashes_keep_signal_and_last_words(zoo: Any) -> None:
    assert zoo.rows("crash")[-1].failure.signal == "SIGABRT"
    assert "about to abort" in zoo.rows("crash")[-1].failure.tail
    assert "last words" in zoo.rows("chatty")[-1].failure.tail
    assert "ValueError" in zoo.rows("raise")[-1].failure.tail


def test_nothing_is_left_lying_about(zoo: Any) -> None:
    work = zoo.directory / "work"
    assert not any(work.rglob("*")) or not any(path.is_file() for path in work.rglob("*"))
    assert not [path for path in (zoo.directory / "artifacts").iterdir() if path.name.startswith(".")]
    with Archive.writing(zoo.directory) as archive:
        assert archive.ledger.running() == ()


def test_a_second_run_does_nothing_that_failed_for_good_again(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.INJECT, "bakeoff.testing:PLUGINS")
    again = [event.trial for event in zoo.events if event.kind == "started"]
    before = len(zoo.rows())
    zoo.run([trial for trial in again if trial.candidate.variant.name != "weights"])
    assert zoo.done() in ([], ["build"])  # 'misfit' has no steps: its refusal is noted once more under the same key
    assert len(zoo.rows()) == before


def test_rows_hold_what_decision_and_search_read(laboratory: Any, trial: TRIAL, frozen: Any) -> None:
    good = candidate(runtime="fake_other", compression="fake_pass")
    laboratory.run([trial(good, "final")])
    with contextlib.closing(Archive(laboratory.directory).ledger) as ledger:
        rows = {row.result.name: row for row in ledger.evidence()}
        environments = ledger.environments()
    assert list(rows) == ["build", "export:fake-exported", "compress:fake_pass", "load", "time", "predict"]
    for row in (found.result for found in rows.values()):
        assert (row.candidate, row.purpose, row.round, row.data) == (good.id, "final", 0, frozen.fingerprint)
        assert row.wall_seconds > 0
        assert environments[row.environment].threads >= 1
    predict = rows["predict"].arrays
    assert [predict[name].dtype for name in ("indices", "predicted", "probabilities", "actual")] == [
        np.int32,
        np.int16,
        np.float32,
        np.int16,
    ]
    np.testing.assert_array_equal(predict["indices"], frozen.indices("confirm", limit=60))
    np.testing.assert_array_equal(predict["actual"], frozen.labels[predict["indices"]])
    assert predict["probabilities"].shape == (60, 2)
    assert rows["time"].arrays["latency"].dtype == np.float64
    assert {"latency", "cpu", "wait", "intended", "sent", "queued"} <= set(rows["time"].arrays)
    found = {m.name for row in rows.values() for m in row.result.measurements}
    assert {
        "accuracy",
        "macro_f1",
        "roc_auc",
        "latency_p50",
        "latency_p95",
        "throughput",
        "memory",
        "size",
        "load_seconds",
    } <= found
    assert {
        "train_seconds",
        "cpu_seconds_per_row",
        "predict_seconds_per_row",
        "parity_agreement",
        "parity_drift",
    } <= found
    memory = rows["time"].result.metric("memory")
    assert memory.value > 10_000_000
    artifact = read_artifact(laboratory.directory / "artifacts" / rows["compress:fake_pass"].result.key)
    assert artifact == rows["compress:fake_pass"].result.artifact
    assert artifact.rule == rows["build"].result.artifact.rule
    assert artifact.rule.temperature != 1.0


def test_the_memory_of_serving_is_not_that_of_training(laboratory: Any, trial: TRIAL) -> None:
    laboratory.run([trial(candidate(), "probe"), trial(candidate("hungry", build_bytes=400_000_000), "probe")])
    lean, hungry = (
        [row.metric("memory").value for row in laboratory.rows(name) if row.metric("memory")][-1]
        for name in ("well", "hungry")
    )
    assert hungry < lean + 20_000_000


def test_shared_prefixes_are_built_once_and_a_second_run_does_nothing(laboratory: Any, trial: TRIAL) -> None:
    trials = [
        trial(candidate()),
        trial(candidate(runtime="fake_other")),
        trial(candidate(runtime="fake_other", compression="fake_pass")),
    ]
    laboratory.run(trials)
    assert sorted(laboratory.done()) == sorted(
        ["build", "export:fake-exported", "compress:fake_pass", *["load", "predict"] * 3]
    )
    laboratory.run(trials)
    assert laboratory.done() == []
    laboratory.run([trial(candidate(), limit=70)])
    assert laboratory.done() == ["predict"]


def test_an_artefact_that_was_deleted_is_built_again_only_when_it_is_needed(laboratory: Any, trial: TRIAL) -> None:
    laboratory.run([trial(candidate(runtime="fake_other"))])
    for path in (laboratory.directory / "artifacts").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    laboratory.run([trial(candidate(runtime="fake_other"))])
    assert laboratory.done() == []
    laboratory.run([trial(candidate(runtime="fake_other"), limit=70)])
    assert laboratory.done() == ["build", "export:fake-exported", "predict"]


def test_a_result_that_holds_for_another_trial_too_is_noted_for_it(laboratory: Any, trial: TRIAL) -> None:
    """``search`` looks rows up by candidate and fidelity: without the note it would ask for ever."""
    laboratory.run([trial(candidate(), limit=None, split="confirm")])
    laboratory.run([trial(candidate(), "final", limit=None, round=None)])
    predicts = [row for row in laboratory.rows() if row.kind == "predict"]
    assert len(predicts) == 1  # same fidelity: the row serves both
    laboratory.run([trial(candidate(), "risk", checks=("fake_data_check",))])
    laboratory.run([trial(candidate("second"), "risk", checks=("fake_data_check",))])
    checks = [row for row in laboratory.rows() if row.kind == "risk"]
    assert [row.candidate for row in checks] == [candidate().id, candidate("second").id]
    assert checks[1].wall_seconds == 0.0
    assert checks[0].findings == checks[1].findings


def test_risk_checks_see_the_confirm_rows_and_the_seeds(laboratory: Any, trial: TRIAL) -> None:
    good = candidate()
    finals = [
        trial(good, "final"),
        *(trial(good, "final", round=None, seed=seed, split="select") for seed in (0, 1, 2)),
    ]
    laboratory.run(finals)
    laboratory.run([trial(good, "risk", checks=("fake_check",))])
    (row,) = [row for row in laboratory.rows() if row.kind == "risk"]
    assert row.findings[0].observed.en.startswith("60 rows, seed scores [0.")
    assert row.findings[0].observed.en.count("0.") == 3


def test_a_check_that_crashes_does_not_keep_the_others_from_running(laboratory: Any, trial: TRIAL) -> None:
    bad = candidate("bad", check="crash")
    laboratory.run([trial(bad, "risk", checks=("fake_check", "fake_data_check"))])
    rows = {row.name: row for row in laboratory.rows() if row.kind == "risk"}
    assert rows["risk:fake_check"].failure.signal == "SIGABRT"
    assert rows["risk:fake_data_check"].status == "ok"


def blend(*members: Candidate) -> Candidate:
    """A real ensemble of fakes would need a composite runtime that knows them; this one stands for any."""
    return candidate("blend").model_copy(update={"members": tuple(member.id for member in members)})


def test_members_are_built_first_and_a_member_that_fails_fails_the_ensemble(laboratory: Any, trial: TRIAL) -> None:
    one, two, bad = candidate("one"), candidate("two", runtime="fake_other"), candidate("bad", behave="raise")
    laboratory.run([trial(one), trial(two), trial(bad)])
    laboratory.run([trial(blend(one, two))])
    assert laboratory.done() == ["build", "load", "predict"]
    laboratory.run([trial(blend(one, bad).model_copy(update={"variant": testing.variant("worse")}))])
    failed = laboratory.rows("worse")[-1]
    assert failed.failure.reason == f"member {bad.id}: ValueError: the fake was told to fail"


def test_making_in_parallel_finds_the_same(laboratory: Any, trial: TRIAL) -> None:
    chosen = [candidate(f"v{n}", runtime=runtime) for n in range(3) for runtime in ("fake", "fake_other")]
    laboratory.run([trial(one) for one in chosen], workers=2)
    assert sorted(laboratory.done()) == sorted([*["build", "export:fake-exported"] * 3, *["load", "predict"] * 6])
    assert all(row.status == "ok" for row in laboratory.rows())
    assert {event.trial.candidate.id for event in laboratory.events if event.kind == "finished"} == {
        one.id for one in chosen
    }


# ---------------------------------------------------------------------------------------------------------- limits


def test_a_hang_ends_at_the_limit_and_is_tried_again_by_the_next_run(
    laboratory: Any, trial: TRIAL, make_spec: Callable[..., Spec]
) -> None:
    laboratory.spec = make_spec(budget={"step_time": "0.4s"})
    slow = trial(candidate("slow", behave="hang"))
    laboratory.run([slow, slow])
    assert laboratory.rows("slow")[-1].failure.code == "timeout"
    assert laboratory.done() == ["build"]  # once in this run
    laboratory.run([slow])
    assert laboratory.done() == ["build"]  # and again in the next


def test_steps_that_were_finished_before_a_hang_are_kept(
    laboratory: Any, trial: TRIAL, make_spec: Callable[..., Spec]
) -> None:
    laboratory.spec = make_spec(budget={"step_time": "2s"})
    laboratory.run([trial(candidate("late", behave="hang", where="predict", sleep=0.0), "probe")])
    assert [row.status for row in laboratory.rows("late")] == ["ok", "ok", "ok"]
    laboratory.run([trial(candidate("stuck", behave="hang", where="request"), "probe")])
    assert [(row.name, row.status) for row in laboratory.rows("stuck")] == [("build", "ok"), ("load", "failed")]


def test_eating_memory_ends_at_the_limit_and_a_higher_limit_tries_again(
    laboratory: Any, trial: TRIAL, make_spec: Callable[..., Spec]
) -> None:
    greedy = trial(candidate("greedy", behave="eat"))
    laboratory.spec = make_spec(budget={"step_memory": "300MB"})
    laboratory.run([greedy])
    assert laboratory.rows("greedy")[-1].failure.code == "memory"
    assert "300 MB" in laboratory.rows("greedy")[-1].failure.reason
    laboratory.run([greedy])
    assert laboratory.done() == []
    laboratory.spec = make_spec(budget={"step_memory": "400MB"})
    laboratory.run([greedy])
    assert laboratory.done() == ["build"]


def test_the_end_of_the_whole_runs_time_stops_it_and_records_nothing_false(laboratory: Any, trial: TRIAL) -> None:
    slow, never = trial(candidate("slow", build_seconds=30)), trial(candidate("never"))
    start = time.monotonic()
    laboratory.run([slow, never], deadline=start + 1.0)
    assert time.monotonic() - start < 20
    assert laboratory.rows() == []
    assert laboratory.events[-1].kind == "stopped"


def test_a_full_disk_ends_the_run_with_a_clear_error_and_keeps_what_was_measured(laboratory: Any, trial: TRIAL) -> None:
    with pytest.raises(StudyError, match="the disk is full"):
        laboratory.run([trial(candidate()), trial(candidate("full", behave="full")), trial(candidate("later"))])
    assert [row.name for row in laboratory.rows("well")] == ["build", "load", "predict"]
    assert laboratory.rows("later") == []
    laboratory.run([trial(candidate("later"))])
    assert [row.name for row in laboratory.rows("later")] == ["build", "load", "predict"]


def test_a_worker_killed_from_outside_is_started_again(laboratory: Any, trial: TRIAL) -> None:
    killed: list[int] = []
    killers: list[threading.Thread] = []

    def kill_once(event: Event) -> None:
        if event.kind == "running" and not killers:
            killers.append(threading.Thread(target=kill_workers, args=(killed,)))
            killers[0].start()

    laboratory.run([trial(candidate("slow", build_seconds=1.5))], hook=kill_once)
    killers[0].join()
    assert killed
    assert [(row.name, row.status) for row in laboratory.rows("slow")] == [
        ("build", "ok"),
        ("load", "ok"),
        ("predict", "ok"),
    ]


def kill_workers(killed: list[int]) -> None:
    """Kill the first worker that this process's servers fork; other tests may have left other children, such as a cluster."""
    import psutil

    end = time.monotonic() + 30
    while not killed and time.monotonic() < end:
        for server in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                for worker in server.children() if "bakeoff.evaluation.worker" in server.cmdline() else ():
                    worker.kill()
                    killed.append(worker.pid)
        time.sleep(0.05)


def test_stopping_by_hand_ends_the_workers_and_leaves_a_study_that_goes_on(laboratory: Any, trial: TRIAL) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "running" and event.trial.candidate.variant.name == "slow":
            raise KeyboardInterrupt

    slow = trial(candidate("slow", build_seconds=0.3))
    with pytest.raises(KeyboardInterrupt):
        laboratory.run([trial(candidate()), slow], hook=interrupt)
    assert [row.name for row in laboratory.rows()] == ["build", "load", "predict"]
    laboratory.run([trial(candidate()), slow])
    assert laboratory.done() == ["build", "load", "predict"]


@pytest.mark.parametrize("delay", [0.6, 1.3])
def test_kill_9_at_any_moment_leaves_a_study_that_goes_on_and_no_process_behind(
    laboratory: Any, trial: TRIAL, delay: float
) -> None:
    import psutil

    trials = [trial(candidate(f"v{n}", build_seconds=0.1), purpose) for n in range(2) for purpose in ("probe", "rung")]
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            laboratory.run(trials)
        os._exit(0)
    time.sleep(delay)
    family = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    laboratory.run(trials)
    names = [row.name for row in laboratory.rows()]
    assert sorted(names) == sorted([*["build", "load"] * 4, *["time", "predict"] * 2])
    assert all(row.status == "ok" for row in laboratory.rows())
