"""Where assets live on disk, how a folder proves it is whole, and who may write it.

Layout: ``$BAKEOFF_HOME`` (or ``~/.cache/bakeoff``) ``/assets/NAME/`` with the produced files and ``asset.json``, which
is written last and holds each file's size and SHA-256. The folder appears by one rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bakeoff.assets.archives import inside, sha256_of
from bakeoff.assets.base import Recipe
from bakeoff.schema.errors import UserError

CARD = "asset.json"
"""Name of the file that lists what is in the folder; its presence marks a finished asset."""


def root() -> Path:
    """Folder that holds one folder per asset; it need not exist yet."""
    home = os.environ.get("BAKEOFF_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache" / "bakeoff") / "assets"


def folder_of(recipe: Recipe) -> Path:
    """Folder of one asset, finished or not."""
    return root() / recipe.name


def read_card(folder: Path) -> dict[str, Any] | None:
    """Content of ``asset.json``, or None where it is missing or not readable as JSON."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) and isinstance(card.get("files"), dict) else None


def write_card(recipe: Recipe, folder: Path) -> None:
    """Hash every produced file, compare with what the recipe promises, and write ``asset.json``.

    Raises:
        UserError: a promised file is missing or came out different.

    """
    files: dict[str, dict[str, Any]] = {}
    for file in recipe.produces:
        path = inside(folder, file.path)
        if not path.is_file():
            raise UserError("preparing it did not produce a promised file", where=recipe.name, got=file.path)
        digest, size = sha256_of(path), path.stat().st_size
        if file.sha256 is not None and digest != file.sha256:
            raise UserError(
                f"{file.path} came out different from the tested file",
                where=recipe.name,
                got=digest,
                allowed=f"sha256 {file.sha256}",
            )
        files[file.path] = {"sha256": digest, "bytes": size}
    card = {"format": 1, "name": recipe.name, "kind": recipe.kind, "key": recipe.key, **_terms(recipe), "files": files}
    with (folder / CARD).open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(card, ensure_ascii=False, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _terms(recipe: Recipe) -> dict[str, Any]:
    return {
        "title": dict(recipe.title),
        "licence": recipe.licence,
        "licence_note": recipe.licence_note,
        "origin": recipe.origin,
        "sources": [
            {"package": s.package, "version": s.version, "file": s.filename, "sha256": s.sha256} for s in recipe.sources
        ],
    }


def is_whole(recipe: Recipe) -> bool:
    """Whether the folder was finished by this very recipe and every file still has its size (no hashing: quick)."""
    folder = folder_of(recipe)
    card = read_card(folder)
    if card is None or card.get("key") != recipe.key or set(card["files"]) != {f.path for f in recipe.produces}:
        return False
    return all(_size(folder / path) == entry.get("bytes") for path, entry in card["files"].items())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def altered(recipe: Recipe) -> list[str]:
    """Names of files that are missing or no longer hash to what ``asset.json`` says; reads every byte."""
    folder = folder_of(recipe)
    card = read_card(folder)
    if card is None or card.get("key") != recipe.key:
        return [CARD]
    wrong = []
    for path, entry in card["files"].items():
        target = inside(folder, path)
        if not target.is_file() or sha256_of(target) != entry.get("sha256"):
            wrong.append(path)
    return wrong


@contextmanager
def locked(recipe: Recipe) -> Iterator[None]:
    """Hold the right to write one asset; a second process waits here until the first has finished or died.

    The lock file is never deleted: a process waiting on a deleted file would hold a lock nobody else can see.
    """
    path = root() / f".{recipe.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        _flock(stream.fileno())
        yield


def _flock(descriptor: int) -> None:
    try:
        import fcntl  # not on every platform
    except ImportError:
        return  # without it the rename still keeps a half-written folder out of sight
    fcntl.flock(descriptor, fcntl.LOCK_EX)
