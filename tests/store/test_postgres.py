"""The ledger in PostgreSQL, against a real server: several writers, killed servers, lost connections, wrong addresses."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.docs.pages import ROOT
from tests.postgres_server import PASSWORD, PostgresServer
from tests.store.losing_proxy import LosingProxy

from bakeoff.schema import StepError, StudyError
from bakeoff.store import postgres, postgres_link, postgres_schema
from bakeoff.store.postgres import PostgresLedger, studies

psycopg = pytest.importorskip("psycopg")
Make = Callable[..., tuple]

WRITER = """
import sys
from pathlib import Path
from bakeoff.schema import Fidelity, StepResult
from bakeoff.store.postgres import PostgresLedger
url, study, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ledger = PostgresLedger.open(url, study, create=True)
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + count):
    result = StepResult(key=f"{number:032x}", kind="predict", name="predict", candidate="a.b.none.native", purpose="rung",
                        fidelity=Fidelity(seed=number), data="data")
    ledger.mark_running(result.key)
    ledger.append(result, {"x": [number]})
    print(number, flush=True)
"""


@pytest.fixture
def name() -> str:
    return f"study-{secrets.token_hex(6)}"


@pytest.fixture
def ledger(database: str, name: str) -> Iterator[PostgresLedger]:
    with PostgresLedger.open(database, name, create=True) as made:
        yield made


def numbers(ledger: PostgresLedger) -> list[int]:
    return [int(found.result.key, 16) for found in ledger.evidence()]


def start_writers(database: str, name: str, starts: list[int], count: int) -> list[subprocess.Popen[str]]:
    """Start writer processes; they begin to write all at once."""
    made = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database, name, str(first), str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in starts
    ]  # fmt: skip
    for writer in made:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in made:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    return made


def end_writers(writers: list[subprocess.Popen[str]]) -> list[int]:
    """Wait for the writers; return what was acknowledged to them."""
    acknowledged = []
    for writer in writers:
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        acknowledged += [int(line) for line in out.split()]
    return acknowledged


def check_whole(ledger: PostgresLedger, wanted: set[int]) -> None:
    """Everything is there once, numbered without gaps, and intact."""
    records = ledger.records()
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    assert Counter(numbers(ledger)) == Counter(wanted)
    assert len(records) == len(wanted)
    assert ledger.quarantined == ()
    for found in ledger.evidence():
        assert found.arrays["x"][0] == int(found.result.key, 16)


# ----------------------------------------------------------------------------------------------------- several writers


def test_four_writers_at_once_lose_nothing_and_leave_no_gap(database: str, name: str) -> None:
    starts = [0, 1000, 2000, 3000]
    acknowledged = end_writers(start_writers(database, name, starts, 200))
    wanted = {first + at for first in starts for at in range(200)}
    assert set(acknowledged) == wanted
    with PostgresLedger.open(database, name) as ledger:
        check_whole(ledger, wanted)
        assert ledger.running() == ()


def test_a_reader_sees_a_growing_beginning_while_others_write(database: str, name: str) -> None:
    writers = start_writers(database, name, [0, 1000], 100)
    with PostgresLedger.open(database, name) as reader:
        before: tuple = ()
        while any(writer.poll() is None for writer in writers):
            records = reader.records()
            assert records[: len(before)] == before
            assert [record.number for record in records] == list(range(1, len(records) + 1))
            before = records
        end_writers(writers)
        check_whole(reader, {first + at for first in (0, 1000) for at in range(100)})


def test_what_another_machine_adds_is_seen_at_once(ledger: PostgresLedger, database: str, name: str, row: Make) -> None:
    with PostgresLedger.open(database, name) as other:
        other.append(*row(1))
        assert numbers(ledger) == [1]
        ledger.append(*row(2))
        other.put_document("spec", "{}")
        assert other.get(row(2)[0].key) is not None
        assert ledger.document("spec") == "{}"
        assert len(ledger) == len(other) == 3


def test_studies_do_not_see_each_other(ledger: PostgresLedger, database: str, name: str, row: Make) -> None:
    ledger.append(*row(1))
    with PostgresLedger.open(database, f"{name}-二", create=True) as other:
        assert len(other) == 0
        other.append(*row(2))
        other.append(*row(3))
    assert {study: count for study, count in studies(database).items() if study.startswith(name)} == {
        name: 1,
        f"{name}-二": 2,
    }
    assert numbers(ledger) == [1]


# ------------------------------------------------------------------------------------------------ faults of the server


def test_a_server_killed_again_and_again_while_two_write_loses_and_doubles_nothing(
    server: PostgresServer, database: str, name: str
) -> None:
    starts, count = [0, 1000], 600
    writers = start_writers(database, name, starts, count)
    kills = 0
    while kills < 8 and any(writer.poll() is None for writer in writers):
        time.sleep(0.05)
        server.kill()
        server.start()
        kills += 1
    acknowledged = end_writers(writers)
    wanted = {first + at for first in starts for at in range(count)}
    assert kills > 1
    assert set(acknowledged) == wanted
    with PostgresLedger.open(database, name) as ledger:
        check_whole(ledger, wanted)


def test_connections_cut_at_random_instants_lose_and_double_nothing(database: str, name: str) -> None:
    starts, count = [0, 1000], 150
    writers = start_writers(database, name, starts, count)
    cuts = 0
    with psycopg.connect(database, autocommit=True) as master:
        for _ in range(40):  # then they may finish: on a busy machine, coming back takes as long as the next cut
            if all(writer.poll() is not None for writer in writers):
                break
            cuts += len(
                master.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'bakeoff %'"
                ).fetchall()
            )
            time.sleep(0.05)
    end_writers(writers)
    assert cuts > 5
    with PostgresLedger.open(database, name) as ledger:
        check_whole(ledger, {first + at for first in starts for at in range(count)})


def test_an_append_whose_acknowledgement_was_lost_is_added_once(
    server: PostgresServer, database: str, name: str, row: Make
) -> None:
    proxy = LosingProxy(server.port, lose=set())
    through = database.replace(f":{server.port}/", f":{proxy.port}/")
    with PostgresLedger.open(through, name, create=True) as ledger:
        ledger.append(*row(0))
        proxy._lose.update(range(proxy.commits + 1, proxy.commits + 200, 3))  # every third, whatever it is for
        for number in range(1, 20):
            ledger.append(*row(number))
            ledger.put_document("spec", f'"{number}"')
        assert numbers(ledger) == list(range(20))
    proxy.close()
    assert proxy.commits > 60
    with PostgresLedger.open(database, name) as ledger:
        assert numbers(ledger) == list(range(20))
        assert ledger.document_versions("spec") == tuple(f'"{number}"' for number in range(1, 20))
        assert [record.number for record in ledger.records()] == list(range(1, 40))


def test_a_server_that_stays_away_ends_the_run_with_the_reason(
    server: PostgresServer, ledger: PostgresLedger, row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append(*row(0))
    monkeypatch.setattr(postgres_link, "PATIENCE", 0.3)
    server.stop()
    try:
        with pytest.raises(StudyError, match="cannot be reached") as caught:
            ledger.append(*row(1))
    finally:
        server.start()
    assert PASSWORD not in str(caught.value)
    ledger.append(*row(2))
    assert numbers(ledger) == [0, 2]


def set_back(database: str, name: str, last: int) -> None:
    """Make a study what it was ``last`` records ago, as a replica that lagged would."""
    with psycopg.connect(database, autocommit=True) as master:
        master.execute("ALTER TABLE bakeoff.records DISABLE TRIGGER USER")
        master.execute("DELETE FROM bakeoff.records WHERE study = %s AND number > %s", (name, last))
        master.execute("UPDATE bakeoff.studies SET last = %s WHERE study = %s", (last, name))
        master.execute("ALTER TABLE bakeoff.records ENABLE TRIGGER USER")


@pytest.mark.parametrize(("reconnected", "others"), [(False, 0), (True, 0), (True, 1), (True, 2), (True, 3)])
def test_a_database_that_went_back_stops_the_run(
    ledger: PostgresLedger, database: str, name: str, row: Make, reconnected: bool, others: int
) -> None:
    """Also when others have filled the gap before this run is back, so that the numbers fit again."""
    for number in range(4):
        ledger.append(*row(number))
    set_back(database, name, 2)
    with PostgresLedger.open(database, name) as other:
        for number in range(others):
            other.append(*row(10 + number))
    if reconnected:
        ledger._link._drop()
    for _ in range(2):
        with pytest.raises(StudyError, match="went back"):
            ledger.append(*row(4))
    with PostgresLedger.open(database, name) as again:
        assert numbers(again) == [0, 1, *range(10, 10 + others)]
        again.append(*row(2))


def test_falling_asleep_inside_a_transaction_is_a_lost_connection(ledger: PostgresLedger) -> None:
    tries = []

    def work(connection: psycopg.Connection, again: bool) -> int:
        tries.append(again)
        if not again:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
            time.sleep(0.3)
        return connection.execute("SELECT 2").fetchone()[0]

    assert ledger._link.run(work) == 2
    assert tries == [False, True]


def test_marks_and_the_run_lock_outlive_a_restart_of_the_server(
    server: PostgresServer, ledger: PostgresLedger, database: str, name: str
) -> None:
    with ledger.alone():
        ledger.mark_running("step")
        server.kill()
        server.start()
        assert [mark.key for mark in ledger.running()] == ["step"]
        with (
            PostgresLedger.open(database, name) as other,
            pytest.raises(StudyError, match="another run"),
            other.alone(),
        ):
            pass
    with PostgresLedger.open(database, name) as other, other.alone():
        pass


def test_a_full_disk_of_the_server_is_said_clearly_and_loses_nothing(
    ledger: PostgresLedger, database: str, row: Make
) -> None:
    ledger.append(*row(0))
    full = (
        "CREATE FUNCTION brimful() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$;"
        "CREATE TRIGGER brimful BEFORE INSERT ON bakeoff.records EXECUTE FUNCTION brimful()"
    )
    with psycopg.connect(database, autocommit=True) as master:
        master.execute(full)
        try:
            with pytest.raises(StepError, match="disk of the ledger's database is full") as caught:
                ledger.append(*row(1))
        finally:
            master.execute("DROP FUNCTION brimful CASCADE")
    assert caught.value.code == "disk"
    ledger.append(*row(2))
    assert numbers(ledger) == [0, 2]
    assert [record.number for record in ledger.records()] == [1, 2]


# ------------------------------------------------------------------------------------------------------------- one run


def test_a_second_run_is_refused_by_name_and_may_come_when_the_first_has_died(database: str, name: str) -> None:
    code = (
        "import sys, time\n"
        "from bakeoff.store.postgres import PostgresLedger\n"
        "with PostgresLedger.open(*sys.argv[1:], create=True).alone():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, database, name], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with PostgresLedger.open(database, name) as ledger:
        with pytest.raises(StudyError, match=f"another run \\(pid {holder.pid} on ") as caught, ledger.alone():
            pass
        assert PASSWORD not in str(caught.value)
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        end = time.monotonic() + 10
        while not ledger._link.hold(ledger._run_lock):
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_run_started_right_after_another_ended_waits_for_it_to_have_left(
    ledger: PostgresLedger, database: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is busy notices the end of a session late."""
    monkeypatch.setattr(postgres, "_LEAVING", 60.0)
    with PostgresLedger.open(database, name) as first:
        assert first._link.hold(first._run_lock)
        assert not ledger._link.hold(ledger._run_lock)
        leaves = threading.Timer(0.3, first.close)
        leaves.start()
        with ledger.alone():
            leaves.join()


