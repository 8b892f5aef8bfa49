from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.report import examples

from bakeoff.report import render
from bakeoff.schema import Decision

VOID = {"meta", "link", "br", "img", "input", "hr"}
OUTCOMES = [examples.winner, examples.no_clear_winner, examples.infeasible, examples.hostile, examples.bare]


class Reader(HTMLParser):
    """Collects elements, ids, references and text; complains about tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(params=OUTCOMES, ids=lambda make: make.__name__)
def page(request: Any) -> str:
    return render(request.param(), "zh")


def test_the_page_is_well_formed_and_ids_are_unique(page: str) -> None:
    reader = read(page)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {str(attributes["aria-labelledby"]) for _, attributes in reader.tags if "aria-labelledby" in attributes}
    wanted |= {str(a["href"])[1:] for _, a in reader.tags if str(a.get("href", "")).startswith("#")}
    assert wanted <= set(ids)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attributes in read(page).tags:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert str(attributes.get("href", "#")).startswith("#")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert "@import" not in page
    assert "url(" not in page
    assert re.findall(r"https?://", page) == []


def test_the_policy_allows_our_own_style_and_script_only(page: str) -> None:
    policy = next(str(a["content"]) for _, a in read(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy


def test_both_languages_are_inside_and_equal_in_number(page: str) -> None:
    tags = read(page).tags
    assert sum(a.get("lang") == "zh-CN" for t, a in tags if t in {"span", "text"}) == sum(
        a.get("lang") == "en" for t, a in tags if t in {"span", "text"}
    )


def test_the_argument_decides_which_language_is_first() -> None:
    chinese, english = (render(examples.winner(), language) for language in ("zh", "en"))  # type: ignore[arg-type]
    assert '<html lang="zh-CN">' in chinese
    assert '<html lang="en">' in english
    assert ">Ship character TF-IDF with logistic regression</title>" in english


def test_what_a_user_wrote_is_never_markup() -> None:
    page = render(examples.hostile(), "en")
    reader = read(page)
    assert [a for t, a in reader.tags if t == "script"] == [{"type": "application/json", "id": "plot-data"}, {}]
    assert "img" not in {tag for tag, _ in reader.tags}
    assert page.count("<script>alert") == 0
    assert "".join(reader.said).count(examples.HOSTILE) > 5


def test_a_script_end_in_an_id_cannot_end_the_data_block() -> None:
    first, *rest = examples.candidates()
    evil = first.model_copy(update={"id": "</script><img src=x>"})
    page = render(examples.winner(candidates=(evil, *rest)), "en")
    assert "</script><img" not in page


def test_sixty_candidates_stay_well_under_a_megabyte() -> None:
    assert len(render(examples.crowded(60), "zh").encode()) < 700_000


def test_the_decision_comes_first_and_everything_else_is_there() -> None:
    page = render(examples.winner(), "en")
    order = [
        "answer",
        "compare",
        "candidates",
        "constraints",
        "cost",
        "risks",
        "flips",
        "curves",
        "race",
        "unavailable",
        "data",
        "run",
        "provenance",
    ]
    places = [page.index(f' id="{name}"') for name in order]
    assert places == sorted(places)


def test_every_candidate_has_its_reason_and_every_unavailable_its_command() -> None:
    decision = examples.winner()
    said = "".join(read(render(decision, "en")).said)
    for one in decision.candidates:
        assert one.reason.en in said
        assert one.reason.zh in said
    for missing in decision.unavailable:
        assert missing.reason.en in said
        assert (missing.command or "") in said


def test_the_last_stage_is_said_in_words_and_not_as_a_key() -> None:
    said = render(examples.winner(), "en")
    assert '<p><span lang="zh-CN">最后阶段：训练评测</span><span lang="en">Last stage: look</span>' in said
    assert "rung 0" not in said.partition("</script>")[0]


def test_refused_numbers_show_their_reason_and_soft_ones_their_mark() -> None:
    said = "".join(read(render(examples.winner(), "en")).said)
    assert "p99 needs 459 requests; 300 measured, 159 missing" in said
    for mark in ("predicted", "quoted", "assumed", "noisy"):
        assert mark in said


def test_everything_needed_to_compute_it_again_is_printed() -> None:
    decision = examples.winner(provenance=examples.provenance(**{"requirements.latency.p95": "40ms"}))
    said = "".join(read(render(decision, "zh")).said)
    found = decision.provenance
    for fact in (
        found.spec_key,
        found.data,
        found.file_sha256,
        "0.1.0",
        "avx512_vnni",
        "scikit-learn 1.8.0",
        "requirements.latency.p95",
        "40ms",
    ):
        assert fact in said


def test_an_infeasible_study_leads_with_the_smallest_concession() -> None:
    page = render(examples.infeasible(), "en")
    said = "".join(read(page).said)
    assert "The smallest concession" in said
    assert said.index("A floor of 0.849 instead of 0.87 admits 1") < said.index("What it meets")
    assert "The nearest miss" in said


def test_what_if_changes_are_announced_at_the_top() -> None:
    page = render(examples.winner(provenance=examples.provenance(seed=3)), "en")
    assert page.index("What-if") < page.index("What to ship")
    assert "What-if, with" not in render(examples.winner(), "en")


def test_a_rule_has_a_verdict_but_no_number() -> None:
    decision = examples.winner(constraints=(examples.rule(), *examples.winner().constraints))
    said = "".join(read(render(decision, "en")).said)
    assert "rows stay on the premises" in said
    assert "≤ 0 rule" not in said
    assert "0 rule" not in said


def test_the_same_decision_gives_the_same_page() -> None:
    assert render(examples.crowded(20), "zh") == render(
        Decision.model_validate_json(examples.crowded(20).model_dump_json()), "zh"
    )


def test_remarks_are_shown_in_both_languages_and_an_old_one_in_english() -> None:
    page = render(examples.no_clear_winner(), format="html", language="zh")
    assert "拒绝给数" in (record := render(examples.no_clear_winner(), format="md", language="zh"))
    assert "p95 至少需要 90 次请求" in record
    assert "p95 needs" not in record
    assert page.count("p95 至少需要 90 次请求，只测了 12 次，还差 78 次") >= 1
    assert page.count("p95 needs at least 90 requests; 12 measured, 78 are missing") >= 1
    old = examples.no_clear_winner().model_dump_json().replace("p95 至少需要 90 次请求，只测了 12 次，还差 78 次", "")
    fallen_back = render(Decision.model_validate_json(old), format="html", language="zh")
    assert "p95 needs at least 90 requests; 12 measured, 78 are missing" in fallen_back
