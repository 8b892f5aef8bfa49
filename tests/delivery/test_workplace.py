"""What a run that was killed while it wrote a bundle leaves behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bakeoff.delivery import workplace
from bakeoff.runtimes import sealed

_HOLD = """
import fcntl, os, signal, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""


def test_what_a_killed_run_left_is_cleared_away_and_a_bundle_it_moved_is_put_back(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, held, plain = tmp_path / ".bundle.a.partial", tmp_path / ".bundle.b.partial", tmp_path / "bakeoff-ship-dead"
    for path in (dead, held, plain):
        path.mkdir(mode=0o700)
        (path / "secret").write_text("plain")
    shutil.copytree(shipped, tmp_path / ".bundle.c.partial.old")
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(held)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with workplace.replacing(tmp_path / "bundle") as folder, workplace.plain(folder, 1):
            assert sealed.read_manifest(tmp_path / "bundle") == sealed.read_manifest(shipped)
            assert [path.exists() for path in (dead, held, plain)] == [False, True, False]
        other.kill()
