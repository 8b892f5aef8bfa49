"""A study folder remembers where its ledger and artefacts are, without passwords, and never gets two ledgers that differ."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.postgres_server import PASSWORD

from bakeoff.schema import StudyError
from bakeoff.store.archive import Archive
from bakeoff.store.ledger import Ledger
from bakeoff.store.places import PLACES, begun, remembered, settle
from bakeoff.store.postgres import PostgresLedger
from bakeoff.store.postgres_link import Address

Make = Callable[..., tuple]


@pytest.fixture
def named(database: str) -> str:
    """URL of a study that does not exist yet."""
    return f"{database}#{secrets.token_hex(6)}"


def test_a_folder_remembers_the_database_without_its_password(
    named: str, tmp_path: Path, row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive.writing(tmp_path, ledger=named, artifacts="memory://x") as archive:
        archive.ledger.append(*row(1))
    assert begun(tmp_path)
    assert PASSWORD not in (tmp_path / PLACES).read_text()
    assert remembered(tmp_path).artifacts == "memory://x"
    assert not (tmp_path / "ledger.journal").exists()
    with pytest.raises(StudyError, match="cannot be reached") as caught:
        Archive(tmp_path)
    assert "PGPASSWORD" in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert len(Archive(tmp_path).ledger) == 1
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("BAKEOFF_LEDGER", named)  # the same database, with its password
    assert len(Archive(tmp_path).ledger) == 1
    with Archive.writing(tmp_path) as archive:
        assert len(archive.ledger) == 1


def test_the_study_has_the_specifications_name_where_the_address_has_none(database: str, tmp_path: Path) -> None:
    name = f"评论 {secrets.token_hex(4)}"
    with Archive.writing(tmp_path, ledger=database, name=name):
        pass
    assert remembered(tmp_path).study == name
    PostgresLedger.open(database, name).close()
    assert Address.of(f"{database}#%E4%BA%8C").study == "二"


def test_variables_say_where_new_studies_go_and_leave_old_ones_alone(
    named: str, tmp_path: Path, row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive.writing(tmp_path / "old") as archive:
        archive.ledger.append(*row(1))
    monkeypatch.setenv("BAKEOFF_LEDGER", named)
    monkeypatch.setenv("BAKEOFF_ARTIFACTS", "memory://y")
    for name, ledger, artifacts in (("old", Ledger, None), ("new", PostgresLedger, "memory://y")):
        with Archive.writing(tmp_path / name) as archive:
            assert isinstance(archive.ledger, ledger)
        assert remembered(tmp_path / name).artifacts == artifacts


def test_a_folder_with_rows_gets_no_second_ledger_unless_that_holds_them(named: str, tmp_path: Path, row: Make) -> None:
    from bakeoff.store.copying import copied

    with Archive.writing(tmp_path) as archive:
        archive.ledger.append(*row(1))
    with pytest.raises(StudyError, match="a ledger of its own") as caught, Archive.writing(tmp_path, ledger=named):
        pass
    assert "bakeoff ledger" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert copied(str(tmp_path), named) == (1, 0)
    with Archive.writing(tmp_path, ledger=named) as archive:
        assert isinstance(archive.ledger, PostgresLedger)
        archive.ledger.append(*row(2))
    address = Address.of(named)
    with PostgresLedger.open(address.url, address.study) as ledger:
        assert len(ledger) == 2


def test_a_slip_of_the_pen_is_not_remembered(named: str, tmp_path: Path) -> None:
    for wrong in (
        {"ledger": named.replace("127.0.0.1", "nowhere.invalid")},
        {"ledger": named, "artifacts": "nonsense://x"},
    ):
        with pytest.raises(StudyError), Archive.writing(tmp_path, **wrong):
            pass
        assert not begun(tmp_path)
    with Archive.writing(tmp_path, ledger=named, artifacts=f"file://{tmp_path / 'shared'}"):
        pass
    assert begun(tmp_path)


def test_a_study_does_not_move_by_mistake(named: str, tmp_path: Path) -> None:
    with Archive.writing(tmp_path, ledger=named):
        pass
    with pytest.raises(StudyError, match="this study's ledger is study"):
        settle(tmp_path, f"{named}-other", None, "x")
    settle(tmp_path, named, None, "x")


def test_a_copy_goes_to_a_folder_with_the_place_of_its_artefacts(
    named: str, tmp_path: Path, row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bakeoff.store.copying import copied, described

    monkeypatch.setenv("BAKEOFF_LEDGER", named)
    with Archive.writing(tmp_path / "a", artifacts="memory://z") as archive:
        archive.ledger.append(*row(1))
        archive.ledger.put_document("spec", '{"name": "one"}')
    assert copied(str(tmp_path / "a"), str(tmp_path / "b")) == (2, 0)
    assert copied(named, str(tmp_path / "c"), "memory://other") == (2, 0)
    for name, artifacts in (("b", "memory://z"), ("c", "memory://other")):
        with Archive.writing(tmp_path / name) as archive:
            assert isinstance(archive.ledger, Ledger)
            assert len(archive.ledger) == 2
        assert remembered(tmp_path / name).artifacts == artifacts
    with pytest.raises(StudyError, match="the target's ledger is in a database"):
        copied(str(tmp_path / "b"), str(tmp_path / "a"))
    found = described(named)
    assert (found.records, found.steps, found.documents) == (2, 1, {"spec": 1})
    assert PASSWORD not in found.text()
    everything = described(Address.of(named).url)
    assert everything.studies is not None
    assert everything.studies[Address.of(named).study] == 2


@pytest.mark.parametrize(("text", "reason"), [("{", "cannot be read"), ('{"version": 9}', "newer version")])
def test_a_file_of_places_that_means_nothing_is_said(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / PLACES).write_text(text)
    with pytest.raises(StudyError, match=reason):
        Archive(tmp_path)
