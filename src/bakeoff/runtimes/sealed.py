"""A sealed folder: files named in a manifest with their hashes, and nothing else.

Does: keep every path inside the folder, compare hashes before anything is parsed, check who signed, name all that differs at once.
Does not know: what the files mean. It sits under both delivery, which seals and verifies, and serving, which only opens.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pydantic import ValidationError

from bakeoff.runtimes import memory, signing
from bakeoff.runtimes.signing import SIGNATURE, SignatureState
from bakeoff.schema.artifact import FileEntry
from bakeoff.schema.contract import Manifest
from bakeoff.schema.errors import BundleError

MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
_LARGEST_MANIFEST = 4 << 20
_LARGEST_BESIDE = 64 << 10
_LONGEST_PATH, _LONGEST_NAME, _DEEPEST = 1024, 255, 32
_MOST_FILES = 10_000
_IMPORTABLE = (".py", ".pyw", ".pyc", ".pyd", ".so", ".dll", ".dylib")
"""Ends of names that Python or the loader of libraries would look for in a folder; no file of a bundle has one."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_ANEW = "ship it again from the study, or copy it again"
Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, time of the last change of content and of status [ns]: what a later change cannot leave as it was."""


@dataclass(frozen=True)
class Sealed:
    """A folder that is exactly as its manifest says.

    Args:
        root: the folder.
        raw: the manifest's bytes, which were checked and parsed.
        manifest: what they say.
        signature: who signed them.
        stamps: path → what the file's status was when it was hashed.

    """

    root: Path
    raw: bytes
    manifest: Manifest
    signature: SignatureState
    stamps: Mapping[str, Stamp]

    @property
    def sha256(self) -> str:
        """The manifest's hash, 64 hexadecimal digits: by it another process opens exactly this bundle or none."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def identity(self) -> str:
        """The first 12 hexadecimal digits of the manifest's hash: the name of exactly this bundle."""
        return self.sha256[:12]

    def read(self, name: str) -> bytes:
        """Return a listed file's bytes, hashed again as they are.

        Raises:
            BundleError: there is no such file, or it changed since it was checked.

        """
        entry = next((found for found in self.manifest.files if found.path == name), None)
        if entry is None:
            what = f"the bundle has no {name}"
            raise BundleError(what, where=str(self.root))
        content = _bounded(contained(self.root, name), entry.size)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            what = f"{name} changed while the bundle was opened"
            raise BundleError(what, where=str(self.root), try_=_ANEW)
        return content

    def check_unchanged(self) -> None:
        """Make sure that no file was touched since it was hashed, so that what was loaded is what was checked.

        Raises:
            BundleError: naming the first that was.

        """
        for name, stamp in self.stamps.items():
            try:
                now = _stamp((self.root / name).lstat())
            except OSError:
                now = (0, 0, 0, 0, 0)
            if now != stamp:
                what = f"{name} changed while the bundle was opened"
                raise BundleError(what, where=str(self.root), try_="a folder that nobody else writes to")


