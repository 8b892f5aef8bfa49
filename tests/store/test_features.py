from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.store.features import FeatureStore

TEXTS = [b"one", b"two", b"three", b"two", b"four"]


class Encoder:
    """Counts what it is asked to read; the vector of a text is made of its bytes."""

    def __init__(self, items: list[bytes], seconds: float = 0.0) -> None:
        self.items, self.seconds = items, seconds
        self.read: list[bytes] = []

    def __call__(self, places: list[int]) -> NDArray[np.float64]:
        threading.Event().wait(self.seconds)
        self.read += [self.items[place] for place in places]
        return np.array(
            [[len(self.items[place]), self.items[place][0] / 7.0] for place in places], dtype=np.float32
        ).astype(np.float64)


def test_each_text_is_read_once_whoever_asks(tmp_path: Path) -> None:
    first, second = Encoder(TEXTS), Encoder([b"four", b"five", b"one"])
    found = FeatureStore(tmp_path).vectors("space", TEXTS, first)
    assert first.read == [b"one", b"two", b"three", b"four"]
    assert found.computed == 4
    np.testing.assert_array_equal(found.vectors, Encoder(TEXTS)(list(range(5))))
    other = FeatureStore(tmp_path).vectors("space", second.items, second)
    assert second.read == [b"five"]
    np.testing.assert_array_equal(other.vectors[2], found.vectors[0])


def test_vectors_of_another_encoder_are_not_taken(tmp_path: Path) -> None:
    FeatureStore(tmp_path).vectors("one", TEXTS, Encoder(TEXTS))
    again = Encoder(TEXTS)
    FeatureStore(tmp_path).vectors("other", TEXTS, again)
    assert len(again.read) == 4


def test_what_reuse_saved_is_told_and_what_was_computed_now_is_not(tmp_path: Path) -> None:
    first = FeatureStore(tmp_path)
    first.vectors("space", TEXTS, Encoder(TEXTS, 0.2))
    first.vectors("space", TEXTS, Encoder(TEXTS))
    assert first.saved_seconds == 0.0
    second = FeatureStore(tmp_path)
    second.vectors("space", TEXTS, Encoder(TEXTS))
    assert 0.2 <= second.saved_seconds < 0.6


def test_a_shard_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    FeatureStore(tmp_path).vectors("space", TEXTS, Encoder(TEXTS))
    (shard,) = (tmp_path / "space").glob("*.npz")
    whole = shard.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"not a zip"):
        shard.write_bytes(content)
        again = Encoder(TEXTS)
        found = FeatureStore(tmp_path).vectors("space", TEXTS, again)
        assert len(again.read) == 4
        np.testing.assert_array_equal(found.vectors, Encoder(TEXTS)(list(range(5))))


def test_nothing_to_look_up_and_no_place_to_write(tmp_path: Path) -> None:
    assert FeatureStore(tmp_path).vectors("space", [], Encoder([])).vectors.shape == (0, 0)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    found = FeatureStore(tmp_path / "file").vectors("space", TEXTS, Encoder(TEXTS))
    assert found.vectors.shape == (5, 2)


def test_a_full_space_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bakeoff.store.features._LARGEST", 8)
    FeatureStore(tmp_path).vectors("space", TEXTS, Encoder(TEXTS))
    assert list((tmp_path / "space").iterdir()) == []


def test_many_at_once_leave_whole_shards(tmp_path: Path) -> None:
    def work(number: int) -> None:
        items = [f"text {at}".encode() for at in range(number, number + 40)]
        FeatureStore(tmp_path).vectors("space", items, Encoder(items))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = [f"text {at}".encode() for at in range(47)]
    last = Encoder(items)
    FeatureStore(tmp_path).vectors("space", items, last)
    assert last.read == []
    assert not [path for path in (tmp_path / "space").iterdir() if path.suffix != ".npz"]
