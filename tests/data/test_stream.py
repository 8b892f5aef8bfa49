"""Reading row by row gives what reading at once gives, in memory that does not grow, and bad rows do not end it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.data import stream
from bakeoff.data.cells import row_of
from bakeoff.data.read import read_table
from bakeoff.data.stream import Record, open_rows
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.errors import DataError


def records(path: Path, **options: str) -> list[Record]:
    with open_rows(path, **options) as rows:
        return list(rows)


def columns(path: Path) -> list[dict[str, str | None]]:
    table = read_table(path)
    return [dict(zip(table.columns, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)]


WORDS = ("很好", "a,b", 'say "hi"', "two\nlines", " spaces ", "", "07", "naïve", "x" * 300, "NA")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_separated_files_give_the_cells_of_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    import csv

    draw = random.Random(0)
    words = [word for word in WORDS if word != "naïve" or encoding != "gb18030"]
    path = tmp_path / ("rows.tsv" if delimiter == "\t" else "rows.csv")
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["text", "n", "label"])
        writer.writerows([[draw.choice(words), index, draw.choice("ab")] for index in range(300)])
    found = records(path)
    assert [one.cells for one in found] == columns(path)
    assert [one.number for one in found] == list(range(1, 301))


def test_json_lines_and_parquet_give_the_cells_of_read(tmp_path: Path) -> None:
    rows = [
        {"text": " 很好 ", "n": 0.1 + 0.2, "b": True},
        {"text": None, "n": 5},
        {"text": "x", "n": float(2**60), "b": False},
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    for found, expected in zip(records(lines), columns(lines), strict=True):
        assert found.cells is not None
        assert {name: found.cells.get(name) for name in expected} == expected
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"b": None, **row} for row in rows] * 700), path)
    assert [one.cells for one in records(path)] == columns(path)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20), st.integers()),
        min_size=2,
    )
)
def test_whatever_csv_writes_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    import csv

    path = tmp_path_factory.mktemp("any") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "n"])
        writer.writerows(rows)
    try:
        expected = columns(path)
    except DataError:
        return  # the whole file is refused; row by row its good rows are still answered
    assert [one.cells for one in records(path) if one.cells] == expected


def test_bad_rows_say_why_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,n\ngood,1\nthree,cells,here\nb\xffd,2\n"bad"quote,3\nnul\x00,4\n\nlast,5\n')
    found = records(path)
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6]
    assert [one.cells["text"] for one in found if one.cells] == ["good", "last"]
    assert [one.error for one in found if one.error] == [
        "3 cells, but the header has 2",
        "holds bytes that are not text in this encoding",
        "malformed near line 5: ',' expected after '\"'",
        "holds a NUL byte",
    ]


def test_bad_json_lines_say_why(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"text": "good"}\n{"text": \n[1]\n"x"\n{"text": "b\xffd"}\n' + b"[" * 100_000 + b'\n{"text": "last"}'
    )
    found = records(path)
    assert [one.cells["text"] for one in found if one.cells] == ["good", "last"]
    assert [one.error.split(":")[0] for one in found if one.error] == [
        "not JSON", "not a JSON object", "not a JSON object", "holds bytes that are not text in this encoding",
        "not JSON this program can hold",
    ]  # fmt: skip


def test_an_unclosed_quote_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LONGEST", 1000)
    path = tmp_path / "rows.csv"
    path.write_text('text,n\n"never closed,1\n' + "fine,2\n" * 1000, encoding="utf-8")
    found = records(path)
    assert found[0].error.startswith("malformed near line")
    assert sum(one.cells is not None for one in found) > 800


def test_a_line_without_end_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LONGEST", 1000)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "' + "x" * 5000 + '"}\n{"text": "last"}\n', encoding="utf-8")
    assert [(one.number, one.error, bool(one.cells)) for one in records(path)] == [
        (1, "the line is too long", False),
        (2, "", True),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\n \n", "empty"),
        ("a.csv", b"PK\x03\x04 zip", "Excel"),
        ("a.csv", b"text,text\na,b\n", "same name"),
        ("a.jsonl", b'[{"text": "a"}]', "array"),
        ("a.parquet", b"PAR1 broken PAR1", "parquet"),
        ("a.csv", b"t\x00e\x00x\x00t\x00\n\x00", "NUL"),
    ],
)
def test_what_is_no_table_is_refused_at_once(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        records(path)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"reviews\.csv"):
        records(tmp_path / "review.csv")


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "1,2\n" * 100_000)
    with open_rows(path) as rows:
        assert rows.total == path.stat().st_size
        assert rows.columns == ("a", "b")
        places = [rows.position() for _ in rows]
    assert places == sorted(places)
    assert places[-1] == rows.total
    assert places[0] < 200_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no peak of its own")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from bakeoff.data.stream import open_rows\n"
        "with open_rows(Path(sys.argv[1])) as rows: count = sum(1 for _ in rows)\n"
        "print(count, next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for count in (20_000, 400_000):
        path = tmp_path / f"{count}.csv"
        path.write_text("text,n\n" + "some words of a review that say little,1\n" * count)
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
        read, peak = map(int, done.stdout.split())
        assert read == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 6_000  # KiB; the larger file has 15 MB more


def test_cells_become_the_rows_a_model_was_trained_on() -> None:
    inputs = (
        InputColumn(name="age", kind="number"),
        InputColumn(name="city", kind="category"),
        InputColumn(name="note", kind="text"),
    )
    assert row_of({"age": "30", "city": "07", "extra": "x"}, inputs) == {"age": 30.0, "city": "07", "note": None}
    assert row_of({"age": "n/a", "city": None, "note": "x"}, inputs) == {"age": None, "city": None, "note": "x"}
    with pytest.raises(DataError, match="age: not a number"):
        row_of({"age": "old"}, inputs)
    for beyond in ("1e39", "-1e39", "1e400", "9" * 400):
        with pytest.raises(DataError, match="age: a number that single precision does not hold"):
            row_of({"age": beyond}, inputs)
    with pytest.raises(DataError, match="every column is missing"):
        row_of({"age": None, "other": "x"}, inputs)
