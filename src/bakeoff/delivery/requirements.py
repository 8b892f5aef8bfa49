"""Which packages serving one artefact needs, each pinned to the version the trial was measured with."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_SERVER = ("httptools", "numpy", "orjson", "prometheus_client", "pydantic")
_FASTER = ("uvloop",)
_FORMATS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "tfidf-linear": (),
    "static-linear": ("safetensors", "tokenizers"),
    "scorecard": (),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "transformer": ("safetensors", "tokenizers", "torch", "transformers"),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "tflite": ("ai_edge_litert",),
    "onnx-shards": ("onnxruntime",),
    "gguf-prompt": ("xllamacpp",),
    "openai-prompt": ("httpx",),
    "ensemble": (),
}


def needed(model: Path, packages: Mapping[str, str], *, sealed: bool = False) -> dict[str, str]:
    """Return distribution → version for everything a server of the artefact in ``model`` imports.

    Args:
        model: the artefact's folder; members of ensembles lie in it with an ``artifact.json`` of their own.
        packages: versions (by module or distribution) the trial ran with; what is not in it is taken from this installation.
        sealed: whether the bundle is signed or encrypted, which takes a library to check or to open.

    """
    modules = {*_SERVER, *(name for name in _FASTER if _version(name, packages))}
    if sealed:
        modules.add("cryptography")
    for path in sorted(model.rglob("artifact.json")):
        modules |= _of(json.loads(path.read_text(encoding="utf-8")), packages)
    versions = {_distribution(name): _version(name, packages) for name in modules}
    return {name: version for name, version in sorted(versions.items()) if version}


def lines(pins: Mapping[str, str]) -> str:
    """Return ``requirements.txt``; a local version (``2.13.0+cpu``) is pinned to its public part, which indexes carry."""
    head = "# Versions the contract was measured with.\n"
    marker = {"uvloop": ' ; sys_platform != "win32"'}
    return head + "".join(
        f"{name}=={version.split('+')[0]}{marker.get(name, '')}\n" for name, version in sorted(pins.items())
    )


def _of(artifact: Mapping[str, Any], packages: Mapping[str, str]) -> set[str]:
    name = str(artifact.get("format"))
    found = set(_FORMATS.get(name, tuple(packages)))
    transform = artifact.get("transform") or {}
    if transform.get("segmenter") == "rjieba":
        found.add("rjieba")
    if transform.get("kind") == "hf-tokenizer":
        found.add("tokenizers")
    return found


def _version(module: str, packages: Mapping[str, str]) -> str:
    distribution = _distribution(module)
    for name in (module, distribution, distribution.replace("-", "_")):
        if packages.get(name, "none") != "none":
            return packages[name]
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _distribution(module: str) -> str:
    known: Iterable[str] = _distributions().get(module, ())
    return next(iter(known), module).replace("_", "-").lower()


@cache
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(found) for name, found in importlib.metadata.packages_distributions().items()}
