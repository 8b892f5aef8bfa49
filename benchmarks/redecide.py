"""How long ``bakeoff decide STUDY`` takes on a finished study, whole process. Bar: 1.5 s.

Uses build/demo/study when the demo has run, a small study otherwise; also times a what-if that changes a limit.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks import finish, spread
from benchmarks._small import bakeoff, write_study

BAR, ROUNDS = 1.5, 9
DEMO = Path("build/demo/study")


def _seconds(*words: str | Path) -> float:
    begin = time.perf_counter()
    bakeoff("decide", *words)
    return time.perf_counter() - begin


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        study = DEMO
        if not (DEMO / "decision.json").exists():
            study = Path(name) / "study"
            bakeoff("run", write_study(Path(name)), "--out", study)
        _seconds(study)
        plain = spread([_seconds(study) for _ in range(ROUNDS)])
        changed = spread([_seconds(study, "--set", "requirements.latency.p95=2s") for _ in range(ROUNDS)])
    print(
        f"decide {plain['median']:.2f} s (quartiles {plain['q1']:.2f} to {plain['q3']:.2f}); what-if {changed['median']:.2f} s; bar {BAR} s"
    )
    finish(
        "redecide",
        study=study.name,
        decide_seconds=plain,
        what_if_seconds=changed,
        bar_seconds=BAR,
        met=plain["median"] <= BAR,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
