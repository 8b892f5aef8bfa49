"""``bakeoff plan`` before, in the middle of and after a real study, and what the study leaves for the next one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bakeoff.cli import main
from bakeoff.store.archive import COSTS
from tests.road.conftest import Bakeoff, Ran, reviews, write_csv, write_spec


def test_a_finished_study_is_planned_with_what_its_ledger_has(ran: Ran, bakeoff: Bakeoff) -> None:
    code, out, _ = bakeoff("plan", ran.spec, "--out", ran.study, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["ledger"]["steps"] > 10
    assert found["spending"] == []
    done = {(step["subject"], step["name"]) for step in found["steps"] if step["state"] == "done"}
    assert ("linear.char", "build") in done
    shared = next(step for step in found["steps"] if step["subject"] == "linear.char" and step["name"] == "build")
    assert len(shared["used_by"]) == 2


def test_a_new_study_is_planned_with_a_tree_and_an_order(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    code, out, _ = bakeoff("plan", ran.spec, "--out", tmp_path / "new")
    assert code == 0
    lines = out.splitlines()
    assert "linear.char" in lines
    assert any(line.startswith("  probe") for line in lines)
    assert any(line.startswith("what would end it: ") for line in lines)
    assert not (tmp_path / "new").exists()
    json_ = json.loads(bakeoff("plan", ran.spec, "--out", tmp_path / "new", "--json")[1])
    assert json_["spending"][0]["purpose"] == "probe"
    assert json_["expected"]["low"] < json_["expected"]["mean"] < json_["expected"]["high"]


def test_a_run_tells_how_well_it_was_foreseen(ran: Ran) -> None:
    run = ran.decision["run"]
    assert {one["figure"] for one in run["probe_error"]} >= {"size"}
    assert run["cost_error"]["n"] > 10
    assert run["cost_error"]["studies"] == 0
    assert run["exhaustive_seconds"] > 0


def test_a_run_teaches_the_next_one_and_keeps_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bakeoff: Bakeoff
) -> None:
    book = tmp_path / "costs.json"
    monkeypatch.setenv("BAKEOFF_COST_BOOK", str(book))
    write_csv(tmp_path / "reviews.csv", reviews(500))
    spec = write_spec(tmp_path, search={"tuner": "none"})
    before = json.loads(bakeoff("plan", spec, "--json")[1])
    assert before["learnt_from"] == 0
    assert main(["run", str(spec), "--out", str(tmp_path / "study")]) in {0, 3}
    (machine,) = json.loads(book.read_text(encoding="utf-8"))["machines"].values()
    assert machine["studies"] == 1
    assert "family:linear" in machine["wall"]
    assert machine["around_seconds"] > 0
    assert json.loads((tmp_path / "study" / COSTS).read_text(encoding="utf-8"))["studies"] == 0
    after = json.loads(bakeoff("plan", spec, "--out", tmp_path / "other", "--json")[1])
    assert after["learnt_from"] == 1
    assert after["expected"]["high"] / after["expected"]["low"] < before["expected"]["high"] / before["expected"]["low"]
    kept = book.read_text(encoding="utf-8")
    assert main(["run", str(spec), "--out", str(tmp_path / "study")]) in {0, 3}  # nothing new is measured
    assert book.read_text(encoding="utf-8") == kept
    book.write_text("broken", encoding="utf-8")
    assert json.loads(bakeoff("plan", spec, "--out", tmp_path / "other", "--json")[1])["learnt_from"] == 0


def test_a_study_whose_costs_cannot_be_read_still_decides(ran: Ran, bakeoff: Bakeoff, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(ran.study, study)
    (study / COSTS).write_text("{", encoding="utf-8")
    code, out, _ = bakeoff("decide", study, "--json")
    assert code in {0, 3}
    assert json.loads(out)["recommended"] == ran.decision["recommended"]
