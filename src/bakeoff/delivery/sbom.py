"""The software bill of materials, CycloneDX 1.6 in JSON (ECMA-424): libraries, the model with its files, the data it learned from.

Written without a library: it is one document, and the tests hold it against the published schema. Nothing in it depends on the time
or on chance, so the same bundle has the same bill: the serial number is made of the content, and there is no time stamp.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bakeoff.delivery import locks
from bakeoff.delivery.whole import WHOLE
from bakeoff.runtimes import sealed
from bakeoff.schema.artifact import FileEntry
from bakeoff.schema.base import canonical
from bakeoff.schema.contract import Contract, Manifest, Promise, Weights

FILE = "sbom.cdx.json"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:bakeoff:sbom")
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause", "ISC License (ISCL)": "ISC", "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-2.0",
}  # fmt: skip
_SPDX = frozenset({
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0",
    "PSF-2.0", "Unlicense", "Zlib",
})  # fmt: skip
"""The ids our assets and requirements have; any other licence is written down by its name, which every reader takes."""
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def document(folder: Path, manifest: Manifest, contract: Contract, pins: Mapping[str, str]) -> str:
    """Return the bill of the bundle in ``folder``, whose model, wheels and lock file are written already.

    Args:
        folder: the bundle; its manifest does not exist yet.
        manifest: what will be in it.
        contract: the promises, for the model card.
        pins: distribution → version of what serving needs; a lock file in the folder adds what those need in turn.

    """
    libraries = [_library(name, version) for name, version in sorted(_pinned(folder, pins).items())]
    libraries += [_own(folder, manifest)]
    model = _model(manifest, contract, sealed.entries(folder / "model"))
    if (folder / WHOLE).is_file():
        model["components"].append({"type": "file", "name": WHOLE, "hashes": [_hash(sealed.digest(folder / WHOLE))]})
    data = _data(manifest)
    parts = sorted([*libraries, model, data], key=lambda part: str(part["bom-ref"]))
    whole = {"type": "application", "bom-ref": "bundle", "name": manifest.study, "version": model["version"]}
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "bakeoff", "version": manifest.bakeoff}]},
            "component": whole,
        },
        "components": parts,
        "dependencies": [
            {"ref": "bundle", "dependsOn": sorted(str(part["bom-ref"]) for part in parts if part is not data)},
            {"ref": "model", "dependsOn": ["data"]},
        ],
    }
    serial = uuid.uuid5(_NAMESPACE, canonical(bill))
    return (
        json.dumps({"$schema": _SCHEMA, "serialNumber": f"urn:uuid:{serial}", **bill}, indent=2, ensure_ascii=False)
        + "\n"
    )


def licences(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return SPDX ids, or whatever else is written there, as CycloneDX spells licences."""
    return [{"license": {"id" if name in _SPDX else "name": name}} for name in names if name]


def _pinned(folder: Path, pins: Mapping[str, str]) -> dict[str, str]:
    found = {locks.plain(name): version for name, version in pins.items()}
    lock = folder / locks.FILE
    if lock.is_file():
        for name, version in _PINNED.findall(lock.read_text(encoding="utf-8")):
            found.setdefault(locks.plain(name), version)
    found.pop("bakeoff", None)
    return found


def _library(name: str, version: str) -> dict[str, Any]:
    """Return one distribution; the hashes are those of its published wheels, one for each platform."""
    purl = f"pkg:pypi/{name}@{quote(version, safe='')}"
    part: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    said = _licence(name)
    if said:
        part["licenses"] = said
    wheels = [
        {"type": "distribution", "url": purl, "hashes": [_hash(value)]} for value in sorted(locks.hashes(name, version))
    ]
    return {**part, "externalReferences": wheels} if wheels else part


def _licence(name: str) -> list[dict[str, Any]]:
    """Return what a distribution says of its licence: its SPDX expression, else its classifiers, else its own words."""
    try:
        said = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    expression = said.get_all("License-Expression")
    if expression:
        return [{"expression": expression[0]}]
    lines = [line for line in said.get_all("Classifier") or [] if line.startswith("License ::")]
    named = {_CLASSIFIERS.get(line.split(" :: ")[-1], "") for line in lines} - {""}
    words = (said.get_all("License") or [""])[0].strip().split("\n")[0][:80]
    return licences(sorted(named) or [words])


def _own(folder: Path, manifest: Manifest) -> dict[str, Any]:
    wheel = next((folder / "wheels").glob("bakeoff-*.whl"))
    purl = f"pkg:pypi/bakeoff@{quote(manifest.bakeoff, safe='')}"
    return {
        "type": "library", "bom-ref": purl, "name": "bakeoff", "version": manifest.bakeoff, "purl": purl,
        "licenses": licences(["Apache-2.0"]), "hashes": [_hash(sealed.digest(wheel))],
    }  # fmt: skip


def _hash(value: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": value}


def _model(manifest: Manifest, contract: Contract, files: Sequence[FileEntry]) -> dict[str, Any]:
    inside = [{"type": "file", "name": f"model/{entry.path}", "hashes": [_hash(entry.sha256)]} for entry in files]
    version = uuid.uuid5(_NAMESPACE, canonical([entry.model_dump() for entry in files])).hex[:12]
    part: dict[str, Any] = {
        "type": "machine-learning-model", "bom-ref": "model", "name": manifest.candidate, "version": version,
        "description": manifest.label.en, "components": inside,
        "modelCard": {
            "modelParameters": {
                "task": manifest.task, "architectureFamily": manifest.family, "datasets": [{"ref": "data"}],
                "inputs": [{"format": column.kind} for column in manifest.inputs], "outputs": [{"format": "class probabilities"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": [_metric(promise) for promise in contract.promises]},
        },
    }  # fmt: skip
    if manifest.licences:
        part["licenses"] = licences(manifest.licences)
    if manifest.weights:
        part["pedigree"] = {"ancestors": [_ancestor(found) for found in manifest.weights]}
    return part


def _metric(promise: Promise) -> dict[str, Any]:
    trial = promise.trial
    metric: dict[str, Any] = {"type": promise.name, "value": str(trial.value)}
    if trial.low is not None and trial.high is not None:
        metric["confidenceInterval"] = {"lowerBound": str(trial.low), "upperBound": str(trial.high)}
    return metric


def _ancestor(weights: Weights) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "machine-learning-model", "name": weights.name}
    if weights.licence:
        part["licenses"] = licences([weights.licence])
    archives = [
        {
            "type": "file", "name": archive.filename, "hashes": [_hash(archive.sha256)],
            "purl": f"pkg:pypi/{locks.plain(archive.package)}@{quote(archive.version, safe='')}?file_name={quote(archive.filename)}",
        }
        for archive in weights.archives
    ]  # fmt: skip
    return {**part, "components": archives} if archives else part


def _data(manifest: Manifest) -> dict[str, Any]:
    """Return the data as a hash and nothing else: what it says is the user's business."""
    part: dict[str, Any] = {
        "type": "data", "bom-ref": "data", "name": f"{manifest.study} data", "data": [{"type": "dataset", "name": manifest.study}],
    }  # fmt: skip
    value = manifest.provenance.get("file_sha256")
    return {**part, "hashes": [_hash(value)]} if value else part
