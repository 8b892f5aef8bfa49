"""The real data sets the examples stand on; skipped where they are not fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakeoff.assets import find
from bakeoff.data.freeze import Frozen, prepare
from bakeoff.data.noise import measured_profile
from bakeoff.data.sketch import write_spec
from bakeoff.schema.loading import parse_spec
from bakeoff.schema.spec import Spec
from tests.data.making import spec

pytestmark = pytest.mark.assets


def folder(name: str) -> Path:
    found = find(name)
    if found is None:
        pytest.skip(f"asset {name} is not fetched")
    return found


@pytest.fixture(scope="module")
def reviews() -> tuple[Spec, Frozen]:
    given = spec(file="reviews.csv", more="requirements: {quality: {metric: macro_f1, floor: 0.82}}")
    return given, prepare(given, folder("chinese-reviews"))


def test_half_of_the_reviews_are_duplicates(reviews: tuple[Spec, Frozen]) -> None:
    profile = reviews[1].profile
    assert (profile.rows_read, profile.rows_used, profile.exact_duplicates, profile.conflicting_rows) == (
        35_123,
        17_361,
        17_537,
        225,
    )
    assert profile.class_counts == (8_330, 9_031)
    assert profile.classes == ("正面", "负面")
    assert profile.language == "zh"
    assert 100 < profile.near_duplicate_rows < 400
    assert profile.split.confirm >= (profile.rows_to_prove_floor or 10**6)
    assert "duplicates" in {item.code for item in profile.advice}


def test_few_reviews_hold_personal_data_and_hardly_any_are_false_alarms(reviews: tuple[Spec, Frozen]) -> None:
    counted = {count.kind: count.rows for count in reviews[1].profile.personal_data}
    assert counted["mobile_phone"] == 16
    assert counted["email"] == 9
    assert counted["person_name"] < 120
    assert not {"resident_id", "bank_card", "ssn", "passport"} & set(counted)


def test_the_careless_split_reads_a_tenth_too_much(reviews: tuple[Spec, Frozen]) -> None:
    profile = measured_profile(reviews[0], None, reviews[1]).profile
    assert profile.naive_score is not None
    assert profile.naive_score.value == pytest.approx(0.94, abs=0.015)
    said = next(item for item in profile.advice if item.code == "naive_score")
    honest = float(said.message.en.split(", and ")[1].split(" ")[0])
    assert honest == pytest.approx(0.846, abs=0.015)
    assert profile.noise_ceiling is not None
    assert profile.noise_ceiling.value is not None
    assert 0.88 < profile.noise_ceiling.value < 0.95


def test_credit_data_are_a_table_without_leaks() -> None:
    given = spec(data="target: default", file="credit.csv", task="tabular-classification")
    profile = prepare(given, folder("uci-credit-default")).profile
    assert profile.rows_used > 29_900
    assert {column.kind for column in profile.columns} == {"number", "category"}
    assert profile.leakage_suspects == ()
    assert profile.personal_data == ()
    assert profile.split.confirm == pytest.approx(4_000, abs=2)


@pytest.mark.parametrize(("name", "file", "task", "target"), [
    ("chinese-reviews", "reviews.csv", "text-classification", "label"), ("uci-credit-default", "credit.csv", "tabular-classification", "default"),
    ("german-credit", "credit.csv", "tabular-classification", "creditability"), ("bbc-news", "articles.csv", "text-classification", "label"),
])  # fmt: skip
def test_init_guesses_what_they_are(name: str, file: str, task: str, target: str) -> None:
    found = parse_spec(write_spec(folder(name) / file))
    assert (found.task, found.data.target) == (task, target)
