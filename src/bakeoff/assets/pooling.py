"""``pooling.json``: how the token vectors of an encoder become one vector per text.

Hub models say this in several files with several names; every encoder asset says it here.
"""

from __future__ import annotations

import json
from pathlib import Path


def write_pooling(
    out: Path,
    *,
    pooling: str,
    normalise: bool,
    dimensions: int,
    max_tokens: int | None,
    prefix: str = "",
    special_tokens: bool = True,
) -> None:
    """Write ``pooling.json``.

    Args:
        out: folder of the asset.
        pooling: ``mean`` over the tokens that are not padding.
        normalise: divide the vector by its length.
        dimensions: length of the vector.
        max_tokens: longest input, special tokens included; None is unlimited.
        prefix: text to put before every input.
        special_tokens: whether the tokenizer's special tokens take part.

    """
    facts = {
        "pooling": pooling,
        "normalise": normalise,
        "dimensions": dimensions,
        "max_tokens": max_tokens,
        "prefix": prefix,
        "special_tokens": special_tokens,
    }
    (out / "pooling.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
