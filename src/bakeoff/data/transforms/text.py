"""From rows to what a text model eats: n-grams, code points, word ids or sub-word ids.

A transform is a JSON record that travels with the artefact. Its ``kind`` is one of

``char-ids``
    ``ngrams`` (low, high) of characters; as ids: Unicode code points.
``word-ids``
    ``ngrams`` (low, high) of words; ``segmenter`` is ``regex`` or ``rjieba``; as ids: places in ``words`` (a JSON file).
``hf-tokenizer``
    sub-word ids of ``tokenizer`` (a tokenizer.json): ``max_length``, ``pad_id``, ``special_tokens``, ``prefix``.

All kinds share ``columns``, ``separator``, ``lowercase``, ``normalise`` (a Unicode form or None) and ``max_chars``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from bakeoff.schema.errors import StepError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = Mapping[str, Any]
Transform = Mapping[str, Any]
Feeds = dict[str, NDArray[Any]]
Tokens = str | list[str]
"""A folded text (its characters are the tokens), or the list of its words."""

PAD = -1
"""Id of padding and of unknown words: never part of an n-gram that counts."""
MAX_CHARS = 20_000
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def text_of(value: object) -> str:
    """Return a cell as text: missing values (None, NaN) are empty, whole floats lose their ``.0``."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 - NaN is the only value that differs from itself
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def join(row: Row, columns: Sequence[str], separator: str) -> str:
    """Return the texts of ``columns``, those that are missing left out, joined by ``separator``."""
    if len(columns) == 1:
        return text_of(row.get(columns[0]))
    return separator.join(part for name in columns if (part := text_of(row.get(name))).strip())


def fold(text: str, transform: Transform) -> str:
    """Return ``text`` cut to ``max_chars``, without lone surrogates, normalised, lower-cased, white space folded."""
    text = text[: transform.get("max_chars") or MAX_CHARS]
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text)
        if form := transform.get("normalise"):
            text = unicodedata.normalize(cast("Literal['NFC', 'NFD', 'NFKC', 'NFKD']", form), text)
    if transform.get("lowercase", True):
        text = text.lower()
    return " ".join(text.split())


def texts(rows: Iterable[Row], transform: Transform) -> list[str]:
    """Return one folded text per row."""
    columns, separator = transform["columns"], transform.get("separator", " ")
    return [fold(join(row, columns, separator), transform) for row in rows]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def segmenter(transform: Transform) -> Callable[[str], Tokens]:
    """Return what cuts a folded text into tokens: characters, regular-expression words, or Chinese words.

    Raises:
        UnavailableError: the transform needs rjieba and it is not installed.

    """
    if transform["kind"] == "char-ids":
        return str
    if transform.get("segmenter", "regex") == "regex":
        return _words
    try:
        import rjieba
    except ImportError as error:
        what = "Chinese word segmentation needs rjieba"
        raise UnavailableError(what, try_="pip install rjieba") from error
    rjieba.cut("词典")  # loads the dictionary now, not at the first request

    def cut(text: str) -> list[str]:
        return [word for word in rjieba.cut(text) if not word.isspace()]

    return cut


def ngrams(tokens: Tokens, low: int, high: int) -> list[str]:
    """Return every n-gram of ``low`` to ``high`` tokens, words joined by a space; shortest first, in reading order."""
    glue = "" if isinstance(tokens, str) else " "
    count = len(tokens)
    found: list[str] = []
    for size in range(low, high + 1):
        if size == 1:
            found.extend(tokens)
        elif glue:
            found.extend(glue.join(tokens[at : at + size]) for at in range(count - size + 1))
        else:
            found.extend(cast("str", tokens[at : at + size]) for at in range(count - size + 1))
    return found


class Analyser:
    """Turns rows into n-grams, the way training and serving both do it.

    Args:
        transform: a record of kind ``char-ids`` or ``word-ids``.

    """

    def __init__(self, transform: Transform) -> None:
        self._transform = transform
        self._low, self._high = transform["ngrams"]
        self._cut = segmenter(transform)

    def tokens(self, text: str) -> Tokens:
        """Return the tokens of a folded text."""
        return self._cut(text)

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """Return the folded text of every row."""
        return texts(rows, self._transform)

    def __call__(self, text: str) -> list[str]:
        """Return the n-grams of a folded text."""
        return ngrams(self._cut(text), self._low, self._high)


def pad(sequences: Sequence[Sequence[int]], width: int = 1, fill: int = PAD) -> NDArray[np.int64]:
    """Return (n, longest) int64, filled up with ``fill``, at least ``width`` wide."""
    longest = max([width, *map(len, sequences)])
    table = np.full((len(sequences), longest), fill, dtype=np.int64)
    for at, sequence in enumerate(sequences):
        table[at, : len(sequence)] = sequence
    return table


