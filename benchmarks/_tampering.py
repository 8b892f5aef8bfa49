"""Ways to tamper with a bundle, and the question whether it is refused before a runtime reads a byte of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bakeoff.runtimes import sealed
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import BundleError
from bakeoff.serving.model import load, open_bundle

Change = Callable[[Path], None]
_DISTANCES = 4
"""Each file is swapped with that many of its neighbours."""
_HEAD = 31
"""Bytes before the first encrypted chunk."""


class RuntimeTouchedError(Exception):
    """A bundle that was tampered with got as far as a runtime: never a pass."""


@dataclass(frozen=True)
class Sample:
    """A sound bundle and the keys its owner opens it with."""

    name: str
    bundle: Path
    keys: Keys


def refused(bundle: Path, keys: Keys) -> bool:
    """Return whether the bundle is refused before a runtime is called, and with the error meant for it; others are not caught."""

    def runtime(*_: Any) -> Any:  # noqa: ANN401 - stands where a runtime's loader stands
        raise RuntimeTouchedError

    try:
        load(open_bundle(bundle, keys), loader=runtime)
    except BundleError as error:
        return not isinstance(error.__cause__, RuntimeTouchedError)
    return False


def files(bundle: Path) -> list[Path]:
    """Return every file, sorted."""
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def mutate(bundle: Path, keys: Keys, count: int, seed: int = 0) -> dict[str, int]:
    """Change one byte after the other, each to another value, and undo it; every file takes its turn. Return refused, by file."""
    draw = random.Random(seed)
    found: dict[str, int] = {}
    paths = files(bundle)
    for number in range(count):
        path = paths[number % len(paths)]
        at, other = draw.randrange(path.stat().st_size), draw.randrange(1, 256)
        name = path.relative_to(bundle).as_posix()
        _flip(path, at, other)
        found[name] = found.get(name, 0) + refused(bundle, keys)
        _flip(path, at, other)
    return found


def _flip(path: Path, at: int, other: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0] ^ other
        stream.seek(at)
        stream.write(bytes([byte]))


def forge(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the manifest and its checksum, as someone who holds the folder but no key can."""
    document = json.loads((bundle / sealed.MANIFEST).read_bytes())
    change(document)
    content = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    (bundle / sealed.MANIFEST).write_bytes(content)
    (bundle / sealed.CHECKSUM).write_bytes(sealed.checksum_line(content))


