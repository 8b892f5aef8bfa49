"""A sealed folder: files named in a manifest with their hashes, and nothing else.

Does: keep every path inside the folder, compare hashes before anything is parsed, name all that differs at once.
Does not know: what the files mean. It sits under both delivery, which seals and verifies, and serving, which only opens.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from bakeoff.schema.artifact import FileEntry
from bakeoff.schema.contract import Manifest
from bakeoff.schema.errors import BundleError

MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_LARGEST_MANIFEST = 4 << 20
_LONGEST_PATH = 1024


def contained(root: Path, relative: str) -> Path:
    """Return ``root / relative`` if that is a plain path below ``root`` without a symbolic link on the way.

    Raises:
        BundleError: absolute, escaping, not normalised, with backslashes, drive letters or control characters.

    """
    pure = PurePosixPath(relative)
    plain = (
        0 < len(relative) <= _LONGEST_PATH
        and bool(pure.parts)
        and not pure.is_absolute()
        and str(pure) == relative
        and not any(part in {".", ".."} for part in pure.parts)
        and not any(sign in relative for sign in "\\:")
        and relative.isprintable()
    )
    if not plain:
        what = "path in the manifest is not a plain relative path"
        raise BundleError(what, got=relative, allowed="letters, digits and forward slashes, below the bundle")
    path = root
    for part in pure.parts:
        path = path / part
        if path.is_symlink():
            what = "symbolic links are not allowed in a bundle"
            raise BundleError(what, where=relative)
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below ``root`` that is not a folder, sorted by path; symbolic links are not followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(folder) / name
            yield path.relative_to(root).as_posix(), path.lstat()


def entries(root: Path) -> tuple[FileEntry, ...]:
    """Return every file below ``root`` with hash and size, sorted by path.

    Raises:
        BundleError: something below ``root`` is not a regular file.

    """
    found = []
    for name, status in walk(root):
        if not stat.S_ISREG(status.st_mode):
            what = "only regular files may be sealed"
            raise BundleError(what, where=name)
        path = contained(root, name)
        found.append(FileEntry(path=name, sha256=digest(path), size=status.st_size))
    return tuple(sorted(found, key=lambda entry: entry.path))


def problems(root: Path, listed: Sequence[FileEntry], unlisted: Iterable[str] = (MANIFEST,)) -> list[str]:
    """Return what differs between the folder and the list, one phrase each; empty when it is exactly as sealed."""
    found: list[str] = []
    names = [entry.path for entry in listed]
    folded = {name.casefold() for name in names}
    if len(folded) != len(names):
        found.append("the manifest lists a path twice")
    for entry in listed:
        wrong = _difference(root, entry)
        if wrong:
            found.append(wrong)
    known = {*names, *unlisted}
    found += [f"{name}: not in the manifest" for name, _ in walk(root) if name not in known]
    return found


def _difference(root: Path, entry: FileEntry) -> str | None:
    try:
        path = contained(root, entry.path)
        status = path.lstat()
    except BundleError as error:
        return str(error)
    except OSError:
        return f"{entry.path}: missing"
    if not stat.S_ISREG(status.st_mode):
        return f"{entry.path}: not a regular file"
    if status.st_size != entry.size:
        return f"{entry.path}: {status.st_size} bytes instead of {entry.size}"
    if digest(path) != entry.sha256:
        return f"{entry.path}: content was altered"
    return None


def read_manifest(root: Path) -> Manifest:
    """Return the manifest of the bundle in ``root``.

    Raises:
        BundleError: no bundle there, or its manifest is damaged.

    """
    path = root / MANIFEST
    if not root.is_dir() or path.is_symlink() or not path.is_file():
        what = "this folder holds no bundle: there is no manifest.json in it"
        raise BundleError(what, where=str(root), try_="bakeoff ship STUDY -o BUNDLE")
    if path.stat().st_size > _LARGEST_MANIFEST:
        what = "manifest.json is too large to be one of ours"
        raise BundleError(what, where=str(root))
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"manifest.json is damaged or from another version: {where} {first['msg']}".replace("  ", " ")
        raise BundleError(what, where=str(root)) from None
    except OSError as error:
        what = "manifest.json cannot be read"
        raise BundleError(what, where=str(root), got=error.strerror) from error


def check(root: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest; nothing else of the bundle may be read before this.

    Raises:
        BundleError: altered, missing, added or misplaced files, all of them listed.

    """
    found = problems(root, manifest.files)
    if found:
        listed = "; ".join(found[:8]) + (f"; … ({len(found)} in all)" if len(found) > 8 else "")
        what = f"the bundle is not as it was shipped: {listed}"
        raise BundleError(what, where=str(root), try_="ship it again from the study, or copy it again")


def identity(root: Path) -> str:
    """Return the first 12 hexadecimal digits of the manifest's hash: the name of exactly this bundle."""
    return digest(root / MANIFEST)[:12]
