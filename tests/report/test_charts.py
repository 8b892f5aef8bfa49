from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup
from tests.report import examples

from bakeoff.report.charts import bars, curves, pareto
from bakeoff.report.charts.scale import Axis
from bakeoff.report.charts.svg import both, label, stretched, tag
from bakeoff.schema import Words

positive = st.floats(1e-9, 1e12)


def parsed(drawing: Markup) -> ET.Element:
    return ET.fromstring(str(drawing))


def test_a_tag_escapes_text_and_attributes() -> None:
    assert str(tag("text", "<b>", data_id='"x')) == '<text data-id="&#34;x">&lt;b&gt;</text>'
    assert str(tag("rect", x=1.50, y=None)) == '<rect x="1.5"/>'
    assert str(tag("svg", viewBox="0 0 1 1", class_="a")) == '<svg viewBox="0 0 1 1" class="a"/>'


def test_words_appear_in_both_languages_and_plain_text_once() -> None:
    assert str(both(Words(zh="甲", en="a"))) == '<span lang="zh-CN">甲</span><span lang="en">a</span>'
    assert str(both(Words(zh="<x>", en="<x>"))) == "<bdi>&lt;x&gt;</bdi>"
    assert str(label(Words(zh="甲", en="a"))).count("<text") == 2
    assert str(label(Words(zh="1", en="1"))) == "<text>1</text>"


@given(st.lists(positive, min_size=1, max_size=20))
def test_every_value_lies_on_its_axis(values: list[float]) -> None:
    axis = Axis.around(values)
    assert all(axis.holds(value) for value in values)
    assert all(0 <= axis.at(value) <= 100 for value in values)


@given(positive, positive, st.booleans())
def test_positions_keep_the_order_of_values(a: float, b: float, log: bool) -> None:
    low, high = sorted((a, b))
    axis = Axis.around([low, high], log=log)
    assert axis.at(low) <= axis.at(high)


@example([1.0, 2.2250738585e-313], True)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=10), st.booleans())
def test_ticks_are_few_and_on_the_axis(values: list[float], log: bool) -> None:
    axis = Axis.around(values, log=log)
    ticks = axis.ticks()
    assert len(ticks) <= 8
    slack = 1e-9 * (abs(axis.low) + abs(axis.high))
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)


@given(st.lists(positive, min_size=2, max_size=10, unique=True))
def test_an_axis_has_at_least_one_tick(values: list[float]) -> None:
    assert Axis.around(values).ticks()


def test_a_wide_spread_is_logarithmic_and_marks_are_round() -> None:
    axis = Axis.around([0.00004, 0.31])
    assert axis.log
    assert [text for _, text in axis.marks("s")] == ["100 µs", "1 ms", "10 ms", "100 ms"]
    assert not Axis.around([0.8, 0.85]).log
    assert [text for _, text in Axis.around([0.8, 0.85], pad=0).marks("", "macro_f1")] == [
        "0.8",
        "0.81",
        "0.82",
        "0.83",
        "0.84",
        "0.85",
    ]


def test_values_off_the_axis_are_clamped_to_its_edge() -> None:
    axis = Axis(1.0, 10.0, log=True)
    assert (axis.at(0.0), axis.at(0.1), axis.at(100.0)) == (0.0, 0.0, 100.0)


def the_plot(decision: object = None) -> pareto.Plot:
    found = pareto.plot(decision or examples.winner())  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_plot_offers_quality_latency_cost_memory_size() -> None:
    found = the_plot()
    assert [axis.name for axis in found.axes] == ["macro_f1", "latency_p95", "cost", "memory", "size", "throughput"]
    assert (found.x, found.y) == ("latency_p95", "macro_f1")
    assert found.axes[1].limit is not None
    assert found.axes[1].limit_text == "≤ 50 ms"
    assert found.axes[2].limit is None


def test_the_plot_is_well_formed_and_holds_every_measured_candidate() -> None:
    found = the_plot()
    points = [node for node in parsed(found.drawing).iter("g") if node.get("class", "").startswith("pt ")]
    assert len(points) == sum(1 for one in examples.winner().candidates if one.metrics)
    assert sum(node.get("tabindex") == "0" for node in points) == 1
    assert [node.get("data-id") for node in points if node.get("display") == "none"] == [
        "ensemble.soft-vote.none.composite"
    ]
    for store in (found.grids, found.limits):
        parsed(tag("svg", store))


def test_a_far_worse_candidate_sits_on_the_edge_and_says_so() -> None:
    spot = the_plot().axes[0].spots["baseline.majority.none.native"]
    assert spot[0] == 0.0
    assert spot[3]


def test_a_predicted_value_is_drawn_dashed() -> None:
    assert the_plot().axes[0].spots["ensemble.soft-vote.none.composite"][3]