def test_a_run_whose_connection_froze_takes_its_lock_back_from_its_own_ghost(
    ledger: PostgresLedger, database: str, name: str, row: Make
) -> None:
    """The server still believes in the old session when the new one comes."""
    with ledger.alone():
        ghost = ledger._link._connection
        ledger._link._connection = None  # as after a cut cable: dropped here, alive there
        ledger.append(*row(0))
        with (
            PostgresLedger.open(database, name) as other,
            pytest.raises(StudyError, match="another run"),
            other.alone(),
        ):
            pass
        assert ghost is not None
        ghost.close()
    assert numbers(ledger) == [0]


def test_a_run_that_was_taken_over_while_it_was_away_stops(
    ledger: PostgresLedger, database: str, name: str, row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "_GHOST", 0.2)
    monkeypatch.setattr(
        postgres, "_LEAVING", 60.0
    )  # as long as a busy server needs to notice that the first session is gone
    with PostgresLedger.open(database, name) as other, ledger.alone():
        ledger._link._drop()
        with other.alone(), pytest.raises(StudyError, match="took the study over"):
            ledger.append(*row(0))
        assert numbers(other) == []


# ------------------------------------------------------------------------------------------------------- the database


def test_nobody_alters_what_was_added(ledger: PostgresLedger, database: str, row: Make) -> None:
    ledger.append(*row(0))
    for statement in (
        "UPDATE bakeoff.records SET text = ''",
        "DELETE FROM bakeoff.records",
        "TRUNCATE bakeoff.records",
    ):
        with psycopg.connect(database) as master, pytest.raises(psycopg.Error, match="only added to"):
            master.execute(statement)


