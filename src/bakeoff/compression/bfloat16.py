"""bfloat16 arithmetic through OpenVINO: half the file, and twice the products where the processor multiplies bfloat16.

No calibration and hardly any drift, so it is worth a look before int8. A processor without bfloat16 (AVX512-BF16 or AMX) computes
in fp32 all the same: the file is smaller there, and nothing is faster, which is measured like everything else.
"""

from __future__ import annotations

from bakeoff.compression import _openvino
from bakeoff.compression.base import CompressContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
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
        return _openvino.write(context, _openvino.read(context, "bfloat16"), "bfloat16", half=True)


PLUGIN = BFloat16()