def contained(root: Path, relative: str) -> Path:
    """Return ``root / relative`` if that is a plain path below ``root`` without a symbolic link on the way.

    Links to files that this process holds in memory are the exception (see ``runtimes.memory``).

    Raises:
        BundleError: absolute, escaping, not normalised, too long or deep, with backslashes, drive letters or control characters.

    """
    pure = PurePosixPath(relative)
    plain = (
        0 < len(relative) <= _LONGEST_PATH
        and 0 < len(pure.parts) <= _DEEPEST
        and not pure.is_absolute()
        and str(pure) == relative
        and not any(part in {".", ".."} or part != part.strip() for part in pure.parts)
        and not any(sign in relative for sign in "\\:")
        and relative.isprintable()
        and all(len(part.encode()) <= _LONGEST_NAME for part in pure.parts)
    )
    if not plain:
        what = "path in the manifest is not a plain relative path"
        raise BundleError(what, got=relative, allowed="letters, digits and forward slashes, below the bundle")
    path = root
    for part in pure.parts:
        path = path / part
        if path.is_symlink() and not memory.is_held(path):
            what = "symbolic links are not allowed in a bundle"
            raise BundleError(what, where=relative)
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below ``root`` that is not a folder, sorted by path; symbolic links are not followed.

    Raises:
        BundleError: a folder cannot be looked into; what it hides would otherwise count as not there.

    """
    for folder, folders, names in os.walk(root, onerror=_unseen, followlinks=False):
        folders.sort()
        try:
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            paths = [Path(folder) / name for name in sorted([*names, *links])]
            found = [(path, path.stat() if memory.is_held(path) else path.lstat()) for path in paths]
        except OSError as error:
            _unseen(error)
        for path, status in found:
            yield path.relative_to(root).as_posix(), status


def _unseen(error: OSError) -> NoReturn:
    what = "a folder of the bundle cannot be looked into"
    raise BundleError(what, where=str(error.filename)[-_LONGEST_NAME:], got=error.strerror) from error


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


def problems(
    root: Path,
    listed: Sequence[FileEntry],
    unlisted: Iterable[str] = (MANIFEST,),
    stamps: dict[str, Stamp] | None = None,
) -> list[str]:
    """Return what differs between the folder and the list, one phrase each; empty when it is exactly as sealed.

    ``stamps`` is filled with the status every file had when it was hashed.
    """
    names = [entry.path for entry in listed]
    if len(names) > _MOST_FILES:
        return [f"the manifest lists {len(names)} files; more than {_MOST_FILES} is none of ours"]
    found: list[str] = []
    if len({_folded(name) for name in names}) != len(names):
        found.append("the manifest lists a path twice")
    for entry in listed:
        wrong = _difference(root, entry, stamps)
        if wrong:
            found.append(wrong)
    known = {*names, *unlisted}
    return found + [f"{name}: not in the manifest" for name in _others(root) if name not in known]


def _folded(name: str) -> str:
    """Spell a name as a file system would that ignores case and the ways to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _others(root: Path) -> Iterator[str]:
    """Yield what lies in the folder: files, and folders that hold nothing."""
    for name, _ in walk(root):
        yield name
    for folder, folders, names in os.walk(root, onerror=_unseen, followlinks=False):
        if not folders and not names and Path(folder) != root:
            yield f"{Path(folder).relative_to(root).as_posix()}/"


def _difference(root: Path, entry: FileEntry, stamps: dict[str, Stamp] | None) -> str | None:
    try:
        path = contained(root, entry.path)
        if not memory.is_held(path):
            if not stat.S_ISREG(path.lstat().st_mode):  # opening a device may do something
                return f"{entry.path}: not a regular file"
            return _content(entry, path, stamps)
    except BundleError as error:
        return str(error)
    except OSError:
        return f"{entry.path}: missing"
    return None if digest(path) == entry.sha256 else f"{entry.path}: content was altered"


def _content(entry: FileEntry, path: Path, stamps: dict[str, Stamp] | None) -> str | None:
    with open(path, "rb", buffering=0, opener=_opener) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            return f"{entry.path}: not a regular file"
        if status.st_size != entry.size:
            return f"{entry.path}: {status.st_size} bytes instead of {entry.size}"
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry.sha256:
            return f"{entry.path}: content was altered"
    if stamps is not None:
        stamps[entry.path] = _stamp(status)
    return None


