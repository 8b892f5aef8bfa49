from __future__ import annotations

from tests.report.examples import winner

from bakeoff.report import render
from bakeoff.report.foreseen import foreseen
from bakeoff.schema.decision import CostError, Decision, ProbeError, RunSummary

PROBES = (
    ProbeError(figure="latency_p95", median=1.04, worst=1.6, candidate="linear.char.none.native", n=5),
    ProbeError(figure="size", median=5.8, worst=5.8, candidate="linear.char.none.native", n=1),
)
COST = CostError(ratio=0.93, typical=1.02, spread=1.4, n=80, studies=2)


def with_run(**facts: object) -> RunSummary:
    return winner().run.model_copy(update={"probe_error": (), "cost_error": None, **facts})


def test_it_says_how_far_off_and_whose() -> None:
    probes, cost = foreseen(with_run(probe_error=PROBES, cost_error=COST))
    assert "p95" in probes.en
    assert "median 1.04×, farthest 1.6× (linear.char.none.native; 5 candidates)" in probes.en
    assert "size 5.8×" in probes.en.lower()
    assert "1.04×" in probes.zh
    assert "0.93× of what the steps took" in cost.en
    assert "within a factor of 1.4;" in cost.en
    assert "在 1.4 倍以内" in cost.zh
    assert "2 earlier studies on this machine" in cost.en
    assert "本机此前的 2 次研究" in cost.zh


def test_without_earlier_studies_it_says_so_and_without_figures_nothing() -> None:
    (cost,) = foreseen(with_run(cost_error=COST.model_copy(update={"studies": 0})))
    assert "shipped guesses" in cost.en
    assert "随软件附带的估计" in cost.zh
    assert foreseen(with_run()) == ()


def test_every_form_of_the_report_tells_it() -> None:
    decision: Decision = winner().model_copy(update={"run": with_run(probe_error=PROBES, cost_error=COST)})
    for form in ("md", "html"):
        said = render(decision, "en", form)  # type: ignore[arg-type]
        assert "farthest 1.6×" in said
        assert "0.93×" in said
    assert Decision.model_validate_json(render(decision, "en", "json")).run.cost_error == COST
