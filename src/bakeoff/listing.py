"""The catalogue and the doctor: what could take part, and what this machine lacks."""

from __future__ import annotations

import os
import platform
import sys
import time
from typing import Any

from bakeoff import __version__, assets, registry
from bakeoff.schema.plugin import Needs
from bakeoff.schema.profile import Profile, Split
from bakeoff.schema.spec import DataSpec, Spec

EXTRAS = {
    "classic": ("sklearn", "rjieba"),
    "boosting": ("lightgbm", "xgboost"),
    "torch": ("torch", "transformers", "tokenizers", "safetensors"),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
    "llm": ("xllamacpp",),
    "remote": ("httpx",),
    "serve": ("httptools", "prometheus_client", "orjson"),
    "parquet": ("pyarrow",),
    "tune": ("optuna",),
    "postgres": ("psycopg",),
    "objects": ("fsspec",),
    "deliver": ("cryptography",),
    "whole": ("onnxruntime_extensions",),
    "ray": ("ray",),
    "telemetry": ("opentelemetry",),
}


def _nominal(task: str, language: str) -> tuple[Spec, Profile]:
    """A specification and profile of ordinary size, only to ask families what they would try."""
    spec = Spec(name="catalog", task=task, data=DataSpec(file="data.csv", target="label"))  # type: ignore[arg-type]
    split = Split(train=6000, calibrate=1000, select=1500, confirm=1500)
    profile = Profile(
        data="", file_sha256="", encoding="utf-8", language=language, rows_read=10000, rows_used=10000,  # type: ignore[arg-type]
        exact_duplicates=0, conflicting_rows=0, near_duplicate_rows=0, unusable_rows=0, classes=("no", "yes"),
        class_counts=(5000, 5000), columns=(), split=split,
    )  # fmt: skip
    return spec, profile


def catalog_document(task: str | None = None) -> dict[str, Any]:
    """Return families with their variants, runtimes, compression passes, risk checks and assets, each with what it lacks here."""
    tasks = [task] if task else sorted(registry.plugins("tasks"))
    tasks = [name.replace("_", "-") for name in tasks]
    families = []
    for name, family in registry.plugins("models").items():
        if not set(tasks) & set(family.traits.tasks):
            continue
        families.append(
            {
                "name": name, "label": family.traits.label.model_dump(), "tasks": list(family.traits.tasks),
                "missing": _lacks(family.traits.needs), "variants": _variants(family, tasks),
            }
        )  # fmt: skip
    document: dict[str, Any] = {"families": families}
    for group in ("runtimes", "compression", "risk"):
        document[group] = [
            {"name": name, "label": item.traits.label.model_dump(), "missing": _lacks(item.traits.needs)}
            for name, item in registry.plugins(group).items()
        ]
    document["assets"] = [
        {"name": name, "kind": item.kind, "licence": item.licence, "here": assets.find(name) is not None}
        for name, item in assets.recipes().items()
    ]
    return document


def _variants(family: Any, tasks: list[str]) -> list[dict[str, Any]]:  # noqa: ANN401 - a plugin
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        if task not in family.traits.tasks:
            continue
        for language in ("zh", "en"):
            for variant in family.variants(*_nominal(task, language)):
                if variant.languages and language not in variant.languages:
                    continue
                where = variant.hub or variant.weights
                have = where is None or assets.weights(variant.weights, variant.hub) is not None
                found.setdefault(
                    variant.name,
                    {
                        "name": variant.name,
                        "label": variant.label.model_dump(),
                        "weights": where,
                        "licence": variant.licence,
                        "here": have,
                    },
                )
    return list(found.values())


def _lacks(needs: Needs) -> list[str]:
    return list(registry.missing(needs))


def catalog_text(document: dict[str, Any]) -> str:
    """Return the catalogue for people."""
    lines = []
    for family in document["families"]:
        lacks = f"   needs {', '.join(family['missing'])}" if family["missing"] else ""
        lines.append(f"{family['name']} – {family['label']['en']} / {family['label']['zh']}{lacks}")
        for variant in family["variants"]:
            mark = "✓" if variant["here"] and not family["missing"] else "·"
            source = (
                f"  [{variant['weights']}, {variant['licence'] or 'licence unstated'}]" if variant["weights"] else ""
            )
            lines.append(f"  {mark} {variant['name']:24} {variant['label']['en']}{source}")
    for group in ("runtimes", "compression", "risk"):
        lines += ["", group]
        for item in document[group]:
            lacks = f"   needs {', '.join(item['missing'])}" if item["missing"] else ""
            lines.append(f"  {'·' if item['missing'] else '✓'} {item['name']:24} {item['label']['en']}{lacks}")
    lines += ["", "assets (bakeoff fetch NAME)"]
    lines += [
        f"  {'✓' if item['here'] else '·'} {item['name']:32} {item['kind']:8} {item['licence']}"
        for item in document["assets"]
    ]
    return "\n".join(lines)


def doctor_document() -> dict[str, Any]:
    """Return versions, extras with what they lack, assets, and how much of its time this process really got."""
    extras = {}
    for name, modules in EXTRAS.items():
        needs = Needs(modules=modules)
        extras[name] = {"missing": list(registry.missing(needs)), "versions": registry.versions(needs)}
    share = _share_of_time()
    return {
        "bakeoff": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "cpu_share": round(share, 3),
        "quiet": share > 0.95,
        "extras": extras,
        "assets": {name: assets.find(name) is not None for name in assets.recipes()},
    }


def _share_of_time(seconds: float = 0.3) -> float:
    """Share of the wall time a busy loop was really given by the machine: 1 on a quiet one."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        sum(range(1000))
    return min(1.0, (time.process_time() - cpu) / (time.perf_counter() - wall))


def doctor_text(document: dict[str, Any]) -> str:
    """Return the doctor's findings for people, with the command that mends each."""
    quiet = (
        "quiet enough to time on"
        if document["quiet"]
        else "busy: latency verdicts may be repeated or refused; close other work"
    )
    lines = [
        f"bakeoff {document['bakeoff']}, Python {document['python']}, {document['system']}, {document['cores']} cores",
        f"machine: {quiet} (this process got {100 * document['cpu_share']:.0f} % of the time it asked for)",
        "",
    ]
    for name, extra in document["extras"].items():
        if extra["missing"]:
            lines.append(f"  · {name:10} lacks {', '.join(extra['missing'])}: pip install 'bakeoff[{name}]'")
        else:
            lines.append(
                f"  ✓ {name:10} " + ", ".join(f"{module} {version}" for module, version in extra["versions"].items())
            )
    absent = [name for name, here in document["assets"].items() if not here]
    lines += ["", f"assets not fetched: {', '.join(absent) or 'none'}" + (" (bakeoff fetch NAME)" if absent else "")]
    return "\n".join(lines)
