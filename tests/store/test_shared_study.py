"""A real study whose ledger is in PostgreSQL and whose artefacts are shared: two machines are one, and nothing depends on either."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.postgres_server import PASSWORD
from tests.road.conftest import reviews, write_csv, write_spec

from bakeoff.cli import main
from bakeoff.store.places import open_ledger

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bakeoff(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


@pytest.mark.slow
def test_a_study_of_two_machines(database: str, tmp_path: Path, bakeoff: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    ledger = f"{database.replace(f':{PASSWORD}', '')}#study-{secrets.token_hex(4)}"
    places = ("--ledger", ledger, "--artifacts", f"file://{tmp_path / 'shared'}")
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        write_csv(folder / "reviews.csv", reviews(300))
        write_spec(folder, candidates={"include": ["linear.char.none.native"]}, search={"trials": 0})

    code, out, err = bakeoff("run", folders[0] / "bakeoff.yaml", "--out", tmp_path / "a", *places, "--json")
    assert code == 0, err
    decision = json.loads(out)
    assert sorted(path.name for path in (tmp_path / "a").glob("ledger*")) == []
    rows = json.loads(bakeoff("ledger", ledger, "--json")[1])

    code, out, _ = bakeoff("run", folders[1] / "bakeoff.yaml", "--out", tmp_path / "b", *places, "--json")
    assert code == 0
    assert json.loads(out) == decision
    assert json.loads(bakeoff("ledger", ledger, "--json")[1])["steps"] == rows["steps"]  # nothing was measured again

    shutil.rmtree(tmp_path / "a")  # the first machine is gone, with what it made
    shutil.rmtree(folders[0])
    assert bakeoff("decide", tmp_path / "b", "--json")[1] == out
    assert bakeoff("ship", tmp_path / "b", "-o", tmp_path / "bundle-b")[0] == 0

    assert bakeoff("ledger", ledger, "--to", tmp_path / "c", *places[2:])[0] == 0
    assert json.loads(bakeoff("decide", tmp_path / "c", "--json")[1]) == decision
    assert bakeoff("ship", tmp_path / "c", "-o", tmp_path / "bundle-c")[0] == 0
    assert bakeoff("verify", tmp_path / "bundle-c", "--quick", "--json")[0] == 0
    assert bakeoff("report", tmp_path / "c")[0] == 0

    with open_ledger(tmp_path / "c") as copy, open_ledger(ledger) as original:
        assert copy.records() == original.records()
