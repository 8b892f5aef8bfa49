"""Files as people have them are read; what cannot be read is named with its place and a way out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.data.read import read_table
from bakeoff.schema import DataError, UnavailableError

ROWS = 'text,label\n房间很好,pos\n"差,很差\n第二行 ""引号""",neg\n'


def put(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "used"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("gb18030", "gb18030"), ("gbk", "gb18030"), ("utf-16", "utf-16")],
)
def test_encodings_are_recognised(tmp_path: Path, encoding: str, used: str) -> None:
    table = read_table(put(tmp_path, ROWS.encode(encoding)))
    assert table.encoding == used
    assert dict(table.columns) == {"text": ["房间很好", '差,很差\n第二行 "引号"'], "label": ["pos", "neg"]}
    assert list(table.lines) == [2, 3]


def test_rare_characters_of_gb18030_survive(tmp_path: Path) -> None:
    text = "text,label\n" + "\n".join(f"这是一条很普通的评论，人名是㐂𠮷{i},a" for i in range(20))
    assert read_table(put(tmp_path, text.encode("gb18030"))).columns["text"][3] == "这是一条很普通的评论，人名是㐂𠮷3"


def test_a_broken_utf8_file_is_not_misread_as_chinese(tmp_path: Path) -> None:
    raw = bytearray(("text,label\n" + "这家酒店的早餐很好,pos\n" * 50).encode())
    raw[raw.index("早".encode(), 400)] = 0xFF
    bad = raw.index(0xFF)
    text = refused(put(tmp_path, bytes(raw)))
    assert "not valid UTF-8" in text
    assert f"offset {bad}" in text
    assert f"rows.csv:{raw[:bad].count(10) + 1}" in text


def test_western_accents_are_not_misread_as_chinese(tmp_path: Path) -> None:
    raw = "text,label\nun café très bon,pos\nl'hôtel était sale,neg\n".encode("latin-1")
    assert "set data.encoding" in refused(put(tmp_path, raw))
    assert read_table(put(tmp_path, raw), encoding="latin-1").columns["text"][0] == "un café très bon"


def test_named_encodings_are_checked(tmp_path: Path) -> None:
    path = put(tmp_path, ROWS)
    assert "try: utf-8" in refused(path, encoding="utf-9")
    assert "not valid ASCII" in refused(path, encoding="ascii")
    assert "not an encoding of text" in refused(path, encoding="hex")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "no columns"),
        (b"text,label\n", "a header but no rows"),
        (b"text,label\n\n ,\n", "a header but no rows"),
        (b"text,text\na,b\n", "two columns have the same name"),
        (b'text,label\n"never closed,pos\nb,neg\n', "malformed quoting"),
        (b'text,label\na,pos\n"b" c,neg\n', "rows.csv:3: malformed quoting"),
        (b"text,label\na\x00b,pos\n", "NUL bytes"),
        ("text,label\n好,pos\n".encode("utf-16-le"), "NUL bytes"),
        (b"PK\x03\x04rest", "an Excel or zip file"),
        (b"\x1f\x8brest", "a gzip file"),
        (b"text,label\n" + b"a,pos\n" * 10 + b"a,b,pos\n", "1 of 11 rows do not have 2 cells"),
    ],
)  # fmt: skip
def test_malformed_files_are_refused_in_words(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in refused(put(tmp_path, content))


def test_a_few_ragged_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "text,label\n" + "a,pos\n" * 150 + "a,b,pos\n" + "b,neg\n"))
    assert table.ragged == (152,)
    assert len(table) == 151
    assert table.lines[-1] == 153


def test_a_row_of_a_megabyte_is_read(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, f"text,label\n{'长' * 1_200_000},pos\nshort,neg\n"))
    assert len(table.columns["text"][0] or "") == 1_200_000


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_recognised_though_others_stand_in_the_text(tmp_path: Path, separator: str) -> None:
    rows = [f"good; really, good | {i}" for i in range(30)]
    content = f"text{separator}label\n" + "".join(f'"{row}"{separator}{"pn"[i % 2]}\n' for i, row in enumerate(rows))
    table = read_table(put(tmp_path, content))
    assert table.columns["text"] == rows


def test_unquoted_chinese_text_with_semicolons_keeps_its_comma(tmp_path: Path) -> None:
    content = "label,review\n" + "".join(f"{i % 2},位置好；服务好；早餐一般；价格{i}\n" for i in range(20))
    assert list(read_table(put(tmp_path, content)).columns) == ["label", "review"]


def test_tab_separated_text_may_hold_lone_quotes(tmp_path: Path) -> None:
    content = 'text\tlabel\n"quoted start\tpos\n5" screen\tneg\n"both"\tpos\n'
    assert read_table(put(tmp_path, content, "rows.tsv")).columns["text"] == ['"quoted start', '5" screen', '"both"']
    proper = 'text\tlabel\n"one\ntwo"\tpos\n"a ""b"""\tneg\n'
    assert read_table(put(tmp_path, proper, "rows.tsv")).columns["text"] == ["one\ntwo", 'a "b"']


