"""llama.cpp through xllamacpp: runs ``gguf-prompt`` artefacts inside this process, on the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.llama import Llama, PromptScorer
from bakeoff.data.transforms.prompt import calibrated, load_prompt, row_texts
from bakeoff.runtimes.named import named
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

Row = Mapping[str, Any]


class PromptPredictor:
    """A prompted local language model.

    Args:
        artifact: of format ``gguf-prompt``.
        directory: holds ``prompt.json`` and the GGUF file.
        threads: upper limit of the threads that compute.

    """

    def __init__(self, artifact: Artifact, directory: Path, threads: int) -> None:
        prompt = load_prompt(directory)
        self._transform = artifact.transform
        self._bias = prompt["bias"]
        self._llama = Llama(
            named(artifact, directory, artifact.meta["model"], ".gguf"), threads, int(prompt["context"])
        )
        self._score = PromptScorer(self._llama, prompt)

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities of the labels, calibrated by the stored bias."""
        if not rows:
            return np.empty((0, len(self._bias)))
        return calibrated(np.asarray(self._score(row_texts(rows, self._transform))), self._bias)

    def usage(self) -> dict[str, int]:
        """Return what was consumed since loading: ``requests``, ``tokens_in``, ``tokens_out``."""
        llama = self._llama
        return {"requests": llama.requests, "tokens_in": llama.tokens_in, "tokens_out": llama.tokens_out}

    def close(self) -> None:
        """Stop the engine and release its memory."""
        self._llama.close()


class LlamaCppRuntime:
    """Loads ``gguf-prompt`` artefacts."""

    traits = RuntimeTraits(
        label=Words(zh="llama.cpp", en="llama.cpp"),
        loads=("gguf-prompt",),
        needs=Needs(modules=("xllamacpp",), extra="llm"),
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> PromptPredictor:
        """Load the model.

        Raises:
            StepError: 'unsupported' format, 'unavailable' library, 'error' when llama.cpp refuses the file.

        """
        if artifact.format not in self.traits.loads:
            what = "the llama.cpp runtime does not load this format"
            raise StepError("unsupported", what, got=artifact.format, allowed=self.traits.loads)
        return PromptPredictor(artifact, directory, threads)


PLUGIN = LlamaCppRuntime()
