"""The same model in another format than it was measured in, with the proof that it answers alike.

What a contract promises was measured on one format. Another one is another program: its labels and probabilities are compared here, on
rows, before it may be shipped; its speed and memory are not known until ``bakeoff verify`` has measured them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakeoff.evaluation.parity import gate, measure_parity
from bakeoff.models._formats import convert_onnx, copy_others, export_as
from bakeoff.models.base import ExportContext
from bakeoff.runtimes.loading import load_predictor, read_artifact
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError
from bakeoff.schema.measurement import Measurement
from bakeoff.store.artifacts import write_artifact

Row = Mapping[str, Any]

RUNTIME_OF = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "litert"}
"""Formats a model can be converted to, and what loads them."""


@dataclass(frozen=True)
class Converted:
    """A converted artefact: what loads it, and how far its answers are from the measured one's."""

    artifact: Artifact
    runtime: str
    parity: tuple[Measurement, Measurement]


def convert(source: Path, out: Path, target: str, runtime: str, rows: Sequence[Row], threads: int = 1) -> Converted:
    """Write the artefact in ``source`` to the empty folder ``out`` in another format, if it answers alike there.

    Args:
        source: an artefact directory with its ``artifact.json``.
        out: an empty directory.
        target: one of ``RUNTIME_OF``.
        runtime: that loads the source.
        rows: to compare on, the contract's for instance; at least one.
        threads: of both runtimes.

    Raises:
        StepError: 'unsupported' where the format cannot express the model, 'unavailable' without the libraries, 'parity' where a
            label or a probability differs by more than a change of format may cause.

    """
    if target not in RUNTIME_OF:
        what = "models are not converted to this format"
        raise StepError("unsupported", what, got=target, allowed=sorted(RUNTIME_OF))
    if not rows:
        what = "without rows nothing shows that the converted model answers alike"
        raise StepError("parity", what)
    before = read_artifact(source)
    made = _made(before, source, out, target, threads).model_copy(update={"rule": before.rule})
    artifact = write_artifact(out, made)
    tables = []
    for found, directory, name in ((before, source, runtime), (artifact, out, RUNTIME_OF[target])):
        predictor = load_predictor(found, directory, name, threads)
        try:
            tables.append(predictor.predict_proba(rows))
        finally:
            predictor.close()
    parity = measure_parity(tables[0], tables[1], before.rule)
    gate(*parity, lossy=False)
    return Converted(artifact, RUNTIME_OF[target], parity)


def _made(artifact: Artifact, source: Path, out: Path, target: str, threads: int) -> Artifact:
    if artifact.format == target:
        copy_others(source, out, {"artifact.json"})
        return artifact
    if artifact.format == "onnx":
        if artifact.meta.get("compression"):
            what = "a compressed graph stays in the format it was compressed in"
            raise StepError("unsupported", what, got=artifact.meta["compression"])
        return convert_onnx(artifact, source, out, target)
    context = ExportContext(artifact, source, out, target, threads)
    return export_as(context, _writer(artifact.format), tuple(RUNTIME_OF))


def _writer(form: str) -> Callable[[ExportContext], Artifact]:
    """Return what writes the ONNX graph of a native format."""
    if form == "transformer":
        from bakeoff.models._transformer import export_onnx

        return export_onnx
    if form in {"tfidf-linear", "static-linear"}:
        from bakeoff.models import _onnx_text

        return _onnx_text.export_tfidf if form == "tfidf-linear" else _onnx_text.export_static
    if form in {"scorecard", "lightgbm", "xgboost"}:
        from bakeoff.models import _onnx_tabular

        return _onnx_tabular.export_scorecard if form == "scorecard" else _onnx_tabular.export_trees
    what = "this format has no graph to convert"
    raise StepError("unsupported", what, got=form)
