"""The demo's decision against exhaustive evaluation of the same candidates at full fidelity, on this machine.

Bars: same recommendation or within the indifference zone, at no more than half the cost. Exhaustive means: every available
candidate built on the whole train split, judged on every confirm row and timed in the same interleaved rounds, nothing pruned.
Takes most of an hour on two cores. ``--spec`` takes another study, ``--out`` keeps the studies.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bakeoff.data.keep import freeze
from bakeoff.decision import decide
from bakeoff.evaluation.executor import Executor
from bakeoff.live import LiveView
from bakeoff.schema.decision import Decision
from bakeoff.schema.loading import load_spec
from bakeoff.schema.trial import Fidelity, Proposal, Trial
from bakeoff.search import compose
from bakeoff.search.presets import preset
from bakeoff.store.archive import Archive
from bakeoff.study import Study
from benchmarks import finish

DEMO = Path("examples/chinese-reviews/bakeoff.yaml")


def exhaustive(spec_path: Path, out: Path) -> tuple[Decision, float]:
    """Evaluate everything at full fidelity; return the decision and the CPU seconds of all steps."""
    spec = load_spec(spec_path, {"budget.step_time": "2h", "budget.time": "4h"})
    with Archive.writing(out) as archive:
        frozen = freeze(spec, spec_path.parent, archive.data_directory)
        candidates, unavailable = compose(spec, frozen.profile)
        archive.begin(spec, frozen.profile, candidates, unavailable)
        singles = [candidate for candidate in candidates if candidate.family != "ensemble"]
        full = Fidelity(fraction=1.0, seed=spec.seed, split="confirm")
        trials = tuple(
            Trial(candidate=candidate, purpose="final", fidelity=full, round=number)
            for number in range(preset(spec).rounds)
            for candidate in singles
        )
        archive.told(Proposal(trials=trials, finalists=tuple(candidate.id for candidate in singles)))
        with LiveView(spec) as view, Executor(archive, frozen, spec, workers=1, on_event=view) as executor:
            executor.run(trials, deadline=float("inf"))
        return decide(archive.evidence()), seconds(archive)


def seconds(archive: Archive) -> float:
    """CPU seconds of every step in the ledger."""
    return sum(row.result.cpu_seconds for row in archive.evidence().results)


def main() -> int:
    """Run both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, default=DEMO)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = arguments.out or Path(name)
        study = Study.open(arguments.spec, out=out / "searched")
        with LiveView(study.spec) as view:
            searched = study.run(on_event=view)
        cost = seconds(Archive(out / "searched"))
        truth, whole = exhaustive(arguments.spec, out / "exhaustive")
    report(searched, truth, cost, whole, study.spec.decision.indifference.quality)
    return 0


def report(searched: Decision, truth: Decision, cost: float, whole: float, zone: float) -> None:
    """Print both decisions and the loss of the searched one, read from the exhaustive evaluation."""
    ours = searched.recommended.id if searched.recommended else None
    theirs = truth.recommended.id if truth.recommended else None
    score = {
        verdict.id: verdict.metrics[truth.metric].value
        for verdict in truth.candidates
        if truth.metric in verdict.metrics
    }
    loss = (score.get(theirs or "") or 0.0) - (score.get(ours or "") or 0.0)
    print(f"searched:   {searched.outcome} {ours} in {cost:.0f} CPU s")
    print(f"exhaustive: {truth.outcome} {theirs} in {whole:.0f} CPU s; loss of ours there {100 * loss:.2f} points")
    finish(
        "exhaustive", searched=ours, exhaustive=theirs, outcome_searched=searched.outcome, outcome_exhaustive=truth.outcome,
        loss=loss, zone=zone, cpu_seconds=cost, exhaustive_cpu_seconds=whole, cost_ratio=cost / whole,
        met=(ours == theirs or loss <= zone) and cost <= 0.5 * whole,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
