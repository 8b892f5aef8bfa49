from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.delivery.shards.planner import choose
from bakeoff.schema import StepError


@given(
    times=st.lists(st.integers(1, 50), min_size=2, max_size=9),
    sizes=st.lists(st.integers(1, 50), min_size=9, max_size=9),
    stages=st.integers(2, 5),
    limit=st.none() | st.integers(20, 200),
)
def test_no_other_cuts_are_better(times: list[int], sizes: list[int], stages: int, limit: int | None) -> None:
    end = len(times)
    stages = min(stages, end)

    def worst(cuts: tuple[int, ...]) -> tuple[int, int]:
        bounds = [0, *cuts, end]
        return (
            max(sum(times[a:b]) for a, b in pairwise(bounds)),
            max(sum(sizes[a:b]) for a, b in pairwise(bounds)),
        )

    allowed = [
        worst(cuts)[0] for cuts in combinations(range(1, end), stages - 1) if limit is None or worst(cuts)[1] <= limit
    ]

    def call() -> tuple[int, ...]:
        return choose(
            end - 1, stages, lambda a, b: sum(times[a:b]), lambda a, b: sum(sizes[a:b]), lambda place: place, limit
        ).cuts

    if not allowed:
        with pytest.raises(StepError, match="bytes of weights"):
            call()
        return
    cuts = call()
    assert len(cuts) == stages - 1
    assert worst(cuts)[0] == min(allowed)
    assert limit is None or worst(cuts)[1] <= limit


def test_of_equal_cuts_the_one_that_sends_least_is_taken() -> None:
    sent = {1: 9.0, 2: 1.0, 3: 9.0}
    chosen = choose(3, 2, lambda a, b: 1.0, lambda a, b: 1, sent.__getitem__)
    assert chosen.cuts == (2,)


def test_a_part_that_fits_nowhere_is_named() -> None:
    with pytest.raises(StepError, match="holds 70 bytes") as caught:
        choose(2, 2, lambda a, b: b - a, lambda a, b: sum([10, 70, 20][a:b]), lambda place: 0.0, 50)
    assert caught.value.code == "unsupported"
