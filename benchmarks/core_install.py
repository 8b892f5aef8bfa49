"""What a bare ``pip install bakeoff`` weighs, and that it works. Bars: 130 MB, 20 distributions, no torch.

In a fresh environment without extras: validates and plans a small study; given a finished study
(``python -m benchmarks.core_install STUDY``), also decides and reports on a copy of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import ROOT, finish

BAR_MB = 130.0
BAR_DISTRIBUTIONS = 20
TOOLS = {"pip", "setuptools", "wheel"}  # every environment has them; they are not ours
UNWANTED = ("torch", "scipy", "pandas", "scikit-learn")
SPEC = """\
name: core-install
task: text-classification
data: {file: reviews.csv, input: text, target: label}
requirements:
  quality: {metric: macro_f1, floor: 0.6}
"""


def size_mb(folder: Path) -> float:
    """Bytes of the files below a folder, in megabytes (10^6), links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 1e6


def environment(home: Path) -> dict[str, str]:
    """This process's environment with an empty home, so that no user setting or cache takes part."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {**kept, "HOME": str(home), "BAKEOFF_HOME": str(home / "bakeoff")}


def installed(python: Path) -> list[str]:
    """Names of the distributions in an environment, without pip and setuptools."""
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return sorted(item["name"] for item in listed if item["name"] not in TOOLS)


def write_example(folder: Path) -> Path:
    """A specification with 240 short reviews, enough to validate and plan."""
    good, bad = ("很好", "喜欢", "满意", "值得"), ("很差", "失望", "退货", "糟糕")
    rows = [f"第{i}件商品{words[i % 4]}，{words[(i + 1) % 4]},{label}" for i in range(120) for words, label in
            ((good, "正面"), (bad, "负面"))]  # fmt: skip
    folder.mkdir()
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    spec = folder / "bakeoff.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    return spec


def verbs(work: Path, study: Path | None) -> dict[str, list[str]]:
    """What is tried, by name."""
    spec = str(write_example(work / "example"))
    commands = {"validate": ["validate", spec], "plan": ["plan", spec]}
    if study is not None:
        copy = work / "study"
        shutil.copytree(study, copy)
        commands |= {"decide": ["decide", str(copy)], "report": ["report", str(copy), "--format", "md"]}
    return commands


def try_verb(script: Path, arguments: list[str], env: dict[str, str]) -> dict[str, Any]:
    """Exit code, wall seconds and, on failure, the last line a command printed."""
    begin = time.perf_counter()
    run = subprocess.run(
        [str(script), *arguments], check=False, env=env, cwd=env["HOME"], capture_output=True, text=True
    )
    last = (run.stderr.strip() or run.stdout.strip()).splitlines()[-1:]
    # 3 is a decision too: no candidate meets the limits
    return {"ok": run.returncode in {0, 3}, "exit": run.returncode, "s": round(time.perf_counter() - begin, 2)} | (
        {} if run.returncode in {0, 3} else {"said": last}
    )


def install(work: Path) -> tuple[Path, float, float]:
    """Install the repository without extras; (its bin folder, MB it added, seconds)."""
    venv = work / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    bare = size_mb(venv)
    begin = time.perf_counter()
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), str(ROOT)], check=True)
    return venv / "bin", size_mb(venv) - bare, time.perf_counter() - begin


def main(arguments: list[str]) -> int:
    """Install, count, try, print. The exit code is 1 when a verb that must work does not."""
    study = Path(arguments[0]).resolve() if arguments else None
    with tempfile.TemporaryDirectory(prefix="bakeoff-core-") as folder:
        work = Path(folder)
        binaries, megabytes, seconds = install(work)
        names = installed(binaries / "python")
        (work / "home").mkdir()
        env = environment(work / "home")
        tried = {verb: try_verb(binaries / "bakeoff", words, env) for verb, words in verbs(work, study).items()}
    unwanted = [name for name in UNWANTED if name in names]
    print(f"installed in {seconds:.0f} s: {megabytes:.1f} MB (bar {BAR_MB:.0f})")
    print(f"{len(names)} distributions (bar {BAR_DISTRIBUTIONS}): {', '.join(names)}")
    for verb, outcome in tried.items():
        print(f"{verb}: {'works' if outcome['ok'] else 'FAILS'} {outcome}")
    works = all(outcome["ok"] for outcome in tried.values())
    finish(
        "core_install",
        install_mb=round(megabytes, 1),
        bar_mb=BAR_MB,
        distributions=len(names),
        bar_distributions=BAR_DISTRIBUTIONS,
        unwanted=unwanted,
        verbs=tried,
        met=megabytes <= BAR_MB and len(names) <= BAR_DISTRIBUTIONS and not unwanted and works,
    )
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
