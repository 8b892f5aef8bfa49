"""The journal finds every intact record, whatever was done to the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.schema import StudyError
from bakeoff.store.journal import MARK, JournalFile, Record, header, scan

RECORDS = [Record.of(number, b'{"n":%d}' % number, b"text " * number, bytes(range(number))) for number in range(1, 6)]
WHOLE = header() + b"".join(record.encoded() for record in RECORDS)


def test_round_trip() -> None:
    found = scan(WHOLE, "here")
    assert found.records == tuple(RECORDS)
    assert (found.end, found.damaged, found.sound) == (len(WHOLE), (), True)


def test_every_cut_keeps_the_records_before_it() -> None:
    ends = [len(header())]
    for record in RECORDS:
        ends.append(ends[-1] + len(record.encoded()))
    for cut in range(len(WHOLE) + 1):
        found = scan(WHOLE[:cut], "here")
        intact = sum(end <= cut for end in ends[1:])
        assert found.records == tuple(RECORDS[:intact])
        assert found.end == (ends[intact] if cut >= ends[0] else 0)


@given(st.integers(0, len(WHOLE) * 8 - 1))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_costs_at_most_its_own_record_and_alters_none(bit: int) -> None:
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << (bit % 8)
    found = scan(bytes(data), "here")
    assert set(found.records) <= set(RECORDS)
    assert len(found.records) >= len(RECORDS) - 1
    assert len(found.records) == len(RECORDS) or bit // 8 >= len(header())


@given(st.lists(st.binary(max_size=60), max_size=6))
@settings(max_examples=100, deadline=None)
def test_garbage_between_records_is_stepped_over(junk: list[bytes]) -> None:
    parts = [header()]
    for number, record in enumerate(RECORDS):
        parts.append(junk[number] if number < len(junk) else b"")
        parts.append(record.encoded())
    assert scan(b"".join(parts), "here").records == tuple(RECORDS)


def test_a_marker_inside_a_record_is_no_record() -> None:
    tricky = Record.of(1, b"{}", MARK * 3, MARK + b"x" * 100)
    assert scan(header() + tricky.encoded(), "here").records == (tricky,)


def test_a_newer_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(StudyError, match="newer version") as caught:
        scan(header(9), "somewhere")
    assert "install the newer version" in str(caught.value)


def test_a_damaged_header_is_not_mistaken_for_a_newer_version() -> None:
    damaged = WHOLE.replace(b"journal 1 ", b"journal 7 ", 1)
    found = scan(damaged, "here")
    assert not found.sound
    assert found.records == tuple(RECORDS)


def test_a_failed_append_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = JournalFile(tmp_path / "journal", create=True)
    journal.append(RECORDS[:2])
    before = (tmp_path / "journal").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("bakeoff.store.journal.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(RECORDS[2:3])
    assert (tmp_path / "journal").read_bytes() == before
    journal.append(RECORDS[2:])
    assert scan((tmp_path / "journal").read_bytes(), "here").records == tuple(RECORDS)
    journal.close()


def test_a_forgotten_file_is_closed_and_a_closed_one_stays_closed(tmp_path: Path) -> None:
    forgotten = JournalFile(tmp_path / "forgotten", create=True)
    place = Path(f"/proc/self/fd/{forgotten.descriptor}")
    assert place.samefile(tmp_path / "forgotten")
    del forgotten
    assert not place.exists()
    closed = JournalFile(tmp_path / "closed", create=True)
    closed.close()
    with (tmp_path / "other").open("wb") as other:  # takes the number that became free
        closed.close()
        other.write(b"x")