def relist(bundle: Path) -> None:
    """Forge the list of files so that it is true again."""
    beside = {sealed.MANIFEST, sealed.CHECKSUM, "manifest.sig"}
    listed = [
        {
            "path": path.relative_to(bundle).as_posix(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in files(bundle)
        if path.relative_to(bundle).as_posix() not in beside
    ]
    forge(bundle, lambda document: document.update(files=listed))


def paths() -> list[str]:
    """Return paths that no manifest may hold."""
    ups = [
        "../{}", "../../{}", "../../../../../../../../{}", "/{}", "//{}", "///{}", "./{}", ".//{}", "model/../../{}", "model/../{}",
        "model/./{}", "model//{}", "./../{}", "../bundle/{}", "model/../../bundle/{}", "..\\{}", "..\\..\\{}", "\\{}", "\\\\host\\share\\{}",
        "C:{}", "C:\\{}", "c:/{}", "file:///{}", "model/{}/..", "model/{}/.", "{}/", "{}//", " {}", "model/ {}", "model/{} ", "{}\n", "\n{}",
        "{}\x00", "\x00{}", "{}\x00.json", "{}\t", "{}\r", "\x1b[2J{}", "{}\x7f", "\u202e{}", "{}\u200b", "\ufeff{}", "{}\u2028", "\u00a0/{}",
        "..\u0000/{}", ".. /{}", "../ {}", "a/../{}", "{}/../../..",
    ]  # fmt: skip
    names = ["etc/passwd", "outside.json", "model/weights.npz", "manifest.json"]
    found = [up.format(name) for up, name in itertools.product(ups, names)]
    found += [
        "",
        ".",
        "..",
        "/",
        "\\",
        "//",
        "./",
        "../",
        "...//",
        "x" * 1025,
        "x/" * 40 + "x",
        "x" * 256,
        "é" * 128 + "x",
        "/" * 100,
    ]
    return list(dict.fromkeys(found))


def listed_at(path: str) -> Change:
    """List a file that is really there under a hostile path, right hash and all, so that only the path is wrong."""

    def change(bundle: Path) -> None:
        content = b"{}"
        for place in (bundle.parent / "outside.json", bundle.parent / "etc" / "passwd"):
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
        entry = {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        forge(bundle, lambda document: document["files"].append(entry))

    return change


def changes(bundle: Path) -> Iterator[tuple[str, Change]]:
    """Yield every way to add, remove, rename, swap, link, cut or replace files of this bundle, with its name."""
    names = [path.relative_to(bundle).as_posix() for path in files(bundle)]
    for verb, act in _EACH.items():
        for name in names:
            yield f"{verb} {name}", partial(_at, act=act, name=name)
    for distance in range(1, _DISTANCES + 1):
        for one, other in zip(names, names[distance:], strict=False):
            if (bundle / one).read_bytes() != (bundle / other).read_bytes():
                yield f"swap {one} and {other}", partial(_swap, one=one, other=other)
    for name in _ADDED:
        yield f"add {name}", partial(_at, act=_add, name=name)
    for target in ("/etc/passwd", "model", "nowhere", "..", "manifest.json", "/dev/zero", "/proc/self/fd/0"):
        yield f"add link to {target}", partial(_add_link, target=target)
    yield "add empty folder", partial(_at, act=Path.mkdir, name="model/empty")
    yield "add pipe", partial(_at, act=os.mkfifo, name="pipe")
    yield "add socket", _socket
    yield "link for the model folder", _model_elsewhere


def forgeries() -> Iterator[tuple[str, Change]]:
    """Yield rewritten manifests whose checksum is right: what only a signature, or the encryption, can refuse."""
    fields: dict[str, Any] = {
        "candidate": "other", "study": "other", "bakeoff": "9.9", "family": "other", "task": "other", "licences": ["MIT"], "packages": {},
        "formats": ["other"], "contract": "0" * 64, "label": {"zh": "x", "en": "x"}, "provenance": {}, "runtime": "openai_api",
        "files": [], "checksum": False, "signer": "A" * 43 + "=", "classes": ["x"] * 10_000, "schema_version": 2, "unknown": 1,
        "encryption": {"scheme": "AES-256-GCM-STREAM", "key": "0" * 16, "salt": "zz"},
    }  # fmt: skip
    for name, value in fields.items():
        yield f"manifest says another {name}", partial(_claim, name=name, value=value)
    yield "a plain model in place of the encrypted one", _downgrade
    for name in ("README.md", "Dockerfile", "requirements.txt", "contract.json"):
        yield f"{name} rewritten and listed again", partial(_rewrite, name=name)


def encrypted_changes(bundle: Path) -> Iterator[tuple[str, Change]]:
    """Yield what someone without the key can do to encrypted files and then list with right hashes."""
    names = [path.relative_to(bundle).as_posix() for path in files(bundle) if path.suffix == ".enc"]
    models = [name for name in names if name.startswith("model/")]
    for one, other in itertools.combinations(models, 2):
        yield f"swap {one} and {other}", partial(_relisted, change=partial(_swap, one=one, other=other))
    for verb, act in _CIPHERTEXT.items():
        for name in models:
            yield f"{verb} {name}", partial(_relisted, change=partial(_at, act=act, name=name))


def on_copies(sample: Sample, wanted: Iterator[tuple[str, Change]], work: Path) -> dict[str, bool]:
    """Apply each change to a copy of its own and return, by its name, whether the copy was refused."""
    found = {}
    for name, change in wanted:
        copy = work / "bundle"
        shutil.copytree(sample.bundle, copy)
        change(copy)
        found[name] = refused(copy, sample.keys)
        shutil.rmtree(work)
        work.mkdir()
    return found


def _at(root: Path, act: Callable[[Path], Any], name: str) -> None:
    act(root / name)


def _relisted(root: Path, change: Change) -> None:
    change(root)
    relist(root)


def _claim(root: Path, name: str, value: object) -> None:
    forge(root, lambda document: document.update({name: value}))


def _downgrade(root: Path) -> None:
    """Put a model of one's own, which loads and answers, where the encrypted one was, and say that nothing is encrypted."""
    manifest = sealed.read_manifest(root)
    for path in files(root):
        if path.suffix == ".enc" or path.is_relative_to(root / "model"):
            path.unlink()
    prior = [1.0] + [0.0] * (len(manifest.classes) - 1)
    artifact = Artifact(
        format="constant", task=manifest.task, classes=manifest.classes, inputs=manifest.inputs, meta={"prior": prior}
    )
    (root / "model" / "artifact.json").write_text(artifact.model_dump_json())
    relist(root)
    forge(root, lambda document: document.update(encryption=None, runtime="native"))


def _rewrite(root: Path, name: str) -> None:
    path = root / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2") + b"\n")
    relist(root)


def _link(path: Path) -> None:
    away = Path(tempfile.gettempdir()) / f"bakeoff-away-{os.getpid()}"
    shutil.move(path, away)
    path.symlink_to(away)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _add(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def _add_link(root: Path, target: str) -> None:
    (root / "extra").symlink_to(target)


def _socket(root: Path) -> None:
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(root)  # a socket's path may have 107 bytes only
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)


def _model_elsewhere(root: Path) -> None:
    shutil.move(root / "model", root.parent / "model")
    (root / "model").symlink_to(root.parent / "model")


def _swap(root: Path, one: str, other: str) -> None:
    first, second = (root / one).read_bytes(), (root / other).read_bytes()
    (root / one).write_bytes(second)
    (root / other).write_bytes(first)


_EACH: dict[str, Callable[[Path], Any]] = {
    "remove": Path.unlink,
    "rename": lambda path: path.rename(f"{path}.old"),
    "other case of": lambda path: path.rename(path.with_name(path.name.swapcase())),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "append to": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "double": lambda path: path.write_bytes(2 * path.read_bytes()),
    "link instead of": _link,
    "folder instead of": _folder,
    "pipe instead of": _pipe,
    "copy of": lambda path: shutil.copyfile(path, path.with_name(f"twin-{path.name}")),
    "hard link to": lambda path: os.link(path, f"{path}.too"),
}
_CIPHERTEXT: dict[str, Callable[[Path], Any]] = {
    "cut": _EACH["cut"],
    "append to": _EACH["append to"],
    "empty": _EACH["empty"],
    "only the head of": lambda path: path.write_bytes(path.read_bytes()[:_HEAD]),
    "plain text instead of": lambda path: path.write_bytes(b"{}"),
    "one bit of": lambda path: _flip(path, path.stat().st_size // 2, 1),
    "the nonce of": lambda path: _flip(path, _HEAD - 1, 1),
    "the salt of": lambda path: _flip(path, 10, 1),
}
_ADDED = (
    "x", ".hidden", "model/x.json", "model/.x", "model/sub/x", "a/b/c/d", "manifest.json~", "MANIFEST.JSON", "model/__init__.py", "x.pkl",
    "sitecustomize.py", "kubernetes/x.yaml", "wheels/x.whl", "manifest.sig.bak",
)  # fmt: skip
