"""What goes wrong on the road: bad input gets a sentence and exit code 2, a kill loses nothing, two runs do not mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bakeoff.cli import main
from bakeoff.store.archive import Archive
from bakeoff.store.ledger import Ledger
from tests.road.conftest import Bakeoff, Ran, reviews, write_csv, write_spec


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"text,label\n", "row"),
        (b"text,label\n" + "好,正面\n".encode() * 40, "class"),
        (b"words,verdict\na,b\nc,d\n", "label"),
        (b"text,label\n\xff\xfe\x00\x80\x81,x\n", ""),
    ],
    ids=["empty", "header only", "one class", "missing columns", "broken bytes"],
)
def test_a_bad_file_is_a_sentence_not_a_traceback(bakeoff: Bakeoff, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "reviews.csv").write_bytes(content)
    for verb in ("validate", "plan", "run"):
        code, out, err = bakeoff(verb, write_spec(tmp_path))
        assert code == 2, (verb, out, err)
        assert "Traceback" not in err
        assert says in err.lower()


def test_every_wrong_field_is_listed_at_once(bakeoff: Bakeoff, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(50))
    spec = write_spec(tmp_path, requirements={"latency": {"p95": "50 parsecs"}, "qualty": {}}, taks="x")
    code, _, err = bakeoff("validate", spec)
    assert code == 2
    assert {"parsecs", "qualty", "taks"} <= {word.strip("'\"`:,;.") for word in err.split()}
    assert "quality" in err


def test_json_mode_answers_errors_with_one_document(bakeoff: Bakeoff, tmp_path: Path) -> None:
    code, out, err = bakeoff("run", tmp_path / "nowhere.yaml", "--json")
    assert code == 2
    assert json.loads(out)["exit_code"] == 2
    assert err.startswith("bakeoff: ")


def test_a_folder_that_is_no_study_says_so(bakeoff: Bakeoff, tmp_path: Path) -> None:
    for verb in (("decide",), ("report",), ("ship", "-o", tmp_path / "b")):
        code, _, err = bakeoff(verb[0], tmp_path, *verb[1:])
        assert code == 2
        assert "no study" in err


def test_patterns_that_match_nothing_are_a_mistake(bakeoff: Bakeoff, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(200))
    code, _, err = bakeoff("plan", write_spec(tmp_path, candidates={"include": ["nothing.*"]}))
    assert code == 2
    assert "bakeoff catalog" in err


def test_a_changed_data_file_is_measured_anew_and_old_results_stay(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(300))
    few = {"include": ["baseline.*", "linear.char.none.native"]}
    spec, study = write_spec(tmp_path, candidates=few, search={"tuner": "none"}), tmp_path / "study"
    assert bakeoff("run", spec, "--out", study)[0] == 0
    first = {row.result.key for row in Archive(study).evidence().results}
    write_csv(tmp_path / "reviews.csv", reviews(320, seed=1))
    assert bakeoff("run", spec, "--out", study)[0] == 0
    second = {row.result.key for row in Archive(study).evidence().results}
    everything = {row.result.key for row in Archive(study).ledger.evidence()}
    assert not first & second
    assert first | second <= everything


def _start(spec: Path, study: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bakeoff.cli", "run", str(spec), "--out", str(study), "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _rows(study: Path) -> int:
    """Acknowledged rows of a study that another process is running."""
    return len(Ledger.open(study).evidence()) if (study / "ledger.journal").exists() else 0


def _story(decision: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What a decision says of every candidate, without timings (they differ between runs on the same machine)."""
    told = []
    for candidate in decision["candidates"]:
        score = candidate["metrics"].get("macro_f1", {}).get("value")
        told.append((candidate["id"], candidate["status"], candidate["fraction"], candidate["stage"], score))
    return sorted(told, key=str)


def test_a_run_killed_after_every_few_rows_resumes_to_the_same_decision(
    ran: Ran, bakeoff: Bakeoff, tmp_path: Path
) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(700))
    spec, study = write_spec(tmp_path), tmp_path / "study"
    whole = len(Archive(ran.study).evidence().results)
    kills = 0
    for stop_at in range(1, whole, 8):
        run = _start(spec, study)
        deadline = time.monotonic() + 60
        while _rows(study) < stop_at and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if run.poll() is None:  # it may be through: resumed, it has fewer rows to write than the first had
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        assert run.wait() in {0, -signal.SIGKILL}
    assert kills >= 5
    code, out, _ = bakeoff("run", spec, "--out", study, "--json")
    resumed = json.loads(out)
    assert code == 0
    assert resumed["outcome"] == ran.decision["outcome"]
    assert resumed["recommended"] == ran.decision["recommended"]
    assert resumed["score"] == ran.decision["score"]
    assert _story(resumed) == _story(ran.decision)


def test_two_runs_on_one_study_do_not_mix(bakeoff: Bakeoff, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(700))
    spec, study = write_spec(tmp_path), tmp_path / "study"
    first = _start(spec, study)
    try:
        deadline = time.monotonic() + 30
        while not (study / "ledger.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        code, _, err = bakeoff("run", spec, "--out", study)
        assert code == 2
        assert str(first.pid) in err
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("preset=rigorous", "only a new run"),
        ("data.target=other", "only a new run"),
        ("costs.hardware=[gpu9]", "no such machine"),
        ("candidates.include=[nothing.*]", "match no candidate"),
        ("value.per_correct=-1", "per_correct"),
        ("no.such.field=1", "no.such.field"),
    ],
)
def test_a_what_if_that_cannot_be_answered_says_why(ran: Ran, bakeoff: Bakeoff, change: str, says: str) -> None:
    code, out, err = bakeoff("decide", ran.study, "--set", change, "--json")
    assert code == 2
    assert says in err
    assert json.loads(out)["exit_code"] == 2


@pytest.mark.parametrize(
    "change", ["requirements.quality.floor=0", "decision.indifference.quality=0", "traffic.peak=1e9/s"]
)
def test_a_what_if_at_the_edge_is_answered(ran: Ran, bakeoff: Bakeoff, change: str) -> None:
    code, out, _ = bakeoff("decide", ran.study, "--set", change, "--json")
    assert code in {0, 3}
    assert json.loads(out)["outcome"] in {"winner", "no_clear_winner", "infeasible"}


def test_a_wrong_command_line_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["catalog", "--task", "nothing", "--json"])
    assert stopped.value.code == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2
