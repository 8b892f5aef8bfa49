"""The scanner on real files: what every common writer leaves behind, harmless and not."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.risk import _onnx
from bakeoff.risk._files import is_pickle, scan


class Harmful:
    """Runs a command when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo harm",)


def codes(directory: Path) -> set[str]:
    """Return what was found, without paths."""
    return {danger.code for danger in scan(directory)}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["model.pkl", "weights.json", "vocab.txt", "x.safetensors"])
def test_pickles_are_found_whatever_they_are_called(tmp_path: Path, protocol: int, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Harmful(), protocol=protocol))
    assert codes(tmp_path) == {"pickle"}


def test_pickles_are_found_in_archives_arrays_and_compressed(tmp_path: Path) -> None:
    import joblib
    import torch

    payload = pickle.dumps(Harmful())
    writers: dict[str, Any] = {
        "objects.npz": lambda path: np.savez(path, a=np.array([{}], dtype=object)),
        "objects.npy": lambda path: np.save(path, np.array([{}], dtype=object)),
        "record.npz": lambda path: np.savez(path, a=np.zeros(2, dtype=[("x", "f4"), ("y", "O")])),
        "joblib.json": lambda path: joblib.dump({"a": np.arange(3)}, path),
        "zlib.bin": lambda path: joblib.dump(Harmful(), path, compress=3),
        "bz2.bin": lambda path: joblib.dump(Harmful(), path, compress=("bz2", 3)),
        "xz.bin": lambda path: joblib.dump(Harmful(), path, compress=("xz", 3)),
        "gzip.json": lambda path: path.write_bytes(gzip.compress(payload)),
        "zip.json": lambda path: _zip(path, {"inner/data.pkl": payload}),
        "torch.safetensors": lambda path: torch.save({"a": torch.zeros(2)}, path),
        "torch-old.bin": lambda path: torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False),
    }
    for number, (name, write) in enumerate(writers.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / name)
        assert "pickle" in codes(folder), name


def _zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_harmless_files_pass(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    np.savez(tmp_path / "w.npz", a=np.arange(5), s=np.array(["O", "text"]), r=np.zeros(2, dtype=[("O", "f4")]))
    np.savez_compressed(tmp_path / "c.npz", a=np.zeros((3, 3), np.float16))
    save_file({"x": np.zeros(4, np.float32)}, tmp_path / "m.safetensors")
    (tmp_path / "a.json").write_text(json.dumps({"classes": ["好", "坏"], "n": [1, 2]}), encoding="utf-8")
    (tmp_path / "l.txt").write_text("tree\nversion=v4\nnum_class=1\n")
    (tmp_path / "c.txt").write_text("cos os\nsystem\n(and more)\n")
    (tmp_path / "n.txt").write_text("0\n1\n2\nNone\n")
    (tmp_path / "e.json").write_text("")
    assert scan(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.json", b"\x7fELF\x02\x01", "executable"), ("run.txt", b"#!/bin/sh\n", "executable"), ("m.py", b"x = 1", "executable"),
        ("lib.so", b"anything", "executable"), ("w.json", b"MZ\x90\x00", "executable"), ("bad.npz", b"PK\x03\x04garbage", "archive"),
        ("bad.onnx", b"\xff\xff\xff\xff", "malformed"), ("empty.onnx", b"", "malformed"), ("what.xyz", b"hello", "unexpected"),
    ],
)  # fmt: skip
def test_programs_scripts_and_oddities(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert codes(tmp_path) == {code}


def test_links_escaping_members_and_nested_code(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    _zip(tmp_path / "slip.npz", {"../../evil.npy": b"x"})
    _zip(tmp_path / "code.npz", {"run.sh": b"#!/bin/sh\n"})
    assert codes(tmp_path) == {"symlink", "escape", "executable"}


def _onnx_model(path: Path, *, location: str | None = None, domain: str = "") -> None:
    import onnx
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    if location is not None:
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
    inner = helper.make_graph([], "inner", [], [], [tensor])
    node = helper.make_node("If", ["c"], ["y"], domain=domain, then_branch=inner, else_branch=inner)
    graph = helper.make_graph([node], "g", [], [])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "a/../../b", "..\\outside.bin"])
def test_onnx_tensors_must_stay_inside_even_in_subgraphs(tmp_path: Path, location: str) -> None:
    _onnx_model(tmp_path / "m.onnx", location=location)
    assert codes(tmp_path) == {"escape"}


def test_onnx_facts_agree_with_the_onnx_package(tmp_path: Path) -> None:
    _onnx_model(tmp_path / "m.onnx", location="weights.data", domain="my.custom.ops")
    found = _onnx.facts(tmp_path / "m.onnx")
    assert found.locations == ("weights.data",)
    assert found.domains == ("my.custom.ops",)
    assert codes(tmp_path) == {"custom_operator"}


def test_a_sound_onnx_model_passes(tmp_path: Path) -> None:
    _onnx_model(tmp_path / "m.onnx", location="weights.data")
    (tmp_path / "weights.data").write_bytes(b"\x00" * 8)
    assert scan(tmp_path) == ()


def test_random_bytes_never_crash_the_scanner(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    prefixes = [
        b"",
        b"PK\x03\x04",
        b"\x93NUMPY",
        b"\x1f\x8b",
        b"BZh",
        b"\x80\x04",
        b"\x78\x9c",
        b"\xfd7zXZ",
        b"\x08\x07",
    ]
    for number in range(180):
        suffix = [".json", ".onnx", ".npz", ".npy"][number % 4]
        (tmp_path / f"{number}{suffix}").write_bytes(
            prefixes[number % len(prefixes)] + random.bytes(int(random.integers(0, 300)))
        )
    scan(tmp_path)


def test_is_pickle_reads_opcodes_and_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    assert is_pickle(pickle.dumps(Touch()))
    assert is_pickle(io.BytesIO(pickle.dumps({"a": 1}, protocol=2)).read())
    assert not marker.exists()
