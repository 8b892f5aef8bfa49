"""Bundles and servers shared by the tests of a session: each is made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery import making
from tests.serving.running import Running, running


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained TF-IDF model, shipped."""
    root = tmp_path_factory.mktemp("text")
    making.bundle(root)
    return root / "bundle"


@pytest.fixture(scope="session")
def mixed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The majority model over a number, a category and a text, shipped."""
    root = tmp_path_factory.mktemp("mixed")
    making.bundle(root, family="baseline")
    return root / "bundle"


@pytest.fixture(scope="session")
def numbers_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network over 64 numbers, as ONNX."""
    pytest.importorskip("onnx")
    from benchmarks._serve_models import make

    return make("tiny", tmp_path_factory.mktemp("numbers")).bundle


@pytest.fixture(scope="session")
def numbers(numbers_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the bundle of numbers."""
    with running(numbers_bundle, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture(scope="session")
def texts(text_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the text bundle with small limits."""
    with running(
        text_bundle, tmp_path_factory.mktemp("log"), "--body", "100000", "--rows", "50", "--text", "2000",
        "--body-seconds", "1.0", "--header-seconds", "1.0",
    ) as server:  # fmt: skip
        yield server


@pytest.fixture(scope="session")
def mixed(mixed_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the bundle with several columns."""
    with running(mixed_bundle, tmp_path_factory.mktemp("log")) as server:
        yield server
