"""A bundle that promises a latency and a rate, and null servers that behave as told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bakeoff.schema.decision import Metric
from tests.delivery import making


def promising(root: Path, *, p95: float = 0.5, rate: float = 150.0, **changes: Any) -> Path:
    """Ship a trained TF-IDF model that promises ``p95`` seconds and ``rate`` requests per second."""
    limits = {
        **making.LIMITS,
        "requirements.latency.p95": (p95, "max", "s"),
        "requirements.throughput.min": (rate, "min", "1/s"),
    }
    metrics = {**making.METRICS, "throughput": Metric(value=500.0, low=450.0, high=600.0, n=200, unit="1/s")}
    making.bundle(root, decision=making.decision(making.candidate(), metrics, limits), **changes)
    return root / "bundle"


@pytest.fixture(scope="session")
def modest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose promises any machine keeps."""
    return promising(tmp_path_factory.mktemp("modest"))


@pytest.fixture(scope="session")
def boastful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that promises an answer within two microseconds."""
    return promising(tmp_path_factory.mktemp("boastful"), p95=2e-6)
