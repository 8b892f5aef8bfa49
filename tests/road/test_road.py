"""The whole road: init, validate, plan, run, decide, report, ship, verify, serve."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import jsonschema
import pytest

import bakeoff as package
from bakeoff.schema.loading import load_spec
from bakeoff.schema.publish import decision_schema
from bakeoff.store.archive import Archive
from tests.road.conftest import Bakeoff, Ran, reviews, write_csv


def test_a_run_decides_and_leaves_decision_and_reports(ran: Ran) -> None:
    assert ran.code == 0
    assert ran.decision["outcome"] in {"winner", "no_clear_winner"}
    assert ran.decision["recommended"]["id"].startswith("linear.char")
    assert {"report.html", "report.md", "decision.json"} <= {path.name for path in ran.study.iterdir()}


def test_the_decision_keeps_its_published_schema(ran: Ran) -> None:
    jsonschema.validate(ran.decision, decision_schema())


def test_every_candidate_ends_with_a_reason_in_both_languages(ran: Ran) -> None:
    for candidate in ran.decision["candidates"]:
        assert candidate["reason"]["zh"]
        assert candidate["reason"]["en"]


def test_metrics_carry_their_own_judgement(ran: Ran) -> None:
    chosen = next(c for c in ran.decision["candidates"] if c["id"] == ran.decision["recommended"]["id"])
    score = chosen["metrics"]["macro_f1"]
    assert score["low"] <= score["value"] <= score["high"]
    assert score["n"] == ran.decision["profile"]["split"]["confirm"]
    assert score["provenance"] == "measured"
    assert score["verdict"] == "meets"


def test_a_second_run_measures_nothing_and_says_the_same(ran: Ran, bakeoff: Bakeoff) -> None:
    before = len(Archive(ran.study).evidence().results)
    code, out, _ = bakeoff("run", ran.spec, "--out", ran.study, "--json")
    assert code == 0
    assert len(Archive(ran.study).evidence().results) == before
    assert json.loads(out) == ran.decision


def test_decide_runs_nothing_and_agrees_with_the_run(ran: Ran, bakeoff: Bakeoff) -> None:
    code, out, _ = bakeoff("decide", ran.study, "--json")
    assert code == 0
    assert json.loads(out) == ran.decision


def test_what_if_with_an_impossible_limit_is_infeasible_and_says_what_would_help(ran: Ran, bakeoff: Bakeoff) -> None:
    code, out, _ = bakeoff("decide", ran.study, "--set", "requirements.quality.floor=0.999", "--json")
    decision = json.loads(out)
    assert code == 3
    assert decision["outcome"] == "infeasible"
    assert decision["relaxations"]


def test_a_moved_study_still_decides_and_reports(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(ran.study, moved)
    assert bakeoff("decide", moved)[0] == 0
    for form in ("html", "md", "json"):
        for language in ("zh", "en"):
            code, out, _ = bakeoff("report", moved, "--format", form, "--lang", language, "-o", "-")
            assert code == 0
            assert out


def test_plan_runs_nothing(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    shutil.copy(ran.spec, tmp_path)
    shutil.copy(ran.spec.parent / "reviews.csv", tmp_path)
    code, out, _ = bakeoff("plan", tmp_path / "bakeoff.yaml", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["expected_seconds"] > 0
    assert {item["id"].split(".")[0] for item in found["candidates"]} == {"baseline", "linear"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bakeoff.yaml", "reviews.csv"]


def test_init_writes_a_specification_that_validates(bakeoff: Bakeoff, tmp_path: Path) -> None:
    write_csv(tmp_path / "feedback.csv", reviews(200), encoding="gb18030")
    code, _, _ = bakeoff("init", tmp_path / "feedback.csv", "-o", tmp_path / "bakeoff.yaml")
    assert code == 0
    assert load_spec(tmp_path / "bakeoff.yaml").data.target == "label"
    assert bakeoff("validate", tmp_path / "bakeoff.yaml")[0] == 0
    code, _, err = bakeoff("init", tmp_path / "feedback.csv", "-o", tmp_path / "bakeoff.yaml")
    assert code == 2
    assert "--force" in err


def test_the_python_interface_does_what_the_command_line_does(ran: Ran, tmp_path: Path) -> None:
    study = package.Study.open(ran.study)
    decision = study.decide()
    assert decision.model_dump(mode="json") == ran.decision
    manifest = study.ship(tmp_path / "bundle")
    assert package.verify(tmp_path / "bundle").kept
    assert decision.recommended is not None
    assert manifest.candidate == decision.recommended.id


def test_a_loser_can_be_shipped_by_name_and_an_outsider_cannot(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    code, _, err = bakeoff("ship", ran.study, "-o", tmp_path / "bundle", "--candidate", "linear.nothing.none.native")
    assert code == 2
    assert "never reached the final" in err
    others = {c["id"] for c in ran.decision["candidates"] if c["stage"] == "final"} - {
        ran.decision["recommended"]["id"]
    }
    assert others
    assert bakeoff("ship", ran.study, "-o", tmp_path / "bundle", "--candidate", min(others))[0] == 0


def test_a_served_bundle_answers_as_the_trial_did(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    code, out, _ = bakeoff("ship", ran.study, "-o", bundle)
    assert code == 0
    assert "--build-arg BASE=" in out, "the base image is pinned by nobody else"
    code, out, _ = bakeoff("verify", bundle, "--json")
    assert code == 0
    assert json.loads(out)["same_labels"] == json.loads(out)["rows"] == ran.decision["profile"]["split"]["confirm"]
    command = [sys.executable, "-m", "bakeoff.cli", "serve", str(bundle), "--port", "0"]
    log = tmp_path / "server.log"
    with log.open("w") as out_file, subprocess.Popen(command, stderr=out_file, stdout=out_file) as server:
        try:
            url = _url(server, log)
            answer = httpx.post(
                f"{url}/v1/predict", json={"rows": [{"text": "房间干净，很满意，推荐"}, {"text": "太失望，后悔，肮脏"}]}
            )
            assert answer.status_code == 200
            assert "正面" in answer.text
            assert "负面" in answer.text
        finally:
            server.terminate()
            server.wait(timeout=20)


def _url(server: subprocess.Popen[bytes], log: Path) -> str:
    """Read the address the server prints when it is ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for word in log.read_text().split():
            if word.startswith("http://"):
                return word.rstrip("/.,")
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)
    pytest.fail(f"the server did not say where it listens: {log.read_text()}")
