"""Rows whose texts nearly repeat one another: MinHash over character n-grams, banded locality-sensitive hashing, exact check.

Source: Broder 1997 (resemblance of documents); Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*, chapter 3.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_GRAM_HAN, _GRAM_LATIN = 3, 6
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_HAN_SHARE = 0.2
_BANDS, _ROWS = 16, 4
_SIMILAR = 0.7
_STRICT = 0.9
_LARGEST_CLUSTER = 0.2
_MAX_CHARS = 20_000
_CHUNK_CHARS = 1_000_000
_ALL_PAIRS = 12
_NOISE = re.compile(r"[\W_]+")
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class _Grams:
    """Distinct n-gram hashes of all documents, one after the other; document i owns ``values[starts[i]:starts[i + 1]]``."""

    values: NDArray[np.uint64]
    starts: NDArray[np.int64]

    def of(self, index: int) -> NDArray[np.uint64]:
        return self.values[self.starts[index] : self.starts[index + 1]]


def near_clusters(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the smallest index of the cluster of near repeats it belongs to (its own when it has none).

    Two texts are near when their letters and digits (case, width and punctuation folded) share at least 70 % of their
    character n-grams (Jaccard; n is 3 in Chinese, Japanese and Korean, else 6). The similarity is raised to 90 % where a chain of
    likenesses would tie a fifth of all rows together. Cost grows with the characters, not with the pairs; deterministic.
    """
    normal = [(normalised(text) or "".join(text.split()))[:_MAX_CHARS] for text in texts]
    pairs: list[tuple[int, int, float]] = []
    han = np.asarray([len(_HAN.findall(text)) >= _HAN_SHARE * len(text) for text in normal], dtype=np.bool_)
    for members, size in ((np.flatnonzero(han), _GRAM_HAN), (np.flatnonzero(~han), _GRAM_LATIN)):
        chosen = [normal[index] for index in members.tolist()]
        grams = _grams(chosen, size)
        pairs += [
            (int(members[a]), int(members[b]), similarity)
            for a, b, similarity in _similar_pairs(grams, _candidates(grams))
        ]
    clusters = components(len(texts), [(a, b) for a, b, _ in pairs])
    if len(texts) and np.bincount(clusters).max() > max(_LARGEST_CLUSTER * len(texts), 20):
        clusters = components(len(texts), [(a, b) for a, b, similarity in pairs if similarity >= _STRICT])
    return clusters


def normalised(text: str) -> str:
    """Fold width and case, and drop everything that is neither letter nor digit."""
    return _NOISE.sub("", unicodedata.normalize("NFKC", text).lower())


def components(count: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the smallest member's index for every node of the graph that ``pairs`` span."""
    parent = list(range(count))
    for a, b in pairs:
        left, right = _root(parent, a), _root(parent, b)
        if left != right:
            parent[max(left, right)] = min(left, right)
    return np.asarray([_root(parent, index) for index in range(count)], dtype=np.int64)


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64: a bijection that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _grams(texts: Sequence[str], size: int) -> _Grams:
    parts: list[NDArray[np.uint64]] = []
    lengths: list[int] = []
    for chunk in _chunks(texts):
        values, counts = _chunk_grams(chunk, size)
        parts.append(values)
        lengths.extend(counts.tolist())
    starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
    return _Grams(np.concatenate(parts) if parts else np.zeros(0, np.uint64), starts)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size > _CHUNK_CHARS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _chunk_grams(texts: Sequence[str], size: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash the distinct n-grams of each text; a text shorter than that is padded to one gram of its own."""
    padded = [text.ljust(size, "\x00") for text in texts]
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths = np.asarray([len(text) for text in padded], dtype=np.int64)
    owner = np.repeat(np.arange(len(texts)), lengths)
    hashes = np.zeros(len(points) - size + 1, dtype=np.uint64)
    for offset in range(size):
        hashes = hashes * _PRIME + points[offset : len(points) - size + 1 + offset]
    inside = owner[: len(hashes)] == owner[size - 1 :]
    hashes, owner = _mix(hashes[inside]), owner[: len(hashes)][inside]
    order = np.lexsort((hashes, owner))
    hashes, owner = hashes[order], owner[order]
    fresh = np.ones(len(hashes), dtype=np.bool_)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
    return hashes[fresh], np.bincount(owner[fresh], minlength=len(texts)).astype(np.int64)


def _signatures(grams: _Grams) -> NDArray[np.uint64]:
    """Return (bands x rows, n) minima of as many hash functions over each document's grams."""
    out = np.empty((_BANDS * _ROWS, len(grams.starts) - 1), dtype=np.uint64)
    seeds = _mix(np.arange(1, _BANDS * _ROWS + 1, dtype=np.uint64) * _PRIME)
    for index, seed in enumerate(seeds):
        hashed = (grams.values ^ seed) * _PRIME
        out[index] = np.minimum.reduceat(hashed ^ (hashed >> np.uint64(29)), grams.starts[:-1])
    return out


def _candidates(grams: _Grams) -> set[tuple[int, int]]:
    """Pairs that agree in a whole band; in a crowded bucket each row is held against its first member and its neighbour only."""
    pairs: set[tuple[int, int]] = set()
    count = len(grams.starts) - 1
    if count < 2:
        return pairs
    signatures = _signatures(grams)
    for band in range(_BANDS):
        key = np.zeros(count, dtype=np.uint64)
        for row in signatures[band * _ROWS : (band + 1) * _ROWS]:
            key = _mix(key * _PRIME + row)
        for bucket in _buckets(key):
            pairs.update(_bucket_pairs(bucket))
    return pairs


def _buckets(key: NDArray[np.uint64]) -> Iterator[list[int]]:
    order = np.argsort(key, kind="stable")
    edges = np.flatnonzero(np.diff(key[order])) + 1
    starts = np.concatenate([[0], edges])
    ends = np.concatenate([edges, [len(key)]])
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        yield order[start:end].tolist()


def _bucket_pairs(bucket: list[int]) -> Iterator[tuple[int, int]]:
    if len(bucket) <= _ALL_PAIRS:
        yield from ((a, b) for index, a in enumerate(bucket) for b in bucket[index + 1 :])
        return
    yield from ((bucket[0], other) for other in bucket[1:])
    yield from pairwise(bucket[1:])


def _similar_pairs(grams: _Grams, pairs: set[tuple[int, int]]) -> list[tuple[int, int, float]]:
    found = []
    sizes = np.diff(grams.starts)
    for a, b in sorted(pairs):
        small, large = sorted((int(sizes[a]), int(sizes[b])))
        if small < _SIMILAR * large:
            continue
        shared = _shared(grams.of(a), grams.of(b))
        similarity = shared / (small + large - shared)
        if similarity >= _SIMILAR:
            found.append((a, b, similarity))
    return found


def _shared(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> int:
    both = np.concatenate([left, right])
    both.sort()
    return int(np.count_nonzero(both[1:] == both[:-1]))
