"""Describes where steps run: everything about a host that may change a number, nothing that names it."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bakeoff.runtimes import cores
from bakeoff.schema.base import content_key
from bakeoff.schema.trial import Environment

_ISA = re.compile(r"^(sse4_2|avx|avx2|fma|f16c|avx512\w+|avx_vnni|amx_\w+|asimd|asimddp|asimdhp|i8mm|bf16|sve2?)$")
_GRAIN = 1 << 28
"""Memory is rounded to 256 MiB: what the kernel keeps for itself differs between starts of one machine."""


@cache
def host(threads: int) -> Environment:
    """Return this host with the number of threads one serving process may use, without packages."""
    import psutil

    cpu, flags = _cpu()
    return Environment(
        machine=platform.machine(),
        system=platform.system(),
        cpu=cpu,
        cores=cores.usable(),
        memory=round(psutil.virtual_memory().total / _GRAIN) * _GRAIN,
        isa=flags,
        python=platform.python_version(),
        threads=threads,
    )


def with_packages(environment: Environment, packages: Mapping[str, str]) -> Environment:
    """Return the environment with the versions of what a step needs."""
    return environment.model_copy(update={"packages": dict(sorted(packages.items()))})


def environment_key(environment: Environment) -> str:
    """Return the key results carry; the ledger computes the same one."""
    return content_key("environment", environment)


def machine_key(environment: Environment) -> str:
    """Return what stands for the machine where speed is meant: its processor and what of it may be used."""
    return content_key(
        "machine", environment.cpu, environment.cores, environment.machine, environment.system, environment.threads
    )


def _cpu() -> tuple[str, tuple[str, ...]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), ()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    flags = (fields.get("flags") or fields.get("features") or "").split()
    model = fields.get("model name") or fields.get("cpu model") or platform.machine()
    return model, tuple(sorted(flag for flag in flags if _ISA.match(flag)))
