"""How well the run was foreseen: probes against finished candidates, predicted seconds against what they took."""

from __future__ import annotations

from bakeoff.report import numbers
from bakeoff.report.facts import metric_name
from bakeoff.report.words import joined, same, text
from bakeoff.schema.base import Words
from bakeoff.schema.decision import ProbeError, RunSummary


def foreseen(run: RunSummary) -> tuple[Words, ...]:
    """Return one sentence about the probes and one about the predicted time, as far as there is something to say."""
    said = []
    if run.probe_error:
        said.append(text("run.probed", figures=joined([_figure(one) for one in run.probe_error])))
    if run.cost_error is not None:
        found = run.cost_error
        drawn = text("run.from_studies", n=numbers.count(found.studies)) if found.studies else text("run.from_priors")
        ratio, typical = numbers.times(found.ratio), numbers.times(found.spread).removesuffix("×")
        said.append(text("run.foreseen", ratio=ratio, spread=typical, n=numbers.count(found.n), drawn=drawn))
    return tuple(said)


def _figure(found: ProbeError) -> Words:
    name, middle, worst = metric_name(found.figure), numbers.times(found.median), numbers.times(found.worst)
    if found.n == 1:
        return text("run.probed_one", name=name, ratio=middle)
    return text(
        "run.probed_some", name=name, ratio=middle, worst=worst, who=same(found.candidate), n=numbers.count(found.n)
    )
