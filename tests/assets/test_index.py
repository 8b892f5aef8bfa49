from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from bakeoff.assets import Source, index
from bakeoff.schema.errors import UnavailableError, UserError

WHEEL = "toy-1.0-py3-none-any.whl"


def source(filename: str = WHEEL, **changes: object) -> Source:
    facts = {"package": "toy", "version": "1.0", "filename": filename, "sha256": "a" * 64, "size": 4}
    return Source(**{**facts, **changes})


@pytest.fixture
def fake_pip(tmp_path, monkeypatch):
    """Replace the interpreter that runs pip by a shell script; the script sees pip's arguments."""

    def install(body: str) -> None:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))

    return install


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "downloads"
    path.mkdir()
    return path


def test_a_pure_wheel_needs_no_platform():
    assert "--platform" not in index.pip_arguments(source())


def test_a_platform_wheel_is_taken_for_its_own_platform():
    name = "toy-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    arguments = index.pip_arguments(source(name))
    assert arguments.count("--platform") == 2
    assert arguments[-6:] == ["--implementation", "cp", "--abi", "cp311", "--python-version", "311"]


def test_a_py3_platform_wheel_names_this_minor_version():
    arguments = index.pip_arguments(source("toy-1.0-py3-none-manylinux2014_x86_64.whl"))
    assert arguments[-1] == f"3.{sys.version_info.minor}"


def test_a_source_distribution_is_asked_for_as_such():
    assert index.pip_arguments(source("toy-1.0.tar.gz")) == ["--no-binary", "toy"]


def test_pip_is_told_the_hash_and_installs_nothing(fake_pip, folder, tmp_path):
    fake_pip(f'exec > {tmp_path}/said; echo "$@"; for last; do :; done; cat "$last"; echo data > "{folder}/{WHEEL}"')
    assert index.download(source(), folder) == folder / WHEEL
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert "-m pip download" in said
    assert "--require-hashes" in said
    assert "--no-deps" in said
    assert f"toy==1.0 --hash=sha256:{'a' * 64}" in said
    assert sorted(path.name for path in folder.iterdir()) == [WHEEL]


def test_progress_is_the_share_of_bytes(fake_pip, folder):
    fake_pip(f'printf "12" > "$TMPDIR/part"; sleep 0.5; printf "1234" > "{folder}/{WHEEL}"')
    seen: list[tuple[str, float]] = []
    index.download(source(), folder, lambda stage, share: seen.append((stage, share)))
    assert {stage for stage, _ in seen} == {"downloading toy 1.0"}
    assert 0.5 in {share for _, share in seen}


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", UserError, "not the pinned one"),
        ("/usr/bin/python: No module named pip", UnavailableError, "ensurepip"),
        ("WARNING: retrying\nERROR: No matching distribution found for toy==1.0", UnavailableError, "No matching"),
        ("", UnavailableError, "no output"),
    ],
)
def test_a_failing_pip_is_explained(fake_pip, folder, output, kind, words):
    fake_pip(f"printf '%s\\n' \"{output}\" >&2; exit 1")
    with pytest.raises(kind, match=words) as caught:
        index.download(source(), folder)
    assert caught.value.exit_code == 2
    assert not list(folder.iterdir())


def test_another_file_than_the_pinned_one_is_refused(fake_pip, folder):
    fake_pip(f'touch "{folder}/toy-1.0.tar.gz"')
    with pytest.raises(UserError, match="another file"):
        index.download(source(), folder)


def test_an_interrupted_download_leaves_no_process(fake_pip, folder, tmp_path):
    fake_pip(f"echo $$ > {tmp_path}/pid; exec sleep 60")

    def interrupt(_stage: str, _share: float) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(encoding="utf-8").strip():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.download(source(), folder, interrupt)
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list(Path(folder).iterdir())
