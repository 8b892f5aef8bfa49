"""One model without HTTP: documents in, documents out. The server, the batch files and Ray Serve all answer through it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bakeoff.serving.computing import Compute, Predictor
from bakeoff.serving.limits import Limits
from bakeoff.serving.model import Served
from bakeoff.serving.parsing import Reader, refused


class Service:
    """Validates rows, computes them with care, words the answer.

    Args:
        served: the loaded bundle.
        limits: what is accepted.

    """

    def __init__(self, served: Served, limits: Limits | None = None) -> None:
        manifest = served.opened.manifest
        self.served, self.limits = served, limits or Limits()
        self.candidate, self.classes = manifest.candidate, manifest.classes
        self.reader = Reader(manifest.inputs, self.limits)
        self._shares = partial(zip, self.classes, strict=True)
        self.row = self.reader.row(served.canary, "canary")
        self.canary: Sequence[Any] = self.reader.join([[self.row]])
        self._compute = self.compute(served.classifier)

    def compute(self, predictor: Predictor) -> Compute:
        """Return what computes batches on a predictor of this model."""
        return Compute(predictor, len(self.classes), self.canary)

    def predict(self, document: dict[str, Any]) -> dict[str, Any]:
        """Answer a ``/v1/predict`` document, here and now.

        Raises:
            Problem: the document is not what the model reads, or a row cannot be processed.

        """
        rows, single = self.reader.predict(document)
        labels, probabilities = self.rows(rows)
        return self.worded(labels, probabilities, single=single)

    def rows(self, rows: Sequence[Any]) -> tuple[list[int], list[list[float]]]:
        """Return class indices and probabilities of validated rows.

        Raises:
            Problem: 422 naming the rows that the model cannot process.

        """
        outcome = self._compute.run(self.reader.join([rows]))
        if outcome.bad:
            raise refused(rows, sorted(outcome.bad))
        return outcome.labels, outcome.probabilities

    def worded(
        self, labels: Sequence[int], probabilities: Sequence[Sequence[float]], *, single: bool
    ) -> dict[str, Any]:
        """Return the answer of ``/v1/predict``."""
        names, shares = self.classes, self._shares
        predictions = [
            {"label": names[label], "probabilities": dict(shares(row))}
            for label, row in zip(labels, probabilities, strict=True)
        ]
        return (
            {"model": self.candidate, **predictions[0]}
            if single
            else {"model": self.candidate, "predictions": predictions}
        )
