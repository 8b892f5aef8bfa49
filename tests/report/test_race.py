"""The race on paper: the drawing, the lists beside it, the record and the terminal's line."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report import examples

from bakeoff.report import render, terminal
from bakeoff.report.charts import race
from bakeoff.report.charts.scale import Axis
from bakeoff.schema import Decision, RunSummary


def view(decision: Decision | None = None) -> race.RaceView:
    found = race.race(decision or examples.winner())
    assert found is not None
    return found


def drawn(found: race.RaceView) -> dict[str, list[ET.Element]]:
    """The groups of the drawing by class, ``runner`` left out."""
    groups: dict[str, list[ET.Element]] = {}
    for node in ET.fromstring(str(found.drawing)).iter("g"):
        kind = (node.get("class") or "").removeprefix("runner ")
        groups.setdefault(kind, []).append(node)
    return groups


def crosses(nodes: list[ET.Element]) -> list[tuple[float, float]]:
    """Positions of the crosses inside groups, in per cent."""
    return [
        (float(str(mark.get("x")).rstrip("%")), float(str(mark.get("y")).rstrip("%")))
        for node in nodes for mark in node.iter("svg") if mark.find("path[@class='cross']") is not None
    ]  # fmt: skip


def dots(node: ET.Element) -> list[tuple[float, float, float]]:
    return [
        (float(str(dot.get("cx")).rstrip("%")), float(str(dot.get("cy")).rstrip("%")), float(str(dot.get("r"))))
        for dot in node.iter("circle")
    ]


def with_run(**changes: Any) -> Decision:
    return examples.winner(run=examples.run().model_copy(update=changes))


def test_the_recommended_comes_first_and_the_dropped_are_counted() -> None:
    found = view()
    assert [one.arm for one in found.finishers] == ["linear.char", "encoder.e5-small"]
    assert (found.arms, found.dropped, found.shade) == (8, 6, 0)
    assert {one.arm for one in found.others} == {
        "linear.word", "embedding_head.wordllama", "baseline.majority", "llm_prompt.qwen05b-zero",
    }  # fmt: skip


def test_every_line_is_there_once_with_a_dot_per_look() -> None:
    groups = drawn(view())
    assert [node.get("data-race") for node in groups["c1"]] == ["linear.char"]
    assert [len(dots(node)) for node in (*groups["c1"], *groups["c2"])] == [3, 3]
    assert len([node for node in groups["out"] if dots(node)]) == 4


def test_dots_move_right_and_grow_with_the_share_of_the_training_rows() -> None:
    (first,) = drawn(view())["c1"]
    found = dots(first)
    assert found == sorted(found)
    assert [r for _, _, r in found] == sorted(r for _, _, r in found)
    assert found[-1][1] < found[0][1]  # a better score is higher up


def test_a_cross_marks_the_last_look_before_an_arm_was_dropped() -> None:
    groups = {node.get("data-race"): node for node in drawn(view())["out"]}
    word = groups["linear.word"]
    assert crosses([word]) == [dots(word)[-1][:2]]
    llm = groups["llm_prompt.qwen05b-zero"]  # dropped by its probe, looked at once more for reference
    assert crosses([llm]) == [dots(llm)[-1][:2]]


def test_who_had_no_score_is_crossed_out_in_the_strip_below() -> None:
    found = view()
    (mini,) = [node for node in drawn(found)["out"] if node.get("data-race") == "embedding_head.minilm"]
    ((_, y),) = crosses([mini])
    lowest = max(dot[1] for node in ET.fromstring(str(found.drawing)).iter("g") for dot in dots(node))
    assert y > lowest
    assert "dropped before any score" in str(found.drawing)


def test_a_path_that_left_does_not_end_the_arm() -> None:
    assert "encoder.e5-small" in {one.arm for one in view().finishers}
    assert crosses(drawn(view())["c2"]) == []


def test_forty_arms_are_drawn_in_full_and_the_rest_thin() -> None:
    groups = drawn(view(examples.crowded(60)))
    full = [node for kind, nodes in groups.items() if re.fullmatch(r"c\d|out", kind) for node in nodes if dots(node)]
    assert len(full) == race.MOST
    assert len(groups["thin"]) == 60 - 8 - race.MOST  # eight never had a score
    assert all(not dots(node) for node in groups["thin"])
    assert 'class="plot-area many"' in str(view(examples.crowded(60)).drawing)


def test_without_a_winner_nobody_wears_the_winner_s_colour() -> None:
    found = view(examples.infeasible())
    assert found.shade == 1
    assert "c1" not in drawn(found)
    assert "c2" in drawn(found)


def test_positions_stay_inside_and_the_drawing_is_well_formed() -> None:
    for make in (examples.winner, examples.infeasible, examples.hostile, examples.crowded):
        for node in ET.fromstring(str(view(make()).drawing)).iter():
            for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
                assert 0 <= float((node.get(name) or "0").rstrip("%")) <= 100


def test_no_look_means_lists_without_a_chart_and_no_record_says_so() -> None:
    only_exits = with_run(race=())
    assert view(only_exits).drawing == ""
    assert "p95 310ms" in render(only_exits, "en")
    nothing = with_run(race=(), exits=())
    assert race.race(nothing) is None
    assert "kept no record of the race" in render(nothing, "en")
    assert "Who was dropped" not in render(nothing, "en", "md")


def test_one_look_at_one_arm_can_be_drawn() -> None:
    assert view(with_run(race=examples.looks()[:1], exits=())).drawing
    still = examples.looks()[0].model_copy(update={"at": 0.0})  # a table that kept no costs
    assert view(with_run(race=(still,), exits=())).drawing


def test_nobody_dropped_is_said() -> None:
    assert "Nobody was dropped." in render(with_run(exits=()), "en")
    assert "Nobody was dropped." in render(with_run(exits=()), "en", "md")


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=8))
def test_numbers_at_the_ends_of_lines_stay_apart_and_far_ones_stay_put(ends: list[tuple[float, float]]) -> None:
    placed = race._apart(ends)
    for one, (x, y) in enumerate(ends):
        assert placed[one] >= y
        for other, (there, _) in enumerate(ends):
            if one < other and abs(x - there) < race._NEAR:
                assert abs(placed[one] - placed[other]) >= race._NEAR - 1e-9
    assert race._apart([(0.0, 50.0), (50.0, 50.0)]) == [50.0, 50.0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (4.0, 1300.0, [5.0, 20.0, 60.0, 300.0, 1200.0]), (30.0, 620.0, [30.0, 60.0, 120.0, 300.0, 600.0]), (0.004, 0.2, [0.01, 0.02, 0.05, 0.1, 0.2]),
    ],
)  # fmt: skip
def test_times_on_the_axis_are_those_people_count_in(low: float, high: float, expected: list[float]) -> None:
    assert race.times(Axis(low, high, log=True)) == pytest.approx(expected)


@given(st.floats(0.05, 1e6), st.floats(1.05, 1e4), st.booleans())
def test_times_are_few_and_on_the_axis(low: float, factor: float, log: bool) -> None:
    axis = Axis(low, low * factor, log=log)
    found = race.times(axis)
    assert len(found) <= 8
    assert all(axis.holds(time) for time in found)


def test_the_page_lists_every_exit_with_time_share_and_reason() -> None:
    page = render(examples.winner(), "en")
    part = page[page.index('id="race"') : page.index('id="unavailable"')]
    for one in examples.exits():
        assert one.reason.zh in part
        assert one.reason.en in part
    assert "8 models started, 6 were dropped on the way, 2 reached the end." in part
    assert "The expected gain of one more trial is below its price" in part
    assert "spent 10.9 min of processor time: 12.1 % of the 90.0 min predicted" in part
    assert "25 % of the training rows" in part
    assert "encoder.e5-small.none.onnxruntime" in part  # only one path left: it is named
    assert "never started" in part


def test_a_long_list_folds_and_every_look_is_in_the_table() -> None:
    decision = examples.crowded(60)
    page = render(decision, "en")
    part = page[page.index('id="race"') : page.index('id="unavailable"')]
    first, rest = part.split("<summary>", 1)
    assert first.count("<li data-race") == 8 + len(view(decision).finishers)
    assert rest.count("<li data-race") == len(decision.run.exits) - 8
    table = part[part.index('<table class="plain looks">') :]
    assert table.count("<tr>") - 1 == sum(look.score is not None for look in decision.run.race)


def test_the_record_has_a_row_per_exit() -> None:
    for language, said in (("en", "Who was dropped, when and why"), ("zh", "谁在何时、因何出局")):
        record = render(examples.winner(), language, "md")  # type: ignore[arg-type]
        part = record[record.index(said) :]
        part = part[: part.index("\n## ")]
        assert part.count("\n| ") - 2 == len(examples.exits())
    assert "| 52.0 s | Word TF-IDF | 25 % | Eliminated |" in render(examples.winner(), "en", "md")


def test_the_terminal_says_it_in_one_entry() -> None:
    said = " ".join(terminal(examples.winner(), "en").split())
    assert "Race 8 models, 6 dropped on the way" in said
    assert "all steps took 12.1 % of training every listed candidate in full and judging it once" in said
    assert "Race " not in terminal(with_run(race=(), exits=()), "en")


def test_without_a_prediction_no_share_is_claimed() -> None:
    unknown = with_run(exhaustive_seconds=None)
    assert "every listed candidate in full" not in render(unknown, "en")
    assert "every listed candidate in full" not in terminal(unknown, "en")
    assert race.spent(unknown.run) is None


def test_a_run_of_an_earlier_version_is_read_without_a_race() -> None:
    old = examples.run().model_dump(mode="json")
    for name in ("race", "exits", "exhaustive_seconds"):
        del old[name]
    found = RunSummary.model_validate(old)
    assert (found.race, found.exits, found.exhaustive_seconds) == ((), (), None)
