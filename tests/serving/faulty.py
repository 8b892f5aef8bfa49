"""The real server with a model that misbehaves on request: run as a program with the arguments of ``bakeoff.serving``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bakeoff.serving import __main__ as program
from bakeoff.serving import engine, model


class Faulty:
    """Passes rows to the real classifier, except those whose text asks for something else."""

    def __init__(self, classifier: Any) -> None:
        self.inner = classifier
        self.broken = False

    def predict(self, rows: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
        """Predict, sleep, die, fail or answer nonsense as the texts say."""
        texts = [str(row["text"]) for row in rows]
        self.broken = self.broken or "BREAK" in texts
        if self.broken or "POISON" in texts:
            message = f"cannot process {texts}"
            raise ValueError(message)
        if "KILL" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        for text in texts:
            if text.startswith("SLEEP"):
                time.sleep(float(text.split()[1]))
        labels, probabilities = self.inner.predict(rows)
        if "NAN" in texts:
            probabilities = np.full_like(probabilities, np.nan)
        return labels, probabilities

    def close(self) -> None:
        """Close the real one."""
        self.inner.close()


def _load(*arguments: Any) -> model.Served:
    served = _REAL(*arguments)
    return model.Served(served.opened, Faulty(served.classifier), served.canary)  # type: ignore[arg-type]


_REAL = model.load
model.load = _load

_COMMAND = (
    sys.executable,
    "-c",
    "import tests.serving.faulty, sys; from bakeoff.serving import worker; worker.main(sys.argv[1:])",
)
_COMPUTING = program.Computing


def _computing(**given: Any) -> engine.Computing:
    return _COMPUTING(**given, worker=_COMMAND)


program.Computing = _computing  # type: ignore[misc, assignment]

if __name__ == "__main__":
    sys.exit(program.main(sys.argv[1:]))
