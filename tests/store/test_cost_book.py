from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakeoff.schema.costs import COST_PARTS, CostBook, Factor
from bakeoff.store import cost_book

FACTOR = Factor(mean=(0.5,) * len(COST_PARTS), sd=(0.1,) * len(COST_PARTS), n=7)
BOOK = CostBook(
    wall={"machine": FACTOR}, cpu={"arm:linear.char": FACTOR}, pauses={"within": 0.03}, around_seconds=5.0, studies=2
)


def test_it_comes_back_as_it_was_and_machines_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "costs.json"
    assert cost_book.write(path, "one", BOOK)
    assert cost_book.write(path, "two", CostBook(studies=9))
    assert cost_book.read(path, "one") == BOOK
    assert cost_book.read(path, "two") == CostBook(studies=9)
    assert cost_book.read(path, "three") is None
    assert [found.name for found in path.parent.iterdir()] == ["costs.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"version": 99, "machines": {}}', '{"version": 1, "machines": 7}', '{"version": 1, "machines": {"one": {"wall": 3}}}',
     '{"version": 1, "machines": {"one": {"wall": {"machine": {"mean": [1], "sd": [1], "n": 1}}}}}'],
)  # fmt: skip
def test_a_damaged_file_is_the_same_as_none_and_is_written_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text, encoding="utf-8")
    assert cost_book.read(path, "one") is None
    assert cost_book.write(path, "one", BOOK)
    assert cost_book.read(path, "one") == BOOK


def test_a_binary_file_is_the_same_as_none(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_bytes(b"\xff\xfe\x00garbage")
    assert cost_book.read(path, "one") is None


def test_the_environment_moves_it_or_turns_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cost_book.PLACE, raising=False)
    assert cost_book.place(tmp_path) == tmp_path / "costs.json"
    monkeypatch.setenv(cost_book.PLACE, str(tmp_path / "elsewhere.json"))
    assert cost_book.place(tmp_path) == tmp_path / "elsewhere.json"
    for word in ("off", "OFF", "0", "none", ""):
        monkeypatch.setenv(cost_book.PLACE, word)
        assert cost_book.place(tmp_path) is None
    assert cost_book.read(None, "one") is None
    assert not cost_book.write(None, "one", BOOK)


def test_where_nothing_can_be_written_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert not cost_book.write(tmp_path / "file" / "costs.json", "one", BOOK)
    assert not cost_book.write(tmp_path, "one", BOOK)  # a folder of that name
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    for number in range(40):
        cost_book.write(path, f"machine {number}", BOOK)
    machines = json.loads(path.read_text(encoding="utf-8"))["machines"]
    assert list(machines) == [f"machine {number}" for number in range(24, 40)]
