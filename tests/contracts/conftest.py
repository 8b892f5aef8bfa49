from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts._cases import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("contracts"))
    yield made
    made.close()
