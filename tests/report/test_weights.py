"""Criteria without a price in every form of the report; nothing of them without criteria."""

from __future__ import annotations

from tests.decision.worlds import reviews

from bakeoff.decision import decide
from bakeoff.report.html import page
from bakeoff.report.markdown import record
from bakeoff.report.terminal import terminal
from bakeoff.report.weights import weights
from bakeoff.schema import Decision


def _decided() -> Decision:
    criteria = {"skills": {"weight": [0.1, 0.6], "scores": {"linear.*": 1.0, "encoder.*": 0.0}}}
    return decide(reviews(decision={"draws": 400, "criteria": criteria}, value={"per_correct": 0.001}))


def test_the_table_says_who_is_first_and_what_one_has_to_value() -> None:
    decision = _decided()
    lines = weights(decision)
    assert [line.share for line in lines] == sorted((line.share for line in lines), reverse=True)
    assert "skills" in lines[0].valued.en
    assert "net value" in lines[0].valued.en
    assert "净价值" in lines[0].valued.zh
    for language, title in (("zh", "没有价格的考量"), ("en", "What has no price")):
        assert title in page(decision, language)
        assert f"### {title}" in record(decision, language)
        assert lines[0].first in record(decision, language)


def test_the_page_says_how_sure_the_choice_is_good_and_what_labels_are_worth() -> None:
    decision = _decided()
    assert decision.labels_value is not None
    assert decision.p_good is not None
    for shown in (page(decision, "en"), record(decision, "en")):
        assert "within indifference of the best" in shown
        assert "1,000 more labelled rows" in shown
    assert "within indifference of the best" in terminal(decision, "en", width=200)
    assert "无差异" in terminal(decision, "zh", width=200)


def test_nothing_is_said_of_weights_without_criteria() -> None:
    decision = decide(reviews(decision={"draws": 400}))
    assert weights(decision) == ()
    assert "What has no price" not in record(decision, "en")
    assert 'id="weights"' not in page(decision, "en")
