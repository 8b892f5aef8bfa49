"""The harness's own cost per trial: the null candidate (majority class), isolated processes and ledger included. Bar: 0.7 s.

Every trial is new (another seed), so nothing is found in the ledger; the first one also starts the processes that start workers and is
shown apart. ``python -m benchmarks.harness --trials 30`` measures more of them.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from bakeoff import registry
from bakeoff.data.freeze import prepare
from bakeoff.evaluation.events import Event
from bakeoff.evaluation.executor import Executor
from bakeoff.schema.candidate import Candidate
from bakeoff.schema.spec import Spec
from bakeoff.schema.trial import Fidelity, Trial
from bakeoff.store.archive import Archive
from benchmarks import finish, spread

BAR = 0.7
_WORDS = [*"abcdefghijklmnop"]


def spec_and_data(directory: Path, rows: int) -> Spec:
    """Write a data file of ``rows`` different rows and return a specification for it."""
    rng = random.Random(0)
    lines = [
        "text,label",
        *(f"{' '.join(rng.choices(_WORDS, k=12))} {n},{rng.choice(['pos', 'neg'])}" for n in range(rows)),
    ]
    (directory / "data.csv").write_text("\n".join(lines), encoding="utf-8")
    return Spec.model_validate(
        {
            "name": "harness", "task": "text-classification", "preset": "quick",
            "data": {"file": "data.csv", "input": "text", "target": "label"}, "requirements": {"latency": {"p95": "50ms"}},
        }
    )  # fmt: skip


def seconds_per_trial(directory: Path, purpose: str, trials: int, rows: int) -> list[float]:
    """Run that many new trials of the null candidate; return the wall seconds of each."""
    spec = spec_and_data(directory, rows)
    frozen = prepare(spec, directory)
    family = registry.plugin("models", "baseline")
    null = Candidate(
        family="baseline", variant=family.variants(spec, frozen.profile)[0], runtime="native", label=family.traits.label
    )
    probe = purpose == "probe"
    asked = [
        Trial(
            candidate=null, purpose="probe" if probe else "rung", rung=None if probe else 0,
            fidelity=Fidelity(fraction=0.0 if probe else 1.0, seed=seed, probe=probe),
        )
        for seed in range(trials + 1)
    ]  # fmt: skip
    moments: list[float] = []

    def note(event: Event) -> None:
        if event.kind in {"started", "finished"}:
            assert event.failure is None
            moments.append(time.perf_counter())

    with Archive.writing(directory / purpose) as archive:
        archive.begin(spec, frozen.profile, [null], [])
        with Executor(archive, frozen, spec, on_event=note) as executor:
            executor.run(asked)
    return [end - start for start, end in zip(moments[::2], moments[1::2], strict=True)]


def main() -> int:
    """Measure, print, finish with one JSON line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=15)
    arguments.add_argument("--rows", type=int, default=11_000, help="rows of the data file, as many as the demo's")
    chosen = arguments.parse_args()
    figures = {}
    for purpose, what in (
        ("probe", "build, load, time 90 requests"),
        ("rung", "build, load, predict a fifth of the rows"),
    ):
        with tempfile.TemporaryDirectory(prefix="bakeoff-harness-") as temporary:
            first, *rest = seconds_per_trial(Path(temporary), purpose, chosen.trials, chosen.rows)
        figures[purpose] = {**spread(rest, 3), "first": round(first, 3)}
        seen = figures[purpose]
        print(
            f"{purpose:6} median {seen['median']:.3f} s  ({seen['min']:.3f} to {seen['max']:.3f}; the first {first:.3f})  {what}"
        )
    worst = max(figure["median"] for figure in figures.values())
    print(f"bar    {BAR:.3f} s  {'met' if worst <= BAR else 'MISSED'}")
    finish(
        "harness", seconds_per_trial=figures, trials=chosen.trials, rows=chosen.rows, bar=BAR, met=worst <= BAR,
        load_1min=round(os.getloadavg()[0], 2),
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
