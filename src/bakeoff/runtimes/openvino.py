"""OpenVINO on the CPU: graphs in its intermediate representation, ``model.xml`` with the weights beside it.

Arithmetic is fp32 unless the artefact says ``meta["precision"]: "bf16"`` (compression/bfloat16 sets it): left alone, OpenVINO
chooses bfloat16 by itself on processors that have it, and the answers would depend on the machine.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bakeoff.data.transforms.feeds import Feeder, Feeds
from bakeoff.runtimes._graphs import GraphPredictor, graph_file
from bakeoff.runtimes.base import Predictor
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

OUTPUT = "probabilities"


class OpenVino:
    """Loads ``openvino``."""

    traits = RuntimeTraits(
        label=Words(zh="OpenVINO", en="OpenVINO"),
        loads=("openvino",),
        needs=Needs(modules=("openvino",), extra="openvino"),
        on_request=True,
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Compile the graph for this processor; see ``runtimes.base.Runtime``."""
        try:
            feeder = Feeder(artifact, directory)
            graph = _Graph(artifact, directory, threads)
        except ImportError as error:
            what = f"{error.name} is not installed"
            raise StepError("unavailable", what, try_=f"pip install {error.name}") from error
        return GraphPredictor(artifact, feeder, graph.inputs, graph)


class _Graph:
    """A compiled graph; each thread runs it through a request of its own, as one request cannot be shared."""

    def __init__(self, artifact: Artifact, directory: Path, threads: int) -> None:
        import openvino

        path = graph_file(artifact, directory, "model.xml")
        weights = graph_file(artifact, directory, "model.bin", "weights")
        core = openvino.Core()
        # asked for on a processor that does not have it, bfloat16 is emulated: its rounding, and not its speed
        half = artifact.meta.get("precision") == "bf16" and "BF16" in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        precision = openvino.Type.bf16 if half else openvino.Type.f32
        settings = {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False,  # pinning fights over cores with its neighbours
        }  # fmt: skip
        try:
            self._compiled = core.compile_model(core.read_model(str(path), str(weights)), "CPU", settings)
            self.inputs: dict[str, DTypeLike] = {
                port.get_any_name(): port.get_element_type().to_dtype() for port in self._compiled.inputs
            }
            self._output = self._compiled.output(OUTPUT)
        except Exception as error:  # the library raises bare RuntimeErrors
            what = f"OpenVINO cannot load the graph: {str(error)[:300]}"
            raise StepError("error", what) from error
        self._requests = threading.local()

    def __call__(self, feeds: Feeds) -> NDArray[Any]:
        request = getattr(self._requests, "mine", None)
        if request is None:
            request = self._requests.mine = self._compiled.create_infer_request()
        return np.array(request.infer(feeds, share_inputs=True)[self._output])


PLUGIN = OpenVino()
