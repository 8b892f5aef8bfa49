"""The process in which steps run: ``python -m bakeoff.evaluation.worker JOB.json``, or forked off one that waits (``--serve``).

It writes each step's result as soon as the step is done, so that what follows may crash without losing it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bakeoff.evaluation.job import JOB, OUTPUT, Job
from bakeoff.evaluation.recorder import Recorder
from bakeoff.schema.errors import StepError

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


def main(path: str) -> None:
    """Do the steps of the job in the file ``path``."""
    _die_with_parent()
    job = Job.model_validate_json(Path(path).read_bytes())
    if not job.network:
        _stay_at_home()
    recorder = Recorder(job)
    if job.site == "make":
        from bakeoff.evaluation.making import make

        make(job, recorder)
    elif job.site == "measure":
        from bakeoff.evaluation.measuring import measure

        measure(job, recorder)
    else:
        from bakeoff.evaluation.checking import check

        check(job, recorder)


def _die_with_parent() -> None:
    """Ask the kernel to end this process when the run that started it dies, however it dies."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent or parent == 1:  # it died before the kernel knew
        os._exit(1)


def _stay_at_home() -> None:
    """Refuse connections to anywhere but this machine: rows may not leave it through a library's idea of telemetry."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and not _local(arguments[1]):
            what = "this candidate may not use the network"
            raise StepError("unsafe", what, got=str(arguments[1]))

    sys.addaudithook(hook)


def _local(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    return str(address[0]).startswith("127.") or address[0] in {"::1", "localhost", ""}


def serve() -> None:
    """Fork a worker for every request on standard input: a folder with ``job.json``. Answer with its process id, then its exit code.

    What every worker imports is imported once, here, before anything of a candidate is known; each job still runs and dies in a
    process of its own. This process stays single-threaded and does nothing else.
    """
    import gc
    import json

    from bakeoff.evaluation import checking, making, measuring  # noqa: F401 - imported for the children

    _die_with_parent()
    gc.collect()
    gc.freeze()  # the children do not touch these pages, so they stay shared
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become_worker(Path(json.loads(line)))
        _answer(pid)
        _, status = os.waitpid(pid, 0)
        _answer(os.waitstatus_to_exitcode(status))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become_worker(folder: Path) -> None:
    """Leave everything of the server behind, then do the job like a process that was started for it."""
    os.setsid()
    os.chdir(folder)
    output = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _work(folder / JOB)


def _work(path: Path) -> None:
    """Do a job and leave at once: not through library finalisers, which may hang or crash after everything is written."""
    import faulthandler
    import traceback

    faulthandler.enable()
    code = 1
    try:
        main(str(path))
        code = 0
    except BaseException:  # noqa: BLE001 - told to the parent by the exit code and the output
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve()
    else:
        _work(Path(sys.argv[1]))