def test_windows_line_ends_and_a_nameless_index_column(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, ",text,label\r\n0,a,pos\r\n1,b,neg\r\n"))
    assert list(table.columns) == ["unnamed_1", "text", "label"]
    assert table.columns["label"] == ["pos", "neg"]


def test_cells_lose_their_margins_and_empty_ones_are_missing(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "text , label\n  a ,　pos　\n,neg\n"))
    assert dict(table.columns) == {"text": ["a", None], "label": ["pos", "neg"]}


def test_json_lines_fill_missing_keys_and_keep_numbers_exact(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "n": 0.1, "yes": True},
        {"text": "b\u0000c", "extra": {"k": [1]}, "n": 10**20},
        {"n": None, "text": "\ud800"},
    ]
    path = put(tmp_path, "\n\n".join(json.dumps(row) for row in rows), "rows.jsonl")
    table = read_table(path)
    assert dict(table.columns) == {
        "text": ["a", "b c", "?"], "n": ["0.1", "100000000000000000000", None], "yes": ["true", None, None], "extra": [None, '{"k": [1]}', None]
    }  # fmt: skip
    assert list(table.lines) == [1, 3, 5]


def test_a_json_array_and_a_file_without_a_telling_name_are_read(tmp_path: Path) -> None:
    assert read_table(put(tmp_path, '[{"a": 1}, {"a": 2}]', "rows.json")).columns["a"] == ["1", "2"]
    assert read_table(put(tmp_path, '{"a": 1}\n{"a": 2}', "rows.dat")).format == "jsonl"
    assert read_table(put(tmp_path, "a,b\n1,2\n", "rows.dat")).format == "csv"


@pytest.mark.parametrize(
    ("content", "expected"),
    [('{"a": 1}\n{"a": 1', "rows.jsonl:2: not JSON"), ("[1, 2]", "rows.jsonl:1: not a JSON object"), ('{" ": 1}', "a key without a name"),
     ('{"a": ' + "[" * 100_000, "not JSON"), ('{"a": ' + "9" * 5_000 + "}", "a number too long")],
)  # fmt: skip
def test_malformed_json_lines_name_the_line(tmp_path: Path, content: str, expected: str) -> None:
    assert expected in refused(put(tmp_path, content, "rows.jsonl"))


def test_parquet_is_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"text": ["好", None], "n": [1.5, float("nan")], "label": [1, 0], "b": [b"x", b"\xff"]}),
        tmp_path / "rows.parquet",
    )
    table = read_table(tmp_path / "rows.parquet")
    assert dict(table.columns) == {"text": ["好", None], "n": ["1.5", None], "label": ["1", "0"], "b": ["x", "\ufffd"]}
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    assert "a header but no rows" in refused(tmp_path / "none.parquet")
    torn = (tmp_path / "rows.parquet").read_bytes()[:40]
    assert "not a readable parquet file" in refused(put(tmp_path, torn, "torn.parquet"))
    assert "not a parquet file" in refused(put(tmp_path, "a,b\n1,2", "fake.parquet"))
    assert "not a parquet file" in refused(put(tmp_path, "a,b\n1,2"), format="parquet")


def test_parquet_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UnavailableError, match=r"pip install 'bakeoff\[parquet\]'"):
        read_table(put(tmp_path, b"PAR1 anything", "rows.parquet"))


def test_missing_files_and_folders_suggest_what_is_there(tmp_path: Path) -> None:
    put(tmp_path, ROWS, "reviews.csv")
    assert "data.file: reviews.csv" in refused(tmp_path / "review.csv")
    assert "a folder, not a file" in refused(tmp_path)
    assert "reviews.csv" in refused(tmp_path)
    assert "its folder cannot be read" in refused(tmp_path / "nowhere" / "rows.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_a_users_mistake(tmp_path: Path) -> None:
    path = put(tmp_path, ROWS)
    path.chmod(0)
    assert "no permission" in refused(path)


def test_missing_columns_suggest_near_names(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, ROWS))
    with pytest.raises(DataError, match=r"no column 'Labels', which data\.target names(.|\n)*try: data\.target: label"):
        table.column("Labels", "data.target")


def test_the_same_bytes_have_the_same_hash_whatever_the_name(tmp_path: Path) -> None:
    assert read_table(put(tmp_path, ROWS)).sha256 == read_table(put(tmp_path, ROWS, "other.csv")).sha256


@given(st.binary(max_size=400))
def test_no_bytes_whatsoever_raise_anything_but_a_users_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "rows.csv"
    path.write_bytes(content)
    try:
        table = read_table(path)
    except DataError:
        return
    assert len({len(cells) for cells in table.columns.values()}) == 1


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@given(st.lists(st.tuples(cells, st.sampled_from(["a", "b"])), min_size=1, max_size=20))
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    table = read_table(path, format="csv", encoding="utf-8")
    assert table.columns["text"] == [text.strip() or None for text, _ in rows]
