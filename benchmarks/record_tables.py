"""Record the tables that searches and deciders are replayed on: every arm, every fraction, three seeds; more than a CPU hour.

``python -m benchmarks.record_tables [--only NAME ...] [--out DIR] [--partial] [--arms BEGIN ...] [--workers N]`` goes on where an
earlier recording stopped; ``--partial`` records nothing and writes what there is. Prints one JSON object at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

_PINNED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
os.environ.update(dict.fromkeys(_PINNED, "1"))  # before numpy is imported

from benchmarks.tables import studies  # noqa: E402 - threads are pinned first
from benchmarks.tables.recording import Record, Study, record, table_of  # noqa: E402

_SCRATCH = Path("build/tables")
_WORKERS = 2


def _path(study: Study, arm: str) -> Path:
    return _SCRATCH / study.name / f"{arm}.npz"


def _record(name: str, arm: str) -> str:
    """Record one arm in a worker; what failed is said and not kept."""
    study = studies.find(name)
    recipe = next(recipe for recipe in study.recipes if recipe.arm.id == arm)
    start = time.process_time()
    try:
        found = record(study, recipe, studies.rows_of(name, _SCRATCH, frozenset(recipe.views)))
    except Exception as error:  # noqa: BLE001 - one arm that fails must not stop an hour of recording
        return f"{name} {arm} FAILED {type(error).__name__}: {str(error)[:300]}"
    found.save(_path(study, arm))
    right = (found.predicted[-1] == studies.actual_of(name, _SCRATCH)).mean()
    return (
        f"{name} {arm} right {right:.4f} build {found.build[-1].mean():.2f} s, {1000 * found.predict:.3f} ms a row, "
        f"{time.process_time() - start:.1f} s in all"
    )


def _run(study: Study, pool: ProcessPoolExecutor, begins: tuple[str, ...]) -> None:
    """Record what is missing: first the shared steps and the arms that need none, then the others."""
    arms = [recipe.arm for recipe in study.recipes if recipe.arm.id.startswith(begins)]
    todo = [arm for arm in arms if not _path(study, arm.id).exists()]
    needed = sorted({arm.prefix for arm in todo if arm.prefix})
    steps = [pool.submit(studies.make_step, study.name, name, _SCRATCH) for name in needed]
    waiting: list[Future[str]] = [pool.submit(_record, study.name, arm.id) for arm in todo if not arm.prefix]
    for step in steps:
        print(step.result(), flush=True)
    waiting += [pool.submit(_record, study.name, arm.id) for arm in todo if arm.prefix]
    for done in waiting:
        print(time.strftime("%H:%M:%S"), done.result(), flush=True)


def _write(study: Study, out: Path) -> dict[str, object]:
    paths = {recipe.arm.id: _path(study, recipe.arm.id) for recipe in study.recipes}
    records = {name: Record.load(path) for name, path in paths.items() if path.exists()}
    if not records:
        return {"arms": 0}
    data = studies.rows_of(study.name, _SCRATCH, frozenset({"rows"}))
    table = table_of(study, data, records, studies.steps_of(study.name, _SCRATCH), studies.machine())
    table.save(out / f"{study.name}.table")
    return {"arms": len(paths), "recorded": len(records), "bytes": (out / f"{study.name}.table").stat().st_size}


def main() -> None:
    """Record, write, print."""
    names = [study.name for study in studies.ALL]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "tables")
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--arms", nargs="+", default=[""], help="record only arms whose id begins so")
    parser.add_argument("--workers", type=int, default=_WORKERS)
    chosen = parser.parse_args()
    written = {}
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        for name in chosen.only:
            study = studies.find(name)
            _SCRATCH.joinpath(name).mkdir(parents=True, exist_ok=True)
            if not chosen.partial:
                _run(study, pool, tuple(chosen.arms))
            written[name] = _write(study, chosen.out)
            print(json.dumps({name: written[name]}), flush=True)
    print(json.dumps({"tables": written}))


if __name__ == "__main__":
    main()
