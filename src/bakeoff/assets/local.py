"""Weights people bring themselves: a folder filled from a model hub, found by the hub's name.

Layout: ``$BAKEOFF_HOME/hub/OWNER--NAME/`` (lower case), holding what the hub's own download command writes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bakeoff.assets import cache

_MARKS = ("config.json", "*.gguf")


def hub_folder(hub: str) -> Path:
    """Folder where the weights of a hub id are looked for, whether it exists or not."""
    return cache.root().parent / "hub" / hub.replace("/", "--").lower()


def hub_command(hub: str) -> str:
    """Return the command that fetches a hub's weights to where they are looked for."""
    return (
        f'hf download {hub} --local-dir "${{BAKEOFF_HOME:-$HOME/.cache/bakeoff}}/hub/{hub.replace("/", "--").lower()}"'
    )


def local_weights(hub: str) -> Path | None:
    """Return the folder of a hub's weights if it holds a model."""
    folder = hub_folder(hub)
    return folder if any(any(folder.glob(mark)) for mark in _MARKS) else None


def content_hash(folder: Path) -> str:
    """Return a hash over the names and the whole content of a weights folder, 64 hexadecimal digits; for provenance."""
    digest = hashlib.sha256()
    for path in _files(folder):
        with path.open("rb") as stream:
            inside = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{inside}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def fingerprint(folder: Path) -> str:
    """Return a hash over names, sizes and the content of small files of a weights folder; identity for step keys.

    Large files count with their size and their first and last mebibyte, so that gigabytes are not read for every key.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(2**20))
            if size > 2**20:
                stream.seek(max(2**20, size - 2**20))
                digest.update(stream.read())
    return digest.hexdigest()[:32]


def _files(folder: Path) -> list[Path]:
    """Return the files that are the weights, without the hub command's own notes."""
    return [
        path for path in sorted(folder.rglob("*")) if path.is_file() and ".cache" not in path.relative_to(folder).parts
    ]