def test_a_record_that_was_altered_all_the_same_is_as_if_it_had_never_been(
    ledger: PostgresLedger, database: str, name: str, row: Make
) -> None:
    for number in range(4):
        ledger.append(*row(number))
    with psycopg.connect(database, autocommit=True) as master:
        master.execute("ALTER TABLE bakeoff.records DISABLE TRIGGER USER")
        master.execute("UPDATE bakeoff.records SET text = text || ' ' WHERE study = %s AND number = 2", (name,))
        master.execute("DELETE FROM bakeoff.records WHERE study = %s AND number = 3", (name,))
        master.execute("ALTER TABLE bakeoff.records ENABLE TRIGGER USER")
    with PostgresLedger.open(database, name) as again:
        assert again.quarantined == (2, 3)
        assert numbers(again) == [0, 3]
        again.append(*row(1))
        assert numbers(again) == [0, 3, 1]


def test_people_can_query_it(ledger: PostgresLedger, database: str, name: str, row: Make) -> None:
    ledger.append(*row(3))
    ledger.append(row(4, wall_seconds=float("nan"))[0])
    with psycopg.connect(database) as anybody:
        rows = anybody.execute(
            "SELECT candidate, status, wall_seconds, measurements->0->>'name' FROM bakeoff.steps WHERE study = %s ORDER BY number",
            (name,),
        ).fetchall()
    assert rows == [("fake.v3.none.native", "ok", 0.0, "accuracy"), ("fake.v4.none.native", "ok", None, "accuracy")]


