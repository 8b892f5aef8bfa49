"""Prompted language models of the Chinese study with few labels, built and run by the product itself."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff import assets
from bakeoff.models import llm_prompt
from bakeoff.models.base import BuildContext, Examples
from bakeoff.runtimes import llama_cpp
from bakeoff.schema.artifact import InputColumn
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import Variant

MODEL = "qwen2.5-coder-0.5b-instruct"
_CLASSES = ("负面", "正面")
_SEEN = 37
"""Training rows that examples and calibration may come from: what the smallest fraction holds."""


class Prompted:
    """Asks the model for the label of every text: ``language`` of the prompt, ``shots`` examples, ``calibrate`` rows.

    Args:
        params: as said; the labels are named in the language of the prompt.
        seed: of the choice of examples.

    """

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        self._params, self._seed = params, seed
        self._folder = tempfile.TemporaryDirectory()
        self._loaded: Any = None

    def fit(self, X: NDArray[Any], y: NDArray[np.int64]) -> Prompted:
        """Write the prompt, choose examples, measure the label bias, load."""
        rows = Examples([{"text": text} for text in X[:_SEEN]], y[:_SEEN])
        artifact = llm_prompt.PLUGIN.build(self._context(rows))
        self._loaded = llama_cpp.PLUGIN.load(artifact, Path(self._folder.name), 1)
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.int64]:
        """Return the more probable label of every text."""
        found: NDArray[np.float64] = self._loaded.predict_proba([{"text": text} for text in X])
        return np.asarray(found.argmax(axis=1))

    def size(self) -> int:
        """Return the bytes of the artefact."""
        return sum(path.stat().st_size for path in Path(self._folder.name).iterdir())

    def close(self) -> None:
        """Stop the model."""
        self._loaded.close()
        self._folder.cleanup()

    def _context(self, rows: Examples) -> BuildContext:
        params = {"format": "gguf-prompt", "shots": self._params["shots"], "max_tokens": self._params["tokens"],
                  "calibrate_rows": self._params["calibrate"]}  # fmt: skip
        variant = Variant(
            name="prompt", label=Words(zh="提示", en="prompt"), params=params, weights=MODEL, trains=False
        )
        names = {"负面": "negative", "正面": "positive"} if self._params["language"] == "en" else {}
        return BuildContext(
            task="text-classification", classes=_CLASSES, inputs=(InputColumn(name="text", kind="text"),), language=self._params["language"],
            train=rows, calibrate=rows, variant=variant, seed=self._seed, threads=1, out=Path(self._folder.name), weights=assets.fetch(MODEL),
            label_words=names,
        )  # fmt: skip
