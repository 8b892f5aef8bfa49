from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.training.schedules import Patience, Plateau, multiplier

SCHEDULES = ("constant", "linear", "cosine", "one_cycle", "reduce_on_plateau")


@given(
    schedule=st.sampled_from(SCHEDULES),
    total=st.integers(1, 400),
    warmup=st.floats(0, 0.95),
    at=st.floats(0, 1, exclude_max=True),
)
def test_a_multiplier_is_between_zero_and_one(schedule: str, total: int, warmup: float, at: float) -> None:
    value = multiplier(schedule, int(at * total), total=total, warmup=warmup)
    assert 0.0 <= value <= 1.0 + 1e-12
    assert math.isfinite(value)


@given(schedule=st.sampled_from(SCHEDULES), total=st.integers(20, 300), warmup=st.floats(0.1, 0.5))
def test_it_rises_while_warming_up_and_never_again(schedule: str, total: int, warmup: float) -> None:
    values = [multiplier(schedule, step, total=total, warmup=warmup) for step in range(total)]
    top = values.index(max(values))
    assert all(a <= b + 1e-12 for a, b in pairwise(values[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(values[top:]))
    assert top <= math.ceil(warmup * total) + 1


def test_shapes_at_known_points() -> None:
    assert multiplier("constant", 7, total=10, warmup=0) == 1.0
    assert multiplier("linear", 5, total=10, warmup=0) == 0.5
    assert multiplier("cosine", 5, total=10, warmup=0) == pytest.approx(0.5)
    assert multiplier("cosine", 2, total=10, warmup=0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.2)))
    assert multiplier("linear", 0, total=10, warmup=0.5) == pytest.approx(0.2)
    assert multiplier("one_cycle", 0, total=100, warmup=0.3) == pytest.approx(1 / 25)
    assert multiplier("one_cycle", 30, total=100, warmup=0.3) == pytest.approx(1.0)
    assert multiplier("one_cycle", 99, total=100, warmup=0.3) == pytest.approx(1e-4)


def test_agrees_with_transformers_and_pytorch() -> None:
    """Oracle: the schedules people know, from the libraries people know them from."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    makers = {
        "linear": lambda o: transformers.get_linear_schedule_with_warmup(o, 20, 100),
        "cosine": lambda o: transformers.get_cosine_schedule_with_warmup(o, 20, 100),
    }
    for name, maker in makers.items():
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = maker(optimiser)
        for step in range(100):
            theirs = reference.get_last_lr()[0]
            ours = multiplier(name, step, total=100, warmup=0.2)
            # theirs starts at 0, which wastes the first update; ours is one step ahead while warming up
            expected = (step + 1) / 20 if step < 20 else theirs
            assert ours == pytest.approx(expected, abs=1e-9), (name, step)
            optimiser.step()
            reference.step()
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=1.0, total_steps=101, pct_start=0.3, div_factor=25, final_div_factor=400, cycle_momentum=False
    )
    for step in range(100):
        assert multiplier("one_cycle", step, total=100, warmup=0.3) == pytest.approx(
            reference.get_last_lr()[0], abs=0.03
        )
        optimiser.step()
        reference.step()


def test_unknown_schedule() -> None:
    with pytest.raises(ValueError, match="spiral"):
        multiplier("spiral", 0, total=1, warmup=0)


def test_plateau_halves_after_each_loss_that_is_no_better() -> None:
    plateau = Plateau()
    assert [plateau.see(loss) for loss in (1.0, 0.8, 0.8, 0.79, 0.9, 0.9)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.125]


def test_plateau_with_patience() -> None:
    plateau = Plateau(patience=2, factor=0.1)
    assert [plateau.see(loss) for loss in (1.0, 1.0, 1.0, 1.0)] == [1.0, 1.0, 0.1, 0.1]


def test_patience_remembers_the_best_and_gives_up() -> None:
    patience = Patience(2)
    assert [patience.see(loss) for loss in (1.0, 0.5, 0.7, 0.6)] == [True, True, False, False]
    assert patience.exhausted
    assert patience.best == 0.5
    endless = Patience(None)
    assert [endless.see(1.0) for _ in range(9)][1:] == [False] * 8
    assert not endless.exhausted