def test_a_newer_format_is_refused(database: str, name: str) -> None:
    PostgresLedger.open(database, name, create=True).close()
    with psycopg.connect(database, autocommit=True) as master:
        master.execute("UPDATE bakeoff.format SET version = 99")
        try:
            with pytest.raises(StudyError, match="newer version of Bakeoff"):
                PostgresLedger.open(database, name, create=True)
        finally:
            master.execute("UPDATE bakeoff.format SET version = %s", (postgres_schema.VERSION,))


def test_two_machines_may_make_the_tables_at_once(server: PostgresServer) -> None:
    base = server.url.rpartition("/")[0]
    for _ in range(5):
        fresh = f"fresh_{secrets.token_hex(6)}"
        with psycopg.connect(server.url, autocommit=True) as master:
            master.execute(f"CREATE DATABASE {fresh} TEMPLATE template0")
        errors: list[BaseException] = []

        def begin(number: int, url: str = f"{base}/{fresh}", errors: list[BaseException] = errors) -> None:
            try:
                PostgresLedger.open(url, f"s{number % 2}", create=True).close()
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert set(studies(f"{base}/{fresh}")) == {"s0", "s1"}


def test_a_role_that_may_only_read_reads_and_is_told_so(
    ledger: PostgresLedger, database: str, name: str, row: Make
) -> None:
    ledger.append(*row(0))
    role = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as master:
        master.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        master.execute(f"GRANT USAGE ON SCHEMA bakeoff TO {role}")
        master.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA bakeoff TO {role}")
    with PostgresLedger.open(database.replace("owner:", f"{role}:"), name) as reader:
        assert numbers(reader) == [0]
        assert reader.running() == ()
        with pytest.raises(StudyError, match="this role may not"):
            reader.append(*row(1))
    assert numbers(ledger) == [0]


