"""How well ``bakeoff plan`` foretells a run's time after the first study on a machine. Bar: within a factor of 1.5.

A first study fills an empty cost book. Then other studies are planned, run, and held against their plans: the same data with another
seed, and another specification (twice the rows, other candidates, a deeper preset). Everything is in folders of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import finish
from benchmarks._small import bakeoff, write_study

BAR = 1.5
_FIRST = {"seed": 0}
_LATER: dict[str, dict[str, Any]] = {
    "another seed": {"seed": 1},
    "another specification": {
        "preset": "standard", "candidates": {"include": ["linear.*", "ensemble.*"]},
        "requirements": {"quality": {"metric": "accuracy", "floor": 0.75}, "latency": {"p95": "20ms"}},
    },
}  # fmt: skip


def _study(folder: Path, changes: dict[str, Any]) -> Path:
    folder.mkdir()
    return write_study(folder, **changes)


def _run(spec: Path) -> tuple[float, dict[str, Any]]:
    """Return the seconds a run took, from the first to the last moment of its process, and its decision."""
    begin = time.perf_counter()
    _, decision = bakeoff("run", spec, "--out", spec.parent / "study")
    return time.perf_counter() - begin, decision


def main() -> int:
    """Measure and print."""
    figures = {}
    with tempfile.TemporaryDirectory(prefix="bakeoff-plan-") as name:
        os.environ["BAKEOFF_COST_BOOK"] = str(Path(name) / "costs.json")
        first = _study(Path(name) / "first", _FIRST)
        blind = bakeoff("plan", first)[1]["expected_seconds"]
        took, _ = _run(first)
        print(
            f"{'first study, shipped guesses':32} foretold {blind:6.1f} s  took {took:6.1f} s  ratio {blind / took:.2f}"
        )
        for number, (what, changes) in enumerate(_LATER.items()):
            spec = _study(Path(name) / f"later{number}", changes)
            begin = time.perf_counter()
            plan = bakeoff("plan", spec)[1]
            planning = time.perf_counter() - begin
            later, decision = _run(spec)
            ratio, low, high = plan["expected_seconds"] / later, plan["expected"]["low"], plan["expected"]["high"]
            figures[what] = {
                "foretold_seconds": round(plan["expected_seconds"], 1), "low": round(low, 1), "high": round(high, 1),
                "took_seconds": round(later, 1), "ratio": round(ratio, 3), "inside_range": low <= later <= high,
                "computing_ratio": round(plan["expected_computing"] / decision["run"]["cpu_seconds"], 3),
                "steps": decision["run"]["cost_error"], "planning_seconds": round(planning, 1),
            }  # fmt: skip
            print(
                f"{what:32} foretold {plan['expected_seconds']:6.1f} s  took {later:6.1f} s  ratio {ratio:.2f}  range {low:.1f} to {high:.1f} s  "
                f"(computing {figures[what]['computing_ratio']:.2f})"
            )
    worst = max(max(found["ratio"], 1 / found["ratio"]) for found in figures.values())
    print(f"farthest off by a factor of {worst:.2f}; bar {BAR}  {'met' if worst <= BAR else 'MISSED'}")
    finish(
        "plan_accuracy", first={"foretold_seconds": round(blind, 1), "took_seconds": round(took, 1)}, later=figures,
        worst_factor=round(worst, 3), bar_factor=BAR, met=worst <= BAR, load_1min=round(os.getloadavg()[0], 2),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