def _opener(path: str, _: int) -> int:
    return os.open(path, _FLAGS)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def open_sealed(root: Path, trusted: tuple[bytes, ...] = (), expected: str | None = None) -> Sealed:
    """Check a folder from the outside in: signature, manifest, then every file; nothing else of it may be read before this.

    Args:
        root: the bundle.
        trusted: public keys of which one must have signed the manifest; empty: signed or not, it is only reported.
        expected: the manifest's SHA-256, 64 hexadecimal digits, where another process has opened the bundle before.

    Raises:
        BundleError: no bundle, another one than expected, not signed by whom it must be, files that Python would import, or altered,
            missing, added or misplaced files, all of them listed.

    """
    raw = _manifest_bytes(root)
    if expected is not None and hashlib.sha256(raw).hexdigest() != expected:
        what = "this is another bundle than the one that was opened first"
        raise BundleError(what, where=str(root), try_="start again, and leave a bundle alone while it is in use")
    envelope = _beside(root, SIGNATURE)
    if trusted and not signing.is_signed_by(raw, envelope, trusted):
        raise _at(root, signing.distrusted(envelope, trusted))
    manifest = _parsed(root, raw)
    beside = [MANIFEST]
    if manifest.checksum:
        beside.append(CHECKSUM)
        if _beside(root, CHECKSUM) != checksum_line(raw):
            what = f"the bundle is not as it was shipped: {MANIFEST} and {CHECKSUM} do not belong together"
            raise BundleError(what, where=str(root), try_=_ANEW)
    try:
        signature = signing.check(raw, envelope, manifest.signer, trusted)
    except BundleError as error:
        raise _at(root, error) from None
    if manifest.signer is not None:
        beside.append(SIGNATURE)
    _refuse_code(root, manifest)
    stamps: dict[str, Stamp] = {}
    found = problems(root, manifest.files, beside, stamps)
    if found:
        listed = "; ".join(found[:8]) + (f"; … ({len(found)} in all)" if len(found) > 8 else "")
        what = f"the bundle is not as it was shipped: {listed}"
        raise BundleError(what, where=str(root), try_=_ANEW)
    return Sealed(root, raw, manifest, signature, stamps)


def _refuse_code(root: Path, manifest: Manifest) -> None:
    """Refuse files that Python would import, whoever signed: with the bundle as current folder, some programs would."""
    found = [entry.path for entry in manifest.files if entry.path.casefold().endswith(_IMPORTABLE)]
    if found:
        what = f"the bundle holds files that Python would import: {', '.join(found[:8])}"
        raise BundleError(what, where=str(root), try_="run nothing from inside of it: a bundle holds no code")


def _at(root: Path, error: BundleError) -> BundleError:
    return BundleError(error.what, where=str(root), got=error.got, allowed=error.allowed, try_=error.try_)


def checksum_line(raw: bytes) -> bytes:
    """Return the content of ``manifest.sha256``, as ``sha256sum --check`` reads it."""
    return f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n".encode()


def read_manifest(root: Path) -> Manifest:
    """Return the manifest of the bundle in ``root``, as it is: nothing is compared.

    Raises:
        BundleError: no bundle there, or its manifest is damaged.

    """
    return _parsed(root, _manifest_bytes(root))


def _manifest_bytes(root: Path) -> bytes:
    path = root / MANIFEST
    if not root.is_dir() or path.is_symlink() or not path.is_file():
        what = "this folder holds no bundle: there is no manifest.json in it"
        raise BundleError(what, where=str(root), try_="bakeoff ship STUDY -o BUNDLE")
    return _bounded(path, _LARGEST_MANIFEST)


def _parsed(root: Path, raw: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = f"manifest.json is damaged or from another version: {where} {first['msg']}".replace("  ", " ")
        raise BundleError(what, where=str(root)) from None


def _beside(root: Path, name: str) -> bytes | None:
    """Return a small file that lies beside the manifest; None when there is none."""
    path = root / name
    if path.is_symlink():
        what = "symbolic links are not allowed in a bundle"
        raise BundleError(what, where=name)
    return _bounded(path, _LARGEST_BESIDE) if path.exists() else None


def _bounded(path: Path, most: int) -> bytes:
    """Read a regular file of at most ``most`` bytes; a link or a pipe that took its place meanwhile is not followed."""
    try:
        with open(path, "rb", opener=_opener) as stream:  # os.fdopen would leave the descriptor of a folder open
            content = stream.read(most + 1) if stat.S_ISREG(os.fstat(stream.fileno()).st_mode) else None
    except OSError as error:
        what = f"{path.name} cannot be read"
        raise BundleError(what, where=str(path.parent), got=error.strerror) from error
    if content is None:
        what = f"{path.name} is not a regular file"
        raise BundleError(what, where=str(path.parent))
    if len(content) > most:
        what = f"{path.name} is too large to be one of ours"
        raise BundleError(what, where=str(path.parent), allowed=f"at most {most} bytes")
    return content
