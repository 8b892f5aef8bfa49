"""What the ledger survives. Bars: 0 acknowledged results lost, 0 studies that no longer open, 0 steps left running for ever.

A real process appends and reports each acknowledgement through a pipe until ``kill -9`` ends it at a random instant; both files are cut
at every byte of the last record (and the SQLite file along its whole length), bits are flipped, and the disk is filled up.
``python -m benchmarks.ledger_faults --kills 30`` does less of everything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.errors import BakeoffError, StepError
from bakeoff.schema.trial import Fidelity, StepResult
from bakeoff.store.journal import scan
from bakeoff.store.ledger import JOURNAL, SQLITE, Ledger
from benchmarks import finish

_LONGEST = 0.08
"""Seconds a writer lives at most before it is killed."""
_KILLS_A_STUDY = 25


@dataclass
class Tally:
    """What went wrong, and how often each kind of fault was tried."""

    faults: int = 0
    acknowledged: int = 0
    lost: int = 0
    wrong: int = 0
    unopenable: int = 0
    zombies: int = 0

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def result(number: int) -> tuple[StepResult, dict[str, NDArray[np.generic]]]:
    """A row whose content follows from its number, so that an altered one is noticed."""
    rng = np.random.default_rng(number)
    arrays = {
        "probabilities": rng.random((int(rng.integers(1, 400)), 2)).astype(np.float32),
        "number": np.array([number]),
    }
    row = StepResult(
        key=f"{number:032x}", kind="predict", name="predict", candidate=f"fake.v{number}.none.native", purpose="rung",
        fidelity=Fidelity(seed=number), data="d" * 32,
    )  # fmt: skip
    return row, arrays


def append(ledger: Ledger, number: int) -> None:
    """Mark, then append, row ``number``."""
    row, arrays = result(number)
    ledger.mark_running(row.key)
    ledger.append(row, arrays)


def check(directory: Path, acknowledged: set[int], tally: Tally, *, may_miss: frozenset[int] = frozenset()) -> None:
    """Open the study again, compare everything that was acknowledged, and append one more row."""
    tally.faults += 1
    tally.acknowledged += len(acknowledged)
    try:
        with Ledger.open(directory, create=True) as ledger:
            for number in acknowledged:
                expected, arrays = result(number)
                found = ledger.get(expected.key)
                if found is None:
                    tally.lost += number not in may_miss
                elif found.result != expected or any(
                    (found.arrays[name] != array).any() for name, array in arrays.items()
                ):
                    tally.wrong += 1
            tally.zombies += len(ledger.running())
    except BakeoffError as error:
        print(f"  does not open: {error}")
        tally.unopenable += 1


def kills(directory: Path, count: int, rng: random.Random) -> Tally:
    """Kill a real writer ``count`` times at random instants."""
    tally, acknowledged, study = Tally(), set[int](), directory / "0"
    for number in range(count):
        if number % _KILLS_A_STUDY == 0:
            study, acknowledged = directory / str(number), set()
        acknowledged |= _killed_writer(study, rng.uniform(0.0, _LONGEST), start=(number + 1) * 10_000)
        check(study, acknowledged, tally)
    return tally


def _killed_writer(study: Path, seconds: float, start: int) -> set[int]:
    """Fork a process that appends for ever; kill it after some seconds; return the numbers it acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with contextlib.suppress(BaseException):
            ledger = Ledger.open(study, create=True)
            for number in range(start, start + 10_000):
                append(ledger, number)
                os.write(writing, number.to_bytes(8, "little"))
        os._exit(0)
    os.close(writing)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    return {int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8)}


def sample_study(directory: Path, rows: int) -> set[int]:
    """A closed study with so many rows."""
    with Ledger.open(directory, create=True) as ledger:
        for number in range(rows):
            append(ledger, number)
    return set(range(rows))


