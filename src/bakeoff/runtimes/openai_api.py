"""Any OpenAI-compatible endpoint: runs ``openai-prompt`` artefacts by asking over HTTP, remote or on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.data.transforms.chat import ChatScorer, client_of
from bakeoff.data.transforms.prompt import calibrated, load_prompt, row_texts
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

Row = Mapping[str, Any]


class EndpointPredictor:
    """A prompted model behind an endpoint.

    Args:
        artifact: of format ``openai-prompt``; ``meta`` holds ``url``, ``model`` and the name of the key's variable.
        directory: holds ``prompt.json``.
        parallel: requests under way at once when several rows are asked.

    """

    def __init__(self, artifact: Artifact, directory: Path, parallel: int) -> None:
        prompt = load_prompt(directory)
        self._transform, self._bias = artifact.transform, prompt["bias"]
        self._client = client_of(artifact.meta)
        self._score = ChatScorer(self._client, prompt, parallel)

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities of the labels.

        Raises:
            StepError: the endpoint refuses, fails, is too slow or answers with something else than labels.

        """
        if not rows:
            return np.empty((0, len(self._bias)))
        return calibrated(np.asarray(self._score(row_texts(rows, self._transform))), self._bias)

    def usage(self) -> dict[str, int]:
        """Return what was consumed since loading: ``requests``, ``tokens_in``, ``tokens_out``, ``retries``."""
        client = self._client
        return {
            "requests": client.requests, "tokens_in": client.tokens_in, "tokens_out": client.tokens_out, "retries": client.retries,
        }  # fmt: skip

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class OpenAIRuntime:
    """Loads ``openai-prompt`` artefacts."""

    traits = RuntimeTraits(
        label=Words(zh="OpenAI 兼容接口", en="OpenAI-compatible endpoint"),
        loads=("openai-prompt",),
        needs=Needs(modules=("httpx",), extra="remote"),
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> EndpointPredictor:
        """Open the connection; ``threads`` bounds the requests under way at once (they wait, they do not compute).

        Raises:
            StepError: 'unsupported' format, 'unavailable' library or key.

        """
        if artifact.format not in self.traits.loads:
            what = "the endpoint runtime does not load this format"
            raise StepError("unsupported", what, got=artifact.format, allowed=self.traits.loads)
        return EndpointPredictor(artifact, directory, parallel=4 * threads)


PLUGIN = OpenAIRuntime()
