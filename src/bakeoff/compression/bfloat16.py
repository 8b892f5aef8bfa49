"""bfloat16 arithmetic through OpenVINO: half the file, and twice the products where the processor multiplies bfloat16.

No calibration and hardly any drift, so it is worth a look before int8. A processor without bfloat16 (AVX512-BF16 or AMX) computes
in fp32 all the same: the file is smaller there, and nothing is faster, which is measured like everything else.
"""

from __future__ import annotations

from typing import Any

from bakeoff.compression.base import BUCKET, CompressContext
from bakeoff.models._formats import copy_others
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import Needs, PassTraits


class BFloat16:
    """Weights stored in 16 bits, products computed in bfloat16."""

    traits = PassTraits(
        label=Words(zh="bfloat16", en="bfloat16"),
        consumes=("openvino",),
        produces="openvino",
        needs=Needs(modules=("openvino",), extra="openvino"),
    )

    def apply(self, context: CompressContext) -> Artifact:
        """Store the weights in 16 bits and ask the runtime for bfloat16.

        Raises:
            StepError: not an OpenVINO graph ('unsupported'), or not one the library reads ('error').

        """
        if context.artifact.format != "openvino":
            what = "bfloat16 works on OpenVINO graphs"
            raise StepError("unsupported", what, got=context.artifact.format)
        import openvino

        meta = context.artifact.meta
        model, weights = str(meta["model"]), str(meta["weights"])
        try:
            graph = openvino.Core().read_model(str(context.source / model), str(context.source / weights))
        except Exception as error:  # the library raises bare RuntimeErrors
            what = f"OpenVINO cannot read the graph: {str(error)[:300]}"
            raise StepError("error", what) from error
        openvino.save_model(graph, str(context.out / "model.xml"), compress_to_fp16=True)
        copy_others(context.source, context.out, {model, weights, "artifact.json"})
        changed: dict[str, Any] = {
            "model": "model.xml",
            "weights": "model.bin",
            "compression": "bfloat16",
            "precision": "bf16",
        }
        if context.artifact.transform.get("kind") == "hf-tokenizer":
            changed["bucket"] = BUCKET  # a row that is always padded alike always gets the same answer
        return context.artifact.model_copy(update={"meta": {**meta, **changed}, "files": ()})


PLUGIN = BFloat16()
