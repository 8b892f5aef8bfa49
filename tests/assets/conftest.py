from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # asset_fakes.py


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty asset cache."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BAKEOFF_HOME", str(folder))
    return folder / "assets"
