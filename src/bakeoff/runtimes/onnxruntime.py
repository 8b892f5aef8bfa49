"""ONNX Runtime on the CPU: graphs whose feeds a recorded transform makes and whose output is ``probabilities``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.feeds import Feeder, Feeds
from bakeoff.runtimes._graphs import GraphPredictor, graph_file
from bakeoff.runtimes._onnx_files import external_files
from bakeoff.runtimes.base import Predictor
from bakeoff.runtimes.named import named
from bakeoff.runtimes.sealed import contained
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import BakeoffError, StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

if TYPE_CHECKING:
    import onnxruntime

Provider = str | tuple[str, dict[str, Any]]
"""An execution provider, or one with its options."""
CPU = "CPUExecutionProvider"
_SLOWER = ("SkipLayerNormFusion",)
"""Fusions that cost time on a CPU: the fused kernel takes 200 µs where its two parts take 60 (128 × 384 values, one AVX-512 core)."""
_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


def checked(artifact: Artifact, directory: Path) -> Path:
    """Return the graph's path after making sure that it reads no file outside of the artefact.

    Raises:
        StepError: the graph or a file it names leaves the directory or is not there ('unsafe', 'error').

    """
    path = graph_file(artifact, directory, "model.onnx")
    try:
        beside = path.relative_to(directory).parent
        for name in external_files(path):
            contained(path.parent, name)
            named(artifact, directory, (beside / name).as_posix(), "")
    except (BakeoffError, ValueError) as error:
        what = f"the graph is not safe to load: {error}"
        raise StepError("unsafe", what) from error
    return path


def open_session(
    source: Path | bytes,
    threads: int,
    providers: Sequence[Provider] = (CPU,),
    beside: Mapping[str, NDArray[np.uint8]] | None = None,
) -> onnxruntime.InferenceSession:
    """Open a graph, the same way wherever one is opened.

    Args:
        source: a path that was checked, or the graph itself.
        threads: of one run.
        providers: execution providers, the preferred one first.
        beside: content of the files that hold the weights of a graph given as bytes; they are used where they lie, so
            they have to live as long as the session.

    Raises:
        StepError: ONNX Runtime cannot load it.

    """
    import onnxruntime

    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()  # nothing is told to anybody, and no file is kept for it
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle service must not burn a core
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch for ever
    options.log_severity_level = 3
    if beside:
        options.add_session_config_entry("session.use_external_initializer_file_buffers_directly", "1")
        sizes = [len(content) for content in beside.values()]
        options.add_external_initializers_from_files_in_memory(list(beside), list(beside.values()), sizes)
    try:
        given = source if isinstance(source, bytes) else str(source)
        slower = list(_SLOWER) if providers[0] == CPU else []
        return onnxruntime.InferenceSession(given, options, providers=list(providers), disabled_optimizers=slower)
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
        return load_on(artifact, directory, threads, (CPU,))


def load_on(artifact: Artifact, directory: Path, threads: int, providers: Sequence[Provider]) -> Predictor:
    """Load the graph on the first of ``providers``; the others may run what it cannot.

    Raises:
        StepError: as ``OnnxRuntime.load``; 'unavailable' too when the first provider does not start on this machine.

    """
    try:
        feeder = Feeder(artifact, directory)
        session = open_session(checked(artifact, directory), threads, providers)
    except ImportError as error:
        what = f"{error.name} is not installed"
        raise StepError("unavailable", what, try_=f"pip install {error.name}") from error
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if session.get_providers()[0] != wanted:  # the library falls back without a word
        what = "this execution provider does not start here"
        raise StepError("unavailable", what, got=wanted, allowed=session.get_providers())

    def run(feeds: Feeds) -> NDArray[Any]:
        (found,) = session.run(["probabilities"], feeds)
        return np.asarray(found)

    return GraphPredictor(artifact, feeder, {node.name: _TYPES[node.type] for node in session.get_inputs()}, run)


PLUGIN = OnnxRuntime()
