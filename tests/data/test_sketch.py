"""What ``init`` writes always loads, and its data always prepare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bakeoff.data.freeze import prepare
from bakeoff.data.sketch import quoted, write_spec
from bakeoff.schema import DataError, Spec, UserError
from bakeoff.schema.loading import load_spec, parse_spec
from bakeoff.schema.yaml_tree import read_value
from tests.data.making import customers, reviews, write

Columns = dict[str, Sequence[str | None]]


def sketched(folder: Path, columns: Columns, name: str = "rows.csv", **answers: str) -> tuple[str, Spec]:
    text = write_spec(write(folder / name, columns), answers)
    (folder / "bakeoff.yaml").write_text(text, encoding="utf-8")
    spec = load_spec(folder / "bakeoff.yaml")
    assert len(prepare(spec, folder)) > 0
    return text, spec


def test_reviews(tmp_path: Path) -> None:
    text, spec = sketched(tmp_path, {**reviews(200)}, "hotel reviews.csv")
    assert spec.name == "hotel-reviews"
    assert spec.task == "text-classification"
    assert (spec.data.file, spec.data.input, spec.data.target, spec.data.language) == (
        "hotel reviews.csv",
        "text",
        "label",
        "zh",
    )
    assert spec.data.instruction == "判断下面的文字属于哪一类：neg、pos。"
    assert spec.data.positive in {"neg", "pos"}
    assert "# 硬下限 / hard lower limit" in text


def test_a_table(tmp_path: Path) -> None:
    _, spec = sketched(tmp_path, {"id": [str(index) for index in range(300)], **customers(300)})
    assert spec.task == "tabular-classification"
    assert (spec.data.input, spec.data.target, spec.data.positive) == (
        "*",
        "bad",
        "yes" if spec.data.positive == "yes" else "no",
    )
    assert spec.data.instruction is None


def test_group_and_time_columns_are_recognised_and_used(tmp_path: Path) -> None:
    columns: Columns = {**reviews(400), "user_id": [f"u{index % 80}" for index in range(400)]}
    _, spec = sketched(tmp_path, columns)
    assert spec.data.split.group == "user_id"
    columns = {
        **reviews(400),
        "created_at": [f"2024-{1 + index // 34:02d}-{1 + index % 28:02d}" for index in range(400)],
    }
    _, spec = sketched(tmp_path, columns)
    assert spec.data.split.time == "created_at"
    assert spec.data.input == "text"


def test_a_time_column_that_allows_no_split_is_given_up(tmp_path: Path) -> None:
    columns = reviews(400)
    ordered = sorted(zip(columns["label"], columns["text"], strict=True))
    dates = [f"2024-{1 + index // 34:02d}-{1 + index % 28:02d}" for index in range(400)]
    _, spec = sketched(
        tmp_path, {"text": [text for _, text in ordered], "label": [label for label, _ in ordered], "date": dates}
    )
    assert spec.data.split.time is None
    with pytest.raises(DataError, match="oldest rows"):
        sketched(
            tmp_path,
            {"text": [text for _, text in ordered], "label": [label for label, _ in ordered], "date": dates},
            time="date",
        )


def test_answers_are_kept(tmp_path: Path) -> None:
    columns: Columns = {**reviews(300), "stars": [str(1 + index % 2) for index in range(300)]}
    answers = {
        "target": "stars",
        "name": "mine",
        "metric": "f1",
        "floor": "0.7",
        "positive": "2",
        "input": "text",
        "task": "text-classification",
    }
    _, spec = sketched(tmp_path, columns, **answers)
    assert (spec.data.target, spec.name, spec.requirements.quality.metric, spec.requirements.quality.floor) == (
        "stars",
        "mine",
        "f1",
        0.7,
    )
    assert (spec.data.positive, spec.data.input) == ("2", "text")


def test_wrong_answers_are_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such answer"):
        sketched(tmp_path, {**reviews(100)}, colour="red")
    with pytest.raises(DataError, match="try: target: label"):
        sketched(tmp_path, {**reviews(100)}, target="labels")
    with pytest.raises(UserError, match="macro_f1"):
        sketched(tmp_path, {**reviews(100)}, metric="macrof1")


def test_a_file_without_labels_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--target COLUMN"):
        sketched(
            tmp_path,
            {"text": [f"some text number {index}" for index in range(40)], "n": [str(index) for index in range(40)]},
        )


def test_personal_data_and_leaks_show_in_the_specification(tmp_path: Path) -> None:
    columns = reviews(300)
    columns["text"] = [text + "手机13812345678" for text in columns["text"]]
    _, spec = sketched(tmp_path, {**columns})
    assert spec.risk.personal_data == "mask"
    rows: Columns = {**customers(400)}
    rows["refund"] = ["R9" if bad == "yes" else "R1" for bad in rows["bad"]]
    text, _ = sketched(tmp_path, rows, target="bad")
    assert "please check: refund" in text


def test_the_path_is_written_relative_to_the_specification(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data" / "评论 1.csv", reviews(100))
    spec = parse_spec(write_spec(path, relative_to=tmp_path))
    assert spec.data.file == "data/评论 1.csv"
    assert len(prepare(spec, tmp_path))
    (tmp_path / "specs").mkdir()
    assert parse_spec(write_spec(path, relative_to=tmp_path / "specs")).data.file == "../data/评论 1.csv"


@pytest.mark.parametrize(
    "label",
    [
        "yes",
        "1",
        "null",
        "a: b",
        "# x",
        "- x",
        '"q"',
        "a\nb",
        "*",
        "好 评",
        "{x}",
        "1e3",
        "\x85odd",
        "007",
        "~",
        "=",
        "0x1F",
        "12:30",
    ],
)
def test_labels_that_yaml_would_misread_are_quoted(label: str) -> None:
    assert read_value(f"x: {quoted(label)}") == {"x": label}
    assert (
        parse_spec(
            f"name: s\ntask: text-classification\ndata: {{file: f, target: t, positive: {quoted(label)}}}"
        ).data.positive
        == label
    )


@example("*")
@example("A\n")
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_text_survives_quoting(text: str) -> None:
    spec = parse_spec(f"name: s\ntask: text-classification\ndata:\n  file: f\n  target: {quoted(text)} # comment\n")
    assert spec.data.target == text


name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8)
cell = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10)
    | st.integers(0, 3).map(str)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(name, min_size=2, max_size=4, unique_by=lambda text: text.strip().casefold()),
    st.lists(st.tuples(cell, cell, cell, st.sampled_from(["a\nb", "好 评", "1", "#x: y"])), min_size=8, max_size=60),
)
def test_any_table_is_sketched_and_prepares_or_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], rows: list[tuple[str | None, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    columns: Columns = {text: [row[-1 - place] for row in rows] for place, text in enumerate(names)}
    try:
        _, spec = sketched(folder, columns)
    except DataError:
        return
    assert spec.data.target
