"""Refuses files that run code when they are loaded: pickles, whatever they are called, and arrays of Python objects."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from bakeoff.schema.errors import StepError

_NAMES = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle"})
_HARMLESS = frozenset({".safetensors", ".gguf", ".onnx", ".json", ".txt", ".ubj", ".xml", ".tflite"})
"""Formats that are read by parsers of their own; their first bytes may look like a pickle's by chance."""
_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")
_STOP = b"."
_NPY = b"\x93NUMPY"


def refuse_unsafe(path: Path, name: str) -> None:
    """Raise when the file could run code on loading.

    Args:
        path: the file.
        name: what to call it in the error.

    Raises:
        StepError: code 'unsafe'.

    """
    reason = _reason(path)
    if reason is not None:
        what = f"{reason}: loading it could run code"
        raise StepError(
            "unsafe",
            what,
            where=name,
            allowed="JSON, npz, safetensors, ONNX, GGUF, LightGBM text, XGBoost JSON or UBJSON",
        )


def _reason(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in _NAMES:
        return f"{suffix} files are pickles"
    if suffix in _HARMLESS:
        return None
    with path.open("rb") as file:
        start = file.read(256)
        if _is_pickle(start, path):
            return "it is a pickle"
    if start.startswith(_NPY):
        return "it holds Python objects" if _object_dtype(start) else None
    return _in_zip(path) if zipfile.is_zipfile(path) else None


def _is_pickle(start: bytes, path: Path) -> bool:
    if not _PROTOCOL.match(start):
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == _STOP


def _in_zip(path: Path) -> str | None:
    """Look into npz files and PyTorch's zip checkpoints."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if Path(name).suffix.lower() in _NAMES:
                return f"it holds the pickle {name}"
            with archive.open(name) as member:
                start = member.read(256)
            if _PROTOCOL.match(start) or (start.startswith(_NPY) and _object_dtype(start)):
                return f"{name} in it holds Python objects"
    return None


def _object_dtype(start: bytes) -> bool:
    return b"'|O'" in start or b"'O'" in start
