"""ONNX Runtime on the CPU: graphs whose feeds a recorded transform makes and whose output is ``probabilities``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms import tabular, text
from bakeoff.runtimes._onnx_files import external_files
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.sealed import contained
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import BakeoffError, StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

if TYPE_CHECKING:
    import onnxruntime

Row = Mapping[str, Any]
Feeds = dict[str, NDArray[Any]]

_BATCH = 32
_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}
_FEEDERS: dict[str, Callable[[Mapping[str, Any], Path], Callable[[Sequence[Row]], Feeds]]] = {
    "char-ids": text.feeder,
    "word-ids": text.feeder,
    "hf-tokenizer": text.feeder,
    "tabular": tabular.feeder,
}


class Session:
    """A loaded graph with its transform.

    Rows are run in pieces of ``meta["batch"]``: it bounds memory, and with 1 an answer cannot depend on the rows beside
    it (dynamic int8 takes its scales from the whole batch).
    """

    def __init__(self, artifact: Artifact, directory: Path, threads: int) -> None:
        self._feed = _FEEDERS[artifact.transform["kind"]](artifact.transform, directory)
        self._session = _open(checked(artifact, directory), threads)
        self._inputs = {node.name: _TYPES[node.type] for node in self._session.get_inputs()}
        self._classes = len(artifact.classes)
        self._batch = int(artifact.meta.get("batch") or _BATCH)

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities."""
        pieces = [self._run(rows[at : at + self._batch]) for at in range(0, len(rows), self._batch)]
        return np.concatenate(pieces) if pieces else np.zeros((0, self._classes))

    def _run(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        made = self._feed(rows)
        feeds = {name: np.asarray(made[name], dtype=kind) for name, kind in self._inputs.items() if name in made}
        for name, kind in self._inputs.items():
            if name not in made:  # token_type_ids and its like: one segment, all zeros
                feeds[name] = np.zeros_like(next(iter(made.values())), dtype=kind)
        (found,) = self._session.run(["probabilities"], feeds)
        return np.asarray(found, dtype=np.float64)

    def close(self) -> None:
        """Drop the session."""
        del self._session


def checked(artifact: Artifact, directory: Path) -> Path:
    """Return the graph's path after making sure that it reads no file outside of the artefact.

    Raises:
        StepError: the graph or a file it names leaves the directory or is not there ('unsafe', 'error').

    """
    try:
        path = contained(directory, artifact.meta.get("model", "model.onnx"))
        if not path.is_file():
            what = "the graph is missing"
            raise StepError("error", what, where=str(path))
        for name in external_files(path):
            contained(directory, name)
            contained(path.parent, name)
    except StepError:
        raise
    except (BakeoffError, ValueError) as error:
        what = f"the graph is not safe to load: {error}"
        raise StepError("unsafe", what) from error
    return path


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle service must not burn a core
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch for ever
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises a dozen classes of its own, none with a public root
        what = f"ONNX Runtime cannot load the graph: {str(error)[:300]}"
        raise StepError("error", what) from error


class OnnxRuntime:
    """Loads ``onnx``."""

    traits = RuntimeTraits(
        label=Words(zh="ONNX Runtime", en="ONNX Runtime"),
        loads=("onnx",),
        needs=Needs(modules=("onnxruntime",), extra="onnx"),
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Load the graph; see ``runtimes.base.Runtime``."""
        kind = artifact.transform.get("kind")
        if kind not in _FEEDERS:
            what = "no transform makes the feeds of this graph"
            raise StepError("unsupported", what, got=kind, allowed=sorted(_FEEDERS))
        try:
            return Session(artifact, directory, threads)
        except ImportError as error:
            what = f"{error.name} is not installed"
            raise StepError("unavailable", what, try_=f"pip install {error.name}") from error


PLUGIN = OnnxRuntime()
