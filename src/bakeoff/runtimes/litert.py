"""LiteRT (formerly TensorFlow Lite): small dense graphs on the CPU, the runtime of phones and boards."""

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


class LiteRt:
    """Loads ``tflite``."""

    traits = RuntimeTraits(
        label=Words(zh="LiteRT", en="LiteRT"),
        loads=("tflite",),
        needs=Needs(modules=("ai_edge_litert",), extra="litert"),
        on_request=True,
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> Predictor:
        """Load the graph; see ``runtimes.base.Runtime``."""
        try:
            feeder = Feeder(artifact, directory)
            graph = _Graph(graph_file(artifact, directory, "model.tflite").read_bytes(), threads)
        except ImportError as error:
            what = f"{error.name} is not installed"
            raise StepError("unavailable", what, try_="pip install 'bakeoff[litert]'") from error
        return GraphPredictor(artifact, feeder, graph.inputs, graph)


class _Graph:
    """A graph; each thread that runs it has an interpreter of its own, as one cannot be shared."""

    def __init__(self, body: bytes, threads: int) -> None:
        self._body = body
        self._threads = threads
        self._interpreters = threading.local()
        self.inputs: dict[str, DTypeLike] = {item["name"]: item["dtype"] for item in self._mine().get_input_details()}

    def __call__(self, feeds: Feeds) -> NDArray[Any]:
        interpreter = self._mine()
        details = interpreter.get_input_details()
        for item in details:
            if tuple(item["shape"]) != feeds[item["name"]].shape:
                interpreter.resize_tensor_input(item["index"], feeds[item["name"]].shape, strict=True)
        interpreter.allocate_tensors()
        for item in details:
            interpreter.set_tensor(item["index"], feeds[item["name"]])
        interpreter.invoke()
        return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))

    def _mine(self) -> Any:  # noqa: ANN401 - the library ships no types
        found = getattr(self._interpreters, "mine", None)
        if found is None:
            from ai_edge_litert.interpreter import Interpreter

            try:
                found = Interpreter(model_content=self._body, num_threads=self._threads)
            except Exception as error:  # the library raises ValueError and RuntimeError of its own
                what = f"LiteRT cannot load the graph: {str(error)[:300]}"
                raise StepError("error", what) from error
            self._interpreters.mine = found
        return found


PLUGIN = LiteRt()
