"""One run at a time; the lock dies with its owner."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bakeoff.schema import StudyError
from bakeoff.store.study_lock import NAME, study_lock


def held_by_another(directory: Path) -> int:
    """Fork a process that holds the lock until it is killed; return its id once it has it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with study_lock(directory):
            os.write(writing, b"1")
            signal.pause()
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return pid


def test_a_second_run_is_told_who_holds_the_study(tmp_path: Path) -> None:
    pid = held_by_another(tmp_path)
    try:
        with (
            pytest.raises(StudyError, match=rf"another run \(pid {pid}\) is working on this study"),
            study_lock(tmp_path),
        ):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with study_lock(tmp_path):  # the owner is dead: nothing to clear away by hand
        pass


def test_the_lock_is_given_back_and_its_signature_taken_away(tmp_path: Path) -> None:
    for _ in range(2):
        with study_lock(tmp_path):
            assert f'"pid": {os.getpid()}' in (tmp_path / NAME).read_text()
        assert (tmp_path / NAME).read_text() == ""


def test_a_folder_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be written"), study_lock(tmp_path / "missing"):
        pass


def test_a_signature_that_cannot_be_read_does_not_hide_that_the_study_is_held(tmp_path: Path) -> None:
    pid = held_by_another(tmp_path)
    try:
        (tmp_path / NAME).write_text("no json")
        with pytest.raises(StudyError, match="pid unknown"), study_lock(tmp_path):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
