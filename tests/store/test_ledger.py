"""What was acknowledged is there, in order and unaltered, after anything that can happen to the files."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bakeoff.schema import StepError, StudyError
from bakeoff.store.journal import header, scan
from bakeoff.store.ledger import JOURNAL, QUARANTINE, SQLITE, Ledger

Make = Callable[..., tuple]


@pytest.fixture
def study(tmp_path: Path, row: Make) -> Path:
    """A closed study of six rows and a document."""
    directory = tmp_path / "study"
    with Ledger.open(directory, create=True) as ledger:
        for number in range(6):
            ledger.append(*row(number))
        ledger.put_document("spec", '{"name": "one"}')
    return directory


def numbers(ledger: Ledger) -> list[int]:
    return [int(found.result.key, 16) for found in ledger.evidence()]


def test_a_study_that_is_not_there_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study is in this folder"):
        Ledger.open(tmp_path / "nowhere")


def test_a_study_can_be_moved_and_names_no_place(study: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "deep"
    moved.parent.mkdir()
    shutil.move(study, moved)
    with Ledger.open(moved) as ledger:
        assert numbers(ledger) == list(range(6))
    for name in (JOURNAL, SQLITE):
        assert str(tmp_path).encode() not in (moved / name).read_bytes()


def test_sqlite_can_be_queried_by_people(study: Path) -> None:
    connection = sqlite3.connect(study / SQLITE)
    rows = connection.execute("SELECT candidate, name, status FROM steps ORDER BY number").fetchall()
    connection.close()
    assert rows[0] == ("fake.v0.none.native", "predict", "ok")
    assert len(rows) == 6


# ------------------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("name", [JOURNAL, SQLITE])
def test_either_file_may_vanish(study: Path, name: str) -> None:
    (study / name).unlink()
    for _ in range(2):  # the second time from what the first one mended
        with Ledger.open(study) as ledger:
            assert numbers(ledger) == list(range(6))
            assert ledger.document("spec") == '{"name": "one"}'
            assert ledger.quarantined == ()
        (study / (SQLITE if name == JOURNAL else JOURNAL)).unlink(missing_ok=True)


@pytest.mark.parametrize("name", [JOURNAL, SQLITE])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_either_file_may_be_cut_anywhere(study: Path, row: Make, name: str, share: float) -> None:
    size = (study / name).stat().st_size
    os.truncate(study / name, int(size * share))
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == list(range(6))
        ledger.append(*row(6))
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == list(range(7))
        assert ledger.quarantined == ()


@pytest.mark.parametrize("name", [JOURNAL, SQLITE])
def test_a_file_of_garbage_is_replaced(study: Path, name: str) -> None:
    (study / name).write_bytes(b"garbage" * 1000)
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == list(range(6))


def test_a_torn_tail_is_cut_and_set_aside(study: Path, row: Make) -> None:
    with (study / JOURNAL).open("ab") as file:
        file.write(b"half a record")
    with Ledger.open(study) as ledger:
        ledger.append(*row(6))
        assert numbers(ledger) == list(range(7))
    assert scan((study / JOURNAL).read_bytes(), "here").damaged == ()
    assert (study / QUARANTINE).read_bytes() == b"half a record"


def test_a_record_damaged_in_both_files_is_quarantined_and_may_be_measured_again(study: Path, row: Make) -> None:
    text = b"fake.v3.none.native"
    for name in (JOURNAL, SQLITE):
        data = (study / name).read_bytes()
        assert text in data
        (study / name).write_bytes(data.replace(text, text.replace(b"v3", b"v8")))
    with Ledger.open(study) as ledger:
        assert ledger.quarantined == (4,)
        assert numbers(ledger) == [0, 1, 2, 4, 5]
        assert ledger.get(row(3)[0].key) is None
        ledger.append(*row(3))
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == [0, 1, 2, 4, 5, 3]


def test_a_newer_version_is_refused(study: Path) -> None:
    data = (study / JOURNAL).read_bytes()
    (study / JOURNAL).write_bytes(data.replace(header(), header(2), 1))
    with pytest.raises(StudyError, match="newer version of Bakeoff"):
        Ledger.open(study)


# ----------------------------------------------------------------------------------------------------- several users


def test_a_reader_beside_a_writer_sees_what_was_acknowledged_and_changes_nothing(study: Path, row: Make) -> None:
    with Ledger.open(study) as writer:
        writer.append(*row(6))
        with (study / JOURNAL).open("ab") as file:
            file.write(b"the writer is in the middle of this")
        size = (study / JOURNAL).stat().st_size
        with Ledger.open(study) as reader:
            assert numbers(reader) == list(range(7))
        assert (study / JOURNAL).stat().st_size == size


def test_a_second_writer_is_refused(study: Path, row: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakeoff.store.ledger._PATIENCE", 0.0)
    with Ledger.open(study) as first, Ledger.open(study) as second:
        first.append(*row(6))
        with pytest.raises(StudyError, match="another run is writing"):
            second.append(*row(7))


def test_a_writer_that_comes_later_adds_to_what_others_wrote_meanwhile(study: Path, row: Make) -> None:
    with Ledger.open(study) as late:
        with Ledger.open(study) as early:
            early.append(*row(6))
        late.append(*row(7))
        assert numbers(late) == list(range(8))
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == list(range(8))


def test_a_folder_that_cannot_be_written_can_still_be_read(study: Path) -> None:
    code = (
        "import os, sys\n"
        "from bakeoff.store.ledger import Ledger\n"
        "from bakeoff.schema import StudyError\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        "print(len(ledger.evidence()))\n"
        "try: ledger.put_document('a', '{}')\n"
        "except StudyError as error: print(error)\n"
    )
    for path in (study, *study.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in study.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    run = subprocess.run([sys.executable, "-c", code, str(study)], capture_output=True, text=True, check=False)
    if "Permission denied" in run.stderr and "import" in run.stderr:
        pytest.skip("the interpreter itself cannot be read by another user here")
    assert run.stdout.startswith("6\n"), run.stderr
    assert "cannot be written" in run.stdout


# ------------------------------------------------------------------------------------------------------- running marks


def test_a_running_mark_goes_with_the_result_or_with_its_process(study: Path, row: Make) -> None:
    with Ledger.open(study) as ledger:
        ledger.mark_running(row(6)[0].key)
        assert [mark.key for mark in ledger.running()] == [row(6)[0].key]
        assert ledger.running()[0].pid == os.getpid()
        ledger.append(*row(6))
        assert ledger.running() == ()
    pid = os.fork()
    if pid == 0:
        Ledger.open(study).mark_running("left")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with Ledger.open(study) as ledger:
        assert (study / "running" / "left").exists()
        assert ledger.running() == ()
        assert not (study / "running" / "left").exists()


def test_a_torn_mark_is_nobodys(study: Path) -> None:
    (study / "running").mkdir(exist_ok=True)
    (study / "running" / "torn").write_text('{"pid": 1')
    with Ledger.open(study) as ledger:
        assert ledger.running() == ()


# ------------------------------------------------------------------------------------------------------------ full disk


def test_a_full_disk_is_said_clearly_and_loses_nothing(study: Path, row: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(study) as ledger:
        ledger.append(*row(6))

        def full(descriptor: int, data: object, at: int) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("bakeoff.store.journal.os.pwrite", full)
            with pytest.raises(StepError, match="the disk is full") as caught:
                ledger.append(*row(7))
        assert caught.value.code == "disk"
        assert numbers(ledger) == list(range(7))
        ledger.append(*row(8))
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == [*range(7), 8]


def test_when_only_sqlite_finds_no_room_the_journal_takes_its_record_back(
    study: Path, row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.open(study) as ledger:
        ledger.append(*row(6))
        size = (study / JOURNAL).stat().st_size

        def full(record: object) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(ledger._mirror, "append", full)
            with pytest.raises(StepError, match="the disk is full"):
                ledger.append(*row(7))
        assert (study / JOURNAL).stat().st_size == size
        ledger.append(*row(7))
    with Ledger.open(study) as ledger:
        assert numbers(ledger) == list(range(8))


# ------------------------------------------------------------------------------------------------------------- kill -9


def test_kill_at_random_instants_loses_nothing_acknowledged(tmp_path: Path, row: Make) -> None:
    study, acknowledged = tmp_path / "study", set()
    rng = np.random.default_rng(0)
    for attempt in range(12):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            ledger = Ledger.open(study, create=True)
            for number in range(attempt * 1000, attempt * 1000 + 1000):
                ledger.mark_running(row(number)[0].key)
                ledger.append(*row(number))
                os.write(writing, number.to_bytes(8, "little"))
            os._exit(0)
        os.close(writing)
        time.sleep(float(rng.uniform(0, 0.06)))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(reading, "rb") as pipe:
            data = pipe.read()
        acknowledged |= {int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)}
        with Ledger.open(study, create=True) as ledger:
            assert acknowledged <= set(numbers(ledger))
            assert ledger.running() == ()
