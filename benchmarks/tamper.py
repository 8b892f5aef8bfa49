"""Bundles that were tampered with. Bar: every one is refused with its own error before a runtime reads a byte.

A small real study is run and shipped four times: unsigned, signed, encrypted, both. Each bundle then suffers 10,000 one-byte mutations (of
every file, manifest, checksum and signature included), more than 200 hostile paths in its manifest, and every file added, removed,
renamed, swapped, linked, cut. Last come forged manifests whose checksum is right, which nothing but a signature or the encryption can tell
from the real one: on the unsigned bundle they are counted apart, as what it cannot refuse.

``python -m benchmarks.tamper --mutations 200`` is a quick look.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bakeoff.runtimes.keys import Keys
from benchmarks import _tampering as tampering
from benchmarks import finish
from benchmarks._small import bakeoff, write_study
from benchmarks._stats import upper_bound
from benchmarks._tampering import Sample

MUTATIONS = 10_000
_WATCHED = "tests/contracts/test_delivered.py"


def main() -> int:
    """Ship, tamper, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=MUTATIONS, help="one-byte mutations of each bundle")
    count = parser.parse_args().mutations
    with tempfile.TemporaryDirectory() as name:
        rows = {sample.name: attack(sample, Path(name), count) for sample in samples(Path(name))}
    shapes = ("mutations", "paths", "files", "ciphertext")
    tried = sum(row[shape]["tried"] for row in rows.values() for shape in shapes)
    let_in = sum(row[shape]["tried"] - row[shape]["refused"] for row in rows.values() for shape in shapes)
    forged = {name: row["forged manifests"] for name, row in rows.items()}
    guarded = all(row["refused"] == row["tried"] for name, row in forged.items() if name != "unsigned")
    print(f"all: {tried - let_in} of {tried} refused before a runtime was called")
    print(
        f"what opening and serving a sound bundle does is watched by an audit hook elsewhere: python -m pytest {_WATCHED}"
    )
    finish(
        "tamper", tried=tried, let_in=let_in, upper_bound_99=upper_bound(let_in, tried), bundles=rows, seconds_cpu=round(time.process_time(), 1),
        audit_hook=f"not here: {_WATCHED}",
        met=let_in == 0 and guarded and all(row["paths"]["tried"] >= 200 for row in rows.values()),
    )  # fmt: skip
    return 0


def samples(work: Path) -> list[Sample]:
    """Run a small study and ship it four times through the command line."""
    study = work / "study"
    bakeoff("run", write_study(work, candidates={"include": ["linear.*"]}), "--out", study)
    sign, secret = work / "sign.pem", work / "secret.key"
    bakeoff("keygen", "-o", sign)
    bakeoff("keygen", "--encryption", "-o", secret)
    public = f"{sign}.pub"
    wanted: dict[str, tuple[list[str | Path], Keys]] = {
        "unsigned": ([], Keys()),
        "signed": (["--sign", sign], Keys(verify=public)),
        "encrypted": (["--encrypt", secret], Keys(decrypt=str(secret))),
        "signed and encrypted": (["--sign", sign, "--encrypt", secret], Keys(verify=public, decrypt=str(secret))),
    }
    found = []
    for number, (name, (flags, keys)) in enumerate(wanted.items()):
        bundle = work / f"bundle-{number}"
        bakeoff("ship", study, "-o", bundle, *flags)
        found.append(Sample(name, bundle, keys))
        if tampering.refused(bundle, keys):
            message = f"the sound bundle is refused: {name}"
            raise SystemExit(message)
    return found


def attack(sample: Sample, work: Path, count: int) -> dict[str, dict[str, int]]:
    """Tamper with one bundle in every way; return tried and refused by kind."""
    place = work / "copies"
    place.mkdir(exist_ok=True)
    by_file = tampering.mutate(sample.bundle, sample.keys, count)
    paths = ((path, tampering.listed_at(path)) for path in tampering.paths())
    rows = {
        "mutations": {"tried": count, "refused": sum(by_file.values()), "files": len(by_file)},
        "paths": _counted(tampering.on_copies(sample, paths, place)),
        "files": _counted(tampering.on_copies(sample, tampering.changes(sample.bundle), place)),
        "ciphertext": _counted(tampering.on_copies(sample, tampering.encrypted_changes(sample.bundle), place)),
        "forged manifests": _counted(tampering.on_copies(sample, tampering.forgeries(), place)),
    }
    for kind, row in rows.items():
        note = " (an unsigned bundle cannot tell)" if kind == "forged manifests" and sample.name == "unsigned" else ""
        print(f"{sample.name:21s} {kind:17s} {row['refused']:6d} of {row['tried']:6d} refused{note}", flush=True)
    return rows


def _counted(found: dict[str, bool]) -> dict[str, int]:
    for name, was_refused in found.items():
        if not was_refused:
            print(f"  let in: {name!r}")
    return {"tried": len(found), "refused": sum(found.values())}


if __name__ == "__main__":
    sys.exit(main())
