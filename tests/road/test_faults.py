"""What goes wrong on the road: bad input gets a sentence and exit code 2, a kill loses nothing, two runs do not mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bakeoff.store.archive import Archive
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
    spec, study = (
        write_spec(tmp_path, candidates={"include": ["baseline.*", "linear.char.none.native"]}),
        tmp_path / "study",
    )
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


def test_a_run_killed_at_several_points_resumes_to_the_same_decision(
    ran: Ran, bakeoff: Bakeoff, tmp_path: Path
) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(700))
    spec, study = write_spec(tmp_path), tmp_path / "study"
    for wait in (1.0, 3.0, 5.0, 8.0):
        run = _start(spec, study)
        time.sleep(wait)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    code, out, _ = bakeoff("run", spec, "--out", study, "--json")
    resumed = json.loads(out)
    assert code == 0
    assert resumed["outcome"] == ran.decision["outcome"]
    assert resumed["recommended"] == ran.decision["recommended"]
    assert resumed["score"] == ran.decision["score"]


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