def cuts(directory: Path, rows: int, step: int) -> Tally:
    """Cut each file at every byte of its last record, SQLite also at every ``step``-th byte of the rest; then each with the other gone."""
    tally, original = Tally(), directory / "whole"
    acknowledged = sample_study(original, rows)
    journal, sqlite = (original / JOURNAL).read_bytes(), (original / SQLITE).read_bytes()
    last = scan(journal, "journal").records[-1]
    start = len(journal) - len(last.encoded())
    for at in range(start, len(journal)):
        with _copy(original, directory) as study:
            os.truncate(study / JOURNAL, at)
            check(study, acknowledged, tally)
    for at in sorted({*range(0, len(sqlite), step), *range(len(sqlite) - 4096, len(sqlite), max(1, step // 16))}):
        with _copy(original, directory) as study:
            os.truncate(study / SQLITE, at)
            check(study, acknowledged, tally)
    for at in range(start, len(journal), 7):  # the mirror is gone too: only the cut record may be missing
        with _copy(original, directory) as study:
            os.truncate(study / JOURNAL, at)
            (study / SQLITE).unlink()
            check(study, acknowledged, tally, may_miss=frozenset({rows - 1}))
    for name in (JOURNAL, SQLITE):
        with _copy(original, directory) as study:
            (study / name).unlink()
            check(study, acknowledged, tally)
    return tally


def flips(directory: Path, rows: int, count: int, rng: random.Random) -> Tally:
    """Flip one bit in one file, or one in each: nothing may be lost that one file still has, nothing may ever be wrong."""
    tally, original = Tally(), directory / "whole"
    acknowledged = sample_study(original, rows)
    for number in range(count):
        with _copy(original, directory) as study:
            names = [(JOURNAL,), (SQLITE,), (JOURNAL, SQLITE)][number % 3]
            for name in names:
                _flip(study / name, rng)
            both = frozenset(acknowledged) if len(names) == 2 else frozenset()
            check(study, acknowledged, tally, may_miss=both)
    return tally


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def full_disk(directory: Path) -> tuple[Tally, str]:
    """Fill a small file system (or, not being root, hit a limit on file size) while appending; then free it and go on."""
    tally = Tally()
    with _small_disk(directory) as (place, how):
        study, acknowledged, number = place / "study", set[int](), 0
        ballast = place / "ballast"
        for left in (0, 1000, 4096, 10_000, 70_000):
            _fill(ballast, left, how)
            number, refused = _until_refused(study, number, acknowledged)
            tally.lost += not refused
            check(study, acknowledged, tally)
            ballast.unlink(missing_ok=True)
            with _unlimited(how), Ledger.open(study) as ledger:
                append(ledger, number)
            acknowledged.add(number)
            number += 1
            with _unlimited(how):
                check(study, acknowledged, tally)
    return tally, how


def _until_refused(study: Path, number: int, acknowledged: set[int]) -> tuple[int, bool]:
    """Append until the disk is full; return the next number and whether the refusal said so."""
    try:
        with Ledger.open(study, create=True) as ledger:
            while number < 100_000:
                append(ledger, number)
                acknowledged.add(number)
                number += 1
    except StepError as error:
        return number + 1, error.code == "disk"
    except BakeoffError as error:
        return number + 1, "disk is full" in str(error)
    return number, False


@contextmanager
def _small_disk(directory: Path) -> Iterator[tuple[Path, str]]:
    """A file system of 2 MB, or the same through a limit on the size of any file."""
    place = directory / "small"
    place.mkdir()
    mounted = (
        hasattr(os, "geteuid")
        and os.geteuid() == 0
        and _run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place))
    )
    if not mounted:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
        try:
            yield place, "limit on file size"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    try:
        yield place, "small file system"
    finally:
        _run("umount", str(place))


@contextmanager
def _unlimited(how: str) -> Iterator[None]:
    if how != "limit on file size":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _fill(ballast: Path, left: int, how: str) -> None:
    if how != "small file system":
        return
    free = shutil.disk_usage(ballast.parent).free
    with contextlib.suppress(OSError):
        ballast.write_bytes(b"x" * max(0, min(free // 2, 1_000_000) - left))


def _run(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextmanager
def _copy(original: Path, directory: Path) -> Iterator[Path]:
    study = directory / "copy"
    shutil.copytree(original, study)
    try:
        yield study
    finally:
        shutil.rmtree(study)


def main() -> int:
    """Try every kind of fault, print what was lost, finish with one JSON line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=300)
    arguments.add_argument("--flips", type=int, default=1500)
    arguments.add_argument("--step", type=int, default=64)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    rng, start = random.Random(chosen.seed), time.perf_counter()
    total, kinds = Tally(), dict[str, Tally]()
    tried: dict[str, Callable[[Path], Tally]] = {
        "kill -9 at random instants": lambda place: kills(place, chosen.kills, rng),
        "file cut": lambda place: cuts(place, 12, chosen.step),
        "bit flip": lambda place: flips(place, 12, chosen.flips, rng),
        "disk full": lambda place: full_disk(place)[0],
    }
    with tempfile.TemporaryDirectory(prefix="bakeoff-faults-") as temporary:
        for name, run in tried.items():
            place = Path(temporary) / name.replace(" ", "-")
            place.mkdir()
            kinds[name] = found = run(place)
            total.add(found)
            print(
                f"{name:28} {found.faults:6d} faults, {found.acknowledged:8d} results checked: {found.lost} lost, {found.wrong} altered, "
                f"{found.unopenable} unopenable, {found.zombies} left running"
            )
    finish(
        "ledger_faults", **asdict(total), kinds={name: asdict(found) for name, found in kinds.items()},
        bar={"lost": 0, "wrong": 0, "unopenable": 0, "zombies": 0},
        met=not (total.lost or total.wrong or total.unopenable or total.zombies), seconds=round(time.perf_counter() - start, 1),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
