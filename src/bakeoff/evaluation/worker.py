"""The process in which steps run: ``python -m bakeoff.evaluation.worker JOB.json``. Started by ``process``, never by hand.

It writes each step's result as soon as the step is done, so that what follows may crash without losing it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bakeoff.evaluation.job import Job
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


if __name__ == "__main__":
    import faulthandler

    faulthandler.enable()
    main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # not through library finalisers, which may hang or crash after everything is written
