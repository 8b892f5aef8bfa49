"""WordLlama L2 supercat: a table of 32,000 token vectors, 256 dimensions, averaged per text. No network, no layers."""

from __future__ import annotations

from pathlib import Path

from bakeoff.assets.archives import extract_all
from bakeoff.assets.base import Produced, Recipe, Source
from bakeoff.assets.pooling import write_pooling

_SOURCE = Source(
    package="wordllama",
    version="0.4.0.post1",
    filename="wordllama-0.4.0.post1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    sha256="42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
    size=19155170,
)
_FILES = {
    "wordllama/weights/l2_supercat_256.safetensors": "model.safetensors",
    "wordllama/tokenizers/l2_supercat_tokenizer_config.json": "tokenizer.json",
    "wordllama-0.4.0.post1.dist-info/licenses/LICENSE": "LICENSE",
}


def prepare(downloads: Path, out: Path) -> None:
    """Write ``model.safetensors`` (``embedding.weight``, float16, 32000 by 256), the tokenizer and ``pooling.json``."""
    extract_all(downloads / _SOURCE.filename, _FILES, out)
    write_pooling(out, pooling="mean", normalise=True, dimensions=256, max_tokens=None, special_tokens=False)


RECIPE = Recipe(
    name="wordllama-256",
    kind="weights",
    title={"zh": "WordLlama 静态词元向量（256 维）", "en": "WordLlama static token embeddings, 256 dimensions"},
    licence="MIT",
    licence_note="Stated by the package for code and weights. The vectors were trained from the token embeddings of "
    "Llama 2 70B and Phi-3 medium, whose own terms may apply.",
    origin="dleemiller/word-llama-l2-supercat",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="LICENSE",
            sha256="a1e482c45bfab76056845e542ad4c95acfc4f38dd63be1c5b663c16065529fc8",
            size=1067,
        ),
        Produced(
            path="model.safetensors",
            sha256="64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
            size=16384096,
        ),
        Produced(
            path="pooling.json",
            sha256="0f6fee2aa157c47d1c0dc291be69550f9b41aced07f70d5024025b44eae33086",
            size=131,
        ),
        Produced(
            path="tokenizer.json",
            sha256="93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
            size=1842796,
        ),
    ),
    prepare=prepare,
)
