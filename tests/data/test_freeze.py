"""A specification and a file become frozen splits; what cannot be decided upon is said in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.data.freeze import SPLITS, Frozen, load_frozen, prepare, prepare_table, save_frozen
from bakeoff.schema import DataError, StudyError
from bakeoff.serving.limits import Limits
from bakeoff.serving.parsing import Reader
from tests.data.making import customers, reviews, spec, table, write


def frozen(tmp_path: Path, columns: dict[str, Sequence[str | None]] | None = None, **options: str) -> Frozen:
    return prepare_table(spec(**options), table(tmp_path, columns or reviews(400)))


def refused(tmp_path: Path, columns: dict[str, Sequence[str | None]], **options: str) -> str:
    with pytest.raises(DataError) as caught:
        frozen(tmp_path, columns, **options)
    return str(caught.value)


def test_the_four_splits_are_a_partition_with_every_class(tmp_path: Path) -> None:
    found = frozen(tmp_path)
    parts = [found.indices(name) for name in SPLITS]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(found)))
    assert all(set(found.labels[part]) == {0, 1} for part in parts)
    assert found.profile.split.model_dump() == {name: len(part) for name, part in zip(SPLITS, parts, strict=True)}
    assert found.classes == ("neg", "pos")
    assert found.language == "zh"
    assert [column.kind for column in found.inputs] == ["text"]


def test_examples_are_rows_with_their_labels(tmp_path: Path) -> None:
    found = frozen(tmp_path)
    examples = found.examples("confirm")
    assert len(examples) == found.profile.split.confirm
    for row, label in zip(examples.rows, examples.labels, strict=True):
        assert any(
            word in row["text"]
            for word in (
                ("很好", "满意", "喜欢", "推荐", "不错", "惊喜")
                if label
                else ("很差", "失望", "讨厌", "退货", "糟糕", "后悔")
            )
        )


def test_a_table_of_mixed_types(tmp_path: Path) -> None:
    columns: dict[str, Sequence[str | None]] = {**customers(500)}
    columns["income"] = [None if index % 9 == 0 else cell for index, cell in enumerate(columns["income"])]
    found = frozen(tmp_path, columns, data="target: bad", task="tabular-classification")
    assert {column.name: column.kind for column in found.inputs} == {
        "income": "number",
        "age": "number",
        "city": "category",
    }
    row = found.take([0, 1]).rows[0]
    assert set(row) == {"income", "age", "city"}
    assert isinstance(row["age"], float)
    assert any(row["income"] is None for row in found.examples("train").rows)


def test_every_row_that_a_trial_sees_is_one_that_a_server_takes(tmp_path: Path) -> None:
    """A number beyond single precision means "missing" in a training file; sent to a server it is refused."""
    columns: dict[str, Sequence[str | None]] = {**customers(300)}
    columns["income"] = [repr(sys.float_info.max) if at % 9 == 0 else cell for at, cell in enumerate(columns["income"])]
    found = frozen(tmp_path, columns, data="target: bad", task="tabular-classification")
    reader = Reader(found.inputs, Limits())
    rows = found.examples("confirm").rows
    assert any(row["income"] is None for row in rows)
    assert [reader.row(dict(row), "row") for row in rows] == rows


def test_the_order_of_the_file_and_its_name_do_not_matter(tmp_path: Path) -> None:
    columns = reviews(300)
    order = np.random.default_rng(0).permutation(300).tolist()
    shuffled = {name: [cells[row] for row in order] for name, cells in columns.items()}
    write(tmp_path / "rows.csv", columns)
    write(tmp_path / "other.csv", shuffled, encoding="gb18030")
    first, second = prepare(spec(), tmp_path), prepare(spec(file="other.csv"), tmp_path)
    assert first.fingerprint == second.fingerprint
    assert first.columns == second.columns
    assert np.array_equal(first.splits, second.splits)
    assert first.profile.file_sha256 != second.profile.file_sha256


def test_the_fingerprint_follows_content_inputs_and_splits(tmp_path: Path) -> None:
    columns = reviews(200)
    base = frozen(tmp_path, columns).fingerprint
    changed = {**columns, "text": [columns["text"][0] + "！", *columns["text"][1:]]}
    relabelled = {**columns, "label": ["neg" if columns["label"][0] == "pos" else "pos", *columns["label"][1:]]}
    others = [frozen(tmp_path, changed), frozen(tmp_path, relabelled), frozen(tmp_path, columns, more="seed: 1")]
    assert len({base, *(other.fingerprint for other in others)}) == 4
    assert frozen(tmp_path, columns, more="budget: {time: 1h}").fingerprint == base


def test_subsets_are_nested_stratified_and_hold_every_class(tmp_path: Path) -> None:
    found = frozen(tmp_path, reviews(1000, positive=0.1))
    previous: set[int] = set()
    for fraction in (0.01, 0.05, 0.1, 0.3, 1.0):
        rows = found.indices("train", fraction, seed=3)
        assert previous <= set(rows.tolist())
        previous = set(rows.tolist())
        assert set(found.labels[rows]) == {0, 1}
        assert np.array_equal(rows, np.sort(rows))
        if len(rows) > 50:
            assert found.labels[rows].mean() == pytest.approx(found.labels.mean(), abs=0.03)
    assert set(found.indices("select", limit=20).tolist()) <= set(found.indices("select", limit=50).tolist())
    assert len(found.indices("select", limit=20)) == 20
    assert len(found.indices("train", 0.0)) == 0
    assert not np.array_equal(found.indices("train", 0.1, seed=0), found.indices("train", 0.1, seed=1))
    assert found.indices("train").dtype == np.int32


def test_near_repeats_stay_on_one_side(tmp_path: Path) -> None:
    columns = reviews(300)
    twins = {
        "text": columns["text"] + [text.replace("。", "！！") for text in columns["text"][:100]],
        "label": columns["label"] + columns["label"][:100],
    }
    found = frozen(tmp_path, twins)
    assert len(found) == 400
    assert found.profile.near_duplicate_rows == 200
    sides = {cluster: set(found.splits[found.near == cluster]) for cluster in np.unique(found.near)}
    assert all(len(side) == 1 for side in sides.values())


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    columns = {**reviews(400), "user": [f"u{index % 60}" if index % 7 else None for index in range(400)]}
    found = frozen(tmp_path, columns, data="target: label, split: {group: user}")
    assert found.groups is not None
    assert [column.name for column in found.inputs] == ["text"]
    for user in set(found.groups) - {""}:
        assert len({int(side) for side, group in zip(found.splits, found.groups, strict=True) if group == user}) == 1
    assert found.group_of(found.indices("confirm")) == [found.groups[row] for row in found.indices("confirm")]
    assert found.profile.grouped_by == "user"


def test_time_orders_the_splits(tmp_path: Path) -> None:
    columns = {**reviews(400), "date": [f"2024-{1 + index // 34:02d}-{1 + index % 28:02d}" for index in range(400)]}
    found = frozen(tmp_path, columns, data="target: label, split: {time: date}")
    months = [
        {int(columns["date"][line - 2][5:7]) for line in found.lines[found.splits == split]} for split in range(4)
    ]
    assert max(months[0]) <= min(months[3])
    assert found.profile.ordered_by == "date"
    broken = {**columns, "date": [*columns["date"][:5], "soon", *columns["date"][6:]]}
    assert "rows.csv:7: 1 cells of the time column 'date' are neither date nor number; got 'soon'" in refused(
        tmp_path, broken, data="target: label, split: {time: date}"
    )


def test_masking_hides_personal_data_from_every_candidate(tmp_path: Path) -> None:
    columns = reviews(200)
    columns["text"] = [f"{text}电话1381234{index:04d}" for index, text in enumerate(columns["text"])]
    seen = frozen(tmp_path, columns, more="risk: {personal_data: mask}")
    assert all("[mobile_phone]" in row["text"] for row in seen.examples("train").rows)
    assert seen.profile.personal_data[0].rows == 200
    assert (
        "personal data found, which risk.personal_data forbids; got 'mainland mobile number in 200 rows of text'"
        in refused(tmp_path, columns, more="risk: {personal_data: forbid}")
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": ["a", "b"] * 20, "label": ["x"] * 40}, "only one class"),
        ({"text": ["a"] * 40, "label": ["x"] * 40}, "no usable input column: all are empty, constant, identifiers or dates; got 'text (constant)'"),
        ({"text": ["a", "a", "b", "b"] * 10, "label": ["x", "y"] * 20}, "every text carries two labels"),
        ({"text": [None] * 40, "label": ["x", "y"] * 20}, "no column holds text; got 'text (empty)'"),
        ({"text": ["a", None] * 20, "label": [None, "y"] * 20}, "no row has both a label and an input"),
        ({"text": [f"text {i}" for i in range(40)], "label": [str(i) for i in range(40)]}, "not a column of classes"),
        ({"text": [f"a longer text {i}" for i in range(40)], "label": ["x"] * 38 + ["y"] * 2}, "class 'y' has 2 usable rows"),
        ({"label": ["x", "y"] * 20}, "no input column is left"),
        ({"n": [f"{i}.5" for i in range(40)], "m": [f"{i * i}.25" for i in range(40)], "label": ["x", "y"] * 20}, "no column holds text"),
        ({"text": ["a", "b"], "Label": ["x", "y"]}, "try: data.target: Label"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_said(
    tmp_path: Path, columns: dict[str, Sequence[str | None]], expected: str
) -> None:
    assert expected in refused(tmp_path, columns)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"data": "target: label, positive: posi"},
            "data.positive: no row has this label; got 'posi'; allowed: neg, pos\n  try: pos",
        ),
        ({"data": "target: label, labels: {good: 好}"}, "data.labels: no row has this label"),
        ({"more": "value: {errors: {neg->positive: 1}}"}, "value.errors: no row has this label; got 'positive'"),
        ({"data": "target: label, input: txt"}, "try: data.input: text"),
        ({"data": "target: label, ignore: [usr]"}, "which data.ignore names"),
        ({"data": "target: label, split: {group: user}"}, "which data.split.group names"),
    ],
)
def test_names_in_the_specification_must_occur_in_the_data(
    tmp_path: Path, options: dict[str, str], expected: str
) -> None:
    assert expected in refused(tmp_path, {**reviews(100)}, **options)


def test_labels_with_spaces_and_numbers_in_two_spellings(tmp_path: Path) -> None:
    columns = reviews(120)
    columns["label"] = [" very  good " if label == "pos" else "bad" for label in columns["label"]]
    assert frozen(tmp_path, columns).classes == ("bad", "very good")
    columns["label"] = [
        ["1", "1.0"][index % 2] if label == "very  good" or "good" in label else "0.0"
        for index, label in enumerate(columns["label"])
    ]
    assert frozen(tmp_path, columns, data="target: label, positive: 1").classes == ("0", "1")


def test_identifiers_and_constants_are_left_out_unless_named(tmp_path: Path) -> None:
    columns = {"id": [str(i) for i in range(300)], "same": ["x"] * 300, **customers(300)}
    found = frozen(tmp_path, columns, data="target: bad", task="tabular-classification")
    assert {column.name for column in found.inputs} == {"income", "age", "city"}
    assert "unused_columns" in {advice.code for advice in found.profile.advice}
    named = frozen(tmp_path, columns, data="target: bad, input: [id, age]", task="tabular-classification")
    assert [column.name for column in named.inputs] == ["id", "age"]
    assert "odd_columns" in {advice.code for advice in named.profile.advice}


# --- on disk ---


def test_frozen_data_survive_the_disk(tmp_path: Path) -> None:
    columns: dict[str, Sequence[str | None]] = {
        **customers(300),
        "note": [None if i % 5 == 0 else f"a note of some length, number {i} 𠮷" for i in range(300)],
    }
    columns["shop"] = [f"s{index % 50}" for index in range(300)]
    found = frozen(tmp_path, columns, data="target: bad, split: {group: shop}", task="tabular-classification")
    save_frozen(found, tmp_path / "frozen")
    again = load_frozen(tmp_path / "frozen")
    assert again.profile == found.profile
    assert again.groups == found.groups
    assert again.columns["note"] == found.columns["note"]
    assert all(np.array_equal(again.indices(name, 0.5, 1), found.indices(name, 0.5, 1)) for name in SPLITS)
    assert again.examples("train").rows == found.examples("train").rows
    assert {path.name for path in (tmp_path / "frozen").iterdir()} == {"frozen.json", "frozen.npz"}


def test_missing_torn_and_altered_files_are_told_apart(tmp_path: Path) -> None:
    place = tmp_path / "frozen"
    with pytest.raises(StudyError, match="no frozen data here"):
        load_frozen(place)
    found = frozen(tmp_path)
    save_frozen(found, place)
    record = json.loads((place / "frozen.json").read_text())
    (place / "frozen.json").write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(StudyError, match="version 99"):
        load_frozen(place)
    (place / "frozen.json").write_text(json.dumps({**record, "classes": ["pos", "neg"]}))
    with pytest.raises(StudyError, match="altered"):
        load_frozen(place)
    (place / "frozen.json").write_text(json.dumps(record)[:-20])
    with pytest.raises(StudyError, match="damaged"):
        load_frozen(place)
    (place / "frozen.json").write_text(json.dumps(record))
    (place / "frozen.npz").write_bytes((place / "frozen.npz").read_bytes()[:-30])
    with pytest.raises(StudyError, match="damaged"):
        load_frozen(place)


def test_a_flipped_label_on_disk_is_noticed(tmp_path: Path) -> None:
    found = frozen(tmp_path)
    labels = found.labels.copy()
    labels[0] = 1 - labels[0]
    save_frozen(replace(found, labels=labels), tmp_path / "frozen")
    with pytest.raises(StudyError, match="altered"):
        load_frozen(tmp_path / "frozen")


cell = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
    | st.integers(-5, 5).map(str)
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(cell, cell, st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=60),
    st.sampled_from(["text", "tabular"]),
)
def test_any_table_prepares_or_is_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, str | None, str | None]], task: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    columns = {"x": [row[0] for row in rows], "y": [row[1] for row in rows], "label": [row[2] for row in rows]}
    try:
        found = prepare_table(spec(task=f"{task}-classification"), table(folder, columns))
    except DataError:
        return
    save_frozen(found, folder / "frozen")
    assert load_frozen(folder / "frozen").fingerprint == found.fingerprint
    assert set(found.splits.tolist()) == {0, 1, 2, 3}
