"""What every ledger does, in a study folder and in PostgreSQL alike."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bakeoff.schema import Environment, Failure, StepError, StudyError
from bakeoff.store.copying import copy_ledger
from bakeoff.store.ledger_base import LedgerBase, sections
from bakeoff.store.places import open_ledger

Make = Callable[..., tuple]
Place = Path | str


@pytest.fixture
def study(place: Place, row: Make) -> Place:
    """A closed ledger of six rows and a document."""
    with open_ledger(place, create=True) as ledger:
        for number in range(6):
            ledger.append(*row(number))
        ledger.put_document("spec", '{"name": "one"}')
    return place


def numbers(ledger: LedgerBase) -> list[int]:
    return [int(found.result.key, 16) for found in ledger.evidence()]


def test_rows_come_back_with_their_arrays_in_the_order_of_appending(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        assert numbers(ledger) == list(range(6))
        for found in ledger.evidence():
            expected, arrays = row(int(found.result.key, 16))
            assert found.result == expected
            assert set(found.arrays) == set(arrays)
            for name, array in arrays.items():
                assert found.arrays[name].dtype == array.dtype
                np.testing.assert_array_equal(found.arrays[name], array)


def test_records_are_numbered_from_one_without_gaps_and_keep_their_digests(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        ledger.append(*row(6))
        assert [record.number for record in ledger.records()] == list(range(1, 9))
        before = ledger.records()
    with open_ledger(study) as ledger:
        assert ledger.records() == before
        assert len(ledger) == 8
        assert ledger.quarantined == ()


def test_evidence_of_other_data_is_left_out(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        ledger.append(*row(9, data="other"))
        assert len(ledger.evidence()) == 7
        assert [found.result.data for found in ledger.evidence(data="other")] == ["other"]


def test_a_step_done_again_replaces_its_row(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        again, _ = row(2, status="failed", failure=Failure(code="timeout", reason="slow"))
        ledger.append(again)
        assert numbers(ledger) == [0, 1, 3, 4, 5, 2]
    with open_ledger(study) as ledger:
        found = ledger.get(again.key)
        assert found is not None
        assert found.result == again
        assert dict(found.arrays) == {}


def test_documents_keep_their_versions_and_the_last_one_counts(study: Place) -> None:
    with open_ledger(study) as ledger:
        ledger.put_document("spec", '{"name": "zwei 二"}')
        ledger.put_document("profile", "{}")
        ledger.put_document("spec", '{"name": "one"}')
    with open_ledger(study) as ledger:
        assert ledger.document("spec") == '{"name": "one"}'
        assert ledger.document_versions("spec") == ('{"name": "one"}', '{"name": "zwei 二"}', '{"name": "one"}')
        assert ledger.document("nothing") is None


def test_environments_are_kept_once(study: Place) -> None:
    place = Environment(
        machine="m", system="Linux", cpu="c", cores=2, memory=1, isa=("avx2",), python="3.11", threads=1
    )
    with open_ledger(study) as ledger:
        key = ledger.put_environment(place)
        before = len(ledger)
        assert ledger.put_environment(place) == key
        assert len(ledger) == before
    with open_ledger(study) as ledger:
        assert ledger.environments() == {key: place}


def test_numbers_that_json_does_not_have_survive(study: Place, row: Make) -> None:
    result, arrays = row(7, wall_seconds=float("inf"))
    with open_ledger(study) as ledger:
        ledger.append(result, {**arrays, "nan": np.array([np.nan, 1.0])})
    with open_ledger(study) as ledger:
        found = ledger.get(result.key)
        assert found is not None
        assert found.result.wall_seconds == float("inf")
        assert np.isnan(found.arrays["nan"][0])


def test_objects_are_refused_because_only_pickle_could_store_them(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        with pytest.raises(StepError, match="Python objects"):
            ledger.append(row(7)[0], {"bad": np.array([{}], dtype=object)})
        assert numbers(ledger) == list(range(6))


def test_a_study_that_is_not_there_is_a_users_mistake(place: Place) -> None:
    if isinstance(place, str):
        open_ledger(f"{place}-other", create=True).close()  # tables are there, the study is not
    with pytest.raises(StudyError, match=r"no study is in this folder|no such study in this database"):
        open_ledger(place)


def test_records_are_added_all_together(study: Place, place: Place, row: Make, tmp_path: Path) -> None:
    with open_ledger(study) as ledger, open_ledger(tmp_path / "other", create=True) as other:
        for number in range(3):
            other.append(*row(10 + number))
        ledger.add_all(sections(other.records()))
        ledger.add_all([])
        assert numbers(ledger) == [*range(6), 10, 11, 12]
    with open_ledger(study) as ledger:
        assert numbers(ledger) == [*range(6), 10, 11, 12]


def test_a_copy_is_the_same_wherever_it_goes_and_goes_on_where_it_stopped(
    study: Place, database: str, tmp_path: Path, row: Make
) -> None:
    elsewhere = [tmp_path / "copy", f"{database}#copy-of-{Path(str(study)).name}-{os.getpid()}-{tmp_path.name}"]
    with open_ledger(study) as source:
        for target in elsewhere:
            with open_ledger(target, create=True) as copy:
                assert copy_ledger(source, copy) == (7, 0)
                assert copy_ledger(source, copy) == (0, 7)
        source.append(*row(6))
        for target in elsewhere:
            with open_ledger(target) as copy:
                assert copy_ledger(source, copy) == (1, 7)
                assert copy.records() == source.records()  # digests and all
                assert numbers(copy) == list(range(7))
                copy.append(*row(7))
                with pytest.raises(StudyError, match=r"8 records|9 records"):
                    copy_ledger(source, copy)


def test_copies_at_once_add_everything_once(place: Place, row: Make, tmp_path: Path) -> None:
    """Whoever comes while another copies waits for it or is refused; nobody adds what is there."""
    with open_ledger(tmp_path / "source", create=True) as source:
        for number in range(40):
            source.append(*row(number))
    open_ledger(place, create=True).close()
    begin, done = threading.Barrier(4), []

    def copy() -> None:
        with open_ledger(tmp_path / "source") as source, open_ledger(place) as target:
            begin.wait()
            try:
                done.append(copy_ledger(source, target))
            except StudyError as error:
                assert "another run" in str(error)  # noqa: PT017 - of a thread

    threads = [threading.Thread(target=copy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added for added, _ in done) == 40
    with open_ledger(place) as ledger:
        assert numbers(ledger) == list(range(40))
        assert len(ledger) == 40


def test_a_running_mark_goes_with_the_result_or_with_its_process(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        ledger.mark_running(row(6)[0].key)
        ledger.mark_running("other")
        assert {mark.key for mark in ledger.running()} == {row(6)[0].key, "other"}
        assert {mark.pid for mark in ledger.running()} == {os.getpid()}
        ledger.append(*row(6))
        ledger.unmark_running("other")
        assert ledger.running() == ()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ledger = open_ledger(study)
            ledger.mark_running("left")
            os.write(writing, ledger.running()[0].key.encode())
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(reading, 10) == b"left"
    with open_ledger(study) as ledger:
        assert [(mark.key, mark.pid) for mark in ledger.running()] == [("left", pid)]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        end = threading.Event()
        for _ in range(100):  # a server notices the end of a connection in a moment
            if ledger.running() == ():
                break
            end.wait(0.05)
        assert ledger.running() == ()


def test_threads_share_a_ledger(study: Place, row: Make) -> None:
    with open_ledger(study) as ledger:
        threads = [
            threading.Thread(target=lambda first=first: [ledger.append(*row(first + at)) for at in range(10)])
            for first in (100, 200, 300, 400)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = set(range(6)) | {first + at for first in (100, 200, 300, 400) for at in range(10)}
        assert set(numbers(ledger)) == wanted
        assert [record.number for record in ledger.records()] == list(range(1, 48))
