"""The fault benchmark itself, a little of it: it finds nothing wrong here, and it would notice if there were."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bakeoff.store.ledger import JOURNAL, SQLITE
from benchmarks import ledger_faults
from benchmarks.ledger_faults import Tally, check, flips, kills, sample_study


def clean(tally: Tally) -> bool:
    return not (tally.lost or tally.wrong or tally.unopenable or tally.zombies)


def test_kills_and_flips_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "kills").mkdir()
    (tmp_path / "flips").mkdir()
    assert clean(kills(tmp_path / "kills", 6, random.Random(1)))
    assert clean(flips(tmp_path / "flips", 4, 60, random.Random(2)))


def test_the_benchmark_notices_a_loss(tmp_path: Path) -> None:
    acknowledged = sample_study(tmp_path / "study", 3)
    for name in (JOURNAL, SQLITE):
        (tmp_path / "study" / name).unlink()
    tally = Tally()
    check(tmp_path / "study", acknowledged, tally)
    assert (tally.lost, tally.faults, tally.acknowledged) == (3, 1, 3)


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    code = (
        "import json, sys; from dataclasses import asdict; from pathlib import Path; from benchmarks.ledger_faults import full_disk; "
        "tally, how = full_disk(Path(sys.argv[1])); print(json.dumps([asdict(tally), how]))"
    )
    root = Path(ledger_faults.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=root
    )
    tally, how = json.loads(run.stdout.splitlines()[-1])
    assert how in {"small file system", "limit on file size"}
    assert tally["faults"] >= 10
    assert clean(Tally(**tally))


@pytest.mark.parametrize("number", [0, 7])
def test_rows_follow_from_their_number(number: int) -> None:
    assert ledger_faults.result(number)[0] == ledger_faults.result(number)[0]
    assert ledger_faults.result(number)[1]["number"][0] == number