class IdFeeder:
    """Rows → ``{"ids": int64 (n, length)}`` for graphs that count n-grams of ids.

    Args:
        transform: a record of kind ``char-ids`` or ``word-ids``.
        directory: the artefact, which holds the word list of ``word-ids``.

    """

    def __init__(self, transform: Transform, directory: Path) -> None:
        self._analyser = Analyser(transform)
        self._width = max(transform["ngrams"])
        self._ids: dict[str, int] | None = None
        if transform["kind"] == "word-ids":
            self._ids = {word: at for at, word in enumerate(read_words(directory / transform["words"]))}

    def __call__(self, rows: Sequence[Row]) -> Feeds:
        """Return the feeds of ``rows``."""
        return {"ids": pad([self._row(text) for text in self._analyser.texts(rows)], self._width)}

    def _row(self, text: str) -> list[int]:
        tokens = self._analyser.tokens(text)
        if self._ids is None:
            return [ord(char) for char in tokens]
        return [self._ids.get(word, PAD) for word in tokens]


class TokenFeeder:
    """Rows → ``input_ids`` and ``attention_mask``, int64 (n, longest of the batch), through the tokenizers library.

    Args:
        transform: a record of kind ``hf-tokenizer``.
        directory: the artefact, which holds the tokenizer.json.

    """

    def __init__(self, transform: Transform, directory: Path) -> None:
        import os

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads are pinned and measured; none may be added
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            what = "sub-word tokenisation needs the tokenizers library"
            raise UnavailableError(what, try_="pip install tokenizers") from error
        self._transform = {"lowercase": False, "normalise": None, **transform}
        self._special = bool(transform.get("special_tokens", True))
        self._prefix = str(transform.get("prefix") or "")
        path = directory / transform.get("tokenizer", "tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exceptions
            what = f"the tokenizer cannot be read: {error}"
            raise StepError("error", what, where=str(path)) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(int(transform["max_length"]))
        self._pad = int(transform.get("pad_id") or 0)

    def encode(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return the token ids of every row, truncated, not padded."""
        prepared = [self._prefix + text for text in texts(rows, self._transform)]
        found = self._tokenizer.encode_batch_fast(prepared, add_special_tokens=self._special)
        return [encoding.ids for encoding in found]

    def spelled(self, encoded: Sequence[Sequence[int]]) -> list[bytes]:
        """Return token ids as the pieces they stand for: the same for a text whichever vocabulary it was cut down to."""
        pieces = {number: piece for piece, number in self._tokenizer.get_vocab(with_added_tokens=True).items()}
        return ["\0".join(pieces[token] for token in ids).encode() for ids in encoded]

    def __call__(self, rows: Sequence[Row]) -> Feeds:
        """Return the feeds of ``rows``."""
        ids = self.encode(rows)
        return {"input_ids": pad(ids, fill=self._pad), "attention_mask": pad([[1] * len(row) for row in ids], fill=0)}


def feature_space(encoder: str, dtype: str) -> str:
    """Return the name under which a frozen encoder's vectors are kept: the encoder's content, and the precision of its arithmetic."""
    return f"{encoder}-{dtype}"


def pooled(table: NDArray[Any], ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return the normalised mean of the vectors ``table[ids]`` per row, (n, d) float32."""
    vectors = np.zeros((len(ids), table.shape[1]), dtype=np.float32)
    for at, row in enumerate(ids):
        if row:
            mean = table[row].astype(np.float32).mean(axis=0)
            vectors[at] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return vectors


def feeder(transform: Transform, directory: Path) -> Callable[[Sequence[Row]], Feeds]:
    """Return what turns rows into the named arrays a graph takes.

    Raises:
        StepError: the kind is not a text transform ('unsupported').
        UnavailableError: a library it needs is not installed.

    """
    if transform.get("kind") in {"char-ids", "word-ids"}:
        return IdFeeder(transform, directory)
    if transform.get("kind") == "hf-tokenizer":
        return TokenFeeder(transform, directory)
    what = "no such text transform"
    raise StepError("unsupported", what, got=transform.get("kind"), allowed=("char-ids", "word-ids", "hf-tokenizer"))


def write_words(path: Path, words: Sequence[str]) -> None:
    """Write words or n-grams as a JSON list, one a line, in order of their ids."""
    body = ",\n".join(json.dumps(word, ensure_ascii=False) for word in words)
    path.write_text(f"[{body}]\n", encoding="utf-8")


def read_words(path: Path) -> list[str]:
    """Read what ``write_words`` wrote."""
    return cast("list[str]", json.loads(path.read_text(encoding="utf-8")))