def test_hidden_limits_and_refused_numbers_leave_no_point() -> None:
    axes = {axis.name: axis for axis in the_plot().axes}
    assert "latency_p99" not in axes


spots = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=12)


@given(spots, st.sampled_from(["high", "low"]), st.sampled_from(["high", "low"]))
def test_the_frontier_is_exactly_what_nothing_beats(
    found: list[tuple[float, float]], x_better: str, y_better: str
) -> None:
    found = [(round(a, 2), round(b, 2)) for a, b in found]
    people = [examples.candidates()[0].model_copy(update={"id": str(i)}) for i in range(len(found))]

    def axis(name: str, better: str, place: int) -> pareto.PlotAxis:
        where = {str(i): (spot[place], spot[place], spot[place], False) for i, spot in enumerate(found)}
        return pareto.PlotAxis(name, Words(zh="", en=""), better, (), None, "", where)  # type: ignore[arg-type]

    corners = pareto._front(axis("x", x_better, 0), axis("y", y_better, 1), people)
    right, up = (1 if x_better == "high" else -1), (1 if y_better == "high" else -1)

    def beaten(one: tuple[float, float]) -> bool:
        return any(right * o[0] >= right * one[0] and up * o[1] >= up * one[1] and o != one for o in found)

    assert set(corners) == {spot for spot in found if not beaten(spot)}


def test_only_feasible_candidates_make_the_frontier() -> None:
    assert the_plot(examples.infeasible()).data["fronts"]["latency_p95|macro_f1"] == []
    assert len(the_plot().data["fronts"]["latency_p95|macro_f1"]) == 2


def test_the_frontier_is_a_staircase() -> None:
    assert pareto.stairs([(10, 20), (30, 50)]) == "M10.00 80.00L30.00 80.00L30.00 50.00"
    assert pareto.stairs([]) == ""


def test_no_plot_without_numbers() -> None:
    bare = [one.model_copy(update={"metrics": {}, "cost": None}) for one in examples.candidates()]
    assert pareto.plot(examples.winner(candidates=tuple(bare))) is None


def test_curves_put_the_recommended_arm_first() -> None:
    found = curves.curves(examples.curves(), "macro_f1", examples.CHAR, 0.82)
    assert found is not None
    assert [curve.arm for curve in found.curves] == ["linear.char", "encoder.e5-small", "llm_prompt.qwen05b-zero"]
    drawing = parsed(found.drawing)
    assert len([node for node in drawing.iter("path") if node.get("class") == "band"]) == 1
    assert len(list(drawing.iter("circle"))) == 9
    assert curves.curves((), "macro_f1", None, None) is None


def test_numbers_at_the_ends_of_curves_do_not_overlap() -> None:
    assert curves._apart([50.0, 51.0, 49.0]) == [54.0, 59.0, 49.0]


def test_a_curve_of_one_point_can_be_drawn() -> None:
    one = examples.curves()[0].model_copy(update={"points": examples.curves()[0].points[:1]})
    assert curves.curves((one,), "macro_f1", None, None) is not None


def test_a_gauge_hatches_the_forbidden_side() -> None:
    floor, p95, *_ = examples.winner().constraints
    low, high = (parsed(bars.constraint(found)).find("rect") for found in (floor, p95))
    assert low is not None
    assert high is not None
    assert low.get("x") == "0.00%"
    assert float(str(high.get("x")).rstrip("%")) + float(str(high.get("width")).rstrip("%")) == pytest.approx(
        100, abs=0.02
    )
    assert bars.constraint(examples.rule()) == ""


def test_a_stack_adds_up_and_survives_nothing() -> None:
    widths = [
        float(width)
        for width in re.findall(r'width="([\d.]+)"', str(bars.stack([("a", 30.0), ("b", 0.0), ("c", 70.0)], 100.0)))
    ]
    assert widths == [30.0, 70.0]
    assert "rect" not in str(bars.stack([], 0.0))


def test_flip_bars_are_longer_the_farther_the_flip() -> None:
    axis = bars.flip_axis([1.5, 40.0])
    ends = [
        float(re.findall(r'cx="([\d.]+)%"', str(bars.flip(factor, axis)))[0]) for factor in (1.0, 1.5, 40.0, math.inf)
    ]
    assert ends == sorted(ends)
    assert ends[-1] == 100.0


def test_an_interval_off_the_scale_is_drawn_at_the_edge() -> None:
    assert 'class="dot off"' in str(bars.interval(0.3, 0.2, 0.4, Axis(0.7, 0.9)))


def test_a_stretched_layer_keeps_its_strokes() -> None:
    assert 'preserveAspectRatio="none"' in str(stretched(tag("path", d="M0 0")))
