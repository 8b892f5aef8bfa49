"""How long ``bakeoff --help`` takes, whole process, CPU time. Bar: 60 ms, and no heavy library is imported.

Measured against a bare interpreter in the same run, in turns, so that a busy machine slows both alike.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import finish, spread

BAR_MS = 60.0
ROUNDS = 21
HEAVY = (
    "jinja2", "lightgbm", "numpy", "onnx", "onnxruntime", "pandas", "psutil", "pyarrow", "pydantic", "rich", "scipy",
    "sklearn", "starlette", "torch", "transformers", "xgboost", "xllamacpp", "yaml",
)  # fmt: skip


def cpu_ms(command: list[str]) -> float:
    """User and system CPU time of one run of a command, milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def console_script() -> list[str]:
    """The installed ``bakeoff`` beside this interpreter, or the same call spelt out."""
    script = shutil.which("bakeoff", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-c", "import sys; from bakeoff.cli import main; sys.exit(main())"]


def imported() -> list[str]:
    """Top-level names of every module that ``bakeoff --help`` imports."""
    code = "import sys; sys.argv = ['bakeoff', '--help']; from bakeoff.cli import main; sys.exit(main())"
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    names = re.findall(r"^import time:.*\|\s+(\S+)$", run.stderr, flags=re.MULTILINE)
    return sorted({name.partition(".")[0] for name in names})


def main() -> int:
    """Measure, print, and fail only when a heavy library was imported."""
    ours, bare = [*console_script(), "--help"], [sys.executable, "-c", "pass"]
    for command in (ours, bare):
        cpu_ms(command)  # the first run compiles and fills the page cache
    rounds = [(cpu_ms(ours), cpu_ms(bare)) for _ in range(ROUNDS)]
    help_ms, bare_ms = (spread([pair[i] for pair in rounds]) for i in (0, 1))
    heavy = sorted(set(imported()) & set(HEAVY))
    print(f"bakeoff --help  {help_ms['median']:6.1f} ms CPU  (quartiles {help_ms['q1']:.1f} to {help_ms['q3']:.1f})")
    print(f"bare python     {bare_ms['median']:6.1f} ms CPU  (quartiles {bare_ms['q1']:.1f} to {bare_ms['q3']:.1f})")
    print(f"bar             {BAR_MS:6.1f} ms CPU  {'met' if help_ms['median'] <= BAR_MS else 'MISSED'}")
    print(f"heavy libraries imported: {', '.join(heavy) or 'none'}")
    finish(
        "cli_start",
        help_cpu_ms=help_ms,
        bare_python_cpu_ms=bare_ms,
        rounds=ROUNDS,
        bar_ms=BAR_MS,
        met=help_ms["median"] <= BAR_MS and not heavy,
        heavy=heavy,
        load_1min=round(os.getloadavg()[0], 2),
    )
    return 1 if heavy else 0


if __name__ == "__main__":
    sys.exit(main())
