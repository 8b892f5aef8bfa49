"""``python -m bakeoff.serving.worker BUNDLE SOCKET THREADS SHA256``: a process that computes for a server and ends with it.

The hash is that of the manifest the server opened: a bundle that took its place since is refused.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from pathlib import Path

import orjson

from bakeoff.schema.errors import BakeoffError
from bakeoff.serving import frames, model


def main(arguments: list[str]) -> int:
    """Open the bundle, say so, answer batches until the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server drains first; its end of the socket says when it is over
    connection = socket.socket(fileno=int(arguments[1]))
    begin = time.perf_counter()
    try:
        served = model.load(model.open_bundle(Path(arguments[0]), expected=arguments[3]), int(arguments[2]))
    except BakeoffError as error:
        frames.send_failed(connection, str(error))
        return 1
    with contextlib.suppress(EOFError, OSError):  # the server is gone: nothing is left to do
        frames.send_ready(connection, time.perf_counter() - begin)
        answer(connection, served)
    served.classifier.close()
    return 0


def answer(connection: socket.socket, served: model.Served) -> None:
    """Answer batches for ever.

    Raises:
        EOFError: the server closed the socket.

    """
    names = tuple(column.name for column in served.opened.manifest.inputs)
    while True:
        kind, body, rows, columns = frames.receive(connection)
        try:
            batch = frames.table(body, rows, columns, names) if kind == frames.TABLE else orjson.loads(body)
            labels, probabilities = served.classifier.predict(batch)
            frames.send_answer(connection, labels, probabilities)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - the server finds out which rows are to blame
            frames.send_failed(connection, type(error).__name__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
