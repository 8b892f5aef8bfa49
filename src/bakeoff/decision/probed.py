"""Was the probe right? Figures measured with initial weights, against those of the same candidates' finished artefacts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median

from bakeoff.schema.decision import ProbeError
from bakeoff.schema.trial import StepResult
from bakeoff.store.evidence import StudyEvidence

FIGURES = ("latency_p50", "latency_p95", "memory", "size")


def probe_errors(evidence: StudyEvidence) -> tuple[ProbeError, ...]:
    """Return how many times its probe's figure each finished candidate came to, per figure: the median and the farthest.

    A figure measured on a busy machine says nothing about the probe and is left out.
    """
    probed, finished = _figures(evidence, probe=True), _figures(evidence, probe=False)
    found = []
    for name in FIGURES:
        ratios = {
            candidate: median(values) / median(probed[candidate, name])
            for candidate, figure in sorted(finished.keys() & probed.keys()) if figure == name
            for values in [finished[candidate, figure]] if median(probed[candidate, name]) > 0
        }  # fmt: skip
        if ratios:
            worst = max(ratios, key=lambda candidate: (max(ratios[candidate], 1 / ratios[candidate]), candidate))
            found.append(
                ProbeError(
                    figure=name, median=median(ratios.values()), worst=ratios[worst], candidate=worst, n=len(ratios)
                )
            )
    return tuple(found)


def _figures(evidence: StudyEvidence, *, probe: bool) -> dict[tuple[str, str], list[float]]:
    """Return the figures by candidate and name: of probes, or of the final's rounds."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for candidate, name, value in _numbers((row.result for row in evidence.results), probe=probe):
        found[candidate, name].append(value)
    return found


def _numbers(results: Iterable[StepResult], *, probe: bool) -> Iterator[tuple[str, str, float]]:
    for result in results:
        final = result.purpose == "final" and result.round is not None
        if result.status != "ok" or result.fidelity.probe != probe or not (probe or final):
            continue
        for one in result.measurements:
            sized = one.name == "size" and result.kind == "load"
            timed = one.name in FIGURES and one.name != "size" and result.kind == "time"
            if (sized or timed) and one.value is not None and one.value > 0 and one.validity == "valid":
                yield result.candidate, one.name, one.value