def test_a_role_with_the_rights_the_guide_names_runs_a_study(
    ledger: PostgresLedger, database: str, name: str, row: Make
) -> None:
    guide = (ROOT / "docs" / "how-to" / "several-machines.md").read_text(encoding="utf-8")
    grants = [line.partition(";")[0] for line in guide.splitlines() if line.startswith("GRANT ")]
    roles = {role: f"{role}_{secrets.token_hex(4)}" for role in ("writer", "reader")}
    with psycopg.connect(database, autocommit=True) as master:
        for role in roles.values():
            master.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        for grant in grants:
            master.execute(grant.replace("writer", roles["writer"]).replace("reader", roles["reader"]))
    with (
        PostgresLedger.open(database.replace("owner:", f"{roles['writer']}:"), f"{name}-new", create=True) as writer,
        writer.alone(),
    ):
        writer.mark_running("step")
        assert [mark.key for mark in ledger.running()] == []
        assert [mark.key for mark in writer.running()] == ["step"]
        writer.append(*row(0))
        writer.unmark_running("step")
        with PostgresLedger.open(database.replace("owner:", f"{roles['reader']}:"), f"{name}-new") as reader:
            assert numbers(reader) == [0]
            with pytest.raises(StudyError, match="another run"), reader.alone():
                pass


# ----------------------------------------------------------------------------------------------------- wrong addresses


def test_wrong_addresses_are_said_and_no_message_shows_a_password(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = urlsplit(database).hostname, urlsplit(database).port
    monkeypatch.setenv("PGPASSWORD", "environment-secret")
    cases = {
        f"postgresql://owner:wrong-secret@{host}:{port}/postgres": "password authentication failed",
        f"postgresql://owner@{host}:{port}/postgres": "password authentication failed",
        f"postgresql://owner:{PASSWORD}@{host}:{port}/nowhere": "does not exist",
        f"postgresql://owner:{PASSWORD}@{host}:1/postgres": "cannot be reached",
        f"postgresql://owner:{PASSWORD}@nowhere.invalid/postgres": "cannot be reached",
        f"postgresql://owner@{host}:{port}/postgres?password=wrong-secret": "password authentication failed",
        f"postgresql://owner:{PASSWORD}@{host}:{port}/postgres?nonsense=1": "refused",
        f"postgresql://owner:{PASSWORD}@{host}:{port}/postgres?connect_timeout=long": "refused|cannot be reached",
        f"mysql://owner:{PASSWORD}@{host}/x": "not an address of a ledger",
        f"postgresql://owner:wrong-{host}/wrong-secret@{host}:{port}/postgres": "%2F",
        f"postgresql://owner:wrong-secret?x@{host}:{port}/postgres": "%2F",
        f"postgresql://owner:x#wrong-secret@{host}:{port}/postgres": "%2F",
        f"postgresql://owner:x@wrong-secret@{host}:{port}/postgres": "%2F",
        f"postgresql://owner:wrong-secret%zz@{host}:{port}/postgres": "cannot be reached|refused",
        f"postgresql://owner@{host}:{port}/postgres?Password=wrong-secret": "cannot be reached|refused",
        f"postgresql://owner@{host}:{port}/postgres?p%61ssword=wrong-secret": "password authentication failed",
    }
    for url, reason in cases.items():
        for create in (True, False):
            with pytest.raises(StudyError, match=reason) as caught:
                PostgresLedger.open(url, "study", create=create)
            shown = f"{caught.value!r} {caught.value} {vars(caught.value)} {caught.value.__cause__}"
            for secret in (PASSWORD, "wrong-secret", "environment-secret"):
                assert secret not in shown, url


def test_a_database_without_a_ledger_says_how_to_begin_one(server: PostgresServer) -> None:
    with pytest.raises(StudyError, match="there is no ledger in this database"):
        PostgresLedger.open(server.url.replace("/postgres", "/template1"), "study")


@pytest.mark.parametrize("way", ["forgotten", "closed", "used"])
def test_a_forked_child_does_not_take_its_parents_session_along(database: str, name: str, row: Make, way: str) -> None:
    made = [PostgresLedger.open(database, name, create=True)]
    made[0].append(*row(0))
    before = made[0]._link._before
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if way == "closed":
                made[0].close()
            elif way == "used":
                with pytest.raises(StudyError, match="forked from"):
                    made[0].append(*row(2))
            made.clear()
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    made[0].append(*row(1))
    assert made[0]._link._before == before, "the session had ended and was begun again"
    assert numbers(made[0]) == [0, 1]
    made[0].close()


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bakeoff.schema.errors import UnavailableError

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UnavailableError, match=r"bakeoff\[postgres\]"):
        PostgresLedger.open("postgresql://host/db", "study")
