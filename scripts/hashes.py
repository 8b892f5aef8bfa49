"""Write src/bakeoff/delivery/hashes.json: SHA-256 of every wheel that an image may install, for the versions of constraints.txt.

Run it after constraints.txt changed (needs the package index and pip 23.3 or newer): python scripts/hashes.py

Shipping reads the file and needs no network. For each interpreter and processor below, pip resolves what the servers of all
formats import and reports the wheel it would install; nothing is installed. The edges between the distributions are kept too,
so that the lock of a bundle is complete. PyTorch is left out: its CPU build is on an index of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src/bakeoff/delivery/hashes.json"
PYTHONS = ("3.11", "3.12", "3.13")
PROCESSORS = ("x86_64", "aarch64")
# The C library of the oldest python:X-slim still built (Debian 12) is 2.36.
GLIBC = range(36, 4, -1)
ROOTS = (
    "numpy", "orjson", "prometheus_client", "pydantic", "uvicorn", "httptools", "uvloop", "pyyaml", "rich", "jinja2", "psutil",
    "cryptography", "opentelemetry-api", "safetensors", "tokenizers", "transformers", "lightgbm", "xgboost-cpu", "onnxruntime",
    "onnxruntime_extensions", "openvino", "ai-edge-litert", "xllamacpp", "rjieba", "httpx",
)  # fmt: skip


def plain(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def report(python: str, processor: str, names: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """Return what pip would install there, None when something has no wheel for it."""
    platforms = [f"--platform=manylinux_2_{minor}_{processor}" for minor in GLIBC]
    platforms += [f"--platform=manylinux{year}_{processor}" for year in ("2014", "2010", "1")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:",
            "--report", str(path), "--target", folder, "--python-version", python, "--implementation", "cp", *platforms,
            "--constraint", str(ROOT / "constraints.txt"), *names,
        ]  # fmt: skip
        # local stand-ins for the index must not lend their hashes
        environment = {**os.environ, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": os.devnull}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{python} {processor}: {names}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return None
        found: list[dict[str, Any]] = json.loads(path.read_text())["install"]
        return found


def needs(item: dict[str, Any], python: str, processor: str) -> set[str]:
    """Return the names that a reported distribution requires on that target."""
    environment = {
        "python_version": python, "python_full_version": f"{python}.0", "platform_machine": processor, "sys_platform": "linux",
        "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": "",
    }  # fmt: skip
    requirements = [Requirement(line) for line in item["metadata"].get("requires_dist", [])]
    return {plain(found.name) for found in requirements if found.marker is None or found.marker.evaluate(environment)}


def main() -> None:
    """Resolve for every target and write the file."""
    known: dict[str, dict[str, Any]] = {}
    for python in PYTHONS:
        for processor in PROCESSORS:
            whole = report(python, processor, ROOTS)
            parts = [whole] if whole else [report(python, processor, (name,)) for name in ROOTS]
            for item in (item for part in parts for item in part or ()):
                add(known, item, needs(item, python, processor))
    for entry in known.values():
        entry["requires"] = sorted(entry["requires"])
        entry["sha256"] = sorted(entry["sha256"])
    document = {"pythons": PYTHONS, "processors": PROCESSORS, "distributions": dict(sorted(known.items()))}
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{len(known)} distributions, {sum(len(entry['sha256']) for entry in known.values())} hashes: {OUT}")


def add(known: dict[str, dict[str, Any]], item: dict[str, Any], required: set[str]) -> None:
    """Add one reported wheel; a distribution must have the same version everywhere."""
    name, version = plain(item["metadata"]["name"]), item["metadata"]["version"]
    entry = known.setdefault(name, {"version": version, "requires": set(), "sha256": set()})
    if entry["version"] != version:
        sys.exit(f"{name}: {entry['version']} and {version}; pin it in constraints.txt")
    entry["requires"] |= required
    entry["sha256"].add(item["download_info"]["archive_info"]["hashes"]["sha256"])


if __name__ == "__main__":
    main()
