"""Files in memory: readable by every library that wants a path, by nobody else, unchangeable, and gone when closed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from bakeoff.runtimes import memory, sealed
from bakeoff.runtimes.memory import MemoryFolder
from bakeoff.schema.errors import BundleError, UnavailableError


def test_a_file_is_read_like_any_other(tmp_path: Path) -> None:
    folder = MemoryFolder()
    np.savez(tmp_path / "a.npz", x=np.arange(5))
    path = folder.write("model/a.npz", [(tmp_path / "a.npz").read_bytes()])
    assert path == folder.path / "model" / "a.npz"
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["x"], np.arange(5))
    assert path.stat().st_size == (tmp_path / "a.npz").stat().st_size
    assert np.memmap(folder.write("raw", [b"ab", b"", b"c"]), mode="r").tobytes() == b"abc"
    folder.close()


def test_no_disk_sees_it_and_no_one_else_may_look() -> None:
    folder = MemoryFolder()
    path = folder.write("secret", [b"content"])
    assert path.readlink().as_posix().startswith("/proc/self/fd/")
    assert folder.path.stat().st_mode & 0o077 == 0
    code = "import sys, pathlib; print(pathlib.Path(sys.argv[1]).exists())"
    other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "False"
    folder.close()


def test_what_was_written_cannot_be_changed() -> None:
    folder = MemoryFolder()
    path = folder.write("fixed", [b"content"])
    with pytest.raises(OSError):
        path.write_bytes(b"other")
    with path.open("r+b", buffering=0) as stream, pytest.raises(OSError):
        stream.write(b"x")
    assert path.read_bytes() == b"content"
    folder.close()


def test_closing_leaves_nothing() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    folder = MemoryFolder()
    path = folder.write("a/b/c", [b"x"])
    assert memory.is_held(path)
    folder.close()
    folder.close()
    assert not folder.path.exists()
    assert not memory.is_held(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_forgotten_folder_is_cleaned_up() -> None:
    folder = MemoryFolder()
    folder.write("a", [b"x"])
    place = folder.path
    del folder
    assert not place.exists()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_is_not() -> None:
    code = (
        "import time; from bakeoff.runtimes.memory import MemoryFolder\n"
        "folder = MemoryFolder(); folder.write('a', [b'x']); print(folder.path, flush=True); time.sleep(60)"
    )
    with (
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as alive,
    ):
        assert killed.stdout is not None
        assert alive.stdout is not None
        left, held = (Path(one.stdout.readline().strip()) for one in (killed, alive))
        killed.kill()
        killed.wait()
        assert left.is_dir(), "nobody has swept yet"
        folder = MemoryFolder()
        found = left.exists(), held.exists(), folder.path.exists()
        folder.close()
        alive.kill()
        alive.wait()
    memory.sweep()
    assert found == (False, True, True)
    assert not held.exists()


def test_a_link_that_looks_like_a_folder_of_ours_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    trap = Path(tempfile.gettempdir()) / f"bakeoff-memory-{os.getpid()}-trap"
    trap.symlink_to(tmp_path)
    try:
        memory.sweep()
        assert (tmp_path / "precious").exists()
    finally:
        trap.unlink()


def test_a_forked_child_reads_it_and_leaves_it_alone() -> None:
    folder = MemoryFolder()
    path = folder.write("a", [b"x"])
    child = os.fork()
    if child == 0:
        good = path.read_bytes() == b"x"
        folder.close()
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_bytes() == b"x"
    folder.close()


def test_only_our_own_links_are_followed(tmp_path: Path) -> None:
    folder = MemoryFolder()
    path = folder.write("model/a", [b"x"])
    assert sealed.contained(folder.path, "model/a") == path
    (folder.path / "model" / "b").symlink_to("/proc/self/fd/0")
    with pytest.raises(BundleError, match="symbolic links"):
        sealed.contained(folder.path, "model/b")
    path.unlink()
    path.symlink_to(tmp_path)
    with pytest.raises(BundleError, match="symbolic links"):
        sealed.contained(folder.path, "model/a")
    folder.close()


def test_a_system_without_memory_files_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(UnavailableError, match="memory only"):
        MemoryFolder()
