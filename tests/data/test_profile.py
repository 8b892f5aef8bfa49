"""The profile: what the data say, which advice follows, which columns are under suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bakeoff.data.freeze import prepare_table
from bakeoff.data.leaks import codes, held_out_recall, name_repeats
from bakeoff.data.profile import twin_share
from bakeoff.schema.profile import Advice, Profile
from tests.data.making import customers, reviews, spec, table

Columns = dict[str, Sequence[str | None]]


def profiled(tmp_path: Path, columns: Columns, **options: str) -> Profile:
    return prepare_table(spec(**options), table(tmp_path, columns)).profile


def advice(profile: Profile, code: str) -> Advice:
    found = [item for item in profile.advice if item.code == code]
    assert len(found) == 1, (code, [item.code for item in profile.advice])
    return found[0]


def test_rows_add_up_and_columns_are_described(tmp_path: Path) -> None:
    columns: Columns = {
        **customers(400),
        "text": [f"a note about customer {i} and the weather" if i % 8 else None for i in range(400)],
    }
    columns["bad"] = [None if index == 7 else cell for index, cell in enumerate(columns["bad"])]
    profile = profiled(tmp_path, columns, data="target: bad", task="tabular-classification")
    assert profile.rows_read == 400
    assert profile.rows_used + profile.exact_duplicates + profile.conflicting_rows + profile.unusable_rows == 400
    assert profile.unusable_rows == 1
    by_name = {column.name: column for column in profile.columns}
    assert by_name["age"].kind == "number"
    assert (by_name["age"].low, by_name["age"].high) == (18.0, 79.0)
    assert {name for name, _ in by_name["city"].top} == {"北京", "上海", "成都"}
    assert by_name["text"].kind == "text"
    assert by_name["text"].missing == 50
    assert by_name["text"].mean_length == pytest.approx(41, abs=2)
    assert sum(profile.class_counts) == profile.rows_used
    assert advice(profile, "unusable").severity == "info"


def test_duplicates_are_counted_and_their_effect_stated(tmp_path: Path) -> None:
    columns = reviews(300)
    doubled: Columns = {name: cells * 2 for name, cells in columns.items()}
    profile = profiled(tmp_path, doubled)
    assert profile.exact_duplicates == 300
    said = advice(profile, "duplicates")
    assert said.severity == "warn"
    assert "80%" in said.message.en
    assert "80%" in said.message.zh


@pytest.mark.parametrize(
    ("copies", "near", "share"),
    [([1, 1, 1], [0, 1, 2], 0.0), ([2, 2], [0, 1], 0.8), ([1, 1, 3], [0, 0, 2], (2 * 0.8 + 3 * 0.96) / 5)],
)
def test_twin_share(copies: list[int], near: list[int], share: float) -> None:
    assert twin_share(np.asarray(copies, dtype=np.int32), np.asarray(near)) == pytest.approx(share)


def test_the_twin_share_is_what_random_splits_give() -> None:
    copies, near = np.asarray([1, 2, 3, 5, 1], dtype=np.int32), np.asarray([0, 1, 2, 3, 3])
    cluster = np.repeat(near, copies)
    random, seen = np.random.default_rng(0), []
    for _ in range(4000):
        test = random.random(len(cluster)) < 0.2
        seen += [bool(np.any(~test & (cluster == cluster[row]))) for row in np.flatnonzero(test)]
    assert np.mean(seen) == pytest.approx(twin_share(copies, near), abs=0.02)


def test_a_column_that_knows_the_answer_is_a_suspect(tmp_path: Path) -> None:
    columns: Columns = {**customers(600)}
    columns["refund_code"] = ["R9" if bad == "yes" else "R1" for bad in columns["bad"]]
    columns["score"] = [
        f"{(5 if bad == 'yes' else 0) + index % 97 / 100:.2f}" for index, bad in enumerate(columns["bad"])
    ]
    columns["bad_flag_id"] = [str(index % 3) for index in range(600)]
    profile = profiled(tmp_path, columns, data="target: bad", task="tabular-classification")
    assert set(profile.leakage_suspects) == {"refund_code", "score"}
    leaks = {item.message.en.split("'")[1]: item.severity for item in profile.advice if item.code.startswith("leak")}
    assert leaks == {"refund_code": "warn", "score": "warn", "bad_flag_id": "info"}
    assert any("data.ignore: [refund_code]" in item.action.en for item in profile.advice)


def test_missing_cells_can_leak_too(tmp_path: Path) -> None:
    columns: Columns = {**customers(400)}
    columns["closed_on"] = ["2024" if bad == "yes" else None for bad in columns["bad"]]
    assert profiled(tmp_path, columns, data="target: bad", task="tabular-classification").leakage_suspects == (
        "closed_on",
    )


def test_honest_columns_are_not_suspected(tmp_path: Path) -> None:
    assert (
        profiled(tmp_path, {**customers(600)}, data="target: bad", task="tabular-classification").leakage_suspects == ()
    )
    assert profiled(tmp_path, {**reviews(300)}).leakage_suspects == ()


def test_texts_that_hold_their_label_are_suspected(tmp_path: Path) -> None:
    columns = reviews(300)
    columns["text"] = [f"[{label}] {text}" for text, label in zip(columns["text"], columns["label"], strict=True)]
    profile = profiled(tmp_path, {**columns})
    assert profile.leakage_suspects == ("text",)
    assert advice(profile, "leak_label_in_text").severity == "warn"


@pytest.mark.parametrize(
    ("name", "target", "repeats"),
    [
        ("label_id", "label", True),
        ("labels", "label", False),
        ("is_default", "default", True),
        ("违约标志", "违约", True),
        ("age", "default", False),
        ("Target", "target", True),
    ],
)
def test_names_that_repeat_the_target(name: str, target: str, repeats: bool) -> None:
    assert name_repeats(name, target) is repeats


def test_codes_and_recall_of_a_single_column() -> None:
    values = np.asarray([1.0, 2.0, np.nan, 1.0])
    train = np.asarray([True, True, True, False])
    assert codes(values, train).tolist() == [2, 3, 0, 2]
    assert codes(["a", None, "b", "a"], train).tolist() == [1, 0, 2, 1]
    many = np.linspace(0, 1, 5000)
    assert codes(many, np.ones(5000, dtype=np.bool_)).max() <= 66
    labels = np.asarray([0, 1, 0, 1])
    half = np.asarray([True, True, False, False])
    assert held_out_recall(np.asarray([1, 2, 1, 2]), labels, half, ~half) == 1.0
    assert held_out_recall(np.asarray([1, 2, 7, 7]), labels, half, ~half) == 0.0


def test_personal_data_are_counted_by_row_and_never_shown(tmp_path: Path) -> None:
    columns: Columns = {
        **customers(300),
        "contact": [f"1381234{index:04d}" if index % 3 else "无" for index in range(300)],
    }
    columns["mail"] = ["ask a@b.com" if index % 2 else "-" for index in range(300)]
    profile = profiled(tmp_path, columns, data="target: bad", task="tabular-classification")
    counted = {count.kind: (count.rows, count.columns) for count in profile.personal_data}
    assert counted == {"mobile_phone": (200, ("contact",)), "email": (150, ("mail",))}
    assert "138123" not in profile.model_dump_json()
    assert "a@b.com" not in profile.model_dump_json()
    assert advice(profile, "personal_data").severity == "warn"


def test_phone_numbers_in_a_number_column_are_found(tmp_path: Path) -> None:
    columns: Columns = {**customers(300), "mobile": [f"1381234{index:04d}" for index in range(300)]}
    profile = profiled(tmp_path, columns, data="target: bad, input: [mobile, age]", task="tabular-classification")
    assert [(count.kind, count.rows) for count in profile.personal_data] == [("mobile_phone", 300)]


def test_a_column_of_bare_names_is_recognised_by_its_name_and_hidden(tmp_path: Path) -> None:
    columns: Columns = {
        **customers(300),
        "姓名": [f"{'王李张刘'[index % 4]}{'伟芳娜敏'[index % 3]}" for index in range(300)],
    }
    plain = prepare_table(spec(data="target: bad", task="tabular-classification"), table(tmp_path, columns))
    assert [(count.kind, count.rows) for count in plain.profile.personal_data] == [("person_name", 300)]
    assert "王伟" not in plain.profile.model_dump_json()
    masked = prepare_table(
        spec("target: bad", "risk: {personal_data: mask}", "tabular-classification"), table(tmp_path, columns)
    )
    assert {row["姓名"] for row in masked.examples("train").rows} == {"[person_name]"}


def test_the_floor_states_how_many_rows_it_takes(tmp_path: Path) -> None:
    profile = profiled(tmp_path, {**reviews(500)}, more="requirements: {quality: {metric: accuracy, floor: 0.82}}")
    assert profile.rows_to_prove_floor is not None
    assert profile.rows_to_prove_floor > profile.split.confirm
    said = advice(profile, "floor_rows")
    assert f"{profile.rows_to_prove_floor:,}" in said.message.zh
    assert "Label about" in said.action.en
    assert profiled(tmp_path, {**reviews(500)}).rows_to_prove_floor is None
    assert (
        advice(
            profiled(tmp_path, {**reviews(500)}, more="requirements: {quality: {floor: 0.999999}}"), "floor_unprovable"
        ).severity
        == "warn"
    )


def test_imbalance_and_rare_classes(tmp_path: Path) -> None:
    profile = profiled(tmp_path, {**reviews(600, positive=0.03)})
    assert "'pos'" in advice(profile, "imbalance").message.en
    assert "pos (" in advice(profile, "rare_classes").message.zh
    assert not {"imbalance", "rare_classes"} & {item.code for item in profiled(tmp_path, {**reviews(600)}).advice}


def test_conflicts_ragged_rows_and_sparse_columns(tmp_path: Path) -> None:
    columns = reviews(300)
    path = tmp_path / "rows.csv"
    lines = [f'"{text}",{label},' for text, label in zip(columns["text"], columns["label"], strict=True)]
    lines += [f'"{columns["text"][0]}",{"neg" if columns["label"][0] == "pos" else "pos"},']
    path.write_text("text,label,extra\n" + "\n".join(lines) + "\na,b,c,d\n" + "x,pos,1\ny,neg,2\n")
    from bakeoff.data.read import read_table

    profile = prepare_table(spec(), read_table(path)).profile
    assert profile.conflicting_rows == 2
    assert "lines 303" in advice(profile, "ragged").message.en
    assert "extra" in advice(profile, "missing").message.en
    assert profile.rows_read == 304


def test_templates_are_pointed_out(tmp_path: Path) -> None:
    columns = reviews(300)
    greeting = "尊敬的客户您好感谢您一直以来对我们的支持与信任我们会继续努力为您提供更好的服务祝您生活愉快工作顺利身体健康万事如意"
    texts = [f"{greeting}{chr(0x4E00 + index)}" for index in range(40)]
    profile = profiled(
        tmp_path, {"text": [*columns["text"], *texts], "label": [*columns["label"], *["pos", "neg"] * 20]}
    )
    assert "40" in advice(profile, "boilerplate").message.en


def test_a_tiny_table_keeps_its_repeats_and_says_so(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    columns: Columns = {"sex": random.choice(["m", "f"], 300).tolist(), "plan": random.choice(["a", "b"], 300).tolist()}
    columns["bad"] = random.choice(["yes", "no"], 300).tolist()
    profile = profiled(tmp_path, columns, data="target: bad", task="tabular-classification")
    assert profile.rows_used == 300
    assert advice(profile, "repeats_kept").severity == "info"


def test_time_borders_and_classes_gone_by_then(tmp_path: Path) -> None:
    columns = {**reviews(400), "day": [str(index) for index in range(400)]}
    columns["label"] = [
        "old" if index < 100 and index % 5 == 0 else label for index, label in enumerate(columns["label"])
    ]
    columns["text"][150:170] = [columns["text"][150].replace("。", f"！{index}") for index in range(20)]
    columns["label"][150:170] = ["pos"] * 20
    profile = profiled(tmp_path, {**columns}, data="target: label, split: {time: day}")
    assert "old" in advice(profile, "time_classes").message.zh
    assert "time_border" in {item.code for item in profile.advice}


def test_advice_is_sorted_by_severity_and_bilingual(tmp_path: Path) -> None:
    columns = {**reviews(300, positive=0.1)}
    columns["text"] = [
        text + "电话13812345678" if index % 9 == 0 else text for index, text in enumerate(columns["text"])
    ]
    profile = profiled(
        tmp_path, {name: cells * 2 for name, cells in columns.items()}, more="requirements: {quality: {floor: 0.9}}"
    )
    ranks = [{"stop": 0, "warn": 1, "info": 2}[item.severity] for item in profile.advice]
    assert ranks == sorted(ranks)
    assert len(profile.advice) >= 4
    for item in profile.advice:
        assert all(text.strip() for text in (item.message.zh, item.message.en, item.action.zh, item.action.en))
        assert any("\u4e00" <= character <= "\u9fff" for character in item.message.zh)
        assert not any("\u4e00" <= character <= "\u9fff" for character in item.action.en)
