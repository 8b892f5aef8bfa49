"""One bundle made for the session; tests that change it work on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.delivery import making


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained TF-IDF model, shipped; never changed."""
    root = tmp_path_factory.mktemp("shipped")
    making.bundle(root)
    return root / "bundle"


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that may be spoilt."""
    shutil.copytree(shipped, tmp_path / "bundle")
    return tmp_path / "bundle"
