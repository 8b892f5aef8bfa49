"""One small study, same seed, ten times from scratch, half of them with every core loaded by something else.

Bar: the same outcome and the same recommended candidate ten times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import finish
from benchmarks._small import bakeoff, write_study

TIMES = 10


def _load() -> list[subprocess.Popen[bytes]]:
    spin = [sys.executable, "-c", "while True: sum(i * i for i in range(10000))"]
    return [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]


def _once(spec: Path, out: Path, *, loaded: bool) -> dict[str, object]:
    others = _load() if loaded else []
    begin = time.perf_counter()
    try:
        _, decision = bakeoff("run", spec, "--out", out)
    finally:
        for other in others:
            other.kill()
            other.wait()
    chosen = (decision.get("recommended") or {}).get("id")
    seconds = time.perf_counter() - begin
    print(
        f"{'loaded' if loaded else 'quiet ':6} {decision['outcome']:16} {chosen}  p_best {decision['p_best']}  {seconds:.0f} s",
        flush=True,
    )
    return {"outcome": decision["outcome"], "recommended": chosen, "loaded": loaded, "seconds": round(seconds, 1)}


def main() -> int:
    """Run, print, and say whether all agree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = write_study(folder)
        runs = [_once(spec, folder / f"study-{number}", loaded=number % 2 == 1) for number in range(TIMES)]
    answers = {(run["outcome"], run["recommended"]) for run in runs}
    finish("determinism", runs=runs, different_answers=len(answers), met=len(answers) == 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
