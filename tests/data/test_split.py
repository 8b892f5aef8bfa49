"""Four disjoint splits: clusters whole, classes in proportion, time in order, content and seed deciding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bakeoff.data.sizing import Shares
from bakeoff.data.split import DROPPED, SPLITS, check_disjoint, merge_clusters, shuffled, split_by_time, split_rows
from bakeoff.schema import BakeoffError, DataError

SIZES = Shares(0.6, 0.1, 0.15, 0.15)
TWO = ("neg", "pos")


def keys(count: int, seed: int = 0) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**63, count, dtype=np.uint64)


def alone(count: int) -> NDArray[np.int64]:
    return np.arange(count)


def test_classes_keep_their_shares() -> None:
    labels = (np.arange(1000) % 10 == 0).astype(np.int64)
    assigned = split_rows(labels, keys(1000), alone(1000), 0, SIZES, TWO)
    assert np.bincount(assigned).tolist() == [600, 100, 150, 150]
    assert np.bincount(assigned[labels == 1]).tolist() == [60, 10, 15, 15]


def test_the_seed_decides_and_the_order_does_not() -> None:
    labels, content = np.arange(400) % 2, keys(400)
    first = split_rows(labels, content, alone(400), 0, SIZES, TWO)
    order = np.random.default_rng(9).permutation(400)
    again = split_rows(labels[order], content[order], alone(400), 0, SIZES, TWO)
    assert np.array_equal(first[order], again)
    assert not np.array_equal(first, split_rows(labels, content, alone(400), 1, SIZES, TWO))


def test_a_row_more_moves_few_others() -> None:
    labels, content = np.zeros(1001, dtype=np.int64), keys(1001)
    labels[::2] = 1
    small = split_rows(labels[:1000], content[:1000], alone(1000), 0, SIZES, TWO)
    large = split_rows(labels, content, alone(1001), 0, SIZES, TWO)
    assert (small != large[:1000]).sum() <= 8


def test_clusters_stay_together_and_shares_hold() -> None:
    random = np.random.default_rng(0)
    groups = [f"g{value}" for value in random.integers(0, 120, 2000)]
    labels = random.integers(0, 2, 2000)
    clusters = merge_clusters(alone(2000), groups)
    assigned = split_rows(labels, keys(2000), clusters, 0, SIZES, TWO)
    assert all(
        len({int(assigned[row]) for row, group in enumerate(groups) if group == wanted}) == 1 for wanted in set(groups)
    )
    assert np.bincount(assigned) / 2000 == pytest.approx(np.asarray(SIZES.as_tuple()), abs=0.03)


def test_missing_groups_join_nothing_and_near_repeats_join_groups() -> None:
    clusters = merge_clusters(np.asarray([0, 1, 1, 3, 4]), ["a", "b", "a", None, None])
    assert clusters.tolist() == [0, 0, 0, 3, 4]


def test_a_class_with_too_few_rows_is_named() -> None:
    labels = np.asarray([0] * 50 + [1] * 3)
    with pytest.raises(DataError, match="class 'pos' has 3 usable rows, but four splits need at least 4"):
        split_rows(labels, keys(53), alone(53), 0, SIZES, TWO)
    clusters = alone(60)
    clusters[50:] = 50
    with pytest.raises(DataError, match="10 usable rows in 1 independent groups"):
        split_rows(np.asarray([0] * 50 + [1] * 10), keys(60), clusters, 0, SIZES, TWO)


def test_four_rows_of_a_class_reach_four_splits() -> None:
    labels = np.asarray([0] * 400 + [1] * 4)
    assigned = split_rows(labels, keys(404), alone(404), 0, SIZES, TWO)
    assert sorted(assigned[labels == 1].tolist()) == [0, 1, 2, 3]


def test_groups_that_cannot_be_spread_are_refused() -> None:
    labels = np.asarray([0] * 400 + [1] * 40)
    clusters = np.concatenate([np.zeros(398, dtype=np.int64), np.arange(398, 400), np.repeat([400, 410, 420, 430], 10)])
    with pytest.raises(DataError):
        split_rows(labels, keys(440), clusters, 0, SIZES, TWO)


@settings(max_examples=40)
@given(st.integers(0, 2**31 - 1), st.integers(2, 5), st.integers(1, 60))
def test_any_data_split_into_a_partition_or_a_clear_error(seed: int, count: int, groups: int) -> None:
    random = np.random.default_rng(seed)
    labels, clusters = random.integers(0, count, 200), random.integers(0, 200, 200)
    member = random.integers(0, groups, 200)
    merged = merge_clusters(_named(clusters), [str(value) for value in member] if groups > 20 else None)
    try:
        assigned = split_rows(labels, keys(200, seed), merged, seed, SIZES, [str(i) for i in range(count)])
    except DataError:
        return
    assert set(assigned.tolist()) == {0, 1, 2, 3}
    check_disjoint(assigned, merged)
    assert all(set(labels[assigned == split]) == set(range(count)) for split in range(4))


def _named(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def test_a_shared_cluster_is_a_defect_that_raises() -> None:
    with pytest.raises(BakeoffError, match="share a cluster"):
        check_disjoint(np.asarray([0, 3], dtype=np.int8), np.asarray([0, 0]))
    check_disjoint(np.asarray([0, DROPPED], dtype=np.int8), np.asarray([0, 0]))


def test_ranks_are_a_permutation_like_hash() -> None:
    ranks = shuffled(np.arange(10_000, dtype=np.uint64), 0)
    assert np.unique(ranks).size == 10_000
    assert abs(np.corrcoef(np.arange(10_000), np.argsort(np.argsort(ranks)))[0, 1]) < 0.05


# --- time ---


def test_later_rows_never_judge_earlier_ones() -> None:
    random = np.random.default_rng(0)
    times, labels = random.integers(0, 300, 1000).astype(float), random.integers(0, 2, 1000)
    assigned = split_by_time(labels, times, keys(1000), alone(1000), SIZES, TWO)
    for earlier, later in zip(range(3), range(1, 4), strict=True):
        assert times[assigned == earlier].max() < times[assigned == later].min()
    assert np.bincount(assigned) / 1000 == pytest.approx(np.asarray(SIZES.as_tuple()), abs=0.02)


def test_clusters_across_a_border_keep_the_side_with_most_rows() -> None:
    times, labels = np.arange(100, dtype=float), np.arange(100) % 2
    clusters = alone(100)
    clusters[[58, 59, 60, 61, 62]] = 58
    assigned = split_by_time(labels, times, keys(100), clusters, SIZES, TWO)
    assert assigned[[58, 59, 60, 61, 62]].tolist() == [DROPPED, DROPPED, 1, 1, 1]
    assert (assigned == DROPPED).sum() == 2


def test_time_needs_distinct_values_and_every_class_in_training() -> None:
    labels = np.arange(100) % 2
    with pytest.raises(DataError, match="too few distinct times"):
        split_by_time(labels, np.repeat([0.0, 1.0, 2.0], [40, 30, 30]), keys(100), alone(100), SIZES, TWO)
    late = (np.arange(100) >= 70).astype(np.int64)
    with pytest.raises(DataError, match="class 'pos' does not occur in the oldest rows"):
        split_by_time(late, np.arange(100.0), keys(100), alone(100), SIZES, TWO)
    early = (np.arange(100) < 30).astype(np.int64)
    with pytest.raises(DataError, match="the calibrate period are all of one class"):
        split_by_time(early, np.arange(100.0), keys(100), alone(100), SIZES, TWO)


def test_four_distinct_times_are_enough() -> None:
    times = np.repeat([0.0, 1.0, 2.0, 3.0], [97, 1, 1, 1])
    labels = np.tile([0, 1], 50)
    with pytest.raises(DataError, match="all of one class"):
        split_by_time(labels, times, keys(100), alone(100), SIZES, TWO)
    times = np.repeat([0.0, 1.0, 2.0, 3.0], 25)
    assigned = split_by_time(labels, times, keys(100), alone(100), SIZES, TWO)
    assert [set(times[assigned == split]) for split in range(len(SPLITS))] == [{0.0}, {1.0}, {2.0}, {3.0}]
