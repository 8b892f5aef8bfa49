from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.training.batches import bucketed, class_weights, padding_share


@given(lengths=st.lists(st.integers(1, 200), max_size=400), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_row_exactly_once(lengths: list[int], size: int, seed: int) -> None:
    batches = bucketed(lengths, size, np.random.default_rng(seed))
    rows = sorted(int(row) for batch in batches for row in batch)
    assert rows == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)


def test_the_same_seed_gives_the_same_epoch_and_the_next_epoch_differs() -> None:
    lengths = list(np.random.default_rng(0).integers(3, 60, 300))
    first, again = np.random.default_rng(4), np.random.default_rng(4)
    one, two = bucketed(lengths, 16, first), bucketed(lengths, 16, again)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, bucketed(lengths, 16, first), strict=True))


def test_little_is_padding() -> None:
    lengths = [int(length) for length in np.random.default_rng(1).integers(3, 65, 2000)]
    shuffled = np.array_split(np.random.default_rng(1).permutation(2000), 125)
    assert padding_share(lengths, shuffled) > 0.4
    assert padding_share(lengths, bucketed(lengths, 16, np.random.default_rng(1))) < 0.06


def test_padding_of_nothing() -> None:
    assert padding_share([], []) == 0.0


def test_class_weights_are_scikit_learns_balanced_ones() -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    expected = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(labels, 3), expected)


def test_a_class_without_rows_weighs_nothing() -> None:
    weights = class_weights(np.array([0, 0, 2]), 4)
    assert weights[1] == weights[3] == 0.0
    assert weights[2] == 2 * weights[0]
