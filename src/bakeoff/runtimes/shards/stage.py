"""One stage: opens its part of the graph, takes micro-batches from the stage before it, passes what it makes to the next one.

``python -m bakeoff.runtimes.shards.stage`` reads what to do as one JSON line from standard input, answers ``{"port": N}`` or
``{"error": …}`` as one line on standard output, and ends when standard input is closed: it never outlives whoever started it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.runtimes._onnx_files import external_names
from bakeoff.runtimes.onnxruntime import open_session
from bakeoff.runtimes.sealed import digest
from bakeoff.runtimes.shards import wire
from bakeoff.runtimes.shards.plan import Stage
from bakeoff.runtimes.shards.wire import Tensors, WireError
from bakeoff.schema.errors import BakeoffError, StepError

if TYPE_CHECKING:
    import onnxruntime

Run = Callable[[Tensors], dict[str, NDArray[Any]]]
_AHEAD = 2
"""Micro-batches taken from the network while one is computed."""


def load(stage: Stage, paths: Sequence[Path], threads: int) -> Run:
    """Open a stage from its own files, which are hashed first; no other file of the artefact is looked at.

    Args:
        stage: its description.
        paths: of ``stage.files``, in that order.
        threads: of one run.

    Raises:
        StepError: a file is missing, altered or no graph.

    """
    content = {}
    for entry, path in zip(stage.files, paths, strict=True):
        try:
            same = digest(path) == entry.sha256
            content[PurePosixPath(entry.path).name] = mapped(path)
        except (OSError, ValueError) as error:
            what = "a file of this stage cannot be read"
            raise StepError("error", what, where=entry.path, got=str(error)) from error
        if not same:
            raise altered(entry.path)
    return runner(open_graph(content, threads), stage, content)


def altered(name: str) -> StepError:
    """Return the error of a file that is not as it was shipped."""
    what = "a file of this stage was altered"
    return StepError("unsafe", what, where=name, try_="ship the bundle again, or copy it again")


def mapped(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file without reading them: only what is used takes memory."""
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def open_graph(content: Mapping[str, NDArray[np.uint8]], threads: int) -> onnxruntime.InferenceSession:
    """Open a graph from memory.

    Args:
        content: the graph first, then the files of its weights, by name; used where they lie for as long as the session lives.
        threads: of one run.

    Raises:
        StepError: the graph reads a file that is not among them ('unsafe'), or is none ('error').

    """
    (_, first), *others = content.items()
    graph, beside = first.tobytes(), dict(others)
    try:
        unknown = set(external_names(graph)) - set(beside)
    except ValueError as error:
        what = f"a stage is no graph: {error}"
        raise StepError("error", what) from error
    if unknown:
        what = "the graph reads a file that is not one of its own"
        raise StepError("unsafe", what, got=min(unknown))
    return open_session(graph, threads, beside=beside)


def runner(session: onnxruntime.InferenceSession, stage: Stage, content: Mapping[str, NDArray[np.uint8]]) -> Run:
    """Return what takes the tensors that reach the stage and gives those that leave it; it keeps ``content`` alive."""
    made = [name for name in stage.outputs if name in stage.sends]

    def run(tensors: Tensors) -> dict[str, NDArray[Any]]:
        assert content  # noqa: S101 - the session reads its weights there: they must not go before it
        found = session.run(made, {name: tensors[name] for name in stage.inputs})
        new = dict(zip(made, found, strict=True))
        return {name: new[name] if name in new else tensors[name] for name in stage.sends}

    return run


def serve(listener: socket.socket, secret: bytes, run: Run) -> None:
    """Serve one chain after the other until the listener is closed."""
    while True:
        try:
            link = wire.accept(listener, secret)
        except WireError:
            continue
        except OSError:
            return
        with contextlib.suppress(WireError):
            _relay(link, secret, run)
        wire.close(link)


def _relay(link: socket.socket, secret: bytes, run: Run) -> None:
    """Be told the way on, go there, and relay until either side ends.

    A thread reads ahead, so that the network carries the next micro-batch while this one is computed.
    """
    head, _ = wire.receive(link)
    route = [(str(host), int(port)) for host, port in head["route"]]
    onward = wire.connect(route[0], secret)
    inbox: SimpleQueue[tuple[dict[str, Any], Tensors] | None] = SimpleQueue()
    room = threading.Semaphore(_AHEAD)

    def read() -> None:
        with contextlib.suppress(WireError):
            while room.acquire():
                inbox.put(wire.receive(link))
        inbox.put(None)

    reader = threading.Thread(target=read, name="bakeoff-stage-reader", daemon=True)
    reader.start()
    try:
        wire.send(onward, {"route": route[1:]}, {})
        while (frame := inbox.get()) is not None:
            room.release()
            head, tensors = frame
            wire.send(onward, *answered(run, head, tensors))
    finally:
        wire.close(onward)
        wire.close(link)
        room.release()
        reader.join()


def answered(run: Run, head: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], Tensors]:
    """Return the frame to pass on: the stage's tensors, of one micro-batch or of several, or why there are none."""
    if "error" in head:
        return head, {}
    try:
        parts = int(head.get("parts", 1))
        return head, run(tensors) if parts == 1 else wire.packed([run(part) for part in wire.unpacked(tensors, parts)])
    except Exception as error:  # noqa: BLE001 - whatever the library raises belongs to this micro-batch, not to the stage
        return {**head, "error": f"{type(error).__name__}: {str(error)[:300]}"}, {}


def main() -> int:
    """Run one stage; return the exit code."""
    task = json.loads(sys.stdin.readline())
    try:
        if task.get("cores"):
            os.sched_setaffinity(0, task["cores"])
        run = load(Stage.model_validate(task["stage"]), [Path(path) for path in task["paths"]], int(task["threads"]))
        listener = wire.listen(task["host"])
    except BakeoffError as error:
        code = error.code if isinstance(error, StepError) else "error"
        _tell({"error": {"code": code, "what": error.what, "where": error.where}})
        return error.exit_code
    threading.Thread(target=_until_orphaned, daemon=True).start()
    _tell({"port": listener.getsockname()[1]})
    serve(listener, bytes.fromhex(task["secret"]), run)
    return 0


def _tell(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _until_orphaned() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
