"""Traps in files whose hashes are right: each is refused before a library allocates or unpacks what it declares."""

from __future__ import annotations

import io
import json
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.runtimes import screening
from bakeoff.runtimes.screening import screen
from bakeoff.schema.errors import BundleError


def npz(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def npy(shape: tuple[int, ...], body: bytes = b"", descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + body


def tensors(path: Path, header: Any, body: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def one(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_sound_files_pass(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4)), y=np.array(5), z=np.array(["é"]), empty=np.zeros((0, 3)))
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros(1_000_000))
    tensors(tmp_path / "c.safetensors", one() | {"e": {"dtype": "F16", "shape": [0], "data_offsets": [8, 8]}}, bytes(8))
    tensors(tmp_path / "d.safetensors", {"__metadata__": {"format": "pt"}} | one(), bytes(8))
    (tmp_path / "e.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 2) + bytes(100))
    (tmp_path / "f.json").write_text("{}")
    (tmp_path / "g.bin").write_bytes(b"anything")
    with zipfile.ZipFile(tmp_path / "h.whl", "w") as archive:
        archive.writestr("a", "b")
    for path in tmp_path.iterdir():
        screen(path, path.name)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        stream.write(npy(((70 << 20) // 8,)))
        for _ in range(70):
            stream.write(bytes(1 << 20))


def _twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy((1,), bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy((1,), bytes(8)))


def _spoilt(path: Path, method: int) -> None:
    """Overwrite what an archive's member is packed in; the directory at the end stays right."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", npy((100,), bytes(800)))
        size = archive.infolist()[0].compress_size
    with path.open("r+b") as stream:
        stream.seek(30 + len("x.npy"))
        stream.write(b"\xff" * size)


def _flagged(path: Path, bits: int) -> None:
    """Say that the member is encrypted."""
    npz(path, x=npy((1,), bytes(8)))
    content = path.read_bytes()
    for mark, after in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + after
        content = content[:at] + bytes([content[at] | bits]) + content[at + 1 :]
    path.write_bytes(content)


def _many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(screening._MEMBERS + 1):
            archive.writestr(str(number), b"")


TRAPS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "array of a terabyte": ("a.npz", lambda p: npz(p, x=npy((1 << 37,), bytes(8))), "another size"),
    "array of no bytes": ("a.npz", lambda p: npz(p, x=npy((3,))), "another size"),
    "negative array": ("a.npz", lambda p: npz(p, x=npy((-1,), bytes(8))), "another size"),
    "object array": ("a.npz", lambda p: npz(p, x=npy((1,), b"cos\nsystem\n.", "|O")), "pickle"),
    "object in a record": ("a.npz", lambda p: npz(p, x=npy((1,), b"x", "|O8")), "pickle"),
    "no array": ("a.npz", lambda p: npz(p, x=b"import os"), "damaged"),
    "code for a header": ("a.npz", lambda p: npz(p, x=b"\x93NUMPY\x01\x00\x10\x00__import__('os')"), "damaged"),
    "bomb": ("a.npz", _bomb, "far more than its size"),
    "bomb in a wheel": ("a.whl", _bomb, "far more than its size"),
    "member twice": ("a.npz", _twice, "a member twice"),
    "many members": ("a.whl", _many, "too many members"),
    "bomb by another name": ("weights.dat", _bomb, "far more than its size"),
    "array of a terabyte by another name": ("weights.dat", lambda p: npz(p, x=npy((1 << 37,), bytes(8))), "another size"),
    "one array by another name": ("weights.dat", lambda p: p.write_bytes(npy((1 << 37,), bytes(8))), "not named like one"),
    "language model by another name": ("a.bin", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 1)), "more entries"),
    "broken stream": ("a.npz", lambda p: _spoilt(p, zipfile.ZIP_DEFLATED), "damaged"),
    "broken lzma stream": ("a.npz", lambda p: _spoilt(p, zipfile.ZIP_LZMA), "damaged"),
    "encrypted member": ("a.npz", lambda p: _flagged(p, 1), "damaged"),
    "unfinished code for a header": ("a.npz", lambda p: npz(p, x=b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((("), "damaged"),
    "header is a text": ("a.safetensors", lambda p: tensors(p, b'"abc"'), "damaged"),
    "tensor of no offsets": ("a.safetensors", lambda p: tensors(p, one(data_offsets=[])), "damaged"),
    "tensor is a number": ("a.safetensors", lambda p: tensors(p, {"w": 1}), "damaged"),
    "no archive": ("a.npz", lambda p: p.write_bytes(b"PK\x03\x04"), "damaged"),
    "header of 2^63 bytes": ("a.safetensors", lambda p: tensors(p, one(), bytes(8), 1 << 63), "larger than it can be"),
    "header beyond the end": ("a.safetensors", lambda p: tensors(p, one(), bytes(8), 1000), "larger than it can be"),
    "header of 33 MiB": ("a.safetensors", lambda p: tensors(p, b" " * (33 << 20)), "larger than it can be"),
    "header of lists": ("a.safetensors", lambda p: tensors(p, b"[" * 200_000), "damaged"),
    "header is no object": ("a.safetensors", lambda p: tensors(p, b"[]"), "damaged"),
    "tensor beyond the end": ("a.safetensors", lambda p: tensors(p, one(data_offsets=[0, 1 << 60]), bytes(8)), "do not fill"),
    "tensor of another size": ("a.safetensors", lambda p: tensors(p, one(shape=[1 << 40]), bytes(8)), "do not fill"),
    "unknown type": ("a.safetensors", lambda p: tensors(p, one(dtype="F3"), bytes(8)), "damaged"),
    "hole between tensors": ("a.safetensors", lambda p: tensors(p, one(data_offsets=[4, 12]), bytes(12)), "do not fill"),
    "bytes at the end": ("a.safetensors", lambda p: tensors(p, one(), bytes(9)), "do not fill"),
    "empty": ("a.safetensors", lambda p: p.write_bytes(b""), "damaged"),
    "other format": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGML", 3, 1, 1)), "no GGUF"),
    "other version": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 9, 1, 1)), "no GGUF"),
    "tensors without end": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 1)), "more entries"),
    "keys without end": ("a.gguf", lambda p: p.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 2**64 - 1)), "more entries"),
    "cut": ("a.gguf", lambda p: p.write_bytes(b"GGUF"), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_traps_are_refused_and_cost_nothing(tmp_path: Path, trap: str) -> None:
    name, make, said = TRAPS[trap]
    make(tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match=said) as caught:
        screen(tmp_path / name, "model/that")
    assert "model/that" in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_a_huge_text_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BundleError, match="too large"):
        screen(tmp_path / "tokenizer.json", "tokenizer.json")
