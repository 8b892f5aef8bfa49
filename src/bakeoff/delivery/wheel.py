"""A wheel of this very package, rebuilt from its installed files, so that a bundle needs nothing that is not published.

The format is that of PEP 427 and PEP 376; members are sorted, uncompressed and dated 1980, so equal files give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from pathlib import Path

import bakeoff

_NAME = "bakeoff"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SKIPPED = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})


def build_wheel(folder: Path) -> Path:
    """Write the wheel into ``folder`` and return its path."""
    version = bakeoff.__version__
    info = f"{_NAME}-{version}.dist-info"
    members = _sources() | {
        f"{info}/METADATA": _metadata(version),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bakeoff\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nbakeoff = bakeoff.cli:main\n",
    }
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in sorted(members.items())]
    members[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{_NAME}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, members[name])
    return path


def _sources() -> dict[str, bytes]:
    assert bakeoff.__file__ is not None  # noqa: S101 - an ordinary package always has one
    root = Path(bakeoff.__file__).parent
    return {
        f"{_NAME}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and not _SKIPPED.intersection(path.relative_to(root).parts)
    }


def _metadata(version: str) -> bytes:
    """Return METADATA with what is really required; extras are left out, requirements.txt pins what serving needs."""
    lines = [
        "Metadata-Version: 2.1", f"Name: {_NAME}", f"Version: {version}",
        "Summary: Measured technology selection for AI applications", "License: Apache-2.0", "Requires-Python: >=3.11",
    ]  # fmt: skip
    return "\n".join([*lines, *(f"Requires-Dist: {name}" for name in required()), ""]).encode()


def required() -> list[str]:
    """Return what Bakeoff itself requires, extras left out, as requirement lines."""
    try:
        required = importlib.metadata.requires(_NAME) or []
    except importlib.metadata.PackageNotFoundError:
        required = ["numpy", "pydantic", "pyyaml", "rich", "jinja2", "psutil"]
    return sorted(line for line in required if "extra ==" not in line)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
