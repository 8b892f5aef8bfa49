"""Exports that start from the ONNX graph a family writes: the graph is made in a scratch folder and converted from there.

One graph writer per family is enough then, and every format says the same by construction; the parity gate still compares.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bakeoff.models.base import ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

Write = Callable[[ExportContext], Artifact]


def export_as(context: ExportContext, onnx: Write, targets: Sequence[str] = ("onnx",)) -> Artifact:
    """Write ``context.target``.

    Args:
        context: of the export.
        onnx: writes the family's ONNX graph.
        targets: formats the graph of this artefact can take.

    Raises:
        StepError: it is none of them ('unsupported'), or a converter is missing ('unavailable').

    """
    if context.target not in targets:
        what = f"a {context.artifact.format} artefact has no such export"
        raise StepError("unsupported", what, got=context.target, allowed=targets)
    if context.target == "onnx":
        return onnx(context)
    with tempfile.TemporaryDirectory(prefix="bakeoff-onnx-") as scratch:
        source = Path(scratch)
        graph = onnx(replace(context, target="onnx", out=source))
        return convert_onnx(graph, source, context.out, context.target)


def convert_onnx(artifact: Artifact, source: Path, out: Path, target: str) -> Artifact:
    """Convert an ``onnx`` artefact in ``source`` to ``openvino`` or ``tflite`` in the empty folder ``out``.

    Raises:
        StepError: the target is another one, or it cannot express the graph ('unsupported'); a converter is missing ('unavailable').

    """
    if target == "openvino":
        return openvino_from_onnx(artifact, source, out)
    if target == "tflite":
        from bakeoff.models._litert import litert_from_onnx

        return litert_from_onnx(artifact, source, out)
    what = "an ONNX graph cannot be turned into this"
    raise StepError("unsupported", what, got=target, allowed=("openvino", "tflite"))


def openvino_from_onnx(artifact: Artifact, source: Path, out: Path) -> Artifact:
    """Convert an ``onnx`` artefact in ``source`` to an ``openvino`` one in ``out``; weights keep their precision.

    Raises:
        StepError: OpenVINO is missing ('unavailable') or cannot express the graph ('unsupported').

    """
    try:
        import openvino
    except ImportError as error:
        what = "openvino is not installed"
        raise StepError("unavailable", what, try_="pip install 'bakeoff[openvino]'") from error
    model = str(artifact.meta.get("model", "model.onnx"))
    try:
        graph = openvino.convert_model(str(source / model))
    except Exception as error:  # the library raises classes of its own without a public root
        what = f"OpenVINO cannot express this graph: {str(error)[:300]}"
        raise StepError("unsupported", what) from error
    openvino.save_model(graph, str(out / "model.xml"), compress_to_fp16=False)
    copy_others(source, out, {model, f"{model}.data", "artifact.json"})
    meta = {**artifact.meta, "model": "model.xml", "weights": "model.bin"}
    return artifact.model_copy(update={"format": "openvino", "meta": meta, "files": ()})


def copy_others(source: Path, out: Path, without: set[str]) -> None:
    """Copy every file of an artefact but those named, tokenizers and word lists for instance."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and name not in without:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / name)
