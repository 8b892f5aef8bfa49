from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.needs import lacking
from tests.postgres_server import PostgresServer, binaries

from bakeoff.schema import Fidelity, Measurement, StepResult

Row = tuple[StepResult, dict[str, np.ndarray]]


@pytest.fixture
def row() -> Callable[..., Row]:
    """Rows whose content follows from their number."""

    def make(number: int, **changes: object) -> Row:
        result = StepResult(
            key=f"{number:032x}",
            kind="predict",
            name="predict",
            candidate=f"fake.v{number}.none.native",
            purpose="rung",
            fidelity=Fidelity(seed=number),
            data="data",
            measurements=(Measurement(name="accuracy", value=number / 100, n=10, unit="share"),),
        )
        rng = np.random.default_rng(number)
        arrays = {"probabilities": rng.random((5, 2)).astype(np.float32), "indices": np.arange(5, dtype=np.int32)}
        return result.model_copy(update=changes), arrays

    return make


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A running PostgreSQL server; whoever kills it starts it again."""
    found = binaries()
    if found is None:
        lacking("postgres", "PostgreSQL is not installed (scripts/setup-system.sh installs it)")
    pytest.importorskip("psycopg")
    made = PostgresServer(found)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def database(server: PostgresServer) -> str:
    """URL of a new empty database, with password."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url.rpartition("/")[0] + f"/{name}"


@pytest.fixture(params=["folder", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a ledger can be: a study folder that does not exist yet, or a study of a database that does not."""
    if request.param == "folder":
        return tmp_path / "study"
    return f"{request.getfixturevalue('database')}#study-{secrets.token_hex(6)}"
