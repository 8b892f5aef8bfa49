"""Contract rows and records that would unpack or nest without end, in bundles whose hashes are right."""

from __future__ import annotations

import gzip
import json
import resource
from pathlib import Path

import numpy as np
import pytest

from bakeoff.delivery import rows, verify
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.errors import BundleError
from bakeoff.serving.model import load, open_bundle
from tests.delivery import making
from tests.delivery.test_verify import reseal

DEEP = b"[" * 100_000


def packed(path: Path, line: bytes, times: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(times):
            stream.write(line)


def row() -> bytes:
    return (
        json.dumps({"row": {"text": "x"}, "actual": "bad", "label": "bad", "probabilities": [1.0, 0.0]}).encode()
        + b"\n"
    )


@pytest.mark.parametrize("bomb", ["rows", "one line"])
def test_rows_are_unpacked_within_bounds(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / rows.FILE
    packed(path, row() if bomb == "rows" else bytes(1 << 20), 300_000 if bomb == "rows" else 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="more than it may"):
        rows.read(path, making.CLASSES, most=200)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120 << 10


def test_as_many_rows_as_the_contract_says_may_be_there(tmp_path: Path) -> None:
    packed(tmp_path / rows.FILE, row(), 200)
    assert len(rows.read(tmp_path / rows.FILE, making.CLASSES, most=200)) == 200
    with pytest.raises(BundleError):
        rows.read(tmp_path / rows.FILE, making.CLASSES, most=199)


@pytest.mark.parametrize("name", ["contract.json", "model/artifact.json", "model/vocabulary.json"])
def test_deep_json_is_a_clear_error(copy: Path, name: str) -> None:
    (copy / name).write_bytes(DEEP)
    reseal(copy)
    with pytest.raises(BundleError):
        load(open_bundle(copy, Keys()))


def test_deep_rows_are_a_clear_error(tmp_path: Path) -> None:
    packed(tmp_path / rows.FILE, DEEP + b"\n", 1)
    with pytest.raises(BundleError):
        rows.read(tmp_path / rows.FILE, making.CLASSES, most=1)


def test_a_trap_among_the_models_files_is_refused_when_the_bundle_is_opened(copy: Path) -> None:
    np.savez(copy / "model" / "weights.npz", idf=np.array([{}], dtype=object))
    reseal(copy)
    with pytest.raises(BundleError, match=r"model/weights\.npz holds an object array"):
        open_bundle(copy, Keys())
    with pytest.raises(BundleError, match=r"weights\.npz"):
        verify(copy, quick=True, keys=Keys())
