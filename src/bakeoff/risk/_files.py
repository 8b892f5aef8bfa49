"""Judges the files of an artefact by what is in them, not by their names: nothing that can run code may ship.

Does: find pickles (bare, in archives, compressed, as object arrays), programs, scripts, ONNX files that reach outside.
Does not know: what the model computes. Nothing is ever unpickled; opcodes are only read.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bakeoff.risk import _onnx
from bakeoff.schema.base import Words

_HEAD = 1 << 16
_KNOWN = frozenset(
    {
        ".json",
        ".npz",
        ".npy",
        ".safetensors",
        ".onnx",
        ".gguf",
        ".txt",
        ".ubj",
        ".data",
        ".model",
        ".vocab",
        ".xml",
        ".tflite",
    }
)
_CODE = frozenset({
    ".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".cmd", ".ps1", ".js", ".jar", ".class", ".whl", ".pth",
})  # fmt: skip
_PROGRAMS = (
    b"\x7fELF",
    b"MZ",
    b"\xca\xfe\xba\xbe",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xfe\xed\xfa",
    b"#!",
    b"\x00asm",
)
_IMPORTS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"})
_CALLS = frozenset({"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "STOP"})
_ARRAY = b"\x93NUMPY"
_DOMAINS = re.compile(r"^(|ai\.onnx(\..*)?|com\.microsoft(\..*)?)$")
_MOST_OPCODES = 5000
_MEMBERS = 10_000


@dataclass(frozen=True)
class Danger:
    """One file that should not be in an artefact; ``severe`` ones must not ship."""

    path: str
    code: str
    words: Words
    severe: bool = True


def scan(directory: Path) -> tuple[Danger, ...]:
    """Return everything in ``directory`` that could run code or reach outside, sorted by path."""
    found: list[Danger] = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            found.append(_danger(name, "symlink", "是符号链接", "is a symbolic link"))
        elif path.is_file():
            found += _file(path, name, directory)
        elif not path.is_dir():
            found.append(_danger(name, "special", "不是普通文件", "is not a regular file"))
    return tuple(found)


def _file(path: Path, name: str, directory: Path) -> Iterator[Danger]:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    suffix = path.suffix.lower()
    if head.startswith(_PROGRAMS) or suffix in _CODE:
        yield _danger(name, "executable", "是可执行文件或脚本", "is a program or script")
    elif head.startswith(_ARRAY):
        if _objects(head):
            yield _danger(
                name, "pickle", "含对象数组（内为 pickle）", "holds an object array, which is a pickle inside"
            )
    elif is_pickle(head):
        yield _danger(
            name, "pickle", "是 pickle：加载时会执行任意代码", "is a pickle, which runs any code it likes when loaded"
        )
    elif head.startswith(b"PK\x03\x04"):
        yield from _archive(path, name)
    elif (inner := _decompressed(head)) is not None:
        yield from _packed(inner, name)
    elif suffix == ".onnx":
        yield from _onnx_file(path, name, directory)
    elif suffix not in _KNOWN and not (suffix == ".bin" and path.with_suffix(".xml").is_file()):  # OpenVINO's weights
        yield _danger(
            name, "unexpected", "类型不在允许之列", "is of a type that is not expected in an artefact", severe=False
        )


def is_pickle(head: bytes) -> bool:
    """Return whether bytes begin a pickle; what the opcode reader warns of in other files is nobody's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _runs_code(head)


def _runs_code(head: bytes) -> bool:
    """Return whether bytes begin a pickle of any protocol: a protocol mark, or opcodes that import and then call."""
    marked = len(head) > 1 and head[0] == 0x80 and head[1] <= 5
    count, imports = 0, False
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(head)):
            count += 1
            imports = imports or (opcode.name in _IMPORTS and (count > 1 or opcode.name == "GLOBAL"))
            if (imports and opcode.name in _CALLS) or (marked and count > 1):
                return True
            if opcode.name == "STOP" or count > _MOST_OPCODES:
                return False
    except (ValueError, UnicodeDecodeError, IndexError, OverflowError):
        return False
    return False


