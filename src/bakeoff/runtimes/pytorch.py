"""PyTorch, eager mode: runs ``transformer`` artefacts as they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bakeoff.data.transforms.text import TokenFeeder, feature_space
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, RuntimeTraits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bakeoff.store.features import FeatureStore

Row = Mapping[str, Any]


class TransformerPredictor:
    """A text network in ``eval`` mode.

    Args:
        artifact: of format ``transformer``.
        directory: holds its files.
        dtype: ``fp32``, or ``bf16`` under autocast (off unless the artefact's ``meta.serve_precision`` says so).

    """

    def __init__(self, artifact: Artifact, directory: Path, dtype: str = "fp32") -> None:
        from bakeoff.data.transforms import network as net

        self._run = net.run
        self._feeder = TokenFeeder(artifact.transform, directory)
        self._network = net.load(directory, artifact.meta, len(artifact.classes))
        self._pad = int(artifact.transform["pad_id"])
        self._classes = len(artifact.classes)
        self._dtype = dtype
        self._encoder: str | None = artifact.meta.get("features") if artifact.meta.get("frozen") else None

    def predict_proba(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return (n, k) probabilities; rows of similar length share a batch."""
        import numpy as np

        if not rows:
            return np.empty((0, self._classes))
        return self._run(self._network, self._feeder.encode(rows), self._pad, dtype=self._dtype)

    def predict_known(self, rows: Sequence[Row], features: FeatureStore) -> NDArray[np.float64]:
        """Return the same probabilities (n, k), with the vectors of a frozen encoder taken from ``features`` where they are known."""
        from bakeoff.data.transforms import network as net

        if self._encoder is None or not rows:
            return self.predict_proba(rows)
        encoded = self._feeder.encode(rows)

        def compute(places: Sequence[int]) -> NDArray[np.float64]:
            return self._run(self._network, [encoded[at] for at in places], self._pad, embed=True, dtype=self._dtype)

        found = features.vectors(feature_space(self._encoder, self._dtype), self._feeder.spelled(encoded), compute)
        return net.classify(self._network, found.vectors, self._dtype)

    def close(self) -> None:
        """Let go of the weights."""
        del self._network


class PyTorchRuntime:
    """Loads ``transformer`` artefacts."""

    traits = RuntimeTraits(
        label=Words(zh="PyTorch", en="PyTorch"),
        loads=("transformer",),
        needs=Needs(modules=("torch", "transformers", "tokenizers", "safetensors"), extra="torch"),
    )

    def load(self, artifact: Artifact, directory: Path, threads: int) -> TransformerPredictor:
        """Load the network.

        Raises:
            StepError: 'unsupported' format, or 'unavailable' when a library is missing.

        """
        if artifact.format not in self.traits.loads:
            what = "the PyTorch runtime does not load this format"
            raise StepError("unsupported", what, got=artifact.format, allowed=self.traits.loads)
        try:
            from bakeoff.data.transforms import network as net
        except ImportError as error:
            what = f"{error.name} is not installed"
            raise StepError("unavailable", what, try_="pip install 'bakeoff[torch]'") from error
        net.set_threads(threads)
        return TransformerPredictor(artifact, directory, cast("str", artifact.meta.get("serve_precision", "fp32")))


PLUGIN = PyTorchRuntime()
