"""What the passes on OpenVINO graphs share: reading the graph, and writing the artefact that comes of it."""

from __future__ import annotations

from typing import Any

from bakeoff.compression.base import BUCKET, CompressContext
from bakeoff.models._formats import copy_others
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError


def read(context: CompressContext, name: str) -> Any:  # noqa: ANN401 - an OpenVINO model
    """Return the graph of an artefact for the pass ``name``.

    Raises:
        StepError: not an OpenVINO graph ('unsupported'), or not one the library reads ('error').

    """
    if context.artifact.format != "openvino":
        what = f"{name} works on OpenVINO graphs"
        raise StepError("unsupported", what, got=context.artifact.format)
    import openvino

    model, weights = (str(context.source / str(context.artifact.meta[part])) for part in ("model", "weights"))
    try:
        return openvino.Core().read_model(model, weights)
    except Exception as error:  # the library raises bare RuntimeErrors
        what = f"OpenVINO cannot read the graph: {str(error)[:300]}"
        raise StepError("error", what) from error


def write(context: CompressContext, graph: Any, name: str, *, half: bool) -> Artifact:  # noqa: ANN401 - an OpenVINO model
    """Write the changed graph with the artefact's other files, weights in 16 bits with ``half``; products run in bfloat16 where they can."""
    import openvino

    meta = context.artifact.meta
    openvino.save_model(graph, str(context.out / "model.xml"), compress_to_fp16=half)
    copy_others(context.source, context.out, {str(meta["model"]), str(meta["weights"]), "artifact.json"})
    changed: dict[str, Any] = {"model": "model.xml", "weights": "model.bin", "compression": name, "precision": "bf16"}
    if context.artifact.transform.get("kind") == "hf-tokenizer":
        changed["bucket"] = BUCKET  # a row that is always padded alike always gets the same answer
    return context.artifact.model_copy(update={"meta": {**meta, **changed}, "files": ()})