def _archive(path: Path, name: str) -> Iterator[Danger]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS:
                yield _danger(name, "archive", "压缩包成员过多", "is an archive with too many members")
                return
            for member in members:
                with archive.open(member) as stream:
                    head = stream.read(_HEAD)
                yield from _member(member.filename, head, name)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, zlib.error, EOFError):
        yield _danger(
            name,
            "archive",
            "是损坏或加密的压缩包，无法检查",
            "is a damaged or encrypted archive that cannot be looked into",
        )


def _member(member: str, head: bytes, name: str) -> Iterator[Danger]:
    pure = PurePosixPath(member.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts:
        yield _danger(name, "escape", "压缩包成员路径越界", "is an archive whose member escapes its folder")
    elif head.startswith(_ARRAY):
        if _objects(head):
            yield _danger(
                name,
                "pickle",
                "压缩包内含对象数组（内为 pickle）",
                "is an archive with an object array, which is a pickle inside",
            )
    elif is_pickle(head):
        yield _danger(name, "pickle", "压缩包内含 pickle", "is an archive with a pickle inside")
    elif head.startswith(_PROGRAMS) or pure.suffix.lower() in _CODE:
        yield _danger(name, "executable", "压缩包内含程序或脚本", "is an archive with a program or script inside")
    else:
        yield _danger(
            name,
            "unexpected",
            "压缩包内含非数组文件",
            "is an archive with something other than arrays inside",
            severe=False,
        )


def _objects(head: bytes) -> bool:
    """Return whether the dtype in a ``.npy`` header is, or contains, Python objects."""
    header = head[:4096].split(b"\n", 1)[0]
    found = re.search(rb"'descr':\s*(.*?),\s*'fortran_order'", header, re.DOTALL)
    return found is None or b"O" in re.sub(rb"\('[^']*',", b"(", found[1])


def _decompressed(head: bytes) -> bytes | None:
    """Return the beginning of what a compressed file holds; None when it is not compressed."""
    openers: tuple[tuple[bytes, Callable[[], io.BufferedIOBase]], ...] = (
        (b"\x1f\x8b", lambda: gzip.GzipFile(fileobj=io.BytesIO(head))),
        (b"BZh", lambda: bz2.BZ2File(io.BytesIO(head))),
        (b"\xfd7zXZ", lambda: lzma.LZMAFile(io.BytesIO(head))),  # noqa: SIM115 - opened below
        (b"\x5d\x00\x00", lambda: lzma.LZMAFile(io.BytesIO(head))),  # noqa: SIM115 - opened below
    )
    for magic, opened in openers:
        if head.startswith(magic):
            try:
                with opened() as stream:
                    return stream.read(512)
            except (OSError, EOFError, lzma.LZMAError):
                return b""
    if len(head) > 2 and head[0] == 0x78 and head[1] in {0x01, 0x5E, 0x9C, 0xDA}:
        try:
            return zlib.decompressobj().decompress(head, 512)
        except zlib.error:
            return None
    return None


def _packed(inner: bytes, name: str) -> Iterator[Danger]:
    if not inner or is_pickle(inner):
        yield _danger(name, "pickle", "是压缩后的 pickle（如 joblib）", "is a compressed pickle, as joblib writes them")
    else:
        yield _danger(name, "unexpected", "是压缩文件", "is a compressed file", severe=False)


def _onnx_file(path: Path, name: str, directory: Path) -> Iterator[Danger]:
    try:
        found = _onnx.facts(path)
    except ValueError:
        yield _danger(name, "malformed", "不是完好的 ONNX 文件", "is not a sound ONNX file")
        return
    for location in found.locations:
        pure = PurePosixPath(location.replace("\\", "/"))
        target = (path.parent / pure).resolve()
        if pure.is_absolute() or ".." in pure.parts or not target.is_relative_to(directory.resolve()):
            yield _danger(
                name, "escape", "的外部张量指向产物目录之外", "keeps tensors outside of the artefact's folder"
            )
    foreign = [domain for domain in found.domains if not _DOMAINS.fullmatch(domain)]
    if foreign:
        words = ", ".join(domain[:40] for domain in foreign[:3])
        yield _danger(
            name, "custom_operator", f"需要自定义算子库（{words}）", f"needs a library of custom operators ({words})"
        )


def _danger(path: str, code: str, zh: str, en: str, *, severe: bool = True) -> Danger:
    return Danger(path, code, Words(zh=f"{path} {zh}", en=f"{path} {en}"), severe)
